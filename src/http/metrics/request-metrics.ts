import { counterMetric, histogramMetric } from "../../plugin/metrics.ts";
import type { Metric } from "./metric.ts";

const METHODS: ReadonlySet<string> = new Set([
  "GET",
  "HEAD",
  "POST",
  "PUT",
  "PATCH",
  "DELETE",
  "OPTIONS",
]);

/** What became of a request to the main port. */
export interface AnsweredRequest {
  /** The path of an endpoint or a plugin's route; undefined for any other path. */
  readonly route: string | undefined;
  readonly method: string;
  /** Undefined if the client left before its answer began. */
  readonly status: number | undefined;
  /** Undefined for an upgrade. */
  readonly seconds?: number;
}

/** Requests to the main port by route, so that strangers cannot make labels up, with how long their answers took. */
export class RequestMetrics {
  readonly metrics: readonly Metric[];
  readonly #count: (count: number, labels: Record<string, string>) => void;
  readonly #observe: (seconds: number, labels: Record<string, string>) => void;
  readonly #announce: (labels: Record<string, string>) => void;

  constructor() {
    const requests = counterMetric(
      "",
      "tailgate_http_requests",
      "Requests to the main port, by route, method and status; upgrades to WebSocket have 101.",
    );
    const durations = histogramMetric(
      "",
      "tailgate_http_request_duration_seconds",
      "Time from a request's headers to the end of its answer.",
    );
    this.metrics = [requests.metric, durations.metric];
    this.#count = requests.add;
    this.#observe = durations.observe;
    this.#announce = durations.announce;
  }

  /** Shows a route before its first request. */
  announce(route: string, method: string, status: number): void {
    this.#count(0, { route, method, status: String(status) });
    if (status !== 101) this.#announce({ route, method });
  }

  add({ route = "other", method, status, seconds }: AnsweredRequest): void {
    const labels = { route, method: METHODS.has(method) ? method : "other" };
    this.#count(1, { ...labels, status: status === undefined ? "aborted" : String(status) });
    if (seconds !== undefined) this.#observe(seconds, labels);
  }
}
