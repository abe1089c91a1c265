import type { RecordBatch } from "../batch/record-batch.ts";
import type { EnvelopeType, HostJournal, JournalPage, JournalQuery } from "../plugin/index.ts";
import type { TrustedClock } from "./trusted-clock.ts";

/** So many audit events are remembered by their keys: a sender repeats what it has sent lately. */
export const KEYED_EVENTS_MAX = 1 << 16;

/** An audit event that was sent with a key, as the journal remembers it. */
export interface StoredEvent {
  readonly key: string;
  /** Of what it says, as `eventKeyOf` gives it. */
  readonly digest: string;
  readonly seq: number;
  readonly hash: string;
}

/** A journal for who waits for more of it. */
export interface WatchedJournal extends HostJournal {
  /** Calls the listener within each append, when its records can be read: it must be quick. Answers what ends that. */
  watch(listener: () => void): () => void;
}

/** Gives every record its sequence and keeps it. Engines: memory, sqlite. */
export interface Journal extends WatchedJournal {
  readonly clock: TrustedClock;
  /**
   * Takes a batch. When it returns, the batch has its sequences and can be read; when its promise resolves, the
   * batch is as safe as the engine makes it. Rejects with JOURNAL_FULL, JOURNAL_REFUSED or JOURNAL_FAILED, and behind
   * `close` with STOPPED.
   */
  append(batch: RecordBatch): Promise<void>;
  /** Whether what is durable is still there after a restart. */
  readonly isPersistent: boolean;
  /** The oldest record that it still has, on the disk or in memory; `newest + 1` if it has none. */
  readonly oldestRetained: number;
  /** About how much memory the journal holds, what waits for the disk included. */
  readonly memoryBytes: number;
  /** What waits for the disk, in bytes; 0 for an engine without one. */
  readonly pendingBytes: number;
  /** Why nothing can be stored just now; undefined where it can. */
  readonly lastError: string | undefined;
  /** At the opening: the newest audit events that were sent with a key, the oldest first. */
  readonly storedEvents: readonly StoredEvent[];
  /** The chain of evidence behind the newest durable audit event; undefined for an engine that has none. */
  readonly chain: ChainState | undefined;
  /** Where the consumer of that name goes on: the sequence that it has confirmed; undefined for a new one. */
  cursor(consumer: string): number | undefined;
  /** Keeps a consumer's place. It is durable with one of the next commits, and in any case after `close`. */
  saveCursor(consumer: string, sequence: number): void;
  /** What `saveMemory` has kept last under that name; undefined where nothing. */
  memory(owner: string): string | undefined;
  /** Keeps a text. Resolves when it is as safe as the engine makes it; rejects where it could not be kept. */
  saveMemory(owner: string, text: string): Promise<void>;
  /**
   * Blocks until all that was appended is as safe as the engine makes it, or the time is over: for a process that is
   * about to die and has no further turn of its event loop.
   */
  flushSync(timeoutMs: number): void;
  /** Blocks as `flushSync` does. What is durable then can be read as such, although nobody who waits has been told yet. */
  settleSync(timeoutMs: number): void;
  /** Reads as `read` does, and blocks meanwhile. Throws where the time is over. */
  readSync(query: JournalQuery, timeoutMs: number): JournalPage;
  /**
   * Leaves the journal as after `close`, as far as that is possible without a turn of the event loop, and open: for a
   * process that ends, and may append until its last moment.
   */
  markCleanSync(timeoutMs: number): void;
  /** Resolves when all that was appended is safe or refused, and nothing is open any more. */
  close(): Promise<void>;
}

interface RetentionLimits {
  /** What a lane may take, in bytes of records. */
  readonly bytes: number;
  readonly ms: number;
}

export type Retention = Readonly<Record<EnvelopeType, RetentionLimits>>;

/** The state of the chain of evidence behind an audit event. */
export interface ChainState {
  /** How many events there have been. */
  readonly count: number;
  /** The sequence of the last one; 0 before the first. */
  readonly seq: number;
  /** Its hash. */
  readonly head: string;
}

/** Where an epoch begins: the sequence of the first record that it gave out. */
export interface EpochStart {
  readonly epoch: string;
  readonly first: number;
}

/** A range of sequences that were handed out, and of which no records are there. */
export interface Hole {
  readonly first: number;
  readonly last: number;
  /** `damaged`: they are in a journal that was put aside. */
  readonly reason: "not_stored" | "damaged";
}

/** Damage that was found, for the operator. */
export interface Damage {
  readonly text: string;
  /** The sequences of the records that were lost with it; undefined if none were. */
  readonly lost?: { readonly from: number; readonly to: number };
  /** Whether audit events may be lost that no audit file has either. */
  readonly isTrailIncomplete: boolean;
  /** The names under which the damaged files are kept. */
  readonly kept: readonly string[];
}
