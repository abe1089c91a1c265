import type { ComponentStatus, GatewayView } from "../../gateway/status.ts";
import { DROP_REASONS, type PluginSample } from "../../plugin/metrics.ts";
import { packageVersion } from "../../runtime/package.ts";
import { gauge, type Metric } from "./metric.ts";

/** A metric of each component; `read` returns undefined if it does not apply to one. */
interface ComponentMetric extends Pick<Metric, "name" | "description" | "kind"> {
  read(component: ComponentStatus): number | undefined;
}

const COMPONENT_METRICS: readonly ComponentMetric[] = [
  {
    name: "records_received",
    description: "Records that the component received.",
    kind: "counter",
    read: ({ counters }) => counters.received,
  },
  {
    name: "records_filtered",
    description: "Records that the component filtered out by level, type or filter.",
    kind: "counter",
    read: ({ counters }) => counters.filtered,
  },
  {
    name: "records_accepted",
    description: "Records that were accepted and passed to the journal.",
    kind: "counter",
    read: ({ kind, counters }) => (kind === "intake" ? counters.sent : undefined),
  },
  {
    name: "records_sent",
    description: "Records that the component delivered, as confirmed by the destination.",
    kind: "counter",
    read: ({ kind, counters }) => (kind === "intake" ? undefined : counters.sent),
  },
  {
    name: "records_failed",
    description:
      "Records of failed attempts, which are retried or dropped; counted at each attempt.",
    kind: "counter",
    read: ({ counters }) => counters.failed,
  },
  {
    name: "queue_bytes",
    description: "Bytes queued in the component.",
    kind: "gauge",
    read: ({ queueBytes }) => queueBytes,
  },
  {
    name: "queue_records",
    description:
      "Records queued in the component; for a durable exporter, all that it lags behind.",
    kind: "gauge",
    read: ({ queueRecords }) => queueRecords,
  },
  {
    name: "lag_seconds",
    description: "Age of the records that an exporter is writing; 0 if its queue is empty.",
    kind: "gauge",
    read: ({ kind, lagMs }) => (kind === "exporter" ? lagMs / 1000 : undefined),
  },
  {
    name: "component_up",
    description: "1 if the component works, 0 if its last attempt failed; /readyz shows the error.",
    kind: "gauge",
    read: ({ lastError }) => (lastError === undefined ? 1 : 0),
  },
];

