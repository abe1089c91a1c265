import type { ServerResponse } from "node:http";
import type { WatchedJournal } from "../../journal/journal.ts";
import type { Access } from "../../plugin/index.ts";
import { clearTimeout, setTimeout } from "../../runtime/timers.ts";
import { counter, gauge, type Metric } from "../metrics/metric.ts";

/** The waiting time of one request. */
export interface LongPoll {
  /** Aborts when the time is over, the client leaves, or its access ends. */
  readonly signal: AbortSignal;
  /** Resolves with true when the journal has grown, and with false when the request has to be answered. */
  forRecords(): Promise<boolean>;
}

/** How many requests may wait; more are answered at once with what there is. */
const WAITING_MAX = 100;

/** Requests that wait for the journal to grow. */
export class LongPolling {
  readonly metrics: readonly Metric[] = [
    gauge("tailgate_http_waiting", "Requests waiting for new records.", () => this.#waiting.size),
    counter(
      "tailgate_http_waiting_refused",
      "Requests answered at once because too many were waiting.",
      () => this.#rejected,
    ),
  ];
  readonly #waiting = new Set<(hasGrown: boolean) => void>();
  readonly #unwatch: () => void;
  #rejected = 0;
  #isClosed = false;

  constructor(journal: WatchedJournal) {
    this.#unwatch = journal.watch(() => this.#releaseAll(true));
  }

  /** Starts the waiting time of a request, which ends early with the client's access. */
  start(waitMs: number, response: ServerResponse, { signal }: Access): LongPoll {
    const ended = new AbortController();
    const end = (): void => ended.abort();
    if (waitMs === 0 || signal?.aborted) end();
    const timer = setTimeout(end, waitMs);
    signal?.addEventListener("abort", end);
    // Emitted after every response, and when the client leaves.
    response.once("close", () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", end);
      end();
    });
    return { signal: ended.signal, forRecords: () => this.#waitForGrowth(ended.signal) };
  }

  async #waitForGrowth(signal: AbortSignal): Promise<boolean> {
    if (this.#isClosed || signal.aborted) return false;
    if (this.#waiting.size >= WAITING_MAX) {
      this.#rejected++;
      return false;
    }
    const { promise, resolve } = Promise.withResolvers<boolean>();
    const abort = (): void => resolve(false);
    this.#waiting.add(resolve);
    signal.addEventListener("abort", abort);
    const hasGrown = await promise;
    signal.removeEventListener("abort", abort);
    this.#waiting.delete(resolve);
    return hasGrown;
  }

  #releaseAll(hasGrown: boolean): void {
    for (const resolve of this.#waiting) resolve(hasGrown);
  }

  /** True if the gateway is stopping. */
  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Releases all waiting requests; no other will wait. */
  close(): void {
    this.#isClosed = true;
    this.#unwatch();
    this.#releaseAll(false);
  }
}
