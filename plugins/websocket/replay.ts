import type { Batch, HostJournal } from "tailgate/plugin";
import type { Matcher, Wanted } from "./matcher.ts";

/** How many records are looked at in one turn of the event loop: some milliseconds where the filter reads them. */
const TURN_RECORDS_MAX = 1000;

/** Who searches, and for what. */
interface Search {
  readonly journal: HostJournal;
  readonly matcher: Matcher;
  readonly filter: Wanted;
  /** How many records are wanted. */
  readonly count: number;
  /** The sequence before which they are. */
  readonly end: number;
  /** False once nobody waits for the result any more. */
  isWanted(): boolean;
  /** Resolves when the next step may be taken. */
  turn(): Promise<void>;
}

/**
 * From which sequence on a viewer has to read to get the newest `count` records, of those before `end`, that the
 * filter lets through; from the oldest such one where there are fewer, and from `end` where there is none.
 */
export async function replayStart(search: Search): Promise<number> {
  const { journal, filter, count, end } = search;
  if (filter.key === "") return Math.max(journal.oldest, end - count);
  let start = end;
  let missing = count;
  let searched = end;
  while (missing > 0 && searched > journal.oldest && search.isWanted()) {
    const from = Math.max(journal.oldest, searched - TURN_RECORDS_MAX);
    const found = await matching(search, from, searched);
    if (found.length > 0) start = found[Math.max(0, found.length - missing)]!;
    missing -= found.length;
    searched = from;
    await search.turn();
  }
  return start;
}

/** The sequences from `from` up to and without `end` that the filter lets through. */
async function matching(search: Search, from: number, end: number): Promise<number[]> {
  const { journal, matcher, filter } = search;
  const found: number[] = [];
  let next = from;
  while (next < end) {
    const run = journal.readFrom(next);
    if (!run) {
      // What the disk has refused is a hole in memory.
      next++;
      continue;
    }
    const matched = await matcher.matched(before(end, run), filter, () => search.isWanted());
    if (matched === undefined) return found;
    for (let index = 0; index < matched.length; index++) found.push(matched.sequence(index));
    next = run.sequence(run.length - 1) + 1;
  }
  return found;
}

/** The records of the run before that sequence. */
function before(end: number, run: Batch): Batch {
  return run.sequence(run.length - 1) < end
    ? run
    : run.select((index) => run.sequence(index) < end);
}
