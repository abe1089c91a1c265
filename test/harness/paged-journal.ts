import type { Gap, HostClock, HostJournal, JournalPage, JournalQuery } from "tailgate/plugin";
import type { MemoryJournal } from "../../src/journal/memory.ts";

/**
 * A journal with a disk: memory holds the newest batches alone, the rest is read in pages. What the disk has refused
 * is a hole in both.
 */
export class JournalStage implements HostJournal {
  readonly #inner: MemoryJournal;
  readonly #memoryRecords: number;
  readonly holes: Gap[] = [];
  /** What a test says of an earlier epoch: up to which sequence it is the same. */
  readonly sharedByEpoch = new Map<string, number>();
  /** How far the disk is; all the way where undefined. */
  durableTo: number | undefined;
  reads = 0;

  constructor(inner: MemoryJournal, memoryRecords = Infinity) {
    this.#inner = inner;
    this.#memoryRecords = memoryRecords;
  }

  get epoch(): string {
    return this.#inner.epoch;
  }

  get newest(): number {
    return this.#inner.newest;
  }

  get durable(): number {
    return this.durableTo ?? this.newest;
  }

  get oldest(): number {
    return Math.max(this.#inner.oldest, this.newest - this.#memoryRecords + 1);
  }

  get clock(): HostClock {
    return this.#inner.clock;
  }

  /** Whole batches. */
  refuse(from: number, to: number): void {
    this.holes.push({ from, to, reason: "not_stored" });
  }

  #holeAt(sequence: number): Gap | undefined {
    return this.holes.find(({ from, to }) => from <= sequence && sequence <= to);
  }

  readFrom(sequence: number): ReturnType<HostJournal["readFrom"]> {
    if (sequence < this.oldest || this.#holeAt(sequence)) return undefined;
    return this.#inner.readFrom(sequence);
  }

  async read(query: JournalQuery): Promise<JournalPage> {
    this.reads++;
    await new Promise((resolve) => setImmediate(resolve));
    const { from, order = "asc" } = query;
    const hole = this.#holeAt(from);
    if (hole === undefined) return this.#inner.read(query);
    const [first, last] = order === "asc" ? [from, hole.to] : [hole.from, from];
    const gap = { ...hole, from: first, to: last };
    return { from: first, to: last, records: undefined, gaps: [gap] };
  }

  uidOf(sequence: number): string {
    return this.#inner.uidOf(sequence);
  }

  sharedUpTo(epoch: string, sequence: number): number | undefined {
    const shared = this.sharedByEpoch.get(epoch);
    return shared === undefined
      ? this.#inner.sharedUpTo(epoch, sequence)
      : Math.min(shared, sequence);
  }
}
