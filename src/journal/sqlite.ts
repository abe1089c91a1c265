import { auditHash } from "../encode/audit-line.ts";
import { eventKeyOf } from "../encode/event-key.ts";
import type { RecordBatch } from "../encode/record-batch.ts";
import { readBatch, storedLanes } from "../encode/stored-batch.ts";
import { TailgateError, textOf } from "../errors.ts";
import type { Batch, Gap, JournalPage, JournalQuery } from "../plugin.ts";
import { JournalThread, ThreadFailure } from "./journal-thread.ts";
import type { Journal, StoredEvent } from "./journal.ts";
import { emptyPage, MemoryTail } from "./memory-tail.ts";
import type {
  ChainState,
  Commit,
  EpochStart,
  Hole,
  OpenedState,
  ReadRows,
  Retention,
  StoredRange,
} from "./messages.ts";

/** What gathers while a commit is under way goes into the next one, up to this size. */
const COMMIT_BYTES_MAX = 1 << 20;

/** Places of consumers are kept with a commit, at most once in this time; where there is none, after it. */
const CURSORS_MS = 1_000;

const DAY_MS = 86_400_000;

export interface SqliteJournalOptions {
  /** The directory of the database; exists. */
  readonly directory: string;
  readonly retention: Retention;
  /** Told what an operator has to know and nobody asked for. */
  alarm(text: string): void;
}

interface Waiting {
  readonly batch: RecordBatch;
  readonly bytes: number;
  readonly durable: PromiseWithResolvers<void>;
}

/**
 * The engine with a disk: node:sqlite in a thread of its own, one piece of bytes for each lane of a commit. An idle
 * journal commits at once; what comes while a commit is under way shares the next one.
 */
export class SqliteJournal implements Journal {
  readonly isKept = true;
  readonly storedEvents: readonly StoredEvent[];
  readonly #thread: JournalThread;
  readonly #tail: MemoryTail;
  readonly #epochs: readonly EpochStart[];
  readonly #holes: Hole[];
  readonly #newHoles: Hole[] = [];
  readonly #cursors: Map<string, number>;
  readonly #changedCursors = new Set<string>();
  #cursorsKeptAtMs = -Infinity;
  #cursorTimer: NodeJS.Timeout | undefined;
  #waiting: Waiting[] = [];
  /** Of what waits and of what is under way. */
  #pendingBytes = 0;
  #durable: number;
  /** Behind the last audit event that was handed to the thread. */
  #chain: ChainState;
  /** Behind the last durable one. */
  #durableChain: ChainState;
  #committing: Promise<void> | undefined;
  #trouble: string | undefined;

  private constructor(thread: JournalThread, state: OpenedState) {
    this.#thread = thread;
    this.#tail = new MemoryTail(state.newest);
    this.#epochs = state.epochs;
    this.#holes = [...state.holes];
    this.storedEvents = state.events;
    this.#cursors = new Map(state.cursors);
    this.#durable = state.newest;
    this.#chain = state.chain;
    this.#durableChain = state.chain;
  }

  /**
   * Opens the journal of a directory, and makes it where there is none.
   * @throws TailgateError LOG_DIR_IN_USE where another gateway has it, JOURNAL_UNUSABLE where it cannot be opened.
   */
  static async open({ directory, retention, alarm }: SqliteJournalOptions): Promise<SqliteJournal> {
    try {
      const opened = await JournalThread.open(directory, retention);
      if (opened.alarm !== undefined) alarm(opened.alarm);
      return new SqliteJournal(opened.thread, opened.state);
    } catch (error) {
      throw openFailure(directory, error);
    }
  }

  get epoch(): string {
    return this.#epochs.at(-1)!.epoch;
  }

  get newest(): number {
    return this.#tail.newest;
  }

  get durable(): number {
    return this.#durable;
  }

  get oldest(): number {
    return this.#tail.oldest;
  }

  get memoryBytes(): number {
    return this.#tail.bytes;
  }

  get pendingBytes(): number {
    return this.#pendingBytes;
  }

  get trouble(): string | undefined {
    return this.#trouble;
  }

  /** The chain of evidence behind the newest durable audit event. */
  get chain(): ChainState {
    return this.#durableChain;
  }

  append(batch: RecordBatch): Promise<void> {
    this.#tail.append(batch);
    const durable = Promise.withResolvers<void>();
    // Whoever does not wait is told through `trouble`.
    durable.promise.catch(() => {});
    const bytes = batch.memoryBytes;
    this.#waiting.push({ batch, bytes, durable });
    this.#pendingBytes += bytes;
    this.#committing ??= this.#commitAll();
    return durable.promise;
  }

