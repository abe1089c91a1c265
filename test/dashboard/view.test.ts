import * as fc from "fast-check";
import { expect, test } from "vitest";
import {
  formatView,
  parseView,
  type TimeRange,
  type View,
} from "../../src/dashboard/session/view.ts";
import { ENVELOPE_TYPES, LEVELS } from "tailgate";

const time = fc.integer({ min: 0, max: 4e12 });

const range: fc.Arbitrary<TimeRange> = fc.oneof(
  fc.record({ lastMinutes: fc.integer({ min: 1, max: 1e6 }) }),
  fc.record({
    sinceMs: fc.option(time, { nil: undefined }),
    untilMs: fc.option(time, { nil: undefined }),
  }),
);

const view: fc.Arbitrary<View> = fc.record({
  q: fc.string({ unit: "grapheme" }),
  hidden: fc.subarray([...LEVELS]),
  range,
  record: fc.option(fc.integer({ min: 1 }), { nil: undefined }),
  panel: fc.option(fc.constantFrom(...ENVELOPE_TYPES), { nil: undefined }),
});

test("a URL restores the view that it was created from, and keeps unrelated parts", () => {
  fc.assert(
    fc.property(view, (one) => {
      const search = formatView(one, "?other=1&q=before");
      expect(parseView(`?${search}`)).toEqual(one);
      expect(new URLSearchParams(search).get("other")).toBe("1");
    }),
  );
});

test("invalid values in a URL count as absent", () => {
  const nothing = parseView("");
  expect(parseView("?hide=LOUD&last=-1&since=yesterday&record=x&panel=side")).toEqual(nothing);
  expect(formatView(nothing)).toBe("");
});
