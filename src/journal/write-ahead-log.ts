/** Reads SQLite's write-ahead log before SQLite does (https://www.sqlite.org/fileformat2.html#walformat). */

import { closeSync, lstatSync, openSync, readFileSync, readSync } from "node:fs";
import { endianness } from "node:os";

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

/** What a look at the log has shown. */
export interface LogCheck {
  /** The first salt, which grows by one whenever the log begins anew; 0 if the header is damaged. */
  readonly salt: number;
  /** Whether there are commits behind a damaged place that must have been durable: SQLite does not read them. */
  readonly isDamaged: boolean;
  /** Whether there are intact frames behind a bad one: damage, or what a power failure has left of the last commit. */
  readonly hasFramesBehind: boolean;
  /** The highest row number in the frames that SQLite does not read: a sequence, as the largest tables have them. */
  readonly newest: number;
}

type Sums = readonly [number, number];

/** Undefined where there is no log, or one without a frame. */
export function checkLog(path: string): LogCheck | undefined {
  const bytes = readIfThere(path);
  if (bytes === undefined || bytes.length < HEADER_BYTES + FRAME_HEADER_BYTES) return undefined;
  const log = new Log(bytes);
  const bad = log.isHeaderIntact ? log.firstBadFrame() : 0;
  let commits = bad < log.frames && log.isCommit(bad) && log.isCurrent(bad) ? 1 : 0;
  let found = 0;
  let newest = 0;
  for (let frame = log.isHeaderIntact ? bad + 1 : 1; frame < log.frames; frame++) {
    // A frame is intact if it follows from the checksum that the one before has, right or wrong.
    if (!log.isCurrent(frame) || !log.follows(frame, log.sums(frame - 1))) continue;
    found++;
    if (log.isCommit(frame)) commits++;
    newest = Math.max(newest, log.lastRow(frame));
  }
  // Each commit is synced before the next one begins: only the last one can be there in part without damage. The header
  // is synced before the first.
  const isDamaged = log.isHeaderIntact ? found > 0 && commits > 1 : commits > 0;
  return { salt: log.isHeaderIntact ? log.salt : 0, isDamaged, hasFramesBehind: found > 0, newest };
}

/** The first salt of the log; 0 where there is none. */
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
  /** Both salts of the frames that belong to the log as it is now. */
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

  /** What SQLite reads ends before it. */
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

  /** The number of the last row of a table's leaf page; 0 for other pages. */
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

/** SQLite's numbers of variable length; those that no sequence can be are 0. */
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
