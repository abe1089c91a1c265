import type { PluginMetric, PluginSample } from "../../plugin/metrics.ts";

/** A number with its labels, read when it is asked for. Counters are shown with `_total` after their name. */
export type Metric = Pick<PluginMetric, "name" | "description" | "kind" | "bounds" | "read">;

/** A counter with one value. */
export function counter(name: string, description: string, read: () => number): Metric {
  return { name, description, kind: "counter", read: () => [{ value: read(), labels: {} }] };
}

/** A gauge with one value. */
export function gauge(
  name: string,
  description: string,
  read: () => number,
  labels: PluginSample["labels"] = {},
): Metric {
  return { name, description, kind: "gauge", read: () => [{ value: read(), labels }] };
}
