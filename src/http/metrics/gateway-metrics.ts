import { DROP_REASONS } from "../../delivery/counters.ts";
import type {
  AuditStatus,
  ComponentStatus,
  GatewayView,
  StorageStatus,
} from "../../gateway/status.ts";
import type { PluginSample } from "../../plugin/metrics.ts";
import { gauge, type Metric } from "./metric.ts";
import { packageVersion } from "../../runtime/package.ts";

/** What a component shows, for /metrics; undefined where that says nothing about it. */
interface ComponentNumber {
  readonly name: string;
  readonly description: string;
  readonly kind: "counter" | "gauge";
  read(component: ComponentStatus): number | undefined;
}

const COMPONENT_NUMBERS: readonly ComponentNumber[] = [
  {
    name: "records_received",
    description: "Records that came to the component.",
    kind: "counter",
    read: ({ counters }) => counters.received,
  },
  {
    name: "records_filtered",
    description: "Records that the component did not want, because of their level or type.",
    kind: "counter",
    read: ({ counters }) => counters.filtered,
  },
  {
    name: "records_accepted",
    description: "Records that were taken in and passed on to the journal.",
    kind: "counter",
    read: ({ kind, counters }) => (kind === "intake" ? counters.sent : undefined),
  },
  {
    name: "records_sent",
    description: "Records that the component passed on, confirmed by the other side.",
    kind: "counter",
    read: ({ kind, counters }) => (kind === "intake" ? undefined : counters.sent),
  },
  {
    name: "records_failed",
    description: "Attempts that failed; their records are tried again or dropped.",
    kind: "counter",
    read: ({ counters }) => counters.failed,
  },
  {
    name: "queue_bytes",
    description: "Bytes that wait in the component.",
    kind: "gauge",
    read: ({ queueBytes }) => queueBytes,
  },
  {
    name: "queue_records",
    description: "Records that wait in the component; all that a durable exporter is behind.",
    kind: "gauge",
    read: ({ queueRecords }) => queueRecords,
  },
  {
    name: "lag_seconds",
    description: "Age of what an exporter is writing, 0 where nothing waits for it.",
    kind: "gauge",
    read: ({ kind, lagMs }) => (kind === "exporter" ? lagMs / 1000 : undefined),
  },
  {
    name: "component_up",
    description: "1 where the component works, 0 where it has trouble; /readyz says which.",
    kind: "gauge",
    read: ({ lastError }) => (lastError === undefined ? 1 : 0),
  },
];

/** The gateway's own numbers. */
export function gatewayMetrics(view: GatewayView): Metric[] {
  const version = packageVersion();
  return [
    ...COMPONENT_NUMBERS.map((number) => componentMetric(view, number)),
    {
      name: "tailgate_records_dropped",
      description: "Records that were lost, by reason.",
      kind: "counter",
      read: () => view.components.flatMap(droppedSamples),
    },
    gauge(
      "tailgate_journal_newest_sequence",
      "The newest record, 0 before the first.",
      () => view.journal.newest,
    ),
    gauge(
      "tailgate_journal_oldest_sequence",
      "The oldest record in the journal, on the disk or in memory; the next one to come while it is empty.",
      () => view.oldestSequence ?? view.journal.oldest,
    ),
    storageMetric(
      view,
      "tailgate_journal_bytes",
      "What the journal takes: its files in the log directory, or memory with engine: memory.",
      ({ journalBytes }) => journalBytes,
    ),
    storageMetric(
      view,
      "tailgate_disk_free_bytes",
      "What is free on the disk of the log directory for the gateway's user.",
      ({ freeBytes }) => freeBytes,
    ),
    gauge(
      "tailgate_journal_damage",
      "How often damage to the journal was found since the start; /api/stats tells what it is.",
      () => view.journalDamage?.length ?? 0,
    ),
    auditMetric(
      view,
      "events",
      "Audit events in the chain of evidence.",
      ({ chain }) => chain.count,
    ),
    auditMetric(
      view,
      "sequence",
      "The newest event in it, 0 before the first.",
      ({ chain }) => chain.seq,
    ),
    auditMetric(
      view,
      "checkpoint_age_seconds",
      "Time since the newest signed checkpoint.",
      ({ checkpoint }) =>
        checkpoint && (view.journal.clock.now() - Date.parse(checkpoint.time)) / 1000,
    ),
    gauge(
      "tailgate_clock_unconfirmed_seconds",
      "How far the system clock jumped, until that is confirmed; else 0.",
      () => (view.unconfirmedClockMs ?? 0) / 1000,
    ),
    gauge("tailgate_ready", "1 where records can be taken, else 0.", () =>
      view.notReady === undefined ? 1 : 0,
    ),
    gauge(
      "tailgate_uptime_seconds",
      "Time since the gateway started.",
      () => (Date.now() - view.startedAtMs) / 1000,
    ),
    gauge("tailgate_build_info", "1, with the version as a label.", () => 1, { version }),
  ];
}

/** Without a value while the log directory cannot be read. */
function storageMetric(
  view: GatewayView,
  name: string,
  description: string,
  valueOf: (storage: StorageStatus) => number | undefined,
): Metric {
  return {
    name,
    description,
    kind: "gauge",
    *read() {
      const value = view.storage && valueOf(view.storage);
      if (value !== undefined) yield { value, labels: {} };
    },
  };
}

/** Without a value where there is nothing that it could tell of. */
function auditMetric(
  view: GatewayView,
  name: string,
  description: string,
  valueOf: (audit: AuditStatus) => number | undefined,
): Metric {
  return {
    name: `tailgate_audit_${name}`,
    description,
    kind: "gauge",
    *read() {
      const value = view.audit && valueOf(view.audit);
      if (value !== undefined) yield { value, labels: {} };
    },
  };
}

function componentMetric(view: GatewayView, number: ComponentNumber): Metric {
  return {
    name: `tailgate_${number.name}`,
    description: number.description,
    kind: number.kind,
    *read() {
      for (const component of view.components) {
        const value = number.read(component);
        if (value !== undefined) yield { value, labels: labelsOf(component) };
      }
    },
  };
}

/** Each reason that is known is there from the start: a counter that appears with its first loss has no increase. */
function droppedSamples(component: ComponentStatus): PluginSample[] {
  const { dropped } = component.counters;
  const reasons = new Set([...dropReasonsOf(component), ...dropped.keys()]);
  return [...reasons].map((reason) => ({
    value: dropped.get(reason) ?? 0,
    labels: { ...labelsOf(component), reason },
  }));
}

function dropReasonsOf({ kind, isDurable }: ComponentStatus): readonly string[] {
  if (kind !== "exporter") return DROP_REASONS[kind];
  return isDurable ? DROP_REASONS.durableExporter : DROP_REASONS.liveExporter;
}

function labelsOf({ id, kind }: ComponentStatus): Record<string, string> {
  return { component: id, kind };
}
