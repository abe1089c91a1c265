import type { Batch, HostJournal } from "../../plugin/index.ts";

/**
 * What memory holds from `first` to `last`, oldest first; the disk may have refused records in between. It may end early
 * where memory lets records go meanwhile.
 */
export async function* upwards(
  journal: HostJournal,
  first: number,
  last: number,
): AsyncGenerator<Batch> {
  for (let next = first; next <= last && next >= journal.oldest;) {
    const { from, to, records } = await journal.read({ from: next });
    if (to < from) return;
    if (records !== undefined) yield records;
    next = to + 1;
  }
}
