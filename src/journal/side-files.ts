/** The small files beside the database: its lock, its high-water mark and its disk reserve. */

import {
  closeSync,
  constants,
  existsSync,
  fdatasyncSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statfsSync,
  statSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { crc32 } from "node:zlib";
import { overwriteFile } from "../runtime/log-dir.ts";
import { createPrivateFile, FileIdentity, syncDirectory } from "../runtime/private-file.ts";
import type { ChainState } from "./journal.ts";

const LOCK_FILE = "journal.lock";
const MARK_FILE = "journal.mark";
const RESERVE_FILE = "journal.reserve";

const NOTE_FLAGS = constants.O_WRONLY | constants.O_NOFOLLOW;

/**
 * Makes sure that a log directory has one writer. It is SQLite's lock on an empty file of its own, so it holds whatever
 * happens to the database file, and a process that dies leaves no lock behind. Nothing else may open that file: POSIX
 * releases all locks of a process on a file when any of its descriptors is closed
 * (https://www.sqlite.org/howtocorrupt.html, section 2.2).
 */
export class WriteLock {
  readonly #db: DatabaseSync;
  readonly #file: FileIdentity;

  /** Throws SQLITE_BUSY if another process holds the lock. */
  constructor(directory: string) {
    const path = join(directory, LOCK_FILE);
    createPrivateFile(path);
    this.#db = new DatabaseSync(path);
    try {
      // The transaction never ends: it needs no rollback file.
      this.#db.exec("PRAGMA journal_mode = MEMORY");
      this.#db.exec("BEGIN EXCLUSIVE");
      this.#file = new FileIdentity(path);
    } catch (error) {
      this.#db.close();
      throw error;
    }
  }

  /** False if the file was deleted or moved away: another gateway could then use the directory. */
  get isInPlace(): boolean {
    return this.#file.isInPlace;
  }

  release(): void {
    this.#db.close();
  }
}

/** This many sequence numbers may be handed out before the mark has to be raised again. */
const SEQUENCES_AHEAD = 1 << 20;

/** A note has a fixed size, so that the next one overwrites it; the whole file fits into one sector. */
const NOTE_BYTES = 256;

/** The state of the journal after a durable commit. */
export interface CommitNote {
  readonly newest: number;
  readonly chain: ChainState;
  /** The first salt of the write-ahead log that held the commit; 0 if unknown. */
  readonly salt: number;
}

/**
 * What is known about the journal without its database, in `journal.mark`. The first line is a number that no sequence
 * exceeds: if the database is lost, a new one continues after it, because files and clients have records with the
 * numbers below. The second line is a note of the last durable commit, with a checksum. It is overwritten after each
 * commit and not synced: what it says is true, but after a power failure it can be out of date.
 */
export class HighWaterMark {
  readonly #directory: string;
  /** 0 if there has been no journal, or if the mark is lost. */
  value: number;
  /** Undefined if nothing was noted, or if the note is damaged. */
  lastNote: CommitNote | undefined;
  /** Whether there was no such file. */
  readonly isMissing: boolean;
  /** Open once a note was written. */
  #file: number | undefined;

  constructor(directory: string) {
    this.#directory = directory;
    this.isMissing = !existsSync(join(directory, MARK_FILE));
    const { value, note } = readMark(directory);
    this.value = value;
    this.lastNote = note;
  }

  /** Raises the mark so that sequences up to `newest` may be handed out. Throws if that cannot be made durable. */
  cover(newest: number): void {
    if (newest > this.value) this.set(newest + SEQUENCES_AHEAD);
  }

  /**
   * Prepares for the first commit to a log that SQLite has restarted: makes durable that no log is known, and covers
   * the next sequence. Otherwise a power failure could leave the salt of a log that is gone.
   */
  begin(newest: number, chain: ChainState): void {
    this.lastNote = { newest, chain, salt: 0 };
    this.set(newest < this.value ? this.value : newest + 1 + SEQUENCES_AHEAD);
  }

  set(value: number): void {
    const path = join(this.#directory, MARK_FILE);
    const draft = `${path}.new`;
    const note = this.lastNote === undefined ? "" : noteLine(value, this.lastNote);
    overwriteFile(draft, `${value}\n${note}`, true);
    renameSync(draft, path);
    syncDirectory(this.#directory);
    this.value = value;
    this.close();
  }

  /** Notes a durable commit. Never throws: a note that is out of date is still true. */
  write(note: CommitNote): void {
    this.lastNote = note;
    if (this.value === 0) return;
    try {
      this.#file ??= openSync(join(this.#directory, MARK_FILE), NOTE_FLAGS);
      writeSync(this.#file, noteLine(this.value, note), `${this.value}\n`.length);
    } catch {
      this.close();
    }
  }

  /** Makes the last note durable if possible. */
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

function noteLine(value: number, { newest, chain, salt }: CommitNote): string {
  const { count, seq, head } = chain;
  const text = JSON.stringify({ number: value, newest, count, seq, head, salt });
  return `${`${text} ${crc32(text)}`.padEnd(NOTE_BYTES - 1)}\n`;
}

/** The note repeats the first line, and unlike it has a checksum. */
function readMark(directory: string): { value: number; note?: CommitNote } {
  try {
    const [first, second = ""] = readFileSync(join(directory, MARK_FILE), "latin1").split("\n");
    return parseNote(second) ?? { value: parseValue(first!) };
  } catch {
    return { value: 0 };
  }
}

function parseNote(line: string): { value: number; note: CommitNote } | undefined {
  const [, text = "", crc] = /^(\{.*\}) (\d+) *$/.exec(line) ?? [];
  if (crc === undefined || crc32(text) !== Number(crc)) return undefined;
  const { number, newest, count, seq, head, salt } = JSON.parse(text) as {
    number: number;
    newest: number;
    salt: number;
  } & ChainState;
  return { value: number, note: { newest, chain: { count, seq, head }, salt } };
}

function parseValue(text: string): number {
  const value = Number(text);
  return Number.isSafeInteger(value) && value > 0 ? value : 0;
}

/** Enough for what may be in the write-ahead log, and for the pages that retention and cursors change. */
const RESERVE_BYTES = 6 << 20;

/** A small journal on a small disk must not lose most of the disk to the reserve. */
const DISK_SHARE_MAX = 1 / 16;

/** Disk space that is set aside, to be released when the disk is full. */
export class DiskReserve {
  readonly #directory: string;
  readonly #path: string;
  /** The size of the reserve when it is held. */
  readonly bytes: number;

  constructor(directory: string) {
    const { blocks, bsize } = statfsSync(directory);
    this.#directory = directory;
    this.#path = join(directory, RESERVE_FILE);
    this.bytes = Math.min(RESERVE_BYTES, Math.floor(blocks * bsize * DISK_SHARE_MAX));
  }

  /** The free space of the disk, without the reserve. */
  get availableBytes(): number {
    const { bavail, bsize } = statfsSync(this.#directory);
    return bavail * bsize;
  }

  get isHeld(): boolean {
    return (statSync(this.#path, { throwIfNoEntry: false })?.size ?? 0) >= this.bytes;
  }

  /** Takes the space if it is not held yet and the disk has enough. */
  hold(): void {
    if (this.isHeld || this.availableBytes < 2 * this.bytes) return;
    try {
      overwriteFile(this.#path, new Uint8Array(this.bytes), true);
    } catch {
      this.release();
    }
  }

  release(): void {
    rmSync(this.#path, { force: true });
  }
}
