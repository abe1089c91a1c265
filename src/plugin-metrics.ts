/** A number of a plugin's own (`host.metrics`), asked at each scrape. */
export interface PluginMetric {
  readonly component: string;
  readonly name: string;
  readonly description: string;
  readonly kind: "counter" | "gauge";
  read(): Iterable<PluginSample>;
}

export interface PluginSample {
  readonly value: number;
  readonly labels: Readonly<Record<string, string>>;
}

const NO_LABELS = {};

/** A counter with a value for each set of labels. */
export function counterMetric(
  component: string,
  name: string,
  description: string,
): { metric: PluginMetric; add(count: number, labels?: Record<string, string>): void } {
  const samples = new Map<string, { value: number; labels: Record<string, string> }>();
  return {
    metric: { component, name, description, kind: "counter", read: () => samples.values() },
    add: (count, labels = NO_LABELS) => {
      const key = labels === NO_LABELS ? "" : JSON.stringify(labels);
      const sample = samples.get(key);
      if (sample) sample.value += count;
      else samples.set(key, { value: count, labels });
    },
  };
}

export function gaugeMetric(
  component: string,
  name: string,
  description: string,
  read: () => number,
): PluginMetric {
  return {
    component,
    name,
    description,
    kind: "gauge",
    read: () => [{ value: read(), labels: NO_LABELS }],
  };
}
