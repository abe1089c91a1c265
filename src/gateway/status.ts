/** The state of the gateway: the data behind /metrics, /readyz, /api/stats and the dashboard. */

import type { Checkpoint } from "../audit/checkpoint.ts";
import type { Counters, PluginMetric } from "../plugin/metrics.ts";
import type { Delivery } from "../delivery/delivery.ts";
import type { ChainState, Damage, WatchedJournal } from "../journal/journal.ts";

/** The gateway as the HTTP endpoints see it. */
export interface GatewayView {
  /** Why the gateway cannot accept records; undefined if it can. */
  readonly notReady: string | undefined;
  readonly startedAtMs: number;
  readonly journal: WatchedJournal;
  /** The sequence of the oldest record that the journal retains, on disk or in memory. */
  readonly oldestSequence?: number;
  /** Read from the file system on each access. */
  readonly storage?: StorageStatus;
  /** The offset of the system clock from the trusted time; 0 or absent if the system clock is trusted. */
  readonly unconfirmedClockMs?: number;
  /** Undefined if the journal has no hash chain. */
  readonly audit: AuditStatus | undefined;
  readonly components: readonly ComponentStatus[];
  readonly pluginMetrics: readonly PluginMetric[];
  /** Damage to the journal that was found since the start, the oldest first. */
  readonly journalDamage?: readonly FoundDamage[];
  /** A URL that contains `{trace_id}`; undefined if nothing displays traces. */
  readonly traceUrl: string | undefined;
  /** The state of the configuration. */
  readonly reloads?: ReloadStatus;
}

/** `unchanged`: there was nothing to apply; `invalid`, `refused` and `failed`: the previous configuration stays in force. */
export type ReloadOutcome = "applied" | "unchanged" | "invalid" | "refused" | "failed";

/** The reloads of the configuration since the start, which counts as the first success. */
export interface ReloadStatus {
  readonly outcomes: Record<ReloadOutcome, number>;
  succeededAtMs: number;
  /** A hash of the configuration in force, without its secrets. */
  hash: string;
  /** Why the last reload was rejected; undefined if it was not. */
  lastError: string | undefined;
}

export interface ComponentStatus {
  /** The key in the configuration, such as `file`; `intake` for the intake. */
  readonly id: string;
  readonly kind: "intake" | "receiver" | "processor" | "exporter";
  readonly counters: Counters;
  readonly queueBytes: number;
  readonly queueRecords: number;
  /** The age, since the journal accepted it, of the batch that an exporter is writing; 0 if nothing waits. */
  readonly lagMs: number;
  /** True for an exporter with a cursor in the journal: its backlog is all in `queueRecords`, and is retained. */
  readonly isDurable: boolean;
  /** The number of consecutive failed writes of an exporter. */
  readonly retries: number;
  readonly lastError: string | undefined;
}

export interface AuditStatus {
  readonly chain: ChainState;
  /** The newest checkpoint; undefined before the first one, and without a key. */
  readonly checkpoint: Checkpoint | undefined;
}

/** Disk usage; undefined if it cannot be read. */
export interface StorageStatus {
  readonly journalBytes: number | undefined;
  readonly freeBytes: number | undefined;
}

export interface FoundDamage extends Damage {
  readonly atMs: number;
}

const EMPTY_QUEUE = { queueBytes: 0, queueRecords: 0, lagMs: 0 };

/** Completes the status of a component that has no queue and no retries of its own. */
export function componentStatus(
  known: Pick<ComponentStatus, "id" | "kind" | "counters"> & Partial<ComponentStatus>,
): ComponentStatus {
  return { ...EMPTY_QUEUE, isDurable: false, retries: 0, lastError: undefined, ...known };
}

export function exporterStatus(
  id: string,
  delivery: Delivery,
  isDurable: boolean,
): ComponentStatus {
  const { counters, queueBytes, queueRecords, lagMs, retries, lastError } = delivery;
  const queue = { queueBytes, queueRecords, lagMs };
  return { id, kind: "exporter", counters, ...queue, isDurable, retries, lastError };
}
