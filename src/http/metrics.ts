import type { ObservableResult } from "@opentelemetry/api";
import { PrometheusExporter, PrometheusSerializer } from "@opentelemetry/exporter-prometheus";
import { MeterProvider } from "@opentelemetry/sdk-metrics";
import type { GatewayView } from "../gateway.ts";
import type { PluginMetric } from "../plugin-metrics.ts";
import type { HostLogger } from "../plugin.ts";
import type { Endpoint } from "./application.ts";
import { gatewayMetrics } from "./gateway-metrics.ts";
import type { Metric } from "./metric.ts";
import { ProcessMetrics } from "./process-metrics.ts";

export const METRICS_PATH = "/metrics";

/** Prometheus, "Exposition formats", text-based format. */
const CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8";

/**
 * GET /metrics: what the components count anyway, read through OpenTelemetry's observable instruments at each scrape,
 * as Prometheus's text. The provider is this gateway's own, not the process's. Its life: new, endpoint, close.
 */
export class Metrics {
  readonly endpoint: Endpoint = {
    path: METRICS_PATH,
    answer: async (context) => {
      context.type = CONTENT_TYPE;
      context.body = await this.#text();
    },
  };
  readonly #view: GatewayView;
  readonly #log: HostLogger;
  readonly #process = new ProcessMetrics();
  /** A reader without its HTTP server, and a serializer without `target_info` and the labels of scopes. */
  readonly #reader = new PrometheusExporter({ preventServerStart: true });
  readonly #serializer = new PrometheusSerializer(undefined, false, undefined, true, true);
  readonly #provider = new MeterProvider({ readers: [this.#reader] });
  readonly #meter = this.#provider.getMeter("tailgate");
  readonly #pluginMetrics = new Set<PluginMetric>();
  /** Those whose failure was logged already. */
  readonly #failed = new Set<Metric>();

  /** `others`: what is counted elsewhere in the HTTP server. */
  constructor(view: GatewayView, others: readonly Metric[], log: HostLogger) {
    this.#view = view;
    this.#log = log;
    for (const metric of gatewayMetrics(view)) this.#observe(metric);
    for (const metric of [...this.#process.metrics, ...others]) this.#observe(metric);
  }

  async close(): Promise<void> {
    this.#process.close();
    await this.#provider.shutdown();
  }

  async #text(): Promise<string> {
    for (const metric of this.#view.pluginMetrics) {
      if (this.#pluginMetrics.has(metric)) continue;
      this.#pluginMetrics.add(metric);
      this.#observe(publicMetric(metric));
    }
    const { resourceMetrics } = await this.#reader.collect();
    this.#process.reset();
    return this.#serializer.serialize(resourceMetrics);
  }

  #observe(metric: Metric): void {
    const { name, description, kind } = metric;
    const instrument =
      kind === "counter"
        ? this.#meter.createObservableCounter(name, { description })
        : this.#meter.createObservableGauge(name, { description });
    instrument.addCallback((result) => this.#read(metric, result));
  }

  /** One that cannot be read must not hide the others. */
  #read(metric: Metric, result: ObservableResult): void {
    try {
      for (const { value, labels } of metric.read()) result.observe(value, labels);
    } catch (error) {
      if (!this.#failed.has(metric)) this.#log.error(`The metric ${metric.name} failed.`, error);
      this.#failed.add(metric);
    }
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
    *read() {
      for (const sample of metric.read())
        yield { ...sample, labels: { ...labels, ...sample.labels } };
    },
  };
}
