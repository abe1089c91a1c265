import * as fc from "fast-check";
import { expect, test } from "vitest";
import { binsOf } from "../../src/dashboard/histogram-bins.ts";
import { LEVELS } from "../../src/envelope.ts";

const mark = fc.record({
  timeMs: fc.integer({ min: 0, max: 4e12 }),
  level: fc.constantFrom(...LEVELS),
});

test("each record is in one stretch, under its level", () => {
  fc.assert(
    fc.property(fc.array(mark), fc.integer({ min: 1, max: 100 }), (marks, size) => {
      const bins = binsOf(marks, size);
      if (new Set(marks.map(({ timeMs }) => timeMs)).size < 2) {
        expect(bins).toBeUndefined();
        return;
      }
      for (const [rank, level] of LEVELS.entries()) {
        const counted = bins!.counts.reduce((sum, counts) => sum + counts[rank]!, 0);
        expect(counted).toBe(marks.filter((one) => one.level === level).length);
      }
      const sums = bins!.counts.map((counts) => counts.reduce((sum, count) => sum + count));
      expect(Math.max(...sums)).toBe(bins!.most);
    }),
  );
});
