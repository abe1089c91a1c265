import {
  closeSync,
  constants,
  fsyncSync,
  openSync,
  readFileSync,
  renameSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { syncDirectory } from "./own-file.ts";

const MARK_FILE = "journal.mark";

/** So many numbers are given out before the mark has to be moved again. */
const NUMBERS_AHEAD = 1 << 20;

const FLAGS = constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC | constants.O_NOFOLLOW;

/**
 * A number that no sequence is beyond, in a file of its own: where the journal's file is lost or destroyed, a new one
 * goes on behind it, because files and viewers take records with numbers that they have for known.
 */
export class NumberMark {
  readonly #directory: string;
  #number: number;

  constructor(directory: string) {
    this.#directory = directory;
    this.#number = markIn(directory);
  }

  /** 0 where there has been no journal. */
  get number(): number {
    return this.#number;
  }

  /** Sees to it that numbers up to this one may be given out. Throws where that cannot be made sure. */
  cover(newest: number): void {
    if (newest > this.#number) this.set(newest + NUMBERS_AHEAD);
  }

  set(number: number): void {
    const path = join(this.#directory, MARK_FILE);
    const draft = `${path}.new`;
    const file = openSync(draft, FLAGS, 0o600);
    try {
      writeSync(file, `${number}\n`);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    renameSync(draft, path);
    syncDirectory(this.#directory);
    this.#number = number;
  }
}

function markIn(directory: string): number {
  try {
    const number = Number(readFileSync(join(directory, MARK_FILE), "latin1"));
    return Number.isSafeInteger(number) && number > 0 ? number : 0;
  } catch {
    return 0;
  }
}
