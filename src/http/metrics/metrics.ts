import type { GatewayView } from "../../gateway/status.ts";
import { counterMetric, histogramMetric, type PluginMetric } from "../../plugin/metrics.ts";
import type { HostLogger } from "../../plugin/index.ts";
import type { Endpoint } from "../server/application.ts";
import { gatewayMetrics } from "./gateway-metrics.ts";
import type { Metric } from "./metric.ts";
import { ProcessMetrics } from "./process-metrics.ts";
import type { Prometheus } from "./prometheus.ts";

export const METRICS_PATH = "/metrics";

/** Prometheus, "Exposition formats", text-based format. */
const CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8";

/** GET /metrics: what the components count anyway. Its life: new, endpoint, close. */
export class Metrics {
  readonly endpoint: Endpoint = {
    path: METRICS_PATH,
    answer: async (context) => {
      context.type = CONTENT_TYPE;
      context.body = await this.#text();
    },
  };
  readonly #view: GatewayView;
  readonly #others: readonly Metric[];
  readonly #log: HostLogger;
  readonly #process = new ProcessMetrics();
  /** A quarter of all modules that a start would load: there from the first scrape on. */
  #prometheus: Promise<Prometheus> | undefined;
  readonly #pluginMetrics = new Set<PluginMetric>();
  /** Those whose failure was logged already. */
  readonly #failed = new Set<Metric>();

  /** `others`: what is counted elsewhere in the HTTP server. */
  constructor(view: GatewayView, others: readonly Metric[], log: HostLogger) {
    this.#view = view;
    this.#others = others;
    this.#log = log;
  }

  async close(): Promise<void> {
    this.#process.close();
    await (await this.#prometheus)?.close();
  }

  async #text(): Promise<string> {
    const prometheus = await (this.#prometheus ??= this.#open());
    for (const metric of this.#view.pluginMetrics) {
      if (this.#pluginMetrics.has(metric)) continue;
      this.#pluginMetrics.add(metric);
      prometheus.observe(publicMetric(metric));
    }
    return prometheus.text();
  }

  async #open(): Promise<Prometheus> {
    const { Prometheus } = await import("./prometheus.ts");
    const prometheus = new Prometheus((metric, error) => this.#logOnce(metric, error));
    for (const metric of gatewayMetrics(this.#view)) prometheus.observe(metric);
    for (const metric of [...this.#process.metrics, ...this.#others]) prometheus.observe(metric);
    return prometheus;
  }

  #logOnce(metric: Metric, error: unknown): void {
    if (!this.#failed.has(metric)) this.#log.error(`The metric ${metric.name} failed.`, error);
    this.#failed.add(metric);
  }
}

/** A plugin's metric under `tailgate_<type>_`; its component is told by labels, so that two of a type share a name. */
function publicMetric(metric: PluginMetric): Metric {
  const { component, name, description, kind } = metric;
  const [componentKind = "", ...id] = component.split("/");
  const labels = { component: id.join("/"), kind: componentKind };
  return {
    name: `tailgate_${id[0]}_${name}`.replaceAll(/\W/g, "_"),
    description,
    kind,
    ...(metric.bounds && { bounds: metric.bounds }),
    *read() {
      for (const sample of metric.read())
        yield { ...sample, labels: { ...labels, ...sample.labels } };
    },
  };
}

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