  async #commitAll(): Promise<void> {
    while (this.#waiting.length > 0) {
      const group = this.#nextGroup();
      try {
        await this.#commit(group.map(({ batch }) => batch));
        for (const { durable } of group) durable.resolve();
      } catch (error) {
        for (const { durable } of group) durable.reject(error);
      }
      for (const { bytes } of group) this.#pendingBytes -= bytes;
    }
    this.#committing = undefined;
  }

  /** The oldest of what waits: at least one batch. */
  #nextGroup(): Waiting[] {
    let bytes = 0;
    const end = this.#waiting.findIndex((waiting, index) => {
      bytes += waiting.bytes;
      return index > 0 && bytes > COMMIT_BYTES_MAX;
    });
    return this.#waiting.splice(0, end < 0 ? this.#waiting.length : end);
  }

  async #commit(batches: readonly RecordBatch[]): Promise<void> {
    const first = batches[0]!.firstSequence;
    const last = lastSequence(batches.at(-1)!);
    const chainBefore = this.#chain;
    const holes = this.#newHoles.splice(0);
    let chain: ChainState;
    try {
      const answer = this.#send(batches, holes);
      chain = this.#chain;
      await answer;
    } catch (error) {
      this.#chain = chainBefore;
      this.#refuse({ first, last }, holes);
      this.#durable = last;
      throw this.#commitFailure(error);
    }
    this.#durable = last;
    this.#durableChain = chain;
    this.#trouble = undefined;
  }

  /** Hands a commit to the thread. */
  #send(batches: readonly RecordBatch[], holes: readonly Hole[]): Promise<unknown> {
    const chainBefore = this.#chain;
    const events = this.#seal(batches);
    const ranges = rangesOf(batches);
    const cursors = this.#cursorsToKeep();
    const chain = this.#chain === chainBefore ? undefined : this.#chain;
    const commit: Commit = { ranges, holes, cursors, chain, events };
    const memory = ranges.flatMap(({ lanes }) => lanes.map(({ bytes }) => bytes.buffer));
    return this.#thread.request({ kind: "commit", commit }, memory);
  }

  /** Ties each audit event to the one before it; answers those that have a key. */
  #seal(batches: readonly RecordBatch[]): StoredEvent[] {
    const keyed: StoredEvent[] = [];
    let { count, seq, head } = this.#chain;
    const countBefore = count;
    for (const batch of batches) {
      for (let index = 0; index < batch.length; index++) {
        if (batch.type(index) !== "audit_log") continue;
        const data = batch.data(index);
        count++;
        seq = batch.sequence(index);
        head = auditHash(head, data, seq);
        batch.seal(index, head);
        const key = eventKeyOf(data);
        if (key !== undefined) keyed.push({ ...key, seq, hash: head });
      }
    }
    if (count > countBefore) this.#chain = { count, seq, head };
    return keyed;
  }

  /** What could not be stored leaves a hole that the next commit tells of; nobody gets it from memory any more. */
  #refuse(hole: Hole, untold: readonly Hole[]): void {
    this.#tail.remove(hole.first, hole.last);
    this.#holes.push(hole);
    this.#newHoles.unshift(...untold);
    this.#newHoles.push(hole);
  }

  #commitFailure(error: unknown): TailgateError {
    const kind = error instanceof ThreadFailure ? error.failure.kind : "unknown";
    const [code, text] = FAILURES[kind];
    const failure = new TailgateError(code, text, { cause: error });
    this.#trouble = `${failure.code}: ${textOf(error)}`;
    return failure;
  }

  readFrom(sequence: number): Batch | undefined {
    return this.#tail.readFrom(sequence);
  }

  async read(query: JournalQuery): Promise<JournalPage> {
    const { from, order = "asc", type } = query;
    const inMemory = this.#tail.read(query);
    if (inMemory !== undefined) return inMemory;
    if (from < 1 || from > this.newest) return emptyPage(from);
    const hole = this.#holes.find(({ first, last }) => first <= from && from <= last);
    if (hole !== undefined) return holePage(hole, from, order);
    const { sinceMs, untilMs } = query;
    const answer = await this.#thread.request({
      kind: "read",
      query: { from, order, type, sinceMs, untilMs },
    });
    if (answer.kind !== "rows") throw new Error(`unexpected answer ${answer.kind}`);
    return pageOf(answer.rows);
  }

  sharedUpTo(epoch: string, sequence: number): number | undefined {
    const index = this.#epochs.findIndex((start) => start.epoch === epoch);
    if (index < 0) return undefined;
    const next = this.#epochs[index + 1];
    return Math.min(sequence, next === undefined ? this.newest : next.first - 1);
  }

  cursor(consumer: string): number | undefined {
    return this.#cursors.get(consumer);
  }

  saveCursor(consumer: string, sequence: number): void {
    if (this.#cursors.get(consumer) === sequence) return;
    this.#cursors.set(consumer, sequence);
    this.#changedCursors.add(consumer);
    this.#cursorTimer ??= setTimeout(() => this.#keepCursors(), CURSORS_MS).unref();
  }

  #cursorsToKeep(): [string, number][] {
    const now = performance.now();
    if (this.#changedCursors.size === 0 || now - this.#cursorsKeptAtMs < CURSORS_MS) return [];
    this.#cursorsKeptAtMs = now;
    return this.#changedCursorEntries();
  }

  #changedCursorEntries(): [string, number][] {
    clearTimeout(this.#cursorTimer);
    this.#cursorTimer = undefined;
    const entries = [...this.#changedCursors].map((consumer): [string, number] => [
      consumer,
      this.#cursors.get(consumer)!,
    ]);
    this.#changedCursors.clear();
    return entries;
  }

  /** Where no commit has taken them along. One that fails has only moved places back. */
  #keepCursors(): void {
    const cursors = this.#changedCursorEntries();
    const holes = this.#newHoles.splice(0);
    if (cursors.length === 0 && holes.length === 0) return;
    const commit: Commit = { ranges: [], holes, cursors, chain: undefined, events: [] };
    this.#thread.request({ kind: "commit", commit }).catch(() => {
      this.#newHoles.unshift(...holes);
      for (const [consumer] of cursors) this.#changedCursors.add(consumer);
    });
  }

  flushSync(timeoutMs: number): void {
    while (this.#waiting.length > 0) {
      const group = this.#nextGroup();
      this.#send(
        group.map(({ batch }) => batch),
        this.#newHoles.splice(0),
      ).catch(() => {});
    }
    this.#thread.waitForAll(timeoutMs);
  }

  async close(): Promise<void> {
    await this.#committing;
    this.#keepCursors();
    await this.#thread.request({ kind: "close" }).catch(() => {});
    await this.#thread.ended();
  }
}

