import type { Batch, HostJournal } from "../plugin.ts";

/** One record in the journal's memory. */
export interface Place {
  readonly batch: Batch;
  readonly index: number;
}

/** The journal gives runs upwards only: downwards it is read in windows of so many records. */
const WINDOW_RECORDS = 512;

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

/** What memory holds from `last` down, newest first. */
export function* downwards(journal: HostJournal, last: number): Generator<Place> {
  for (let end = Math.min(last, journal.newest); end >= journal.oldest; end -= WINDOW_RECORDS) {
    yield* [...upwards(journal, end - WINDOW_RECORDS + 1, end)].toReversed();
  }
}
