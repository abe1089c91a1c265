import type { CountOptions, HistoryCounts, HistorySearch } from "../history/history.ts";
import type { MergeStatus } from "../history/merger.ts";
import { NO_HASH } from "../envelope/audit-line.ts";
import type { RecordBatch } from "../batch/record-batch.ts";
import type { EnvelopeType, HostJournal, JournalPage, JournalQuery } from "../plugin/index.ts";
import type { TrustedClock } from "./trusted-clock.ts";

/** A journal that notifies its readers of new records. */
export interface WatchedJournal extends HostJournal {
  /** The part of the journal that is searched by its index; undefined for an engine without one. */
  readonly history?: JournalHistory | undefined;
  /** The sequence up to which records were moved to the history; undefined for an engine without one. */
  readonly mergedUpTo?: number | undefined;
  /** How far moving them is; undefined for an engine without a history. */
  readonly merging?: MergeStatus | undefined;
  /**
   * Calls the listener within each append, once its records can be read: it must be quick. Returns the function that
   * unsubscribes.
   */
  watch(listener: () => void): () => void;
}

/** Searches what is merged, as {@link History} does, and adds what only the journal knows: gaps. */
export interface JournalHistory {
  readonly mergedUpTo: number;
  /** Yields pages with all records that match, and no others. */
  find(search: HistorySearch, limit: number, signal: AbortSignal): AsyncIterable<JournalPage>;
  count(
    search: HistorySearch,
    options: CountOptions,
    signal: AbortSignal,
  ): AsyncIterable<HistoryCounts>;
}

/** Gives every record its sequence and stores it. Engines: memory, sqlite. */
export interface Journal extends WatchedJournal {
  readonly clock: TrustedClock;
  /**
   * Appends a batch. When it returns, the batch has its sequences and can be read; when its promise resolves, the batch
   * is as durable as the engine makes it. Rejects with JOURNAL_FULL, JOURNAL_REFUSED or JOURNAL_FAILED, and after
   * `close` with STOPPED.
   */
  append(batch: RecordBatch): Promise<void>;
  /** Whether durable records survive a restart. */
  readonly isPersistent: boolean;
  /** The oldest record that is still available, on the disk or in memory; `newest + 1` if there is none. */
  readonly oldestRetained: number;
  /** About how much memory the journal uses, including what waits for the disk. */
  readonly memoryBytes: number;
  /** What waits for the disk, in bytes; 0 for an engine without one. */
  readonly pendingBytes: number;
  /** Why nothing can be stored at the moment; undefined if it can. */
  readonly lastError: string | undefined;
  /** How long the oldest request to the disk has been under way, in milliseconds; 0 if there is none. */
  readonly diskWaitMs: number;
  /** The newest audit events with an idempotency key, as of the opening, oldest first. */
  readonly storedEvents: readonly StoredEvent[];
  /** The hash chain after the newest durable audit event; undefined for an engine without one. */
  readonly chain: ChainState | undefined;
  /** The last sequence that the consumer of that name has confirmed; undefined for a new consumer. */
  cursor(consumer: string): number | undefined;
  /** Saves a consumer's cursor. It is durable with one of the next commits, and in any case after `close`. */
  saveCursor(consumer: string, sequence: number): void;
  /** Returns the text that `saveMemory` was last given for that owner; undefined if there is none. */
  memory(owner: string): string | undefined;
  /** Saves a text. Resolves when it is as durable as the engine makes it; rejects if it could not be saved. */
  saveMemory(owner: string, text: string): Promise<void>;
  /**
   * Blocks until everything that was appended is as durable as the engine makes it, or the timeout expires: for a
   * process that is about to die and has no further turn of its event loop.
   */
  flushSync(timeoutMs: number): void;
  /** Blocks as `flushSync` does. What is durable then can be read as such, though no promise has resolved yet. */
  settleSync(timeoutMs: number): void;
  /** Reads as `read` does, but blocks. Throws if the timeout expires. */
  readSync(query: JournalQuery, timeoutMs: number): JournalPage;
  /**
   * Leaves the journal as `close` does, as far as that is possible without a turn of the event loop, but open: for a
   * process that is ending and may append until its last moment.
   */
  markCleanSync(timeoutMs: number): void;
  /** Replaces the retention policy. What expires by it is deleted with one of the next commits. */
  setRetention(retention: Retention): void;
  /** Resolves when everything that was appended is durable or rejected, and nothing is open any more. */
  close(): Promise<void>;
}

/** The number of audit events that are remembered by their keys: senders repeat what they have sent lately. */
export const KEYED_EVENTS_MAX = 1 << 16;

/** An audit event that was sent with an idempotency key, as the journal remembers it. */
export interface StoredEvent {
  readonly key: string;
  /** The digest of its content, as `eventKeyOf` computes it. */
  readonly digest: string;
  readonly seq: number;
  readonly hash: string;
}

/** The state of the hash chain after an audit event. */
export interface ChainState {
  /** The number of events so far. */
  readonly count: number;
  /** The sequence of the last event; 0 before the first. */
  readonly seq: number;
  /** The hash of the last event. */
  readonly head: string;
}

/** The state of the hash chain before the first event. */
export const NO_EVENTS: ChainState = { count: 0, seq: 0, head: NO_HASH };

interface RetentionLimits {
  /** The size of the records of a type, in stored bytes. */
  readonly bytes: number;
  readonly ms: number;
}

export type Retention = Readonly<Record<EnvelopeType, RetentionLimits>>;

/** The start of an epoch: the sequence of its first record. */
export interface EpochStart {
  readonly epoch: string;
  readonly first: number;
}

/** A range of sequences that were handed out and have no records. */
export interface SequenceGap {
  readonly first: number;
  readonly last: number;
  /** `damaged`: the records are in a journal that was set aside. */
  readonly reason: "not_stored" | "damaged";
}

/** Damage that was found, for the operator. */
export interface Damage {
  readonly text: string;
  /** The sequences of the lost records; undefined if none were lost. */
  readonly lost?: { readonly from: number; readonly to: number };
  /** Whether audit events may be lost that no audit file has either. */
  readonly isTrailIncomplete: boolean;
  /** The paths of the damaged files that were set aside. */
  readonly kept: readonly string[];
}
