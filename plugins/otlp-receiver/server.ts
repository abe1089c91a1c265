/** What the HTTP server and the gRPC server of the receiver share: listening, draining and request metrics. */

import { once } from "node:events";
import { isIPv6, type AddressInfo, type Server } from "node:net";
import { setImmediate } from "node:timers";
import {
  TailgateError,
  textOf,
  type HostTls,
  type Ingested,
  type ReceiverHost,
} from "tailgate/plugin";

interface ListenOptions {
  readonly port: number;
  readonly host: string;
  /** What listens there, such as "the OTLP receiver". */
  readonly server: string;
  readonly tls: HostTls | undefined;
  /** How to choose another port. */
  readonly remedy: string;
}

/**
 * Starts to listen, and returns the URL without a path.
 * @throws TailgateError PORT_IN_USE or LISTEN_FAILED
 */
export async function listen(server: Server, options: ListenOptions): Promise<string> {
  const { port, host, tls } = options;
  server.listen({ port, host, exclusive: true });
  // The gateway decides how long the process lives.
  server.unref();
  try {
    await once(server, "listening");
  } catch (error) {
    throw toListenError(error, options);
  }
  const address = server.address() as AddressInfo;
  return `${tls ? "https" : "http"}://${isIPv6(host) ? `[${host}]` : host}:${address.port}`;
}

function toListenError(
  error: unknown,
  { port, host, server, remedy }: ListenOptions,
): TailgateError {
  if ((error as NodeJS.ErrnoException).code === "EADDRINUSE") {
    const text = `Port ${port} of ${server} is in use on ${host}: ${remedy}.`;
    return new TailgateError("PORT_IN_USE", text, { cause: error });
  }
  const text = `${capitalize(server)} cannot listen on ${host}:${port}: ${textOf(error)}.`;
  return new TailgateError("LISTEN_FAILED", text, { cause: error });
}

function capitalize(text: string): string {
  return text[0]!.toUpperCase() + text.slice(1);
}

/** Counts requests in flight, so that a server can drain before it stops. */
export class InFlightRequests {
  #count = 0;
  /** Resolves when nothing is in flight; set once the server drains. */
  #idle: PromiseWithResolvers<void> | undefined;

  get isDraining(): boolean {
    return this.#idle !== undefined;
  }

  begin(): void {
    this.#count++;
  }

  end(): void {
    if (--this.#count === 0) this.#idle?.resolve();
  }

  /** Resolves when nothing is in flight, or when the signal aborts. */
  async drain(signal: AbortSignal): Promise<void> {
    this.#idle = Promise.withResolvers();
    if (this.#count === 0 || signal.aborted) this.#idle.resolve();
    signal.addEventListener("abort", () => this.#idle?.resolve(), { once: true });
    await this.#idle.promise;
    // The last responses have ended, but may not have been written to their sockets.
    await new Promise(setImmediate);
  }
}

/** As in OTEL_EXPORTER_OTLP_PROTOCOL; `unknown` for any other content type. */
const PROTOCOLS = ["http/protobuf", "http/json", "grpc", "unknown"] as const;
export type OtlpProtocol = (typeof PROTOCOLS)[number];

/** Statuses whose counters exist from the start. */
const HTTP_STATUSES = ["200", "400", "401", "403", "413", "415", "429", "503"];
const GRPC_STATUSES = [
  "OK",
  "INVALID_ARGUMENT",
  "UNAUTHENTICATED",
  "PERMISSION_DENIED",
  "UNIMPLEMENTED",
  "RESOURCE_EXHAUSTED",
  "UNAVAILABLE",
];

/** The status of a request whose client disconnected before the response. */
export const ABORTED = "aborted";

/** User agents are cut to this length in log lines. */
const USER_AGENT_CHARS_MAX = 100;

/** The client that sent a request. */
export interface Sender {
  readonly address: string | undefined;
  readonly userAgent: string | undefined;
}

/** Counts and times OTLP requests, and logs the warnings that their senders receive. */
export class OtlpRequestMetrics {
  readonly #host: ReceiverHost;
  readonly #count: (count: number, labels: Record<string, string>) => void;
  readonly #observe: (seconds: number, labels: Record<string, string>) => void;
  readonly #countUnrecognized: (count: number) => void;

  constructor(host: ReceiverHost) {
    const { metrics } = host;
    this.#host = host;
    this.#count = metrics.counter(
      "requests",
      "OTLP requests by protocol and status: the HTTP status, or the name of the gRPC status.",
    );
    this.#observe = metrics.histogram(
      "request_duration_seconds",
      "Time from the headers of an OTLP request to its response, when its records are durable.",
      { labels: PROTOCOLS.map((protocol) => ({ protocol })) },
    );
    this.#countUnrecognized = metrics.counter(
      "unrecognized_requests",
      "Requests that were answered 200 and held something other than log records.",
    );
    this.#countUnrecognized(0);
    for (const protocol of PROTOCOLS) {
      const statuses = protocol === "grpc" ? GRPC_STATUSES : HTTP_STATUSES;
      for (const status of statuses) this.#count(0, { protocol, status });
    }
  }

  /** `startedAtMs`: the request's arrival, by `performance.now()`; without it, its duration does not count. */
  add(protocol: OtlpProtocol, status: string, startedAtMs?: number): void {
    this.#count(1, { protocol, status });
    if (startedAtMs === undefined) return;
    this.#observe((performance.now() - startedAtMs) / 1000, { protocol });
  }

  /** Logs a partial success or a warning with its sender. */
  report({ reason, rejected, unrecognized = false }: Ingested, sender: Sender): void {
    if (unrecognized) this.#countUnrecognized(1);
    if (reason === "") return;
    const what =
      rejected > 0 ? "Log records were rejected." : "An OTLP request was accepted with a warning.";
    this.#host.log.warning(`${what} ${formatSender(sender)}: ${reason}`);
  }
}

function formatSender({ address = "unknown", userAgent }: Sender): string {
  const agent = userAgent === undefined ? "" : ` (${userAgent.slice(0, USER_AGENT_CHARS_MAX)})`;
  return `Sender ${address}${agent}`;
}
