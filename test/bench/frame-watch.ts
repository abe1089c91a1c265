import type { Page } from "puppeteer-core";

/** How a page rendered for a while. */
export interface FrameReport {
  /** The intervals between frames, in milliseconds. */
  readonly frames: readonly number[];
  /** 0 if none was over 50 ms, the threshold at which browsers report them. */
  readonly longestTaskMs: number;
  /** The maximum heap in use, including garbage, sampled each second. */
  readonly heapBytesMax: number;
}

type Watched = typeof globalThis & {
  watched?: { frames: number[]; longestTaskMs: number; isOver: boolean };
};

const HEAP_EVERY_MS = 1000;

/** Watches a page from inside, except for its heap. */
export class FrameWatch {
  readonly #page: Page;
  readonly #timer: NodeJS.Timeout;
  #heapBytesMax = 0;

  private constructor(page: Page) {
    this.#page = page;
    this.#timer = setInterval(() => void this.#lookAtHeap(), HEAP_EVERY_MS);
  }

  static async start(page: Page): Promise<FrameWatch> {
    await page.evaluate(() => {
      const watched = { frames: [] as number[], longestTaskMs: 0, isOver: false };
      (globalThis as Watched).watched = watched;
      let beforeMs = 0;
      const drawn = (nowMs: number): void => {
        if (beforeMs > 0) watched.frames.push(nowMs - beforeMs);
        beforeMs = nowMs;
        if (!watched.isOver) requestAnimationFrame(drawn);
      };
      requestAnimationFrame(drawn);
      new PerformanceObserver((list) => {
        for (const { duration } of list.getEntries()) {
          watched.longestTaskMs = Math.max(watched.longestTaskMs, duration);
        }
      }).observe({ type: "longtask" });
    });
    return new FrameWatch(page);
  }

  async #lookAtHeap(): Promise<void> {
    const { JSHeapUsedSize = 0 } = await this.#page.metrics();
    this.#heapBytesMax = Math.max(this.#heapBytesMax, JSHeapUsedSize);
  }

  async end(): Promise<FrameReport> {
    clearInterval(this.#timer);
    await this.#lookAtHeap();
    const { frames, longestTaskMs } = await this.#page.evaluate(() => {
      const watched = (globalThis as Watched).watched!;
      watched.isOver = true;
      return watched;
    });
    return { frames, longestTaskMs, heapBytesMax: this.#heapBytesMax };
  }
}
