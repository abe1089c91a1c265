import {
  closeSync,
  constants,
  fdatasyncSync,
  fsyncSync,
  openSync,
  readFileSync,
  renameSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { crc32 } from "node:zlib";
import type { ChainState } from "./journal.ts";
import { syncDirectory } from "./own-file.ts";

const MARK_FILE = "journal.mark";

/** So many numbers are given out before the mark has to be moved again. */
const NUMBERS_AHEAD = 1 << 20;

const DRAFT_FLAGS =
  constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC | constants.O_NOFOLLOW;
const NOTE_FLAGS = constants.O_WRONLY | constants.O_NOFOLLOW;

/** A note has a fixed size, so that the next one covers it; the whole file fits into one sector. */
const NOTE_BYTES = 256;

/** How the journal stood after a commit that was durable. */
export interface Note {
  readonly newest: number;
  readonly chain: ChainState;
  /** The first salt of the write-ahead log that had the commit; 0 if unknown. */
  readonly salt: number;
}

/**
 * What is known of the journal without its database, in a file of its own (`journal.mark`). The first line is a number
 * that no sequence exceeds: if the database is lost, a new one continues after it, because files and clients have
 * records with the numbers below. The second line is a note of the last durable commit, with a checksum. It is written
 * in place after each commit and not synced: what it says is true, but after a power failure it can be out of date.
 */
export class NumberMark {
  readonly #directory: string;
  #number: number;
  #note: Note | undefined;
  /** Open for notes once one was written. */
  #file: number | undefined;

  constructor(directory: string) {
    this.#directory = directory;
    const { number, note } = markIn(directory);
    this.#number = number;
    this.#note = note;
  }

  /** 0 if there has been no journal, or if the mark is lost. */
  get number(): number {
    return this.#number;
  }

  /** Undefined if nothing was noted, or if the note is damaged. */
  get lastNote(): Note | undefined {
    return this.#note;
  }

  /** Sees to it that numbers up to this one may be given out. Throws where that cannot be made sure. */
  cover(newest: number): void {
    if (newest > this.#number) this.set(newest + NUMBERS_AHEAD);
  }

  /**
   * Before the first commit to a log that SQLite has begun anew: makes durable that no log is known, and covers the
   * next number. Else a power failure could leave the salt of a log that is gone.
   */
  begin(newest: number, chain: ChainState): void {
    this.#note = { newest, chain, salt: 0 };
    this.set(newest < this.#number ? this.#number : newest + 1 + NUMBERS_AHEAD);
  }

  set(number: number): void {
    const path = join(this.#directory, MARK_FILE);
    const draft = `${path}.new`;
    const file = openSync(draft, DRAFT_FLAGS, 0o600);
    try {
      writeSync(file, `${number}\n${this.#note === undefined ? "" : noteLine(number, this.#note)}`);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    renameSync(draft, path);
    syncDirectory(this.#directory);
    this.#number = number;
    this.close();
  }

  /** Notes a commit that is durable. Never throws: a note that is out of date is still true. */
  write(note: Note): void {
    this.#note = note;
    if (this.#number === 0) return;
    try {
      this.#file ??= openSync(join(this.#directory, MARK_FILE), NOTE_FLAGS);
      writeSync(this.#file, noteLine(this.#number, note), `${this.#number}\n`.length);
    } catch {
      this.close();
    }
  }

  /** Makes the last note durable, if it can. */
  sync(): void {
    if (this.#file === undefined) return;
    try {
      fdatasyncSync(this.#file);
    } catch {
      this.close();
    }
  }

  close(): void {
    if (this.#file !== undefined) closeSync(this.#file);
    this.#file = undefined;
  }
}

function noteLine(number: number, { newest, chain, salt }: Note): string {
  const { count, seq, head } = chain;
  const text = JSON.stringify({ number, newest, count, seq, head, salt });
  return `${`${text} ${crc32(text)}`.padEnd(NOTE_BYTES - 1)}\n`;
}

interface Mark {
  readonly number: number;
  readonly note: Note | undefined;
}

/** The note has a checksum: it also says which number the first line should have. */
function markIn(directory: string): Mark {
  try {
    const [first, second = ""] = readFileSync(join(directory, MARK_FILE), "latin1").split("\n");
    return parsedNote(second) ?? { number: numberOf(first!), note: undefined };
  } catch {
    return { number: 0, note: undefined };
  }
}

function parsedNote(line: string): Mark | undefined {
  const [, text = "", crc] = /^(\{.*\}) (\d+) *$/.exec(line) ?? [];
  if (crc === undefined || crc32(text) !== Number(crc)) return undefined;
  const { number, newest, count, seq, head, salt } = JSON.parse(text) as {
    number: number;
    newest: number;
    salt: number;
  } & ChainState;
  return { number, note: { newest, chain: { count, seq, head }, salt } };
}

function numberOf(text: string): number {
  const number = Number(text);
  return Number.isSafeInteger(number) && number > 0 ? number : 0;
}
