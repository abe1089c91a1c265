import type { Stats } from "../session/gateway-stats.ts";

/** Less is the way of every record. */
const BEHIND_MS_MIN = 5000;

/** How an exporter stands that is to get every record. */
export interface ExporterState {
  readonly name: string;
  /** True where it takes longer than it should, or its writes fail. */
  readonly isBehind: boolean;
  readonly records: number;
  readonly lagMs: number;
  readonly retries: number;
  /** Why the last write failed, "" where it did not. */
  readonly trouble: string;
  /** What it has given up, by reason. */
  readonly dropped: readonly (readonly [reason: string, count: number])[];
}

/** Those that get every record; viewers have only what comes while they look. */
export function exporterStates({ components }: Pick<Stats, "components">): ExporterState[] {
  return components
    .filter(({ kind, durable }) => kind === "exporter" && durable === true)
    .map(({ id, queue_records: records, lag_seconds: lagSeconds, retries = 0, ...rest }) => ({
      name: id,
      isBehind:
        records > 0 && (retries > 0 || rest.trouble !== null || 1000 * lagSeconds >= BEHIND_MS_MIN),
      records,
      lagMs: 1000 * lagSeconds,
      retries,
      trouble: rest.trouble ?? "",
      dropped: Object.entries(rest.dropped).filter(([, count]) => count > 0),
    }));
}

/** All that it has given up. */
export function droppedSum({ dropped }: ExporterState): number {
  return dropped.reduce((sum, [, count]) => sum + count, 0);
}
