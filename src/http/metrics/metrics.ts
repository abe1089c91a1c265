import type { GatewayView } from "../../gateway/status.ts";
import type { HostLogger } from "../../plugin/index.ts";
import { counterMetric, histogramMetric, type PluginMetric } from "../../plugin/metrics.ts";
import type { Endpoint } from "../server/application.ts";
import { gatewayMetrics } from "./gateway-metrics.ts";
import type { Metric } from "./metric.ts";
import { ProcessMetrics } from "./process-metrics.ts";
import type { Prometheus } from "./prometheus.ts";

export const METRICS_PATH = "/metrics";

/** Prometheus, "Exposition formats", text-based format. */
const CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8";

/** GET /metrics: the metrics of the gateway, its HTTP server, its process and its plugins. */
export class Metrics {
  readonly endpoint: Endpoint = {
    path: METRICS_PATH,
    access: ["metrics"],
    respond: async (context) => {
      context.type = CONTENT_TYPE;
      context.body = await this.#text();
    },
  };
  readonly #view: GatewayView;
  readonly #httpMetrics: readonly Metric[];
  readonly #log: HostLogger;
  readonly #process = new ProcessMetrics();
  /** Loaded at the first scrape: it would be a quarter of all modules of a start. */
  #prometheus: Promise<Prometheus> | undefined;
  readonly #pluginMetrics = new Set<PluginMetric>();
  /** The number of reloads that may have closed components when the metrics were registered. */
  #reloads = 0;
  /** Metrics whose failure has been logged. */
  readonly #failed = new Set<Metric>();

  constructor(view: GatewayView, httpMetrics: readonly Metric[], log: HostLogger) {
    this.#view = view;
    this.#httpMetrics = httpMetrics;
    this.#log = log;
  }

  async close(): Promise<void> {
    this.#process.close();
    await (await this.#prometheus)?.close();
  }

  async #text(): Promise<string> {
    this.#forgetRemoved();
    const prometheus = await (this.#prometheus ??= this.#open());
    for (const metric of this.#view.pluginMetrics) {
      if (this.#pluginMetrics.has(metric)) continue;
      this.#pluginMetrics.add(metric);
      prometheus.observe(exposedMetric(metric));
    }
    return prometheus.text();
  }

  /** Starts anew after a reload: OpenTelemetry would expose the last values of components that are gone. */
  #forgetRemoved(): void {
    const { applied = 0, failed = 0 } = this.#view.reloads?.outcomes ?? {};
    if (applied + failed === this.#reloads) return;
    this.#reloads = applied + failed;
    this.#prometheus = undefined;
    this.#pluginMetrics.clear();
  }

  async #open(): Promise<Prometheus> {
    const { Prometheus } = await import("./prometheus.ts");
    const prometheus = new Prometheus((metric, error) => this.#logOnce(metric, error));
    const gateway = gatewayMetrics(this.#view);
    for (const metric of [...gateway, ...this.#process.metrics, ...this.#httpMetrics]) {
      prometheus.observe(metric);
    }
    return prometheus;
  }

  #logOnce(metric: Metric, error: unknown): void {
    if (!this.#failed.has(metric)) {
      this.#log.error(`The metric ${metric.name} could not be read.`, error);
    }
    this.#failed.add(metric);
  }
}

/** Returns a plugin's metric as `tailgate_<type>_<name>`; labels distinguish the components of one type. */
function exposedMetric(metric: PluginMetric): Metric {
  const [kind = "", ...id] = metric.component.split("/");
  const labels = { component: id.join("/"), kind };
  return {
    ...metric,
    name: `tailgate_${id[0]}_${metric.name}`.replaceAll(/\W/g, "_"),
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

/** The outcome of a request to the main port. */
interface CompletedRequest {
  /** The path of an endpoint or a plugin's route; undefined for any other path. */
  readonly route: string | undefined;
  readonly method: string;
  /** Undefined if the client left before the response began. */
  readonly status: number | undefined;
  /** Undefined for an upgrade. */
  readonly seconds?: number;
}

/** Counts and times the requests to the main port by route. Other paths share a label, so that clients cannot create labels. */
export class RequestMetrics {
  readonly #requests = counterMetric(
    "",
    "tailgate_http_requests",
    "Requests to the main port, by route, method and status; WebSocket upgrades have the status 101.",
  );
  readonly #durations = histogramMetric(
    "",
    "tailgate_http_request_duration_seconds",
    "Time from the headers of a request to the end of its response.",
  );
  readonly metrics: readonly Metric[] = [this.#requests.metric, this.#durations.metric];

  /** Exposes a route before its first request. */
  announce(route: string, method: string, status: number): void {
    this.#requests.add(0, { route, method, status: String(status) });
    if (status !== 101) this.#durations.announce({ route, method });
  }

  add({ route = "other", method, status, seconds }: CompletedRequest): void {
    const labels = { route, method: METHODS.has(method) ? method : "other" };
    this.#requests.add(1, { ...labels, status: status === undefined ? "aborted" : String(status) });
    if (seconds !== undefined) this.#durations.observe(seconds, labels);
  }
}
