/**
 * What became of a component's records. Once nothing is queued any more,
 * received = filtered + sent + the sum of dropped.
 */
export class Counters {
  received = 0;
  /** Not wanted: below its level, or of the other type. */
  filtered = 0;
  /** Passed on: stored by the journal, or confirmed by the exporter. */
  sent = 0;
  /** Attempts that failed; their records are tried again or dropped. */
  failed = 0;
  /** Lost, by reason. */
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

/** Why records of a component can be dropped, as far as the gateway itself decides; a plugin may have more reasons. */
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
