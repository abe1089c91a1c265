import type { ObservableResult } from "@opentelemetry/api";
import { PrometheusExporter, PrometheusSerializer } from "@opentelemetry/exporter-prometheus";
import { MeterProvider } from "@opentelemetry/sdk-metrics";
import type { Metric } from "./metric.ts";

/**
 * Metrics as Prometheus's text: read through OpenTelemetry's observable instruments at each scrape. The provider is
 * this gateway's own, not the process's.
 */
export class Prometheus {
  /** A reader without its HTTP server, and a serializer without `target_info` and the labels of scopes. */
  readonly #reader = new PrometheusExporter({ preventServerStart: true });
  readonly #serializer = new PrometheusSerializer(undefined, false, undefined, true, true);
  readonly #provider = new MeterProvider({ readers: [this.#reader] });
  readonly #meter = this.#provider.getMeter("tailgate");
  readonly #failed: (metric: Metric, error: unknown) => void;

  /** `failed` is told of a metric that cannot be read: it must not hide the others. */
  constructor(failed: (metric: Metric, error: unknown) => void) {
    this.#failed = failed;
  }

  observe(metric: Metric): void {
    const { name, description, kind } = metric;
    const instrument =
      kind === "counter"
        ? this.#meter.createObservableCounter(name, { description })
        : this.#meter.createObservableGauge(name, { description });
    instrument.addCallback((result) => this.#read(metric, result));
  }

  #read(metric: Metric, result: ObservableResult): void {
    try {
      for (const { value, labels } of metric.read()) result.observe(value, labels);
    } catch (error) {
      this.#failed(metric, error);
    }
  }

  async text(): Promise<string> {
    const { resourceMetrics } = await this.#reader.collect();
    return this.#serializer.serialize(resourceMetrics);
  }

  close(): Promise<void> {
    return this.#provider.shutdown();
  }
}
