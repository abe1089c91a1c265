import type { ServerResponse } from "node:http";
import type { WatchedJournal } from "../../journal/journal.ts";
import { counter, gauge, type Metric } from "../metrics/metric.ts";
import { clearTimeout, setTimeout } from "../../runtime/timers.ts";

/** So many requests wait at once; one on top of them is answered at once, with what there is. */
const WAITING_MAX = 100;

/** Requests that stay open until the journal grows. */
export class WaitingRoom {
  readonly metrics: readonly Metric[] = [
    gauge(
      "tailgate_http_waiting",
      "Requests that wait for the journal to grow.",
      () => this.#waiting.size,
    ),
    counter(
      "tailgate_http_waiting_refused",
      "Requests that were answered at once because too many waited.",
      () => this.#refused,
    ),
  ];
  readonly #waiting = new Set<(hasGrown: boolean) => void>();
  readonly #unwatch: () => void;
  #refused = 0;
  #isClosed = false;

  constructor(journal: WatchedJournal) {
    this.#unwatch = journal.watch(() => this.#release(true));
  }

  /** For a request that may wait from now on for so long, as long as its client is there. */
  admit(waitMs: number, response: ServerResponse): Wait {
    return new Wait(waitMs, response, (signal) => this.#grown(signal));
  }

  async #grown(signal: AbortSignal): Promise<boolean> {
    if (this.#isClosed || signal.aborted) return false;
    if (this.#waiting.size >= WAITING_MAX) {
      this.#refused++;
      return false;
    }
    const { promise, resolve } = Promise.withResolvers<boolean>();
    const giveUp = (): void => resolve(false);
    this.#waiting.add(resolve);
    signal.addEventListener("abort", giveUp);
    const hasGrown = await promise;
    signal.removeEventListener("abort", giveUp);
    this.#waiting.delete(resolve);
    return hasGrown;
  }

  #release(hasGrown: boolean): void {
    for (const resolve of this.#waiting) resolve(hasGrown);
  }

  /** Lets all requests go, and holds no further one. */
  close(): void {
    this.#isClosed = true;
    this.#unwatch();
    this.#release(false);
  }
}

/** The time that one request has. */
export class Wait {
  readonly #over = new AbortController();
  readonly #grown: (signal: AbortSignal) => Promise<boolean>;

  constructor(
    waitMs: number,
    response: ServerResponse,
    grown: (signal: AbortSignal) => Promise<boolean>,
  ) {
    this.#grown = grown;
    if (waitMs === 0) this.#over.abort();
    const timer = setTimeout(() => this.#over.abort(), waitMs);
    // Comes behind each answer, and when the client leaves.
    response.once("close", () => {
      clearTimeout(timer);
      this.#over.abort();
    });
  }

  get isOver(): boolean {
    return this.#over.signal.aborted;
  }

  /** Resolves with true when the journal has grown, with false when the request is to be answered. */
  more(): Promise<boolean> {
    return this.#grown(this.#over.signal);
  }
}
