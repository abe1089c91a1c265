import { randomUUID } from "node:crypto";
import type { RecordBatch } from "../encode/record-batch.ts";
import type { Batch } from "../plugin.ts";
import type { Journal } from "./journal.ts";

/** Room for some hundred thousand typical records. */
const TAIL_BYTES_MAX = 64 << 20;

/** The engine without a disk: the newest records, as many as fit. Each start is an epoch of its own. */
export class MemoryJournal implements Journal {
  readonly epoch = randomUUID();
  readonly #bytesMax: number;
  /** In the order of their sequences, without a hole. Only those from `#first` on are live. */
  #batches: RecordBatch[] = [];
  #first = 0;
  #newest = 0;
  #bytes = 0;

  constructor(bytesMax = TAIL_BYTES_MAX) {
    this.#bytesMax = bytesMax;
  }

  get newest(): number {
    return this.#newest;
  }

  get oldest(): number {
    return this.#batches[this.#first]?.firstSequence ?? this.#newest + 1;
  }

  get memoryBytes(): number {
    return this.#bytes;
  }

  append(batch: RecordBatch): Promise<void> {
    batch.firstSequence = this.#newest + 1;
    batch.appendedAtMs = Date.now();
    this.#newest += batch.length;
    this.#batches.push(batch);
    this.#bytes += batch.memoryBytes;
    this.#trim();
    return Promise.resolve();
  }

  /** Lets the oldest batches go until the rest fits; the newest one always stays. */
  #trim(): void {
    while (this.#bytes > this.#bytesMax && this.#first < this.#batches.length - 1) {
      this.#bytes -= this.#batches[this.#first]!.memoryBytes;
      this.#first++;
    }
    if (this.#first > this.#batches.length / 2) {
      this.#batches = this.#batches.slice(this.#first);
      this.#first = 0;
    }
  }

  readFrom(sequence: number): Batch | undefined {
    if (sequence < this.oldest || sequence > this.#newest) return undefined;
    const batch = this.#batches[this.#find(sequence)]!;
    return batch.from(sequence - batch.firstSequence);
  }

  /** The place of the last batch that starts at or before `sequence`. */
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
