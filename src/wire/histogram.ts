import { LEVELS } from "./envelope.ts";

/** How many records of each level fall into a stretch of time, by the rank of the level. */
export type LevelCounts = number[];

/** As it goes over the wire: `/api/counts`. */
export interface BucketsMessage {
  /** The times of the first record and of the last one, in ms since 1970; null without records. */
  readonly first_ms: number | null;
  readonly last_ms: number | null;
  /** The width of each bucket. They begin at multiples of it since 1970. */
  readonly bucket_ms: number;
  /** The number of the bucket, which begins at `number * bucket_ms`, and its counts from DEBUG to CRITICAL. */
  readonly buckets: readonly (readonly [number: number, counts: LevelCounts])[];
}

/** So many stretches at most: more would be narrower than what is seen. */
const BUCKETS_MAX = 100;

/**
 * So few records that are so long before all others are strays: they would make one bucket of the others, and are only
 * counted.
 */
export const STRAYS_MAX = 3;
export const STRAY_GAP_MS = 365 * 86_400_000;

/**
 * Counts over time, by level, in one pass and in bounded room: when the records need more buckets than there may be,
 * each two become one. The width is a power of two of milliseconds, and buckets begin at multiples of it, so that
 * counts of parts can be put together.
 */
export class TimeBuckets {
  #widthMs = 1;
  #buckets = new Map<number, LevelCounts>();
  #firstMs = Infinity;
  #lastMs = -Infinity;

  static of(message: BucketsMessage): TimeBuckets {
    const read = new TimeBuckets();
    read.#widthMs = message.bucket_ms;
    read.#buckets = new Map(message.buckets);
    read.#firstMs = message.first_ms ?? Infinity;
    read.#lastMs = message.last_ms ?? -Infinity;
    return read;
  }

  get widthMs(): number {
    return this.#widthMs;
  }

  /** The time of the earliest record; Infinity without one. */
  get firstMs(): number {
    return this.#firstMs;
  }

  /** The time of the latest record; -Infinity without one. */
  get lastMs(): number {
    return this.#lastMs;
  }

  /** When each bucket begins, in ms since 1970, and what is in it; in no order. */
  *entries(): Generator<readonly [startMs: number, counts: Readonly<LevelCounts>]> {
    for (const [number, counts] of this.#buckets) yield [number * this.#widthMs, counts];
  }

  /** All records by the rank of their level. */
  get sums(): LevelCounts {
    const sums = LEVELS.map(() => 0);
    for (const counts of this.#buckets.values()) addTo(sums, counts);
    return sums;
  }

  get count(): number {
    return this.sums.reduce((sum, count) => sum + count, 0);
  }

  add(timeMs: number, rank: number): void {
    this.#reach(timeMs, timeMs);
    this.#countsAt(Math.floor(timeMs / this.#widthMs))[rank]!++;
  }

  /** Counts what the other one has, too. */
  merge(other: TimeBuckets): void {
    if (other.#buckets.size === 0) return;
    this.#widen(other.#widthMs);
    this.#reach(other.#firstMs, other.#lastMs);
    for (const [startMs, counts] of other.entries()) {
      addTo(this.#countsAt(Math.floor(startMs / this.#widthMs)), counts);
    }
  }

  /** Forgets the buckets that end before that time. */
  dropBefore(timeMs: number): void {
    for (const number of this.#buckets.keys()) {
      if ((number + 1) * this.#widthMs <= timeMs) this.#buckets.delete(number);
    }
    this.#firstMs = this.#buckets.size === 0 ? Infinity : Math.max(this.#firstMs, timeMs);
    if (this.#buckets.size === 0) this.#lastMs = -Infinity;
  }

  toJSON(): BucketsMessage {
    const isEmpty = this.#buckets.size === 0;
    return {
      first_ms: isEmpty ? null : this.#firstMs,
      last_ms: isEmpty ? null : this.#lastMs,
      bucket_ms: this.#widthMs,
      buckets: [...this.#buckets].toSorted(([one], [other]) => one - other),
    };
  }

  #countsAt(number: number): LevelCounts {
    let counts = this.#buckets.get(number);
    if (!counts) this.#buckets.set(number, (counts = LEVELS.map(() => 0)));
    return counts;
  }

  /** Makes the buckets wide enough for these times. */
  #reach(fromMs: number, toMs: number): void {
    if (fromMs >= this.#firstMs && toMs <= this.#lastMs) return;
    this.#firstMs = Math.min(this.#firstMs, fromMs);
    this.#lastMs = Math.max(this.#lastMs, toMs);
    let widthMs = this.#widthMs;
    const numberOf = (ms: number): number => Math.floor(ms / widthMs);
    while (numberOf(this.#lastMs) - numberOf(this.#firstMs) >= BUCKETS_MAX) widthMs *= 2;
    this.#widen(widthMs);
  }

  #widen(widthMs: number): void {
    if (widthMs <= this.#widthMs) return;
    const narrow = [...this.entries()];
    this.#widthMs = widthMs;
    this.#buckets = new Map();
    for (const [startMs, counts] of narrow)
      addTo(this.#countsAt(Math.floor(startMs / widthMs)), counts);
  }
}

function addTo(sums: LevelCounts, counts: Readonly<LevelCounts>): void {
  for (const [rank, count] of counts.entries()) sums[rank]! += count;
}
