import { randomUUID } from "node:crypto";
import { settle } from "../batch/origin.ts";
import type { RecordBatch } from "../batch/record-batch.ts";
import type { Batch, HostClock, JournalPage, JournalQuery } from "../plugin/index.ts";
import type { Journal } from "./journal.ts";
import { emptyPage, pageOfRun } from "./pages.ts";
import { TrustedClock, type ClockFile } from "./trusted-clock.ts";

/** The engine without a disk: it holds the newest records, as many as fit. Each start is an epoch of its own. */
export class MemoryJournal implements Journal {
  readonly epoch = randomUUID();
  readonly isPersistent = false;
  readonly pendingBytes = 0;
  readonly lastError = undefined;
  readonly diskWaitMs = 0;
  readonly chain = undefined;
  readonly storedEvents = [];
  readonly clock: TrustedClock;
  readonly #tail: MemoryTail;
  readonly #cursors = new Map<string, number>();
  readonly #memories = new Map<string, string>();
  readonly #clockFile: ClockFile | undefined;

  /** `clockFile`: saves the clock until `close`. */
  constructor(bytesMax?: number, clock = new TrustedClock(), clockFile?: ClockFile) {
    this.clock = clock;
    this.#clockFile = clockFile;
    clockFile?.start(clock);
    this.#tail = new MemoryTail(clock, { bytesMax });
  }

  get newest(): number {
    return this.#tail.newest;
  }

  get durable(): number {
    return this.#tail.newest;
  }

  get oldest(): number {
    return this.#tail.oldest;
  }

  get oldestRetained(): number {
    return this.oldest;
  }

  get memoryBytes(): number {
    return this.#tail.bytes;
  }

  append(batch: RecordBatch): Promise<void> {
    settle(batch);
    this.#tail.append(batch);
    return Promise.resolve();
  }

  watch(listener: () => void): () => void {
    return this.#tail.watch(listener);
  }

  readFrom(sequence: number): Batch | undefined {
    return this.#tail.readFrom(sequence);
  }

  read(query: JournalQuery): Promise<JournalPage> {
    return Promise.resolve(this.readSync(query));
  }

  readSync(query: JournalQuery): JournalPage {
    return this.#tail.read(query) ?? this.#readOutside(query);
  }

  /** Returns the page of records that memory has dropped, or that never were. */
  #readOutside({ from, order = "asc", type }: JournalQuery): JournalPage {
    if (from > this.newest || from < 1) return emptyPage(from);
    const [first, last] = order === "asc" ? [from, this.oldest - 1] : [1, from];
    const gap = { from: first, to: last, type, reason: "retention" } as const;
    return { from: first, to: last, records: undefined, gaps: [gap] };
  }

  sharedUpTo(epoch: string, sequence: number): number | undefined {
    return epoch === this.epoch && sequence <= this.newest ? sequence : undefined;
  }

  uidOf(sequence: number): string {
    return `${this.epoch}:${sequence}`;
  }

  cursor(consumer: string): number | undefined {
    return this.#cursors.get(consumer);
  }

  saveCursor(consumer: string, sequence: number): void {
    this.#cursors.set(consumer, sequence);
  }

  memory(owner: string): string | undefined {
    return this.#memories.get(owner);
  }

  saveMemory(owner: string, text: string): Promise<void> {
    this.#memories.set(owner, text);
    return Promise.resolve();
  }

  flushSync(): void {}

  settleSync(): void {}

  markCleanSync(): void {}

  /** Its size is that of its memory alone. */
  setRetention(): void {}

  close(): Promise<void> {
    this.#clockFile?.close();
    return Promise.resolve();
  }
}

/** Enough for some hundred thousand typical records. */
const TAIL_BYTES_MAX = 64 << 20;

interface MemoryTailOptions {
  /** The sequence of the last record before the first one appended; default 0. */
  readonly newest?: number;
  /** Default 64 MiB. */
  readonly bytesMax?: number | undefined;
  /** Returns the last sequence that is on the disk; by default nothing waits for a disk. */
  readonly durable?: () => number;
}

