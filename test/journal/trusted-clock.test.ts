import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { parseSavedClock, TrustedClock, type ClockEvent } from "../../src/journal/trusted-clock.ts";

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;

const START_MS = Date.UTC(2026, 5, 1, 12);

/** How much of a downtime counts although it was not measured. */
const COUNTED_MS = 2 * DAY_MS;

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["Date", "performance"], now: START_MS });
});

afterEach(() => {
  vi.useRealTimers();
});

/** Advances both clocks. */
function pass(ms: number): void {
  vi.advanceTimersByTime(ms);
}

/** Sets the system clock; no time passes. */
function jump(ms: number): void {
  vi.setSystemTime(Date.now() + ms);
}

/** The clock that the next process gets. */
function restarted(clock: TrustedClock): TrustedClock {
  return new TrustedClock(parseSavedClock(JSON.stringify(clock.saved)));
}

function watched(clock: TrustedClock): ClockEvent["kind"][] {
  const kinds: ClockEvent["kind"][] = [];
  clock.watch(({ kind }) => kinds.push(kind));
  return kinds;
}

describe("the time", () => {
  it("follows the system clock, including drift and changes by a few hours", () => {
    const clock = new TrustedClock();
    const news = watched(clock);
    for (const ms of [20_000, -20_000, 5 * HOUR_MS, -22 * HOUR_MS]) {
      pass(HOUR_MS);
      jump(ms);
      expect(clock.now()).toBe(Date.now());
    }
    expect(news).toEqual([]);
  });

  it.each([365, 2, 1, -1, -365])("ignores a jump by %i days that is reverted", (days) => {
    const clock = new TrustedClock();
    const news = watched(clock);
    pass(10 * MINUTE_MS);
    const beforeMs = Date.now();
    jump(days * DAY_MS);
    expect(clock.now()).toBe(beforeMs);
    expect(clock.unconfirmedMs).toBe(days * DAY_MS);
    pass(9 * MINUTE_MS);
    expect(clock.now()).toBe(beforeMs + 9 * MINUTE_MS);
    jump(-days * DAY_MS);
    expect(clock.now()).toBe(Date.now());
    expect(clock.unconfirmedMs).toBe(0);
    expect(news).toEqual(["jumped", "returned"]);
  });

  it.each([365, 2, -2, -365])("follows a jump by %i days that lasts", (days) => {
    const clock = new TrustedClock();
    const news = watched(clock);
    pass(10 * MINUTE_MS);
    jump(days * DAY_MS);
    clock.now();
    pass(10 * MINUTE_MS);
    expect(clock.now()).toBe(Date.now());
    expect(news).toEqual(["jumped", "confirmed"]);
  });

  it("restarts the wait at a second jump", () => {
    const clock = new TrustedClock();
    const news = watched(clock);
    for (let count = 0; count < 3; count++) {
      jump(100 * DAY_MS);
      clock.now();
      pass(9 * MINUTE_MS);
      expect(clock.now()).toBe(START_MS + (count + 1) * 9 * MINUTE_MS);
    }
    expect(news).toEqual(["jumped", "jumped", "jumped"]);
  });

  it("follows the system clock after a month of downtime, but not after a year", () => {
    const clock = new TrustedClock();
    jump(31 * DAY_MS);
    const month = new TrustedClock({ lastMs: START_MS });
    expect([month.now(), watched(month)]).toEqual([Date.now(), []]);
    jump(334 * DAY_MS);
    const year = new TrustedClock({ lastMs: START_MS });
    expect([year.now(), watched(year)]).toEqual([START_MS, ["jumped"]]);
    jump(-360 * DAY_MS);
    expect(year.now()).toBe(Date.now());
    // The machine's uptime is not faked and keeps running.
    expect(clock.now() - START_MS).toBeLessThan(MINUTE_MS);
  });

  it("goes back at once when a wrong start time is corrected, but not before the newest record", () => {
    jump(20 * DAY_MS);
    const clock = new TrustedClock({ lastMs: START_MS });
    const news = watched(clock);
    pass(MINUTE_MS);
    jump(-20 * DAY_MS);
    expect(clock.now()).toBe(START_MS + MINUTE_MS);
    expect(clock.saved.steps).toEqual([]);
    jump(-20 * DAY_MS);
    expect(clock.now()).toBe(START_MS + MINUTE_MS);
    expect(news).toEqual(["jumped"]);
  });

  it("goes back with the system clock at startup", () => {
    jump(-100 * DAY_MS);
    expect(new TrustedClock({ lastMs: START_MS }).now()).toBe(Date.now());
  });
});

