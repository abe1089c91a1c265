/** Reads SQLite's write-ahead log before SQLite does (https://www.sqlite.org/fileformat2.html#walformat). */

import {
  closeSync,
  constants,
  copyFileSync,
  lstatSync,
  openSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
} from "node:fs";
import { endianness } from "node:os";
import { asidePath } from "../runtime/private-file.ts";

const HEADER_BYTES = 32;
const FRAME_HEADER_BYTES = 24;
/** Of each header, what its checksum covers; of a frame also the page. */
const HEADER_CHECKED_BYTES = 24;
const FRAME_CHECKED_BYTES = 8;

const VERSION = 3_007_000;
/** The words of the checksums are little-endian; with the lowest bit set, big-endian. */
const MAGIC = 0x377f_0682;

/** The page size of journals, for a log whose header is lost. */
const PAGE_BYTES = 4096;

const TABLE_LEAF = 0x0d;

/** How often the log restarts at most between two notes of its salt. */
const SALTS_AHEAD_MAX = 1 << 16;

/** The write-ahead log as it was found. What SQLite would ignore or destroy is backed up before SQLite opens it. */
export class FoundLog {
  readonly #path: string;
  readonly #check: LogCheck | undefined;
  readonly #isForeign: boolean;
  /** The path of the backup, if there is one. */
  backups: readonly string[] = [];

