import type { TimeBuckets } from "../../wire/histogram.ts";
import { boundsOf, isSliding, type TimeRange } from "../session/view.ts";

/** Counts over a stretch of time, as they are drawn. */
export interface Bars {
  readonly fromMs: number;
  readonly toMs: number;
  /** Of the whole width: where each begins, and how wide it is. */
  readonly bars: readonly {
    readonly startPart: number;
    readonly widthPart: number;
    /** By the rank of the level. */
    readonly counts: readonly number[];
  }[];
  /** Of all levels of a bar, the most. */
  readonly most: number;
}

/**
 * Returns the height of a bar of `count` records as a part of the tallest one's. The scale is logarithmic, so that one
 * busy moment does not make all others invisible.
 */
export function heightPart(count: number, most: number): number {
  return count === 0 ? 0 : Math.log1p(count) / Math.log1p(most);
}

/** Undefined where there is nothing to see: no records, or all of one moment. */
export function barsOf(times: TimeBuckets, range: TimeRange, nowMs: number): Bars | undefined {
  const { sinceMs, untilMs } = boundsOf(range, nowMs);
  const fromMs = sinceMs ?? times.firstMs;
  // The last record is within the last bar.
  const lastMs = times.lastMs + 1;
  const toMs = untilMs ?? (isSliding(range) ? Math.max(nowMs, lastMs) : lastMs);
  if (times.lastMs === -Infinity || toMs - fromMs <= 1) return undefined;
  const bars = [...times.entries()].map(([startMs, counts]) => ({
    startPart: (startMs - fromMs) / (toMs - fromMs),
    widthPart: times.widthMs / (toMs - fromMs),
    counts,
  }));
  const sums = bars.map(({ counts }) => counts.reduce((sum, count) => sum + count, 0));
  return { fromMs, toMs, bars, most: Math.max(...sums) };
}
