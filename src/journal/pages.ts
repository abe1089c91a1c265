/** Makes pages of records, as readers of the journal get them, of the blocks that were read. */

import { decodeBlocks } from "../batch/block.ts";
import type { RecordBatch } from "../batch/record-batch.ts";
import type { Batch, EnvelopeType, Gap, JournalPage, JournalQuery } from "../plugin/index.ts";
import type { SequenceGap } from "./journal.ts";
import type { BlockRow } from "./page-reader.ts";

/** Blocks and gaps of a range, as the journal or the history has them. */
export interface BlocksPage {
  readonly from: number;
  readonly to: number;
  readonly blocks: readonly PageBlock[];
  readonly gaps: readonly Gap[];
}

/** The type is known of blocks of one commit. */
type PageBlock = Omit<BlockRow, "type"> & {
  readonly type?: EnvelopeType | undefined;
  readonly appendedTimes?: Float64Array | undefined;
};

/** Returns the page for a reader that has come to an end. */
export function emptyPage(from: number): JournalPage {
  return { from, to: from - 1, records: undefined, gaps: [] };
}

/** Returns the page of a run of records without gaps. */
export function pageOfRun(run: Batch, type: EnvelopeType | undefined): JournalPage {
  const records = type === undefined ? run : run.select((index) => run.type(index) === type);
  return {
    from: run.sequence(0),
    to: run.sequence(run.length - 1),
    records: records.length === 0 ? undefined : records,
    gaps: [],
  };
}

/** Returns the part of a gap from `from` on. */
export function pageOfGap(
  { first, last, reason }: SequenceGap,
  from: number,
  order: "asc" | "desc",
): JournalPage {
  const [start, end] = order === "asc" ? [from, last] : [first, from];
  const gap: Gap = { from: start, to: end, reason };
  return { from: start, to: end, records: undefined, gaps: [gap] };
}

/** Makes the page that a query asked for of the blocks that were read for it. */
export function pageOfBlocks(
  { type, sinceMs, untilMs }: JournalQuery,
  stored: BlocksPage,
  onRepaired: (sequences: readonly number[]) => void,
): JournalPage {
  const page = decodePage(stored, onRepaired);
  const isUnfiltered = type === undefined && sinceMs === undefined && untilMs === undefined;
  return isUnfiltered ? withLostRanges(page) : page;
}

/** Makes a page of what was found: what is missing does not match. Leaves out the records that are outside of its range. */
export function decodePage(
  { from, to, blocks, gaps: known }: BlocksPage,
  onRepaired: (sequences: readonly number[]) => void,
): JournalPage {
  const { batch, unreadable } = decode(blocks, onRepaired);
  const damaged = unreadable.map((block) => ({
    type: block.type,
    from: Math.max(block.firstSequence, from),
    to: Math.min(block.lastSequence, to),
    reason: "damaged" as const,
  }));
  const gaps = [...known, ...damaged].sort(byFrom);
  if (batch === undefined) return { from, to, records: undefined, gaps };
  const records = batch.select((index) => {
    const sequence = batch.sequence(index);
    return sequence >= from && sequence <= to;
  });
  return { from, to, records: records.length === 0 ? undefined : records, gaps };
}

/** `unreadable`: blocks that are as they were stored and yet cannot be decoded. */
function decode(
  blocks: readonly PageBlock[],
  onRepaired: (sequences: readonly number[]) => void,
): { batch?: RecordBatch; unreadable: readonly PageBlock[] } {
  if (blocks.length === 0) return { unreadable: [] };
  try {
    return { batch: decodeBlocks(blocks, onRepaired), unreadable: [] };
  } catch (error) {
    const readable = blocks.filter(isReadable);
    if (readable.length === blocks.length) throw error;
    const unreadable = blocks.filter((block) => !readable.includes(block));
    return { ...decode(readable, onRepaired), unreadable };
  }
}

function isReadable(block: PageBlock): boolean {
  try {
    decodeBlocks([block]);
    return true;
  } catch {
    return false;
  }
}

/**
 * Makes sure that each sequence of a page is that of a record or in a gap. Any other was lost with an entry of the
 * index, which nothing else reveals.
 */
function withLostRanges(page: JournalPage): JournalPage {
  const { from, to, records, gaps } = page;
  if (gaps.length === 0 && records?.length === to - from + 1) return page;
  const lost: Gap[] = [];
  let next = from;
  for (const range of [...gaps, ...runsOf(records), { from: to + 1, to }].sort(byFrom)) {
    if (next < range.from) lost.push({ from: next, to: range.from - 1, reason: "damaged" });
    next = Math.max(next, range.to + 1);
  }
  return lost.length === 0 ? page : { ...page, gaps: [...gaps, ...lost].sort(byFrom) };
}

function runsOf(records: Batch | undefined): { from: number; to: number }[] {
  const runs: { from: number; to: number }[] = [];
  for (let index = 0; index < (records?.length ?? 0); index++) {
    const sequence = records!.sequence(index);
    const run = runs.at(-1);
    if (run?.to === sequence - 1) run.to = sequence;
    else runs.push({ from: sequence, to: sequence });
  }
  return runs;
}

function byFrom(one: { from: number }, other: { from: number }): number {
  return one.from - other.from;
}
