/** Files that only this user can read, such as databases. */

import { closeSync, constants, fsyncSync, lstatSync, openSync, statSync } from "node:fs";
import { dirname } from "node:path";

const CREATE_FLAGS = constants.O_RDWR | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;

/**
 * Creates an empty file with mode 0600 unless there is one, which is not opened: closing it would release the locks
 * that this process has on it (https://www.sqlite.org/howtocorrupt.html, section 2.2). Throws if a link
 * or anything else that is not a regular file is in its place.
 */
export function createPrivateFile(path: string): void {
  try {
    closeSync(openSync(path, CREATE_FLAGS, 0o600));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    if (!lstatSync(path).isFile())
      throw new Error(`${path} is not a regular file`, { cause: error });
    return;
  }
  // Its name must survive a power failure as surely as its content, and so must that of a new directory.
  syncDirectory(dirname(path));
  syncDirectory(dirname(dirname(path)));
}

/** A parent directory that we may not read is older than this process, and need not be synced. */
export function syncDirectory(path: string): void {
  let directory: number;
  try {
    directory = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY);
  } catch {
    return;
  }
  try {
    fsyncSync(directory);
  } finally {
    closeSync(directory);
  }
}

/** Returns the path under which a damaged file is kept. */
export function asidePath(path: string): string {
  return `${path}.damaged-${new Date().toISOString().replaceAll(/[-:.]/g, "")}`;
}

/** Inodes are larger than safe integers on some file systems. */
const FINGERPRINTS = 2 ** 31;

/**
 * Tells whether an open file is still the one at its path. SQLite does not notice when its file is deleted or moved
 * away, and what it writes then is lost with the process.
 */
export class FileIdentity {
  readonly #path: string;
  readonly #device: number;
  readonly #inode: number;

  /** The file must exist. */
  constructor(path: string) {
    const { dev, ino } = statSync(path);
    this.#path = path;
    this.#device = dev;
    this.#inode = ino;
  }

  /** A number other than 0 and 1 that a copy of the file is unlikely to have. */
  get fingerprint(): number {
    return 2 + (this.#inode % FINGERPRINTS);
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