/** Returns the metrics of the gateway and its components. */
export function gatewayMetrics(view: GatewayView): Metric[] {
  return [
    ...COMPONENT_METRICS.map((metric) => componentMetric(view, metric)),
    {
      name: "tailgate_records_dropped",
      description: "Records that were dropped, by reason.",
      kind: "counter",
      read: () => view.components.flatMap(droppedSamples),
    },
    gauge(
      "tailgate_journal_newest_sequence",
      "Sequence of the newest record; 0 before the first.",
      () => view.journal.newest,
    ),
    gauge(
      "tailgate_journal_oldest_sequence",
      "Sequence of the oldest record in the journal, on disk or in memory; of the next record while it is empty.",
      () => view.oldestSequence ?? view.journal.oldest,
    ),
    // Without a value for an engine without a history.
    gauge(
      "tailgate_journal_merged_sequence",
      "Sequence up to which records were moved from journal.db to history.db, where they take up less space and are searched faster; with engine: sqlite.",
      () => view.journal.mergedUpTo,
    ),
    gauge(
      "tailgate_journal_unmerged_records",
      "Records that are durable in journal.db and not moved to history.db yet; with engine: sqlite.",
      () => view.journal.merging?.waiting,
    ),
    gauge(
      "tailgate_journal_unindexed_records",
      "Records that were stored in history.db without an index since the start, because one could not be made; searches read all of them. With engine: sqlite.",
      () => view.journal.merging?.unindexed,
    ),
    // Without a value while the log directory cannot be read.
    gauge(
      "tailgate_journal_bytes",
      "Size of the journal: its files in the log directory, or its memory with engine: memory.",
      () => view.storage?.journalBytes,
    ),
    gauge(
      "tailgate_disk_free_bytes",
      "Free disk space of the log directory, for the gateway's user.",
      () => view.storage?.freeBytes,
    ),
    gauge(
      "tailgate_journal_damage",
      "Number of times that damage to the journal was found since the start; see /api/stats.",
      () => view.journalDamage?.length ?? 0,
    ),
    // Without a value if the journal has no hash chain.
    gauge(
      "tailgate_audit_events",
      "Audit events in the hash chain.",
      () => view.audit?.chain.count,
    ),
    gauge(
      "tailgate_audit_sequence",
      "Sequence number of the newest event in the hash chain; 0 before the first.",
      () => view.audit?.chain.seq,
    ),
    gauge(
      "tailgate_audit_checkpoint_age_seconds",
      "Time since the newest signed checkpoint.",
      () => {
        const { checkpoint } = view.audit ?? {};
        return checkpoint && (view.journal.clock.now() - Date.parse(checkpoint.time)) / 1000;
      },
    ),
    gauge(
      "tailgate_clock_unconfirmed_seconds",
      "How far the system clock has jumped, until the jump is confirmed; else 0.",
      () => (view.unconfirmedClockMs ?? 0) / 1000,
    ),
    gauge("tailgate_ready", "1 if the gateway accepts records, else 0.", () =>
      view.notReady === undefined ? 1 : 0,
    ),
    gauge(
      "tailgate_uptime_seconds",
      "Time since the gateway started.",
      () => (Date.now() - view.startedAtMs) / 1000,
    ),
    ...reloadMetrics(view),
    gauge("tailgate_build_info", "1, with the version as a label.", () => 1, {
      version: packageVersion(),
    }),
  ];
}

/** Empty for a view without a configuration. */
function reloadMetrics({ reloads }: GatewayView): Metric[] {
  if (reloads === undefined) return [];
  return [
    gauge(
      "tailgate_config_last_reload_successful",
      "1 if the last reload of the configuration was applied or had nothing to apply, else 0; 1 after a start.",
      () => (reloads.lastError === undefined ? 1 : 0),
    ),
    gauge(
      "tailgate_config_last_reload_success_timestamp_seconds",
      "Time of the last successful reload of the configuration, or of the start, in seconds since 1970.",
      () => reloads.succeededAtMs / 1000,
    ),
    {
      name: "tailgate_config_reloads",
      description: "Reloads of the configuration, by result.",
      kind: "counter",
      read: () =>
        Object.entries(reloads.outcomes).map(([result, value]) => ({ value, labels: { result } })),
    },
    {
      name: "tailgate_config_hash",
      description:
        "1, with a hash of the effective configuration as a label. Gateways with the same settings, apart from secrets, have the same hash.",
      kind: "gauge",
      read: () => [{ value: 1, labels: { hash: reloads.hash } }],
    },
  ];
}

function componentMetric(view: GatewayView, metric: ComponentMetric): Metric {
  return {
    ...metric,
    name: `tailgate_${metric.name}`,
    *read() {
      for (const component of view.components) {
        const value = metric.read(component);
        if (value !== undefined) yield { value, labels: labelsOf(component) };
      }
    },
  };
}

/** Exposes every known reason from the start: `increase()` misses the first loss of a counter that appears with it. */
function droppedSamples(component: ComponentStatus): PluginSample[] {
  const { dropped } = component.counters;
  const reasons = new Set([...dropReasons(component), ...dropped.keys()]);
  return [...reasons].map((reason) => ({
    value: dropped.get(reason) ?? 0,
    labels: { ...labelsOf(component), reason },
  }));
}

function dropReasons({ kind, isDurable }: ComponentStatus): readonly string[] {
  if (kind !== "exporter") return DROP_REASONS[kind];
  return isDurable ? DROP_REASONS.durableExporter : DROP_REASONS.liveExporter;
}

function labelsOf({ id, kind }: ComponentStatus): Record<string, string> {
  return { component: id, kind };
}
