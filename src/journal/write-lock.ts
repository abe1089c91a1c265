import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { FileIdentity } from "./file-identity.ts";
import { makeOwnFile } from "./own-file.ts";

const LOCK_FILE = "journal.lock";

/**
 * One writer for a log directory: SQLite's lock on an empty file of its own, so that it holds whatever becomes of the
 * journal's file, and a process that dies leaves none behind. Nobody else may open that file: the system lets all locks
 * of a process on a file go when any of its descriptors for it is closed (https://www.sqlite.org/howtocorrupt.html, 2.2).
 */
export class WriteLock {
  readonly #db: DatabaseSync;
  readonly #file: FileIdentity;

  /** Throws SQLITE_BUSY where another one has it. */
  constructor(directory: string) {
    const path = join(directory, LOCK_FILE);
    makeOwnFile(path);
    this.#db = new DatabaseSync(path);
    try {
      // Without a file for a transaction that is never to end.
      this.#db.exec("PRAGMA journal_mode = MEMORY");
      this.#db.exec("BEGIN EXCLUSIVE");
      this.#file = new FileIdentity(path);
    } catch (error) {
      this.#db.close();
      throw error;
    }
  }

  /** False if its file was deleted or moved away: another gateway could take the directory. */
  get isInPlace(): boolean {
    return this.#file.isInPlace;
  }

  release(): void {
    this.#db.close();
  }
}
