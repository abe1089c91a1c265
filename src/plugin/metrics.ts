/**
 * Registers metrics of a plugin. They appear in /metrics as `tailgate_<type>_<name>`, counters with the suffix `_total`, and
 * with the labels `kind` and `component`. The type is that of the component's key: `webhook` of `webhook/audit`.
 */
export interface HostMetrics {
  /**
   * Registers a counter and returns the function that adds to it. A set of labels appears once something was added: add 0
   * to show it from the start.
   */
  counter(
    name: string,
    description: string,
  ): (count: number, labels?: Record<string, string>) => void;
  /** Registers a histogram, by default of durations in seconds, and returns the function that observes a value. */
  histogram(
    name: string,
    description: string,
    options?: HistogramOptions,
  ): (value: number, labels?: Record<string, string>) => void;
  /** Registers a gauge. `read` returns its value, and is called at each scrape. */
  gauge(name: string, description: string, read: () => number): void;
}

/** A metric of a plugin, read at each scrape. */
export interface PluginMetric {
  /** The component that has registered it; in a test host, its id. */
  readonly component: string;
  /** The name as registered, without prefix and suffix. */
  readonly name: string;
  /** The text of its HELP line. */
  readonly description: string;
  /** The type of metric. */
  readonly kind: "counter" | "gauge" | "histogram";
  /** The upper bounds of the buckets of a histogram. */
  readonly bounds?: readonly number[];
  /** Returns the values at this moment, one for each set of labels. */
  read(): Iterable<PluginSample>;
}

/** One value of a metric. */
export interface PluginSample {
  /** The value; for a histogram, the sum of the observed values. */
  readonly value: number;
  /** The labels that the plugin has passed with it. */
  readonly labels: Readonly<Record<string, string>>;
  /** For a histogram, the number of values in each bucket; the last bucket has no upper bound. */
  readonly counts?: readonly number[];
}

const NO_LABELS = {};

/** Creates a counter with one value for each set of labels. */
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

/** The default buckets: durations in seconds. */
const SECONDS_BOUNDS = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

/** The options of {@link HostMetrics.histogram}. */
export interface HistogramOptions {
  /** The upper bounds of the buckets. Default: 1 ms to 10 s, in seconds. */
  readonly bounds?: readonly number[];
  /** Sets of labels that appear before a value was observed. */
  readonly labels?: readonly Record<string, string>[];
}

interface Distribution {
  value: number;
  readonly labels: Record<string, string>;
  readonly counts: number[];
}

/** Creates a histogram with one distribution for each set of labels. */
export function histogramMetric(
  component: string,
  name: string,
  description: string,
  { bounds = SECONDS_BOUNDS, labels: known = [] }: HistogramOptions = {},
): {
  metric: PluginMetric;
  observe(value: number, labels?: Record<string, string>): void;
  /** Makes a set of labels appear before a value was observed. */
  announce(labels: Record<string, string>): void;
} {
  const samples = new Map<string, Distribution>();
  const findSample = (labels: Record<string, string>): Distribution => {
    const key = labels === NO_LABELS ? "" : JSON.stringify(labels);
    let sample = samples.get(key);
    if (sample === undefined) {
      sample = { value: 0, labels, counts: Array.from({ length: bounds.length + 1 }, () => 0) };
      samples.set(key, sample);
    }
    return sample;
  };
  known.forEach(findSample);
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
      const sample = findSample(labels);
      sample.value += value;
      const bucket = bounds.findIndex((bound) => value <= bound);
      sample.counts[bucket < 0 ? bounds.length : bucket]!++;
    },
    announce: (labels) => void findSample(labels),
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

/**
 * Counts the outcomes of a component's records. Once its queue is empty,
 * received = filtered + sent + the sum of dropped.
 */
export class Counters {
  received = 0;
  /** Records of the other type, below the component's level, or discarded by a processor. */
  filtered = 0;
  /** Records passed on: stored by the journal, or confirmed by the exporter. */
  sent = 0;
  /** Records of failed attempts, which are then retried or dropped. */
  failed = 0;
  /** Lost records, by reason. */
  readonly dropped = new Map<string, number>();

  drop(reason: string, count: number): void {
    if (count > 0) this.dropped.set(reason, (this.dropped.get(reason) ?? 0) + count);
  }

  get droppedSum(): number {
    let sum = 0;
    for (const count of this.dropped.values()) sum += count;
    return sum;
  }
}

/** The reasons for which the gateway itself drops records of a component. Plugins may add their own. */
export const DROP_REASONS = {
  intake: [
    "forbidden",
    "intake_full",
    "journal_failed",
    "journal_full",
    "journal_refused",
    "malformed",
    "not_encodable",
    "not_readable",
    "overloaded",
    "stopped",
    "untyped_event",
  ],
  receiver: ["rejected"],
  processor: ["processor_failed"],
  liveExporter: ["queue_full", "refused", "stopped"],
  durableExporter: ["damaged", "not_stored", "refused", "rejected", "retention", "stopped"],
} as const satisfies Record<string, readonly string[]>;

/** What adds to a registered counter or histogram, so that it can be continued. */
const writers = new WeakMap<
  PluginMetric,
  (value: number, labels?: Record<string, string>) => void
>();

/**
 * Returns what lets a component register metrics; they are added to `registered`. A component that registers a metric again,
 * because it was opened again, continues its counters and histograms and replaces its gauges.
 */
export function hostMetrics(component: string, registered: PluginMetric[]): HostMetrics {
  const find = (name: string): number =>
    registered.findIndex((metric) => metric.component === component && metric.name === name);
  const put = (metric: PluginMetric): void => {
    const index = find(metric.name);
    registered.splice(index < 0 ? registered.length : index, 1, metric);
  };
  const continued = ({ name, kind, bounds }: Pick<PluginMetric, "name" | "kind" | "bounds">) => {
    const known = registered[find(name)];
    const isSame = known?.kind === kind && String(known.bounds) === String(bounds);
    return isSame ? writers.get(known) : undefined;
  };
  return {
    counter: (name, description) => {
      const add = continued({ name, kind: "counter" });
      if (add !== undefined) return add;
      const created = counterMetric(component, name, description);
      put(created.metric);
      writers.set(created.metric, created.add);
      return created.add;
    },
    histogram: (name, description, options = {}) => {
      const created = histogramMetric(component, name, description, options);
      const observe = continued(created.metric);
      if (observe !== undefined) return observe;
      put(created.metric);
      writers.set(created.metric, created.observe);
      return created.observe;
    },
    gauge: (name, description, read) => put(gaugeMetric(component, name, description, read)),
  };
}