  /** `salt`: that of the log with the last noted commit; 0 if unknown. The log of another database is moved away. */
  constructor(path: string, salt: number) {
    this.#path = path;
    this.#check = checkLog(path);
    const found = this.#check?.salt ?? 0;
    this.#isForeign = salt !== 0 && found !== 0 && (found - salt) >>> 0 > SALTS_AHEAD_MAX;
    if (this.#isForeign) {
      const backup = asidePath(path);
      renameSync(path, backup);
      this.backups = [backup];
    } else if (this.isDamaged || this.#check?.hasFramesAfterBad) this.backUp();
  }

  /** Whether there is a log that has content. */
  get isThere(): boolean {
    return this.#isForeign || this.#check !== undefined;
  }

  /** Whether it has durable commits that SQLite does not read, or belongs to another database. */
  get isDamaged(): boolean {
    return this.#isForeign || this.#check?.isDamaged === true;
  }

  /** The highest sequence in it that SQLite does not read; 0 if there is none. */
  get newest(): number {
    return this.isDamaged ? this.#check!.newest : 0;
  }

  /** Copies the log, if there is one. A full disk does not prevent the journal from opening. */
  backUp(): void {
    if (this.#check === undefined || this.backups.length > 0) return;
    const backup = asidePath(this.#path);
    try {
      copyFileSync(this.#path, backup, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE);
      this.backups = [backup];
    } catch {
      rmSync(backup, { force: true });
    }
  }

  /** Deletes the copy, which is not needed: nothing durable is missing. */
  discardBackup(): void {
    if (this.#isForeign) return;
    for (const backup of this.backups) rmSync(backup);
    this.backups = [];
  }
}

/** The result of checking the log. */
export interface LogCheck {
  /** The first salt, which grows by one whenever the log restarts; 0 if the header is damaged. */
  readonly salt: number;
  /** Whether durable commits follow a damaged place: SQLite does not read them. */
  readonly isDamaged: boolean;
  /** Whether intact frames follow a bad one: damage, or what a power failure has left of the last commit. */
  readonly hasFramesAfterBad: boolean;
  /** The highest row number in the frames that SQLite does not read. It is a sequence, as in the largest tables. */
  readonly newest: number;
}

type Sums = readonly [number, number];

/** Checks a log before SQLite opens it. Undefined if there is no log, or one without a frame. */
export function checkLog(path: string): LogCheck | undefined {
  const bytes = readIfThere(path);
  if (bytes === undefined || bytes.length < HEADER_BYTES + FRAME_HEADER_BYTES) return undefined;
  const log = new Log(bytes);
  const bad = log.isHeaderIntact ? log.firstBadFrame() : 0;
  let commits = bad < log.frames && log.isCommit(bad) && log.isCurrent(bad) ? 1 : 0;
  let found = 0;
  let newest = 0;
  for (let frame = log.isHeaderIntact ? bad + 1 : 1; frame < log.frames; frame++) {
    // A frame is intact if its checksum follows from that of the frame before, right or wrong.
    if (!log.isCurrent(frame) || !log.follows(frame, log.sums(frame - 1))) continue;
    found++;
    if (log.isCommit(frame)) commits++;
    newest = Math.max(newest, log.lastRow(frame));
  }
  // Each commit is synced before the next one begins, so only the last one can be incomplete without damage. The header
  // is synced before the first.
  const isDamaged = log.isHeaderIntact ? found > 0 && commits > 1 : commits > 0;
  return {
    salt: log.isHeaderIntact ? log.salt : 0,
    isDamaged,
    hasFramesAfterBad: found > 0,
    newest,
  };
}

/** Returns the first salt of the log; 0 if there is no log. */
export function saltOf(path: string): number {
  try {
    const file = openSync(path, "r");
    try {
      const bytes = Buffer.alloc(HEADER_BYTES);
      return readSync(file, bytes, 0, HEADER_BYTES, 0) === HEADER_BYTES
        ? bytes.readUInt32BE(16)
        : 0;
    } finally {
      closeSync(file);
    }
  } catch {
    return 0;
  }
}

class Log {
  readonly isHeaderIntact: boolean;
  readonly frames: number;
  readonly #bytes: Buffer;
  #isBigEndian: boolean;
  readonly #pageBytes: number;
  /** Both salts of the frames that belong to the current log. */
  readonly #salts: Buffer;

  constructor(bytes: Buffer) {
    const magic = bytes.readUInt32BE(0);
    this.#bytes = bytes;
    this.#isBigEndian = magic === MAGIC + 1;
    const sums = this.#sumsOver([0, 0], 0, HEADER_CHECKED_BYTES);
    this.isHeaderIntact =
      (magic === MAGIC || magic === MAGIC + 1) &&
      bytes.readUInt32BE(4) === VERSION &&
      areSame(sums, this.#sumsAt(HEADER_CHECKED_BYTES));
    if (!this.isHeaderIntact) this.#isBigEndian = endianness() === "BE";
    this.#pageBytes = this.isHeaderIntact ? bytes.readUInt32BE(8) : PAGE_BYTES;
    this.frames = Math.floor(
      (bytes.length - HEADER_BYTES) / (FRAME_HEADER_BYTES + this.#pageBytes),
    );
    const salts = this.isHeaderIntact ? 16 : HEADER_BYTES + 8;
    this.#salts = bytes.subarray(salts, salts + 8);
  }

  get salt(): number {
    return this.#bytes.readUInt32BE(16);
  }

  /** Returns the first frame that SQLite does not read. */
  firstBadFrame(): number {
    let sums = this.#sumsAt(HEADER_CHECKED_BYTES);
    for (let frame = 0; frame < this.frames; frame++) {
      if (!this.isCurrent(frame) || !this.follows(frame, sums)) return frame;
      sums = this.sums(frame);
    }
    return this.frames;
  }

  isCurrent(frame: number): boolean {
    const start = this.#start(frame) + 8;
    return this.#bytes.subarray(start, start + 8).equals(this.#salts);
  }

  isCommit(frame: number): boolean {
    return this.#bytes.readUInt32BE(this.#start(frame) + 4) !== 0;
  }

  follows(frame: number, before: Sums): boolean {
    const start = this.#start(frame);
    const sums = this.#sumsOver(before, start, start + FRAME_CHECKED_BYTES);
    const page = start + FRAME_HEADER_BYTES;
    return areSame(this.#sumsOver(sums, page, page + this.#pageBytes), this.sums(frame));
  }

  sums(frame: number): Sums {
    return this.#sumsAt(this.#start(frame) + 16);
  }

  /** Returns the number of the last row of a table's leaf page; 0 for other pages. */
  lastRow(frame: number): number {
    const start = this.#start(frame) + FRAME_HEADER_BYTES;
    const page = this.#bytes.subarray(start, start + this.#pageBytes);
    const cells = page.readUInt16BE(3);
    if (page[0] !== TABLE_LEAF || cells === 0 || 8 + 2 * cells > page.length) return 0;
    const cell = page.readUInt16BE(8 + 2 * (cells - 1));
    return varintAt(page, varintAt(page, cell).end).value;
  }

  #start(frame: number): number {
    return HEADER_BYTES + frame * (FRAME_HEADER_BYTES + this.#pageBytes);
  }

  #sumsAt(position: number): Sums {
    return [this.#bytes.readUInt32BE(position), this.#bytes.readUInt32BE(position + 4)];
  }

  #sumsOver([first, second]: Sums, from: number, to: number): Sums {
    const { buffer, byteOffset, byteLength } = this.#bytes;
    const view = new DataView(buffer, byteOffset, byteLength);
    const isLittle = !this.#isBigEndian;
    let [one, other] = [first, second];
    for (let position = from; position < to; position += 8) {
      one = (one + view.getUint32(position, isLittle) + other) >>> 0;
      other = (other + view.getUint32(position + 4, isLittle) + one) >>> 0;
    }
    return [one, other];
  }
}

function areSame(one: Sums, other: Sums): boolean {
  return one[0] === other[0] && one[1] === other[1];
}

/** Reads a varint of SQLite; 0 if it cannot be a sequence. */
function varintAt(page: Buffer, start: number): { value: number; end: number } {
  let value = 0;
  for (let position = start; position < Math.min(start + 8, page.length); position++) {
    const byte = page[position]!;
    value = value * 128 + (byte & 0x7f);
    if (byte < 0x80) return { value: Number.isSafeInteger(value) ? value : 0, end: position + 1 };
  }
  return { value: 0, end: start + 9 };
}

function readIfThere(path: string): Buffer | undefined {
  try {
    return lstatSync(path).isFile() ? readFileSync(path) : undefined;
  } catch {
    return undefined;
  }
}
