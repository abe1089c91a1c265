/** Numbers that a plugin shows in /metrics, under `tailgate_` and with its component's name. */
export interface HostMetrics {
  /** Counts up for ever; returns the function that adds. What was never added is not shown: add 0 to what may be lost. */
  counter(
    name: string,
    description: string,
  ): (count: number, labels?: Record<string, string>) => void;
  /** Shows how values are distributed, by default durations in seconds; returns the function that adds a value. */
  histogram(
    name: string,
    description: string,
    options?: HistogramOptions,
  ): (value: number, labels?: Record<string, string>) => void;
  /** Asked at each scrape. */
  gauge(name: string, description: string, read: () => number): void;
}

/** A number of a plugin's own (`host.metrics`), asked at each scrape. */
export interface PluginMetric {
  readonly component: string;
  readonly name: string;
  readonly description: string;
  readonly kind: "counter" | "gauge" | "histogram";
  /** The upper bounds of a histogram's buckets. */
  readonly bounds?: readonly number[];
  read(): Iterable<PluginSample>;
}

export interface PluginSample {
  /** Of a histogram the sum of what was observed. */
  readonly value: number;
  readonly labels: Readonly<Record<string, string>>;
  /** How many values are in each bucket of a histogram; the last one has no bound. */
  readonly counts?: readonly number[];
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

/** The buckets of durations, in seconds. */
const SECONDS_BOUNDS = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

export interface HistogramOptions {
  /** The upper bounds of the buckets; default: those of durations in seconds. */
  readonly bounds?: readonly number[];
  /** The labels that are shown before there is a value. */
  readonly labels?: readonly Record<string, string>[];
}

interface Distribution {
  value: number;
  readonly labels: Record<string, string>;
  readonly counts: number[];
}

/** How values are distributed, for each set of labels. */
export function histogramMetric(
  component: string,
  name: string,
  description: string,
  { bounds = SECONDS_BOUNDS, labels: known = [] }: HistogramOptions = {},
): {
  metric: PluginMetric;
  observe(value: number, labels?: Record<string, string>): void;
  /** Shows the labels before there is a value. */
  announce(labels: Record<string, string>): void;
} {
  const samples = new Map<string, Distribution>();
  const sampleOf = (labels: Record<string, string>): Distribution => {
    const key = labels === NO_LABELS ? "" : JSON.stringify(labels);
    let sample = samples.get(key);
    if (sample === undefined) {
      sample = { value: 0, labels, counts: Array.from({ length: bounds.length + 1 }, () => 0) };
      samples.set(key, sample);
    }
    return sample;
  };
  known.forEach(sampleOf);
  return {
    metric: {
      component,
      name,
      description,
      kind: "histogram",
      bounds,
      read: () => samples.values(),
    },
    observe: (value, labels = NO_LABELS) => {
      const sample = sampleOf(labels);
      sample.value += value;
      const bucket = bounds.findIndex((bound) => value <= bound);
      sample.counts[bucket < 0 ? bounds.length : bucket]!++;
    },
    announce: (labels) => void sampleOf(labels),
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
