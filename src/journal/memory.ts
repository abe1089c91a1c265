import { randomUUID } from "node:crypto";
import { settle } from "../batch/origin.ts";
import type { RecordBatch } from "../batch/record-batch.ts";
import type { Batch, JournalPage, JournalQuery } from "../plugin/index.ts";
import { type ClockFile, TrustedClock } from "./trusted-clock.ts";
import type { Journal } from "./journal.ts";
import { emptyPage, MemoryTail } from "./memory-tail.ts";

/** The engine without a disk: the newest records, as many as fit. Each start is an epoch of its own. */
export class MemoryJournal implements Journal {
  readonly epoch = randomUUID();
  readonly isPersistent = false;
  readonly pendingBytes = 0;
  readonly lastError = undefined;
  readonly chain = undefined;
  readonly storedEvents = [];
  readonly clock: TrustedClock;
  readonly #tail: MemoryTail;
  readonly #cursors = new Map<string, number>();
  readonly #memories = new Map<string, string>();

  readonly #clockFile: ClockFile | undefined;

  /** `clockFile`: keeps the clock until `close`. */
  constructor(bytesMax?: number, clock = new TrustedClock(), clockFile?: ClockFile) {
    this.clock = clock;
    this.#clockFile = clockFile;
    clockFile?.begin(clock);
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
    return this.#tail.read(query) ?? this.#outside(query);
  }

  /** What memory has let go is gone, like what was never there. */
  #outside({ from, order = "asc", type }: JournalQuery): JournalPage {
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

  close(): Promise<void> {
    this.#clockFile?.close();
    return Promise.resolve();
  }
}