/** For each kind of failure its code, and what became of the records. */
const FAILURES = {
  full: ["JOURNAL_FULL", "The disk is full: the records were not stored."],
  refused: ["JOURNAL_REFUSED", "The disk has refused the records: they were not stored."],
  unknown: [
    "JOURNAL_FAILED",
    "The disk has failed: it is unknown whether the records were stored.",
  ],
  locked: ["JOURNAL_REFUSED", "The journal is locked: the records were not stored."],
  unusable: ["JOURNAL_REFUSED", "The journal cannot be used: the records were not stored."],
} as const;

function openFailure(directory: string, error: unknown): Error {
  if (!(error instanceof ThreadFailure)) return error as Error;
  if (error.failure.kind === "locked") {
    const text = `Another gateway is at work in ${directory}.`;
    return new TailgateError("LOG_DIR_IN_USE", text, { cause: error });
  }
  const text = `The journal in ${directory} cannot be opened: ${error.message}.`;
  return new TailgateError("JOURNAL_UNUSABLE", text, { cause: error });
}

function lastSequence(batch: RecordBatch): number {
  return batch.firstSequence + batch.length - 1;
}

/** The batches of one UTC day, together: an event belongs to the day on which it was appended. */
function rangesOf(batches: readonly RecordBatch[]): StoredRange[] {
  const groups: RecordBatch[][] = [];
  for (const batch of batches) {
    const group = groups.at(-1);
    if (group !== undefined && dayOf(group[0]!) === dayOf(batch)) group.push(batch);
    else groups.push([batch]);
  }
  return groups.map((group) => ({
    first: group[0]!.firstSequence,
    last: lastSequence(group.at(-1)!),
    appendedAtMs: group[0]!.appendedAtMs,
    lanes: storedLanes(group),
  }));
}

function dayOf({ appendedAtMs }: RecordBatch): number {
  return Math.floor(appendedAtMs / DAY_MS);
}

function holePage({ first, last }: Hole, from: number, order: "asc" | "desc"): JournalPage {
  const [start, end] = order === "asc" ? [from, last] : [first, from];
  const gap: Gap = { from: start, to: end, reason: "not_stored" };
  return { from: start, to: end, records: undefined, gaps: [gap] };
}

/** A stretch that was read, without the records of its first and last commit that lie outside of it. */
function pageOf({ from, to, rows, gaps }: ReadRows): JournalPage {
  if (rows.length === 0) return { from, to, records: undefined, gaps };
  const batch = readBatch(rows);
  const records = batch.select((index) => {
    const sequence = batch.sequence(index);
    return sequence >= from && sequence <= to;
  });
  return { from, to, records: records.length === 0 ? undefined : records, gaps };
}
