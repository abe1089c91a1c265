import { ExportResultCode } from "@opentelemetry/core";
import {
  createOtlpNetworkExportDelegate,
  ExporterMetrics,
  getSharedConfigurationDefaults,
  type ExportResponse,
  type IOtlpExportDelegate,
} from "@opentelemetry/otlp-exporter-base";
import { RetryLaterError } from "tailgate/plugin";
import type { Destination } from "./destination.ts";
import type { Signal } from "./environment.ts";
import { post, type SendOutcome } from "./transport.ts";

/** What became of a request that is not to be sent again. */
export type SettledOutcome = Exclude<SendOutcome, { kind: "retry" }>;

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
