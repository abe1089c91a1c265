import { ExportResultCode } from "@opentelemetry/core";
import {
  createOtlpNetworkExportDelegate,
  ExporterMetrics,
  getSharedConfigurationDefaults,
  type ExportResponse,
  type IOtlpExportDelegate,
} from "@opentelemetry/otlp-exporter-base";
import { RetryLaterError, type HostLogger } from "tailgate/plugin";
import type { Destination } from "./destination.ts";
import type { Signal } from "./environment.ts";
import { post, type SendOutcome } from "./transport.ts";

/** What became of a request that is not to be sent again. */
export type SettledOutcome = Exclude<SendOutcome, { kind: "retry" }>;

/** How often an unchanged message of the destination is logged. */
const LOG_INTERVAL_MS = 60_000;

/** How a sender encodes and counts its items. */
interface ItemCodec<Items> {
  serialize(items: Items): Uint8Array;
  count(items: Items): number;
}

/**
 * Sends items over OTLP, one request at a time, by OpenTelemetry's export delegate. The transport is Tailgate's:
 * OpenTelemetry's retries by itself and cannot be aborted, while retries, their order and their time limit belong to
 * delivery here.
 */
export class OtlpSender<Items> {
  readonly #destination: Destination;
  readonly #delegate: IOtlpExportDelegate<Items>;
  /** Of the request in flight. The delegate passes neither of them on. */
  #signal: AbortSignal | undefined;
  #outcome: SettledOutcome | undefined;

  constructor(destination: Destination, { variable }: Signal, codec: ItemCodec<Items>) {
    this.#destination = destination;
    this.#delegate = createOtlpNetworkExportDelegate(
      getSharedConfigurationDefaults(),
      { serializeRequest: (items: Items) => codec.serialize(items), deserializeResponse: () => {} },
      new ExporterMetrics({
        componentType: "tailgate_otlp_exporter",
        metricsHelper: { name: variable === "LOGS" ? "log" : "span", countItems: codec.count },
        url: destination.url.href,
        meterProvider: undefined,
        responseAttributesFromError: () => ({}),
      }),
      { send: (body) => this.#send(body), shutdown: () => {} },
    );
  }

  /**
   * Sends one request.
   * @throws Error if it is to be sent again; RetryLaterError if the destination said when.
   */
  send(items: Items, signal: AbortSignal): Promise<SettledOutcome> {
    this.#signal = signal;
    return new Promise((resolve, reject) => {
      this.#delegate.export(items, ({ code, error }) => {
        if (code === ExportResultCode.SUCCESS) resolve(this.#outcome!);
        else reject(error!);
      });
    });
  }

  /** Returns every retryable outcome as a failure, because the delegate drops the delay of one that is `retryable`. */
  async #send(body: Uint8Array): Promise<ExportResponse> {
    const outcome = await post(this.#destination, body, this.#signal!);
    if (outcome.kind === "retry") return { status: "failure", error: this.#retryError(outcome) };
    this.#outcome = outcome;
    return { status: "success" };
  }

  #retryError({ reason, retryAfterMs }: SendOutcome & { kind: "retry" }): Error {
    const text = `${this.#destination.name} responded with ${reason}`;
    return retryAfterMs > 0 ? new RetryLaterError(text, retryAfterMs) : new Error(text);
  }
}

/** Counts and logs the items that a destination rejected. */
export class RejectionLog {
  readonly #name: string;
  readonly #quarantine: string | undefined;
  readonly #unit: string;
  readonly #log: HostLogger;
  /** Items whose request was rejected. */
  #rejected = 0;
  #firstRejected = "";
  /** Items of accepted requests. */
  #partiallyRejected = 0;
  /** Those that no log line has reported yet. */
  #unreported = 0;
  #lastMessage: string | undefined;
  #loggedAtMs = 0;

  /** `name`: the destination's; `quarantine`: the file that stores rejected items; `unit`: what an item is. */
  constructor(
    name: string,
    quarantine: string | undefined,
    log: HostLogger,
    unit: "records" | "spans" = "records",
  ) {
    this.#name = name;
    this.#quarantine = quarantine;
    this.#unit = unit;
    this.#log = log;
  }

  /** Adds an item whose request was rejected. `sequence`: of its record, or of the record that ended the span. */
  addRejected(sequence: number, reason: string): void {
    if (this.#rejected++ === 0) this.#firstRejected = `sequence ${sequence}, ${reason}`;
  }

  /** Adds a partial success. A count of 0 with a message is a warning. */
  addPartialSuccess(count: number, message: string): void {
    this.#partiallyRejected += count;
    this.#unreported += count;
    if (count === 0 && message === "") return;
    const nowMs = performance.now();
    if (message === this.#lastMessage && nowMs - this.#loggedAtMs < LOG_INTERVAL_MS) return;
    this.#log.warning(
      `${this.#name} accepted a request but rejected ${this.#unreported} of its ${this.#unit}: ${message || "no reason given"}`,
    );
    this.#unreported = 0;
    this.#lastMessage = message;
    this.#loggedAtMs = nowMs;
  }

  /**
   * Returns the counts since the last call, and logs the items whose request was rejected. The reasons are labels in
   * /metrics: `refused` for rejected requests, `rejected` for partial successes.
   */
  takeCounts(): Record<string, number> {
    const counts = { refused: this.#rejected, rejected: this.#partiallyRejected };
    if (this.#rejected > 0) {
      const stored = this.#quarantine === undefined ? "" : `; they are in ${this.#quarantine}`;
      this.#log.error(
        `${this.#name} rejected ${this.#rejected} ${this.#unit} permanently${stored}. First: ${this.#firstRejected}`,
      );
    }
    this.#rejected = 0;
    this.#partiallyRejected = 0;
    return counts;
  }
}
