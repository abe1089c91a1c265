import { CatchUp, PAGE_RECORDS, stretchOf, type Course } from "./catch-up.ts";
import {
  HistoryError,
  type HistoryPage,
  type HistoryQuery,
  type LogHistory,
} from "./log-history.ts";
import { isHidden } from "./page-life.ts";
import type { Surroundings } from "./session.ts";

/** How often the gateway is asked where its requests do not wait. */
const INTERVAL_MS = 1_000;

/** Requests follow one another no faster: what comes meanwhile comes together. */
const PACE_MS = 100;

/** Proxies cut a request that is not answered, as a rule not before 30 s. */
const WAIT_SECONDS = 20;
const WAIT_SECONDS_MIN = 1;

/**
 * Records over plain requests, where no WebSocket opens. It shares the stream's position, so that a WebSocket goes on
 * where it has come to, and the other way round. At the newest end one request waits in the gateway for what comes.
 * It asks in intervals where that is not possible: with an older gateway, where something on the way lets no request
 * wait, and on a page that nobody sees, as a browser has only six connections to a host for all of its pages.
 */
export class Poller {
  readonly #history: LogHistory;
  readonly #surroundings: Surroundings;
  readonly #ended = new AbortController();
  /** Aborted when what is waited for is of no use any more. */
  #waiting = new AbortController();
  #waitSeconds = WAIT_SECONDS;

  constructor(history: LogHistory, surroundings: Surroundings) {
    this.#history = history;
    this.#surroundings = surroundings;
  }

  /** Asks again and again until its end; resolves with what keeps it from going on, in words. */
  async run(): Promise<string> {
    this.#surroundings.filters.disconnect();
    const catchUp = new CatchUp(this.#history, this.#surroundings, this.#ended.signal);
    try {
      for (;;) {
        const course = await catchUp.run();
        if (course && this.#canWait) await this.#follow(course);
        else await this.#pause(INTERVAL_MS);
      }
    } catch (error) {
      return error instanceof Error ? error.message : String(error);
    }
  }

  /** Does not wait any longer: another filter is wanted, or the network may be another one. */
  askAgain(): void {
    this.#waiting.abort();
    this.#waiting = new AbortController();
  }

  end(): void {
    this.#ended.abort();
    this.#waiting.abort();
  }

  get #canWait(): boolean {
    return this.#waitSeconds >= WAIT_SECONDS_MIN && !isHidden();
  }

  /** Lets one request after the other wait for what comes, as long as all is as it was. */
  async #follow({ filter, version, epoch }: Course): Promise<void> {
    const { position, filters, tell } = this.#surroundings;
    while (this.#canWait && filters.wanted.version === version) {
      const startMs = performance.now();
      const { sequence } = position.resume!;
      const page = await this.#waitingPage({ filter, epoch, from: sequence + 1 });
      if (page?.epoch !== epoch) return;
      tell(position.takePage(stretchOf(page, sequence)));
      if (page.nextCursor === null) this.#waitSeconds = 0;
      if (page.entries.length === PAGE_RECORDS) continue;
      // A gateway with which too many wait, or that stops, answers at once.
      const hasMoved = position.resume!.sequence > sequence;
      await this.#pause(startMs + (hasMoved ? PACE_MS : INTERVAL_MS) - performance.now());
    }
  }

  /** Undefined where it was not waited for any longer, or has failed: so long a request may not get through. */
  async #waitingPage(query: HistoryQuery): Promise<HistoryPage | undefined> {
    const { signal } = this.#waiting;
    const waitSeconds = this.#waitSeconds;
    try {
      const asked = { ...query, order: "asc", limit: PAGE_RECORDS, waitSeconds, signal } as const;
      const page = await this.#history.page(asked);
      signal.throwIfAborted();
      return page;
    } catch (error) {
      this.#ended.signal.throwIfAborted();
      if (!signal.aborted) this.#waitSeconds = isOlderGateway(error) ? 0 : waitSeconds / 2;
      return undefined;
    }
  }

  /** Also over when nothing is waited for any more. */
  async #pause(delayMs: number): Promise<void> {
    const { signal } = this.#waiting;
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, Math.max(0, delayMs));
    const giveUp = (): void => resolve();
    signal.addEventListener("abort", giveUp);
    await promise;
    clearTimeout(timer);
    signal.removeEventListener("abort", giveUp);
    this.#ended.signal.throwIfAborted();
  }
}

/** It does not know that requests can wait. */
function isOlderGateway(error: unknown): boolean {
  return error instanceof HistoryError && error.code === "PARAMETER_INVALID";
}
