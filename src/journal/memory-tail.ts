import type { RecordBatch } from "../batch/record-batch.ts";
import type { Batch, EnvelopeType, HostClock, JournalPage, JournalQuery } from "../plugin/index.ts";

/** Room for some hundred thousand typical records. */
const TAIL_BYTES_MAX = 64 << 20;

interface MemoryTailOptions {
  /** The sequence of the last record before the first that comes here; default 0. */
  readonly newest?: number;
  /** Default 64 MiB. */
  readonly bytesMax?: number | undefined;
  /** Returns the last sequence that is on the disk; by default nothing waits for a disk. */
  readonly durable?: () => number;
}

/** The newest records, as many as fit, in the order of their sequences; without a hole but for what was removed. */
export class MemoryTail {
  readonly #clock: HostClock;
  readonly #bytesMax: number;
  readonly #durable: () => number;
  /** Those before `#first` are gone. */
  #batches: (RecordBatch | undefined)[] = [];
  #first = 0;
  #newest: number;
  #bytes = 0;
  readonly #listeners = new Set<() => void>();

  constructor(
    clock: HostClock,
    { newest = 0, bytesMax = TAIL_BYTES_MAX, durable = () => Infinity }: MemoryTailOptions = {},
  ) {
    this.#clock = clock;
    this.#newest = newest;
    this.#bytesMax = bytesMax;
    this.#durable = durable;
  }

  get newest(): number {
    return this.#newest;
  }

  get oldest(): number {
    return this.#batches[this.#first]?.firstSequence ?? this.#newest + 1;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Gives the batch its sequences, and keeps it. */
  append(batch: RecordBatch): void {
    batch.firstSequence = this.#newest + 1;
    batch.appendedAtMs = this.#clock.now();
    this.#newest += batch.length;
    this.#batches.push(batch);
    this.#bytes += batch.memoryBytes;
    this.trim();
    for (const listener of this.#listeners) listener();
  }

  /** A batch here takes so many bytes more. */
  grown(bytes: number): void {
    this.#bytes += bytes;
  }

  /** Calls the listener within each append; answers what ends that. */
  watch(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /**
   * Lets the oldest batches go until the rest fits. The newest one always stays, and so does what waits for the disk:
   * it is in memory anyway, and clients cannot read it elsewhere.
   */
  trim(): void {
    const durable = this.#durable();
    while (this.#bytes > this.#bytesMax && this.#first < this.#batches.length - 1) {
      const oldest = this.#batches[this.#first]!;
      if (oldest.firstSequence > durable) break;
      this.#bytes -= oldest.memoryBytes;
      this.#batches[this.#first++] = undefined;
    }
    if (this.#first > this.#batches.length / 2) {
      this.#batches = this.#batches.slice(this.#first);
      this.#first = 0;
    }
  }

  /** Lets the batches go whose records all lie in that range. */
  remove(first: number, last: number): void {
    const isGone = (batch: RecordBatch): boolean =>
      batch.firstSequence >= first && batch.firstSequence <= last;
    const live = this.#batches.slice(this.#first) as RecordBatch[];
    for (const batch of live) if (isGone(batch)) this.#bytes -= batch.memoryBytes;
    this.#batches = live.filter((batch) => !isGone(batch));
    this.#first = 0;
  }

  /** The longest run of records that starts with `sequence`; undefined where there is none. */
  readFrom(sequence: number): Batch | undefined {
    if (sequence < this.oldest || sequence > this.#newest) return undefined;
    const batch = this.#batchOf(sequence);
    return batch?.from(sequence - batch.firstSequence);
  }

  /** The batch that holds the query's first record; undefined where that is not here. */
  read({ from, order = "asc", type }: JournalQuery): JournalPage | undefined {
    if (order === "asc") {
      const run = this.readFrom(from);
      return run && page(run, type);
    }
    const last = Math.min(from, this.#newest);
    if (last < this.oldest) return undefined;
    const batch = this.#batchOf(last);
    return batch && page(upTo(batch, last), type);
  }

  /** Undefined where its batch was removed. */
  #batchOf(sequence: number): RecordBatch | undefined {
    const batch = this.#batches[this.#find(sequence)]!;
    return sequence < batch.firstSequence + batch.length ? batch : undefined;
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

/** The batch without its records behind `last`. */
function upTo(batch: RecordBatch, last: number): Batch {
  return batch.select((index) => batch.sequence(index) <= last);
}

function page(run: Batch, type: EnvelopeType | undefined): JournalPage {
  const wanted = type === undefined ? run : run.select((index) => run.type(index) === type);
  return {
    from: run.sequence(0),
    to: run.sequence(run.length - 1),
    records: wanted.length === 0 ? undefined : wanted,
    gaps: [],
  };
}

/** What a reading answers that has come to an end. */
export function emptyPage(from: number): JournalPage {
  return { from, to: from - 1, records: undefined, gaps: [] };
}
