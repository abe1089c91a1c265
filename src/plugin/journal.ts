import type { EnvelopeType } from "../wire/envelope.ts";
import type { Batch } from "./batch.ts";

/** Records that cannot be had any more. */
export interface Gap {
  /** The first and the last sequence of the range. */
  readonly from: number;
  readonly to: number;
  /** The records of this type are gone, those of the other one are not; all of the range where absent. */
  readonly type?: EnvelopeType | undefined;
  /** `retention`: deleted for their age or their size; `not_stored`: the disk took them not; `damaged`: unreadable. */
  readonly reason: "retention" | "not_stored" | "damaged";
}

/** What to read of the journal. */
export interface JournalQuery {
  /** The sequence to begin with. */
  readonly from: number;
  /** Towards newer records where absent. */
  readonly order?: "asc" | "desc";
  /** Records of this type only; both where absent. */
  readonly type?: EnvelopeType | undefined;
  /** Only where records may be from this time on, or before that time, in ms since 1970. A hint: others may come too. */
  readonly sinceMs?: number | undefined;
  readonly untilMs?: number | undefined;
}

/** A stretch of the journal. */
export interface JournalPage {
  /**
   * The stretch that was looked at, `from <= to`: what is not in `records` and in no gap of it was not asked for.
   * Empty, with `to = from - 1`, at the end of the journal.
   */
  readonly from: number;
  readonly to: number;
  /** In the order of their sequences, whatever the order of reading; undefined where there are none. */
  readonly records: Batch | undefined;
  /** What is missing of the stretch, in the order of the sequences. */
  readonly gaps: readonly Gap[];
}

/**
 * The journal's clock. It is the system clock, except when that jumps: a jump of more than 23 hours is followed only
 * when it has lasted for ten minutes. Times are in ms since 1970.
 */
export interface HostClock {
  now(): number;
  /**
   * The {@link Batch.appendedAtMs} before which batches are older than `ageMs` at `nowMs`, which is now if absent. Only
   * time that really passed makes them older: a jump of the clock does not.
   */
  agedBefore(ageMs: number, nowMs?: number): number;
}

/** Reading the journal. */
export interface HostJournal {
  /** Changes whenever sequence numbers could have been handed out and lost. */
  readonly epoch: string;
  /** The sequence of the newest record, 0 before the first. */
  readonly newest: number;
  /** The sequence up to which records are as safe as the journal makes them. */
  readonly durable: number;
  /** The sequence of the oldest record that memory still holds, `newest + 1` where it holds none. */
  readonly oldest: number;
  /** The clock by which batches get their `appendedAtMs`. */
  readonly clock: HostClock;
  /** The longest run of records in memory that starts with `sequence`; undefined where there is none. */
  readFrom(sequence: number): Batch | undefined;
  /** Reads a stretch of some hundred to some thousand records, from memory or from the disk. */
  read(query: JournalQuery): Promise<JournalPage>;
  /**
   * For who has seen `sequence` in `epoch`: up to which sequence that is still true. Less than `sequence` where
   * records were handed out and lost; undefined where the journal does not know that epoch.
   */
  sharedUpTo(epoch: string, sequence: number): number | undefined;
  /**
   * What a durable record is called by, over restarts and beside other journals: `<epoch>:<sequence>`, with the epoch
   * that took it.
   */
  uidOf(sequence: number): string;
}

/** A text that a plugin keeps in the journal, for its next start: where it is in a file, for example. */
export interface HostMemory {
  /** What was kept last, perhaps by a process before; undefined where nothing was, or the journal is another one. */
  recall(): string | undefined;
  /**
   * Keeps the text instead of the one before. Resolves when it is durable, as far as the journal makes anything so;
   * until then a crash may leave the one before. Each call costs a commit: once in a second is often.
   */
  keep(text: string): Promise<void>;
}
