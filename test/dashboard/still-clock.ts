import type { Page } from "puppeteer-core";
import type { View } from "./browser.ts";

type Stilled = typeof globalThis & {
  stillClock?: { asked: Record<string, number>; advance(ms: number): void };
};

/** The page's clock, which only advances when a test says so. Short timers run as usual. */
export class StillClock {
  readonly #page: Page;

  private constructor(page: Page) {
    this.#page = page;
  }

  /** Reloads the page with this clock. */
  static async start(view: View): Promise<StillClock> {
    await view.page.evaluateOnNewDocument(stillTime);
    await view.reload();
    return new StillClock(view.page);
  }

  /** Advances the clock and runs the timers due within that time. */
  async advance(ms: number): Promise<void> {
    await this.#page.evaluate((passed) => (globalThis as Stilled).stillClock!.advance(passed), ms);
  }

  /** The number of requests to that path that the page has started. */
  asked(path: string): Promise<number> {
    return this.#page.evaluate(
      (wanted) => (globalThis as Stilled).stillClock!.asked[wanted] ?? 0,
      path,
    );
  }
}

/** Runs in the page before its own scripts. */
function stillTime(): void {
  const shortMs = 1000;
  let nowMs = 0;
  let lastId = 0;
  const timers = new Map<number, { dueMs: number; run: () => void }>();
  const asked: Record<string, number> = {};
  const { setTimeout: start, clearTimeout: stop, fetch: ask } = globalThis;
  performance.now = () => nowMs;
  Object.assign(globalThis, {
    setTimeout(run: () => void, delayMs = 0): number {
      if (delayMs < shortMs) return Number(start(run, delayMs));
      timers.set(--lastId, { dueMs: nowMs + delayMs, run });
      return lastId;
    },
    clearTimeout(id?: number): void {
      if (id === undefined || !timers.delete(id)) stop(id);
    },
    fetch(address: string, init?: RequestInit): Promise<Response> {
      const { pathname } = new URL(address, location.href);
      asked[pathname] = (asked[pathname] ?? 0) + 1;
      return ask(address, init);
    },
    stillClock: {
      asked,
      advance(ms: number): void {
        nowMs += ms;
        for (const [id, { dueMs, run }] of timers) {
          if (dueMs <= nowMs && timers.delete(id)) run();
        }
      },
    },
  });
}
