/** Gaps: ranges of sequences whose records a client does not get. */

import type { Batch, EnvelopeType, GapMessage, JournalPage } from "tailgate/plugin";

/** Converts a gap to its message; `lane` is sent for clients that do not know `record_type` yet. */
export function toGapMessage(
  gap: Pick<GapMessage, "from" | "to" | "reason"> & { readonly type?: EnvelopeType | undefined },
  text?: string,
): GapMessage {
  const { from, to, reason, type } = gap;
  return {
    type: "gap",
    from,
    to,
    reason,
    ...(type && { lane: type, record_type: type }),
    ...(text && { text }),
  };
}

/** Adds gaps to those that are to be sent; a gap that continues another one extends it. */
export function mergeGaps(pending: GapMessage[], gaps: readonly GapMessage[]): void {
  for (const gap of gaps) {
    const previous = pending.findIndex(
      ({ to, reason, lane, text }) =>
        to === gap.from - 1 && reason === gap.reason && lane === gap.lane && text === gap.text,
    );
    if (previous < 0) pending.push(gap);
    else pending[previous] = { ...gap, from: pending[previous]!.from };
  }
}

/** Counts the sequences up to `last` in some ranges, without those of `records`. */
export function countMissing(
  ranges: readonly Pick<GapMessage, "from" | "to">[],
  records: Batch | undefined,
  last: number,
): number {
  let count = 0;
  for (const range of ranges) {
    const to = Math.min(range.to, last);
    count += Math.max(0, to - range.from + 1);
    for (let index = 0; index < (records?.length ?? 0); index++) {
      const sequence = records!.sequence(index);
      if (sequence >= range.from && sequence <= to) count--;
    }
  }
  return count;
}

/** Returns the page without what comes after `last`. */
export function cutPage({ from, records, gaps }: JournalPage, last: number): JournalPage {
  const remaining = records?.select((index) => records.sequence(index) <= last);
  return {
    from,
    to: last,
    records: remaining?.length ? remaining : undefined,
    gaps: gaps
      .filter((gap) => gap.from <= last)
      .map((gap) => ({ ...gap, to: Math.min(gap.to, last) })),
  };
}
