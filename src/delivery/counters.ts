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
    "intake_full",
    "journal_failed",
    "journal_full",
    "journal_refused",
    "not_encodable",
    "not_readable",
    "overloaded",
    "stopped",
    "untyped_event",
  ],
  receiver: ["rejected"],
  processor: [],
  liveExporter: ["queue_full", "refused", "stopped"],
  durableExporter: ["damaged", "not_stored", "refused", "rejected", "retention", "stopped"],
} as const satisfies Record<string, readonly string[]>;
