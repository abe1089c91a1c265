import { once } from "node:events";
import type { TailgateError } from "../../wire/errors.ts";
import { outputFailed } from "../output.ts";

/** Writes what was read to stdout, byte for byte. */
export class PassThrough {
  readonly #readerGone: () => void;
  #isBroken = false;
  /** Why stdout could not be written, unless its reader has gone. */
  failure: TailgateError | undefined;

  /** `readerGone` is called when nobody reads stdout any more, as in `| head`. */
  constructor(readerGone: () => void) {
    this.#readerGone = readerGone;
    // Instead of the handler that exits at once.
    process.stdout.removeAllListeners("error");
    process.stdout.on("error", (error) => this.#fail(error));
  }

  /** Whether nothing can be written any more. */
  get isBroken(): boolean {
    return this.#isBroken;
  }

  /** Resolves when further bytes may be written, or when `ended` does. */
  async write(bytes: Uint8Array, ended: Promise<void>): Promise<void> {
    if (this.#isBroken) return;
    try {
      if (process.stdout.write(bytes)) return;
      await Promise.race([once(process.stdout, "drain"), ended]);
    } catch (error) {
      this.#fail(error as NodeJS.ErrnoException);
    }
  }

  /** Resolves when everything has been written. */
  async flush(): Promise<void> {
    if (this.#isBroken) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    process.stdout.write("", () => resolve());
    await promise;
  }

  #fail(error: NodeJS.ErrnoException): void {
    if (this.#isBroken) return;
    this.#isBroken = true;
    if (error.code === "EPIPE") this.#readerGone();
    else this.failure = outputFailed(error);
  }
}
