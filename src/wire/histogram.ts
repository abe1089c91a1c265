import { LEVELS } from "./envelope.ts";

/** Numbers of records by level; the index is the level's rank. */
export type LevelCounts = number[];

/** The JSON form of {@link TimeBuckets}, in responses of `/api/counts`. */
export interface BucketsMessage {
  /** The times of the earliest and the latest record in ms since 1970; null if there are none. */
  readonly first_ms: number | null;
  readonly last_ms: number | null;
  /** The width of a bucket. Buckets start at multiples of it. */
  readonly bucket_ms: number;
  /** A bucket starts at `number * bucket_ms`; its counts go from DEBUG to CRITICAL. */
  readonly buckets: readonly (readonly [number: number, counts: LevelCounts])[];
}

/** More buckets would be narrower than a chart can show. */
const BUCKETS_MAX = 100;

/**
 * Up to this many records that are this much older than all others are outliers. They are counted separately, because
 * they would widen the buckets until all other records share one.
 */
export const OUTLIERS_MAX = 3;
export const OUTLIER_GAP_MS = 365 * 86_400_000;

/**
 * A histogram of records over time, by level, built in one pass and bounded memory: if more than {@link BUCKETS_MAX} buckets
 * would be needed, pairs of buckets are merged. Widths are powers of two in milliseconds and buckets start at multiples
 * of them, so that histograms can be merged.
 */
export class TimeBuckets {
  #widthMs = 1;
  #buckets = new Map<number, LevelCounts>();
  #firstMs = Infinity;
  #lastMs = -Infinity;

  static fromMessage(message: BucketsMessage): TimeBuckets {
    const times = new TimeBuckets();
    times.#widthMs = message.bucket_ms;
    times.#buckets = new Map(message.buckets);
    times.#firstMs = message.first_ms ?? Infinity;
    times.#lastMs = message.last_ms ?? -Infinity;
    return times;
  }

  get widthMs(): number {
    return this.#widthMs;
  }

  /** The time of the earliest record; Infinity if there is none. */
  get firstMs(): number {
    return this.#firstMs;
  }

  /** The time of the latest record; -Infinity if there is none. */
  get lastMs(): number {
    return this.#lastMs;
  }

  /** Returns the start of each bucket in ms since 1970 and its counts, in no particular order. */
  *entries(): Generator<readonly [startMs: number, counts: Readonly<LevelCounts>]> {
    for (const [number, counts] of this.#buckets) yield [number * this.#widthMs, counts];
  }

  get sums(): LevelCounts {
    const sums = LEVELS.map(() => 0);
    for (const counts of this.#buckets.values()) addTo(sums, counts);
    return sums;
  }

  get count(): number {
    return this.sums.reduce((sum, count) => sum + count, 0);
  }

  add(timeMs: number, rank: number): void {
    this.#extend(timeMs, timeMs);
    this.#countsAt(Math.floor(timeMs / this.#widthMs))[rank]!++;
  }

  /** Adds the counts by level of records that are within a period, shorter than a bucket, which starts at that time. */
  addCounts(startMs: number, counts: Readonly<LevelCounts>): void {
    this.#extend(startMs, startMs);
    addTo(this.#countsAt(Math.floor(startMs / this.#widthMs)), counts);
  }

  merge(other: TimeBuckets): void {
    if (other.#buckets.size === 0) return;
    this.#widen(other.#widthMs);
    this.#extend(other.#firstMs, other.#lastMs);
    for (const [startMs, counts] of other.entries()) {
      addTo(this.#countsAt(Math.floor(startMs / this.#widthMs)), counts);
    }
  }

  /** Removes the buckets that end before that time. */
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

  #extend(fromMs: number, toMs: number): void {
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
