import { ValueType } from "@opentelemetry/api";
import { PrometheusExporter, PrometheusSerializer } from "@opentelemetry/exporter-prometheus";
import {
  AggregationTemporality,
  DataPointType,
  MeterProvider,
  type HistogramMetricData,
} from "@opentelemetry/sdk-metrics";
import type { Metric } from "./metric.ts";

/**
 * Serializes metrics as Prometheus text. They are read through OpenTelemetry's observable instruments at each scrape, with
 * a provider of this gateway, not the global one.
 */
export class Prometheus {
  /** The reader has no HTTP server, and the serializer omits `target_info` and scope labels. */
  readonly #reader = new PrometheusExporter({ preventServerStart: true });
  readonly #serializer = new PrometheusSerializer(undefined, false, undefined, true, true);
  readonly #provider = new MeterProvider({ readers: [this.#reader] });
  readonly #meter = this.#provider.getMeter("tailgate");
  /** OpenTelemetry has no observable histograms. */
  readonly #histograms: Metric[] = [];
  readonly #onError: (metric: Metric, error: unknown) => void;

  /** `onError` is called for a metric that cannot be read; the others are exposed all the same. */
  constructor(onError: (metric: Metric, error: unknown) => void) {
    this.#onError = onError;
  }

  observe(metric: Metric): void {
    const { name, description, kind } = metric;
    if (kind === "histogram") return void this.#histograms.push(metric);
    const instrument =
      kind === "counter"
        ? this.#meter.createObservableCounter(name, { description })
        : this.#meter.createObservableGauge(name, { description });
    instrument.addCallback((result) => {
      try {
        for (const { value, labels } of metric.read()) result.observe(value, labels);
      } catch (error) {
        this.#onError(metric, error);
      }
    });
  }

  async text(): Promise<string> {
    const { resourceMetrics } = await this.#reader.collect();
    const histograms = this.#histograms.flatMap((metric) => {
      try {
        return [histogramData(metric)];
      } catch (error) {
        this.#onError(metric, error);
        return [];
      }
    });
    const scope = { name: "tailgate" };
    const scopeMetrics = [...resourceMetrics.scopeMetrics, { scope, metrics: histograms }];
    return this.#serializer.serialize({ ...resourceMetrics, scopeMetrics });
  }

  close(): Promise<void> {
    return this.#provider.shutdown();
  }
}

const NO_TIME: [number, number] = [0, 0];

function histogramData({ name, description, bounds = [], read }: Metric): HistogramMetricData {
  return {
    descriptor: { name, description, unit: "", valueType: ValueType.DOUBLE },
    aggregationTemporality: AggregationTemporality.CUMULATIVE,
    dataPointType: DataPointType.HISTOGRAM,
    dataPoints: Array.from(read(), ({ value, labels, counts = [] }) => ({
      startTime: NO_TIME,
      endTime: NO_TIME,
      attributes: labels,
      value: {
        buckets: { boundaries: [...bounds], counts: [...counts] },
        sum: value,
        count: counts.reduce((sum, count) => sum + count, 0),
      },
    })),
  };
}
