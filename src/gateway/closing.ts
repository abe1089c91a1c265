import type { HostLogger } from "../plugin/index.ts";
import { timeLimit } from "../runtime/timers.ts";
import { textOf } from "../wire/errors.ts";

/** Closes parts of the gateway within time limits. Failures are logged; nothing rejects. */
export class Closing {
  readonly #logger: (name: string) => HostLogger;

  /** `logger` returns the logger of a part. */
  constructor(logger: (name: string) => HostLogger) {
    this.#logger = logger;
  }

  /** Closes parts concurrently; one that fails or takes too long does not delay the others. */
  async closeAll<Part extends { id: string }>(
    kind: string,
    parts: readonly Part[],
    close: (part: Part, signal: AbortSignal) => Promise<void> | void,
    timeMsMax: number,
  ): Promise<void> {
    await Promise.all(
      parts.map((part) =>
        this.runStep(`${kind}.${part.id}`, (signal) => close(part, signal), timeMsMax),
      ),
    );
  }

  /** Runs one step. Logs a failure, and continues without the step after its time limit. */
  async runStep(
    name: string,
    close: (signal: AbortSignal) => Promise<void> | void,
    timeMsMax: number,
  ): Promise<void> {
    const log = this.#logger(name);
    const limit = timeLimit(timeMsMax);
    try {
      await Promise.race([close(limit.signal), limit.passed]);
      if (limit.signal.aborted) log.warning(textOf(limit.signal.reason));
    } catch (error) {
      log.error("Closing failed.", error);
    } finally {
      limit.clear();
    }
  }
}
