import fc from "fast-check";
import { expect, test } from "vitest";
import { RateLimit } from "../../src/auth/limits/rate-limit.ts";

const BURST_MS = 2_000;
const PER_SECOND = 1_000;

/** Requests of one or more keys, with the time since the previous one. */
const requests = (keys: number) =>
  fc.array(
    fc.record({
      key: fc.nat(keys - 1).map(String),
      afterMs: fc.nat(1_500),
      amount: fc.nat(6_000),
    }),
    { maxLength: 100 },
  );

/** Returns the requests that a limit admits, with their times. */
function admitted(limit: RateLimit, given: { key: string; afterMs: number; amount: number }[]) {
  let nowMs = 0;
  return given.flatMap(({ key, afterMs, amount }) => {
    nowMs += afterMs;
    if (limit.waitMs(key, nowMs) > 0) return [];
    limit.charge(key, amount, nowMs);
    return [{ key, nowMs, amount }];
  });
}

const newLimit = () => new RateLimit({ perSecond: PER_SECOND, burstMs: BURST_MS });

test("in any period, a key sends no more than the rate, a burst and one request", () => {
  fc.assert(
    fc.property(requests(1), (given) => {
      const passed = admitted(newLimit(), given);
      for (const [first, { nowMs: fromMs }] of passed.entries()) {
        let sum = 0;
        for (const { nowMs, amount } of passed.slice(first)) {
          const allowed = ((nowMs - fromMs + BURST_MS) / 1000) * PER_SECOND;
          expect(sum).toBeLessThanOrEqual(allowed + 1e-6);
          sum += amount;
        }
      }
    }),
  );
});

test("a key that waits as long as it is told may send, and not a millisecond earlier", () => {
  fc.assert(
    fc.property(fc.array(fc.nat(9_000), { minLength: 1, maxLength: 20 }), (amounts) => {
      const limit = newLimit();
      let nowMs = 0;
      for (const amount of amounts) {
        const waitMs = limit.waitMs("a", nowMs);
        if (waitMs > 1) expect(limit.waitMs("a", nowMs + waitMs - 1)).toBeCloseTo(1, 5);
        nowMs += waitMs;
        expect(limit.waitMs("a", nowMs)).toBeCloseTo(0, 5);
        limit.charge("a", amount, nowMs);
      }
    }),
  );
});

test("keys do not affect each other", () => {
  fc.assert(
    fc.property(requests(4), (given) => {
      const together = admitted(newLimit(), given);
      for (const key of ["0", "1", "2", "3"]) {
        // The others only let time pass.
        let lostMs = 0;
        const own = given.flatMap((request) => {
          lostMs += request.afterMs;
          if (request.key !== key) return [];
          const afterMs = lostMs;
          lostMs = 0;
          return [{ ...request, afterMs }];
        });
        expect(together.filter((one) => one.key === key)).toEqual(admitted(newLimit(), own));
      }
    }),
  );
});

test("memory is bounded, and those who are limited are forgotten last", () => {
  const limit = new RateLimit({ perSecond: PER_SECOND, burstMs: BURST_MS, keysMax: 8 });
  limit.charge("greedy", 1_000_000, 0);
  for (let index = 0; index < 7; index++) limit.charge(`early ${index}`, 10, 0);
  // By now the early ones have their full allowance again.
  for (let index = 0; index < 5; index++) limit.charge(`late ${index}`, 10, 1_000);
  expect(limit.size).toBe(6);
  expect(limit.waitMs("greedy", 1_000)).toBe(997_000);
  for (let index = 0; index < 1_000; index++) {
    limit.charge(`flood ${index}`, 10_000, 1_000);
    expect(limit.size).toBeLessThanOrEqual(8);
  }
  expect(limit.waitMs("greedy", 1_000)).toBe(0);
});
