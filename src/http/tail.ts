import type { Batch, HostJournal } from "../plugin.ts";

/** One record in the journal's memory. */
export interface Place {
  readonly batch: Batch;
  readonly index: number;
}

/** What memory holds from `first` to `last`, oldest first. It may end early where memory lets records go meanwhile. */
export function* upwards(journal: HostJournal, first: number, last: number): Generator<Place> {
  let next = Math.max(first, journal.oldest);
  while (next <= last) {
    const batch = journal.readFrom(next);
    if (!batch) return;
    const length = Math.min(batch.length, last - next + 1);
    for (let index = 0; index < length; index++) yield { batch, index };
    next += length;
  }
}
