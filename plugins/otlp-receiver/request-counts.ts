import type { ReceiverHost } from "tailgate/plugin";

/** As OTEL_EXPORTER_OTLP_PROTOCOL names them; `unknown` for another content type. */
const PROTOCOLS = ["http/protobuf", "http/json", "grpc", "unknown"] as const;
export type OtlpProtocol = (typeof PROTOCOLS)[number];

/** What is shown before the first request. */
const HTTP_STATUSES = ["200", "400", "413", "415", "429", "503"];
const GRPC_STATUSES = [
  "OK",
  "INVALID_ARGUMENT",
  "UNIMPLEMENTED",
  "RESOURCE_EXHAUSTED",
  "UNAVAILABLE",
];

/** How a request ended whose sender went away before it was answered. */
export const ABORTED = "aborted";

/** Counts requests with logs by protocol and status, with how long they took. */
export class RequestCounts {
  readonly #count: (count: number, labels: Record<string, string>) => void;
  readonly #observe: (seconds: number, labels: Record<string, string>) => void;

  constructor({ metrics }: ReceiverHost) {
    this.#count = metrics.counter(
      "requests",
      "OTLP requests by protocol and status: HTTP's, or gRPC's name.",
    );
    this.#observe = metrics.histogram(
      "request_duration_seconds",
      "Time from an OTLP request's headers to its answer, when its records are durable.",
      { labels: PROTOCOLS.map((protocol) => ({ protocol })) },
    );
    for (const protocol of PROTOCOLS) {
      const statuses = protocol === "grpc" ? GRPC_STATUSES : HTTP_STATUSES;
      for (const status of statuses) this.#count(0, { protocol, status });
    }
  }

  /** `startedAtMs`: when the request came, by `performance.now()`. */
  add(protocol: OtlpProtocol, status: string, startedAtMs: number): void {
    this.#count(1, { protocol, status });
    this.#observe((performance.now() - startedAtMs) / 1000, { protocol });
  }
}
