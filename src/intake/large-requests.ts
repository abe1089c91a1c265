import type { Steps } from "../otlp/request-limits.ts";
import { nextTurn } from "../runtime/timers.ts";

/** How long one turn of the event loop may work on a request, in ms, before others have theirs. */
const TURN_MS = 8;

/**
 * Requests that are too large for one turn of the event loop: they are worked on one after the other, each in many
 * turns, so that they hold up nobody else, and only one of them takes more memory than it has bytes.
 */
export class LargeRequests {
  #bytes = 0;
  #last: Promise<unknown> = Promise.resolve();
  readonly #checkRunning: () => void;

  /** `checkRunning` throws when requests are not to be worked on any more. */
  constructor(checkRunning: () => void) {
    this.#checkRunning = checkRunning;
  }

  /** What the requests hold that are not done yet. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Does the work when all requests before it are done. */
  async add<Result>(bytes: number, work: () => Promise<Result>): Promise<Result> {
    this.#bytes += bytes;
    const result = this.#last.then(work);
    this.#last = result.catch(() => {});
    try {
      return await result;
    } finally {
      this.#bytes -= bytes;
    }
  }

  async inTurns<Result>(steps: Steps<Result>): Promise<Result> {
    let turnEndsAtMs = performance.now() + TURN_MS;
    for (;;) {
      const step = steps.next();
      if (step.done === true) return step.value;
      if (performance.now() < turnEndsAtMs) continue;
      await nextTurn();
      this.#checkRunning();
      turnEndsAtMs = performance.now() + TURN_MS;
    }
  }
}
