import { getEventListeners } from "node:events";
import { describe, expect, test } from "vitest";
import { withSignals } from "../src/runtime/timers.ts";

function until(signal: AbortSignal): Promise<unknown> {
  return new Promise((resolve) => {
    signal.addEventListener("abort", () => resolve(signal.reason), { once: true });
    if (signal.aborted) resolve(signal.reason);
  });
}

describe("combined abort signals", () => {
  test("leave no listeners behind, however often they are used and however they end", async () => {
    const [first, second] = [new AbortController(), new AbortController()];
    const signals = [first.signal, second.signal];
    for (let round = 0; round < 100; round++) {
      expect(await withSignals(signals, async () => round, 10_000)).toBe(round);
      const broken = withSignals(signals, async () => Promise.reject(new Error("broken")));
      await expect(broken).rejects.toThrow("broken");
    }
    expect(signals.map((signal) => getEventListeners(signal, "abort").length)).toEqual([0, 0]);
    expect(
      process.getActiveResourcesInfo().filter((name) => name === "Timeout").length,
    ).toBeLessThan(10);
  });

  test("abort with the reason of the first to abort, including one already aborted", async () => {
    for (const index of [0, 1]) {
      const controllers = [new AbortController(), new AbortController()];
      const signals = controllers.map(({ signal }) => signal);
      const reason = withSignals(signals, until);
      controllers[index]!.abort(`reason ${index}`);
      expect(await reason).toBe(`reason ${index}`);
      expect(await withSignals(signals, until)).toBe(`reason ${index}`);
    }
  });

  test("abort at the timeout", async () => {
    const { signal } = new AbortController();
    expect(await withSignals([signal], until, 1)).toMatchObject({ name: "TimeoutError" });
  });
});
