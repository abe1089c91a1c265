/** The OTLP signals other than logs, and what the gateway does with them: pass them on to a collector, discard or reject. */

import {
  quotedExcerpt,
  requestUrl,
  z,
  type AddressedRequest,
  type ReceiverHost,
} from "tailgate/plugin";
import { Collector, type CollectorResponse } from "./forwarding.ts";
import { RequestRejection, type RejectionStatus } from "./response.ts";

export type SignalName = "traces" | "metrics";

interface Signal {
  readonly name: SignalName;
  /** Its path over HTTP, here and at a collector. */
  readonly path: string;
  readonly grpcMethod: string;
}

const SIGNALS: readonly Signal[] = [
  {
    name: "traces",
    path: "/v1/traces",
    grpcMethod: "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
  },
  {
    name: "metrics",
    path: "/v1/metrics",
    grpcMethod: "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
  },
];

/** The signals by their path over HTTP. */
export const SIGNAL_PATHS: ReadonlyMap<string, SignalName> = new Map(
  SIGNALS.map(({ path, name }) => [path, name]),
);

/** The signals by their method over gRPC. */
export const SIGNAL_METHODS: ReadonlyMap<string, SignalName> = new Map(
  SIGNALS.map(({ grpcMethod, name }) => [grpcMethod, name]),
);

const collectorUrl = z.url({
  protocol: /^https?$/,
  error: "expected an http or https URL such as http://127.0.0.1:14318",
});

const policy = z
  .union([z.enum(["discard", "reject"]), z.strictObject({ pass_on_to: collectorUrl })])
  .optional();

type Policy = Exclude<z.output<typeof policy>, undefined>;

function policyOption(signal: SignalName) {
  return policy
    .describe(
      `What happens to ${signal}: \`{ pass_on_to: URL }\` forwards them to a collector unchanged, without the processors such as \`redact\`, \`discard\` accepts and counts them without storing them, \`reject\` answers with an error. Default: as \`pass_on_to\`, else \`discard\` with a warning.`,
    )
    .meta({ title: '"discard", "reject" or { pass_on_to: URL }' });
}

/** The options of the receiver that decide about the signals. */
export const signalOptions = {
  pass_on_to: collectorUrl
    .nullable()
    .default(null)
    .describe(
      "Base URL of a collector, to which traces and metrics are forwarded over OTLP/HTTP, unless `traces` or `metrics` says something else.",
    ),
  traces: policyOption("traces"),
  metrics: policyOption("metrics"),
};

export interface SignalSettings {
  readonly pass_on_to: string | null;
  readonly traces?: Policy | undefined;
  readonly metrics?: Policy | undefined;
}

/** Returns what happens to a signal; undefined if the configuration does not say it. */
function policyOf(settings: SignalSettings, signal: SignalName): Policy | undefined {
  const { pass_on_to: to } = settings;
  return settings[signal] ?? (to === null ? undefined : { pass_on_to: to });
}

/** Returns the base URLs of the collectors, each once. */
export function targetsOf(settings: SignalSettings): string[] {
  const policies = SIGNALS.map(({ name }) => policyOf(settings, name));
  return [...new Set(policies.flatMap((one) => (typeof one === "object" ? one.pass_on_to : [])))];
}

/** Returns a sentence for each signal, without credentials, for `tailgate validate`. */
export function signalNotes(settings: SignalSettings): string[] {
  return SIGNALS.map(({ name }) => `${describe(name, policyOf(settings, name))}.`);
}

function describe(signal: SignalName, given: Policy = "discard"): string {
  if (given === "discard") return `${signal} are accepted and discarded`;
  if (given === "reject") return `${signal} are rejected`;
  return `${signal} are passed on to ${requestUrl(given.pass_on_to).name}, past the processors`;
}

/** A request with traces or metrics, as it was sent. */
export interface SignalRequest {
  /** Who sends it, for the log. */
  readonly sender: AddressedRequest;
  readonly body: Uint8Array;
  /** `content-type`, and `content-encoding` if the body is compressed. */
  readonly headers: Readonly<Record<string, string>>;
}

/** The signals other than logs. Tailgate stores none of them. */
export class OtherSignals {
  readonly #settings: SignalSettings;
  readonly #host: ReceiverHost;
  readonly #collectors = new Map<SignalName, Collector>();
  readonly #warned = new Set<SignalName>();
  readonly #countForwarded: (count: number, labels: Record<string, string>) => void;
  readonly #countDiscarded: (count: number, labels: Record<string, string>) => void;
  readonly #countDiscardedBytes: (count: number, labels: Record<string, string>) => void;

