import { statSync } from "node:fs";

/**
 * Tells whether a file that is open is still the one of its name. SQLite does not notice when its file is deleted or
 * moved away, and what it writes then is lost with the process.
 */
export class FileIdentity {
  readonly #path: string;
  readonly #device: number;
  readonly #inode: number;

  /** The file is there. */
  constructor(path: string) {
    const { dev, ino } = statSync(path);
    this.#path = path;
    this.#device = dev;
    this.#inode = ino;
  }

  /** Costs a system call. */
  get isInPlace(): boolean {
    try {
      const found = statSync(this.#path, { throwIfNoEntry: false });
      return found?.ino === this.#inode && found.dev === this.#device;
    } catch {
      return false;
    }
  }
}
