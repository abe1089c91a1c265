import type { EnvelopeType } from "../wire/envelope.ts";
import type { Batch } from "./batch.ts";

/** Read access to the journal. */
export interface HostJournal {
  /** Changes whenever sequence numbers may have been assigned and lost. Sequence numbers compare within an epoch. */
  readonly epoch: string;
  /** The sequence number of the newest record; 0 before the first. */
  readonly newest: number;
  /** The sequence number up to which records are durable, as far as the engine makes them so. */
  readonly durable: number;
  /** The sequence number of the oldest record in memory; `newest + 1` if there is none. */
  readonly oldest: number;
  /** The clock that `appendedAtMs` is read from. */
  readonly clock: HostClock;
  /** Returns the longest run of records in memory that starts at `sequence`; undefined if that record is not in memory. */
  readFrom(sequence: number): Batch | undefined;
  /** Reads one page, some hundred to some thousand records, from memory or from disk. */
  read(query: JournalQuery): Promise<JournalPage>;
  /**
   * Returns up to which sequence number a client that has seen `sequence` in `epoch` agrees with this journal. That is
   * less than `sequence` if records were lost; undefined if the epoch is unknown.
   */
  sharedUpTo(epoch: string, sequence: number): number | undefined;
  /**
   * Returns an id of a durable record, `<epoch>:<sequence>` with the epoch in which it was appended. It is unique across
   * restarts and journals.
   */
  uidOf(sequence: number): string;
}

/** Which part of the journal to read. */
export interface JournalQuery {
  /** The sequence number to start at. */
  readonly from: number;
  /** Default `asc`, towards newer records. */
  readonly order?: "asc" | "desc";
  /** Default both types. */
  readonly type?: EnvelopeType | undefined;
  /**
   * Skips what is entirely before `sinceMs`, or not before `untilMs`, in milliseconds since 1970. A hint: records outside
   * of that time may be returned too.
   */
  readonly sinceMs?: number | undefined;
  /** See {@link sinceMs}. */
  readonly untilMs?: number | undefined;
}

/** One page of the journal. */
export interface JournalPage {
  /**
   * The range of sequence numbers that was read, `from <= to`. What is neither in `records` nor in a gap does not match the
   * query. At the end of the journal the range is empty: `to = from - 1`.
   */
  readonly from: number;
  /** The last sequence number of that range. */
  readonly to: number;
  /** The records in ascending order, whatever the order of reading; undefined if there are none. */
  readonly records: Batch | undefined;
  /** The gaps within the range, in ascending order. */
  readonly gaps: readonly Gap[];
}

/** A range of sequence numbers whose records are no longer available. */
export interface Gap {
  /** The first sequence number of the range. */
  readonly from: number;
  /** The last sequence number of the range. */
  readonly to: number;
  /** Only records of this type are missing; both types if absent. */
  readonly type?: EnvelopeType | undefined;
  /** Why they are missing. `retention`: expired by age or size; `not_stored`: could not be written to disk; `damaged`: unreadable. */
  readonly reason: "retention" | "not_stored" | "damaged";
}

/**
 * The journal's clock: the system clock, except after a jump. A jump of more than 23 hours is followed only once it has
 * lasted for ten minutes. Times are in milliseconds since 1970.
 */
export interface HostClock {
  /** Returns the time of the journal's clock. */
  now(): number;
  /**
   * Returns the {@link Batch.appendedAtMs} before which batches are older than `ageMs` at `nowMs`, by default now. Only
   * time that has really passed counts as age, not a jump of the clock.
   */
  agedBefore(ageMs: number, nowMs?: number): number;
}

/** Persistent state of a plugin, one text that is stored in the journal: a position in a file, for example. */
export interface HostMemory {
  /** Returns the text that was stored last, perhaps by an earlier process; undefined if there is none in this journal. */
  recall(): string | undefined;
  /**
   * Replaces the text. Resolves when it is durable, as far as the engine makes it so; a crash before that may leave the
   * previous text. Each call costs a commit: do not call it more than about once a second.
   */
  keep(text: string): Promise<void>;
}
