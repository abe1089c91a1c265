import { LEVELS, type EnvelopeType, type Level } from "../wire/envelope.ts";
import type { Batch } from "../plugin/index.ts";

/** What a delivery takes its batches from: they come in the order of their sequences. */
export interface Source {
  /** What waits, as far as it is in memory for this exporter. */
  readonly bytes: number;
  readonly records: number;
  /**
   * What is to be written next, up to `bytesMax` where that is more than one batch; undefined where nothing waits. It
   * stays the same until `shift` or `partHead`.
   */
  head(bytesMax: number): Batch | undefined | Promise<Batch | undefined>;
  /** As `head`, but blocks while it reads, and throws where that takes longer than `timeoutMs`. */
  headSync(bytesMax: number, timeoutMs: number): Batch | undefined;
  /** Parts the head into the batches that it was joined from; answers how many. */
  partHead(): number;
  /** The head has been written or dropped. */
  shift(): void;
  /**
   * Forgets what waits, and has nothing from then on; answers how many records are lost by that, and how many the journal
   * keeps for the next start.
   */
  clear(): Left;
  /** A mark behind all that waits now. */
  mark(): number;
  /** Whether all before the mark has been written or dropped. */
  isPast(mark: number): boolean;
}

/** What became of the records that waited at the end. */
export interface Left {
  readonly lost: number;
  readonly kept: number;
}

/** What an exporter wants of the records. */
export interface Wish {
  /** The one type that it wants; both where absent. */
  readonly type: EnvelopeType | undefined;
  /** The lowest level that it wants; all where absent. */
  readonly level: Level | undefined;
}

/** The records of the batch that are wanted. */
export function wantedOf(batch: Batch, { type, level }: Wish): Batch {
  if (type === undefined && level === undefined) return batch;
  const lowest = level === undefined ? 0 : LEVELS.indexOf(level);
  return batch.select(
    (index) =>
      (type === undefined || batch.type(index) === type) &&
      LEVELS.indexOf(batch.level(index)) >= lowest,
  );
}

const DAY_MS = 86_400_000;

/** Batches of one UTC day can be written as one. */
export function isSameDay(one: Batch, other: Batch): boolean {
  return Math.floor(one.appendedAtMs / DAY_MS) === Math.floor(other.appendedAtMs / DAY_MS);
}
