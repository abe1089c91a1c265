import type { PluginMetric, PluginSample } from "../../plugin/metrics.ts";

/** A number with labels, read at each scrape. Counters are exposed with the suffix `_total`. */
export type Metric = Pick<PluginMetric, "name" | "description" | "kind" | "bounds" | "read">;

/** Returns a counter with one value. */
export function counter(name: string, description: string, read: () => number): Metric {
  return { name, description, kind: "counter", read: () => [{ value: read(), labels: {} }] };
}

/** Returns a gauge with one value, or none while `read` returns undefined. */
export function gauge(
  name: string,
  description: string,
  read: () => number | undefined,
  labels: PluginSample["labels"] = {},
): Metric {
  return {
    name,
    description,
    kind: "gauge",
    *read() {
      const value = read();
      if (value !== undefined) yield { value, labels };
    },
  };
}
