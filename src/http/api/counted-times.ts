import { STRAY_GAP_MS, STRAYS_MAX, TimeBuckets } from "../../wire/histogram.ts";

/**
 * Times further from the gateway's clock than these are outliers: seconds that were sent as nanoseconds are of 1970, an
 * unset time as an unsigned number is of 2554.
 */
const PAST_MS_MAX = 10 * 365 * 86_400_000;
const FUTURE_MS_MAX = 86_400_000;

/** This part of all records may be strays: long before all others, as from a device without a clock. */
const STRAY_PART = 0.01;

/** Records are counted apart in stretches of this length first. */
const STRETCH_MS = 30 * 86_400_000;

/** The times that are asked for. */
export interface TimesAskedFor {
  readonly since?: string | undefined;
  readonly until?: string | undefined;
}

/** Records over time, by level; times that are far off do not set the range, but are only counted. */
export class CountedTimes {
  readonly #hasStart: boolean;
  readonly #firstMs: number;
  readonly #lastMs: number;
  readonly #stretches = new Map<number, TimeBuckets>();
  #before = 0;
  #after = 0;

  /** A time within a bound that was asked for is no outlier. */
  constructor({ since, until }: TimesAskedFor, nowMs: number) {
    this.#hasStart = since !== undefined;
    this.#firstMs = this.#hasStart ? -Infinity : nowMs - PAST_MS_MAX;
    this.#lastMs = until === undefined ? nowMs + FUTURE_MS_MAX : Infinity;
  }

  add(timeMs: number, rank: number): void {
    if (timeMs < this.#firstMs) this.#before++;
    else if (timeMs > this.#lastMs) this.#after++;
    else this.#stretchOf(timeMs).add(timeMs, rank);
  }

  #stretchOf(timeMs: number): TimeBuckets {
    const number = Math.floor(timeMs / STRETCH_MS);
    let stretch = this.#stretches.get(number);
    if (!stretch) this.#stretches.set(number, (stretch = new TimeBuckets()));
    return stretch;
  }

  /** Returns the counts over time, and how many records are before and after them. */
  result(): { times: TimeBuckets; before: number; after: number } {
    const newestFirst = [...this.#stretches.values()].toSorted(
      (one, other) => other.firstMs - one.firstMs,
    );
    let rest = newestFirst.reduce((sum, { count }) => sum + count, 0);
    const straysMax = this.#hasStart ? 0 : Math.max(STRAYS_MAX, STRAY_PART * rest);
    const times = new TimeBuckets();
    for (const stretch of newestFirst) {
      const isFar = times.firstMs - stretch.lastMs > STRAY_GAP_MS && times.count > 0;
      if (isFar && rest <= straysMax) break;
      times.merge(stretch);
      rest -= stretch.count;
    }
    return { times, before: this.#before + rest, after: this.#after };
  }
}
