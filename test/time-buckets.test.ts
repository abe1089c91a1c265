import * as fc from "fast-check";
import { expect, test } from "vitest";
import { LEVELS } from "tailgate";
import { TimeBuckets } from "../src/wire/histogram.ts";

const BUCKETS_MAX = 100;

const timeMs = fc.oneof(
  fc.integer({ min: 0, max: 253_402_300_799_999 }),
  fc.integer({ min: 1.76e12, max: 1.76e12 + 5000 }),
);
const record = fc.record({ timeMs, rank: fc.nat({ max: LEVELS.length - 1 }) });

interface Counted {
  readonly timeMs: number;
  readonly rank: number;
}

function bucketsOf(records: readonly Counted[]): TimeBuckets {
  const buckets = new TimeBuckets();
  for (const { timeMs: at, rank } of records) buckets.add(at, rank);
  return buckets;
}

/** Checks the counts against a simple scan over all records per bucket. */
function expectCounts(buckets: TimeBuckets, records: readonly Counted[]): void {
  const { widthMs } = buckets;
  const entries = [...buckets.entries()];
  expect(entries.length).toBeLessThanOrEqual(BUCKETS_MAX);
  for (const [startMs, counts] of entries) {
    expect(startMs % widthMs).toBe(0);
    const here = records.filter(({ timeMs: at }) => at >= startMs && at < startMs + widthMs);
    const ranks = LEVELS.map((_, rank) => here.filter((one) => one.rank === rank).length);
    expect(counts).toEqual(ranks);
  }
  const all = LEVELS.map((_, rank) => records.filter((one) => one.rank === rank).length);
  expect(buckets.sums).toEqual(all);
}

test("each record is counted in the bucket of its time and level, and the number of buckets is bounded", () => {
  fc.assert(
    fc.property(fc.array(record), (records) => {
      const buckets = bucketsOf(records);
      expectCounts(buckets, records);
      const times = records.map((one) => one.timeMs);
      expect(buckets.firstMs).toBe(Math.min(...times));
      expect(buckets.lastMs).toBe(Math.max(...times));
      // No wider than necessary.
      const span = Math.floor(buckets.lastMs / buckets.widthMs) * 2 + 1;
      if (buckets.widthMs > 1) {
        const halfFirst = Math.floor(buckets.firstMs / (buckets.widthMs / 2));
        expect(span + 1 - halfFirst).toBeGreaterThanOrEqual(BUCKETS_MAX);
      }
    }),
  );
});

test("counts of parts, serialized as JSON, add up to the total counts", () => {
  fc.assert(
    fc.property(fc.array(fc.array(record)), (parts) => {
      const sum = new TimeBuckets();
      for (const part of parts) {
        sum.merge(TimeBuckets.fromMessage(JSON.parse(JSON.stringify(bucketsOf(part)))));
      }
      expect(sum.toJSON()).toEqual(bucketsOf(parts.flat()).toJSON());
    }),
  );
});

test("buckets that ended before a given time can be dropped, to the width of a bucket", () => {
  fc.assert(
    fc.property(fc.array(record), timeMs, (records, sinceMs) => {
      const buckets = bucketsOf(records);
      const { widthMs } = buckets;
      buckets.dropBefore(sinceMs);
      const endOf = (at: number): number => (Math.floor(at / widthMs) + 1) * widthMs;
      expectCounts(
        buckets,
        records.filter((one) => endOf(one.timeMs) > sinceMs),
      );
    }),
  );
});
