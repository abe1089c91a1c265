import { expect, test } from "vitest";
import { RecentlyUsed } from "../../src/history/recently-used.ts";

test("keeps what was used last, by number and by size", () => {
  const kept = new RecentlyUsed<{ id: number; bytes: number }>(3, 100, ({ bytes }) => bytes);
  const made: number[] = [];
  const get = (id: number, bytes = 10) =>
    kept.get(id, () => {
      made.push(id);
      return { id, bytes };
    });
  for (const id of [1, 2, 3, 1, 4, 2]) get(id);
  expect(made).toEqual([1, 2, 3, 4, 2]);
  // A value may grow while it is used: then the others leave.
  get(1).bytes = 95;
  get(1);
  for (const id of [4, 2, 1]) get(id);
  expect(made).toEqual([1, 2, 3, 4, 2, 4, 2, 1]);
});

test("keeps at least the last value, whatever its size", () => {
  const kept = new RecentlyUsed<number>(3, 100, (bytes) => bytes);
  expect([kept.get(1, () => 500), kept.get(1, () => 0)]).toEqual([500, 500]);
});
