import { setImmediate } from "node:timers";

/** Counts what is being worked on, so that a server can finish it before it stops. */
export class InFlight {
  #count = 0;
  /** Resolved when nothing is in flight any more, once somebody waits for it. */
  #idle: PromiseWithResolvers<void> | undefined;

  /** True as soon as somebody waits for the end. */
  get isEnding(): boolean {
    return this.#idle !== undefined;
  }

  begin(): void {
    this.#count++;
  }

  end(): void {
    if (--this.#count === 0) this.#idle?.resolve();
  }

  /** Resolves when nothing is in flight any more, at the latest when the signal aborts. */
  async ended(signal: AbortSignal): Promise<void> {
    this.#idle = Promise.withResolvers();
    if (this.#count === 0 || signal.aborted) this.#idle.resolve();
    signal.addEventListener("abort", () => this.#idle?.resolve(), { once: true });
    await this.#idle.promise;
    // Answers that were ended just now are still on their way.
    await new Promise(setImmediate);
  }
}