/** The newest records, as many as fit, in the order of their sequences and without gaps but for what was removed. */
export class MemoryTail {
  readonly #clock: HostClock;
  readonly #bytesMax: number;
  readonly #durable: () => number;
  /** Those before `#first` were dropped. */
  #batches: (RecordBatch | undefined)[] = [];
  #first = 0;
  newest: number;
  bytes = 0;
  readonly #listeners = new Set<() => void>();

  constructor(
    clock: HostClock,
    { newest = 0, bytesMax = TAIL_BYTES_MAX, durable = () => Infinity }: MemoryTailOptions = {},
  ) {
    this.#clock = clock;
    this.newest = newest;
    this.#bytesMax = bytesMax;
    this.#durable = durable;
  }

  get oldest(): number {
    return this.#batches[this.#first]?.firstSequence ?? this.newest + 1;
  }

  /** Gives the batch its sequences and append time, and retains it. */
  append(batch: RecordBatch): void {
    batch.firstSequence = this.newest + 1;
    batch.appendedAtMs = this.#clock.now();
    this.newest += batch.length;
    this.#batches.push(batch);
    this.bytes += batch.memoryBytes;
    this.trim();
    for (const listener of this.#listeners) listener();
  }

  /** Calls the listener within each append. Returns the function that unsubscribes. */
  watch(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /**
   * Drops the oldest batches until the rest fits. The newest one always stays, and so does what waits for the disk: it is
   * in memory anyway, and clients cannot read it elsewhere.
   */
  trim(): void {
    const durable = this.#durable();
    while (this.bytes > this.#bytesMax && this.#first < this.#batches.length - 1) {
      const oldest = this.#batches[this.#first]!;
      if (oldest.firstSequence > durable) break;
      this.bytes -= oldest.memoryBytes;
      this.#batches[this.#first++] = undefined;
    }
    if (this.#first > this.#batches.length / 2) {
      this.#batches = this.#batches.slice(this.#first);
      this.#first = 0;
    }
  }

  /** Drops the batches whose records are all in that range. */
  remove(first: number, last: number): void {
    const isRemoved = (batch: RecordBatch): boolean =>
      batch.firstSequence >= first && batch.firstSequence <= last;
    const live = this.#batches.slice(this.#first) as RecordBatch[];
    for (const batch of live) if (isRemoved(batch)) this.bytes -= batch.memoryBytes;
    this.#batches = live.filter((batch) => !isRemoved(batch));
    this.#first = 0;
  }

  /** Returns the longest run of records that starts with `sequence`; undefined if that is not here. */
  readFrom(sequence: number): Batch | undefined {
    if (sequence < this.oldest || sequence > this.newest) return undefined;
    const batch = this.#batchOf(sequence);
    return batch?.from(sequence - batch.firstSequence);
  }

  /** Reads the batch of the query's first record; returns undefined if that is not here. */
  read({ from, order = "asc", type }: JournalQuery): JournalPage | undefined {
    if (order === "asc") {
      const run = this.readFrom(from);
      return run && pageOfRun(run, type);
    }
    const last = Math.min(from, this.newest);
    if (last < this.oldest) return undefined;
    const batch = this.#batchOf(last);
    const run = batch?.select((index) => batch.sequence(index) <= last);
    return run && pageOfRun(run, type);
  }

  /** Undefined if the batch was removed. */
  #batchOf(sequence: number): RecordBatch | undefined {
    const batch = this.#batches[this.#find(sequence)]!;
    return sequence < batch.firstSequence + batch.length ? batch : undefined;
  }

  /** Returns the index of the last batch that starts at or before `sequence`. */
  #find(sequence: number): number {
    let low = this.#first;
    let high = this.#batches.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >>> 1;
      if (this.#batches[middle]!.firstSequence <= sequence) low = middle;
      else high = middle - 1;
    }
    return low;
  }
}