  constructor(settings: SignalSettings, host: ReceiverHost) {
    const { metrics } = host;
    this.#settings = settings;
    this.#host = host;
    this.#countForwarded = metrics.counter(
      "requests_passed_on",
      "Requests with traces or metrics that were forwarded, by signal and response status.",
    );
    this.#countDiscarded = metrics.counter(
      "requests_discarded",
      "Requests with traces or metrics that were accepted and discarded, by signal.",
    );
    this.#countDiscardedBytes = metrics.counter(
      "discarded_bytes",
      "Size of the discarded requests as they were sent, by signal.",
    );
    for (const { name: signal, path } of SIGNALS) {
      const given = policyOf(settings, signal) ?? "discard";
      if (given === "discard") {
        this.#countDiscarded(0, { signal });
        this.#countDiscardedBytes(0, { signal });
      } else if (given !== "reject") {
        this.#collectors.set(signal, new Collector(given.pass_on_to, path));
        this.#countForwarded(0, { signal, status: "200" });
      }
    }
    for (const target of targetsOf(settings)) host.sendingTo(target);
    this.#logPolicies();
  }

  /** Says at the start what the configuration says; {@link #warn} says what it leaves open, once that matters. */
  #logPolicies(): void {
    const stated = SIGNALS.map(({ name }) => [name, policyOf(this.#settings, name)] as const);
    const texts = stated.flatMap(([name, given]) =>
      given === undefined ? [] : describe(name, given),
    );
    if (texts.length > 0) this.#host.log.info(capitalize(`${texts.join(", ")}.`));
  }

  /**
   * Rejects a signal that the gateway does not accept; call it before the body is read.
   * @throws RequestRejection with `status`, which says so in the protocol of the request.
   */
  checkAccepted(signal: SignalName, status: 404 | 501): void {
    if (policyOf(this.#settings, signal) !== "reject") return;
    const option = `receivers.${this.#host.id}.${signal}`;
    const text = `This gateway rejects ${signal}, as ${option} says. Disable ${signal} in the sender, or let the gateway discard or forward them: ${option}: discard, or { pass_on_to: URL }.`;
    throw new RequestRejection(status, text);
  }

  /**
   * Forwards or discards a request. Returns the collector's response, undefined if the request was discarded.
   * @throws RequestRejection 503 if the collector does not respond.
   */
  async handle(signal: SignalName, request: SignalRequest): Promise<CollectorResponse | undefined> {
    const collector = this.#collectors.get(signal);
    if (collector === undefined) {
      this.#warn(signal, request.sender);
      this.#countDiscarded(1, { signal });
      this.#countDiscardedBytes(request.body.length, { signal });
      return undefined;
    }
    try {
      const response = await collector.send(request.body, request.headers);
      this.#countForwarded(1, { signal, status: String(response.status) });
      return response;
    } catch (error) {
      const status = error instanceof RequestRejection ? error.status : "failed";
      this.#countForwarded(1, { signal, status: String(status) });
      throw error;
    }
  }

  /** Says once that a signal is discarded, if the configuration does not say it. */
  #warn(signal: SignalName, { socket, headers }: AddressedRequest): void {
    if (policyOf(this.#settings, signal) !== undefined || this.#warned.has(signal)) return;
    this.#warned.add(signal);
    const option = `receivers.${this.#host.id}.${signal}`;
    const agent = headers["user-agent"];
    const sender = `${socket.remoteAddress}${agent === undefined ? "" : ` (${quotedExcerpt(agent)})`}`;
    this.#host.log.warning(
      `${capitalize(signal)} arrive and are discarded, because Tailgate stores logs only. To forward them to a collector, set ${option}: { pass_on_to: URL }. To be silent, set it to discard; to return an error to the sender, to reject.`,
      `The first sender is ${sender}.`,
    );
  }

  /** Aborts the requests that wait for a collector. */
  stop(): void {
    for (const collector of this.#collectors.values()) collector.stop();
  }
}

/** Returns the reason to log if a collector did not accept a request. */
export function collectorReason(signal: SignalName, { status }: CollectorResponse): string {
  return `The collector for ${signal} responded with ${status}.`;
}

/** Statuses that have an equivalent in gRPC; 500 stands for all others. */
const GRPC_EQUIVALENTS: ReadonlyMap<number, RejectionStatus> = new Map([
  ...([400, 401, 403, 404, 413, 415, 429, 503, 504] as const).map((one) => [one, one] as const),
  [502, 503],
]);

/** Returns the rejection of a gRPC call that corresponds to a collector's response over HTTP. */
export function toGrpcRejection(signal: SignalName, response: CollectorResponse): RequestRejection {
  const retryAfter = response.headers["retry-after"];
  const isSeconds = retryAfter !== undefined && /^\d{1,9}$/.test(retryAfter);
  return new RequestRejection(
    GRPC_EQUIVALENTS.get(response.status) ?? 500,
    collectorReason(signal, response),
    { headers: isSeconds ? { "Retry-After": retryAfter } : {} },
  );
}

function capitalize(text: string): string {
  return text[0]!.toUpperCase() + text.slice(1);
}
