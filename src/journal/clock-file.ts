import { constants, openSync, closeSync, readFileSync, renameSync, writeSync } from "node:fs";
import { join } from "node:path";
import { keptClockOf, type KeptClock, type TrustedClock } from "./trusted-clock.ts";

const CLOCK_FILE = "journal.clock";

const WRITE_MS = 60_000;

const FLAGS = constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC | constants.O_NOFOLLOW;

/**
 * Keeps the clock of a journal in memory from one process to the next, in `journal.clock`: the audit files stay, and
 * the times at which they were changed are the system clock's, which may have been wrong. Its life: `read`, then
 * `begin`, then `close`.
 */
export class ClockFile {
  readonly #path: string;
  #timer: NodeJS.Timeout | undefined;
  #clock: TrustedClock | undefined;

  constructor(directory: string) {
    this.#path = join(directory, CLOCK_FILE);
  }

  /** Undefined if there is none, or none that can be read. */
  read(): KeptClock | undefined {
    try {
      return keptClockOf(readFileSync(this.#path, "utf8"));
    } catch {
      return undefined;
    }
  }

  begin(clock: TrustedClock): void {
    this.#clock = clock;
    this.#write();
    this.#timer = setInterval(() => this.#write(), WRITE_MS).unref();
  }

  close(): void {
    clearInterval(this.#timer);
    this.#write();
  }

  /** A directory that cannot be written is told of by whoever writes records there. */
  #write(): void {
    if (this.#clock === undefined) return;
    try {
      const draft = `${this.#path}.new`;
      const file = openSync(draft, FLAGS, 0o600);
      try {
        writeSync(file, JSON.stringify(this.#clock.kept));
      } finally {
        closeSync(file);
      }
      renameSync(draft, this.#path);
    } catch {
      // The next one may succeed; until then the file is out of date, as after a crash.
    }
  }
}