describe("the age", () => {
  const AGE_MS = 30 * DAY_MS;

  it("is that of the timestamps if the clock is right, also across two days of downtime", () => {
    let clock = new TrustedClock();
    for (let day = 0; day < 40; day += 4) {
      pass(2 * DAY_MS);
      expect(clock.agedBefore(AGE_MS)).toBe(Date.now() - AGE_MS);
      const { saved } = clock;
      pass(2 * DAY_MS);
      clock = new TrustedClock(saved);
    }
    expect(clock.agedBefore(AGE_MS)).toBe(START_MS + 40 * DAY_MS - AGE_MS);
  });

  it("does not grow by a jump, confirmed or not, and everything expires eventually", () => {
    const clock = new TrustedClock();
    const stamps = [clock.now()];
    jump(365 * DAY_MS);
    stamps.push(clock.now());
    pass(10 * MINUTE_MS);
    stamps.push(clock.now());
    pass(AGE_MS - 20 * MINUTE_MS);
    expect(Math.min(...stamps)).toBeGreaterThan(clock.agedBefore(AGE_MS));
    pass(20 * MINUTE_MS);
    expect(stamps[0]).toBeLessThanOrEqual(clock.agedBefore(AGE_MS));
    pass(HOUR_MS);
    expect(Math.max(...stamps)).toBeLessThan(clock.agedBefore(AGE_MS));
  });

  it("never exceeds the time that passed, for any clock changes and restarts", () => {
    const steps = fc.oneof(
      fc.integer({ min: -30 * 60, max: 30 * 60 }),
      fc.integer({ min: -60 * 24 * 800, max: 60 * 24 * 800 }),
    );
    const event = fc.record({
      kind: fc.constantFrom("pass", "jump", "right", "restart"),
      minutes: fc.oneof(fc.nat(30), fc.nat(60 * 24 * 40)),
      step: steps,
    });
    fc.assert(
      fc.property(fc.array(event, { maxLength: 30 }), (events) => {
        vi.setSystemTime(START_MS);
        let clock = new TrustedClock();
        const records: { stampMs: number; realMs: number }[] = [];
        let realMs = 0;
        let uncountedMs = 0;
        const elapse = (ms: number): void => {
          pass(ms);
          realMs += ms;
        };
        for (const { kind, minutes, step } of events) {
          if (kind === "pass") elapse(minutes * MINUTE_MS);
          else if (kind === "jump") jump(step * MINUTE_MS);
          else if (kind === "right") vi.setSystemTime(START_MS + realMs);
          else {
            const { saved } = clock;
            elapse(minutes * MINUTE_MS);
            if (minutes % 2 === 0) jump(step * MINUTE_MS);
            clock = new TrustedClock(saved);
            uncountedMs += COUNTED_MS;
          }
          records.push({ stampMs: clock.now(), realMs });
          for (const ageMs of [HOUR_MS, AGE_MS]) {
            const before = clock.agedBefore(ageMs);
            for (const record of records) {
              const passedMs = realMs - record.realMs;
              // A drift of less than a minute is not a step.
              const slackMs = uncountedMs + events.length * MINUTE_MS;
              if (passedMs + slackMs < ageMs) expect(record.stampMs).toBeGreaterThanOrEqual(before);
            }
          }
        }
      }),
      { numRuns: 300 },
    );
  });

  it("persists across processes", () => {
    const clock = new TrustedClock();
    const stamp = clock.now();
    jump(365 * DAY_MS);
    clock.now();
    pass(HOUR_MS);
    const next = restarted(clock);
    expect(next.now()).toBe(Date.now());
    expect(next.agedBefore(AGE_MS)).toBeLessThan(stamp);
    expect(parseSavedClock("{}")).toBeUndefined();
    expect(parseSavedClock("no JSON")).toBeUndefined();
    expect(parseSavedClock(undefined)).toBeUndefined();
  });

  it("stores a bounded number of jumps", () => {
    const clock = new TrustedClock();
    const stamp = clock.now();
    for (let count = 0; count < 100; count++) {
      jump(2 * HOUR_MS);
      clock.now();
      pass(11 * MINUTE_MS);
      clock.now();
    }
    expect(clock.saved.steps.length).toBeLessThanOrEqual(32);
    expect(clock.agedBefore(DAY_MS)).toBeLessThan(stamp);
    pass(DAY_MS);
    expect(clock.agedBefore(DAY_MS)).toBeGreaterThan(stamp);
  });
});
