/** The lines of the audit files, and what links each of them to the line before it. */

import crypto from "node:crypto";
import {
  closeSync,
  constants,
  fstatSync,
  openSync,
  readdirSync,
  readSync,
  type Dirent,
} from "node:fs";
import { join } from "node:path";
import { TailgateError, textOf } from "../wire/errors.ts";
import { AUDIT_DIRECTORY } from "./checkpoint-file.ts";

/** The file and line number of a line in the audit trail. */
export interface LinePosition {
  readonly file: string;
  /** From 1. */
  readonly line: number;
}

/** Returns `file:line`. */
export function formatPosition({ file, line }: LinePosition): string {
  return `${file}:${line}`;
}

/** Something that fails verification. */
export interface TrailFinding {
  /** A file, with a line number if there is one. */
  readonly position: string;
  readonly text: string;
}

/** Returns "1 line", "2 lines". */
export function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}

/** A line, valid until the next one is read. The memory before `start` is scratch space for {@link chainHash}. */
export interface TrailLine extends LinePosition {
  /** The UTC day in the file's name: `20261124`. */
  readonly day: string;
  readonly memory: Buffer;
  readonly start: number;
  /** The offset of its line feed. */
  readonly end: number;
  /** False for an unterminated line at the end of a file that is not the newest one. */
  readonly isComplete: boolean;
}

/** An unterminated line at the end of the newest file. */
export interface IncompleteLine extends LinePosition {
  readonly bytes: number;
}

/** The sequence and hash of an event, at the end of its line. */
export interface ChainLink {
  readonly seq: number;
  readonly hash: string;
}

const FILE_NAME = /^audit_(\d{8})\.jsonl$/;

const READ_BYTES = 1 << 20;

/** The first read's: most files are smaller. */
const FIRST_READ_BYTES = 64 << 10;

/** Space before each line for the hash of the previous one, so that both are hashed in one call. */
const HEADROOM_BYTES = 64;

/** Larger than any event. An unterminated line beyond this size is not read into memory. */
const LINE_BYTES_MAX = 64 << 20;

const LINE_FEED = 0x0a;

/** Reads the lines of all audit files, the oldest day first. */
export class TrailReader {
  readonly #directory: string;
  #files: string[] = [];
  #index = 0;
  #descriptor: number | undefined;
  #memory = Buffer.allocUnsafeSlow(HEADROOM_BYTES + FIRST_READ_BYTES);
  /** The bytes from `#start` to `#end` were read and not yet returned as a line. */
  #start = HEADROOM_BYTES;
  #end = HEADROOM_BYTES;
  #line = 0;
  /** The number of bytes read so far. */
  bytes = 0;

  constructor(logDir: string) {
    this.#directory = join(logDir, AUDIT_DIRECTORY);
  }

  get files(): readonly string[] {
    return this.#files;
  }

  get incomplete(): IncompleteLine | undefined {
    const bytes = this.#end - this.#start;
    if (bytes === 0) return undefined;
    return { file: this.#files[this.#index]!, line: this.#line + 1, bytes };
  }

  /**
   * Returns the lines from where the previous call stopped to the current end: the files of a running gateway grow.
   * @throws TailgateError AUDIT_UNREADABLE
   */
  *lines(): Generator<TrailLine> {
    this.#files = this.#listFiles();
    while (this.#index < this.#files.length) {
      yield* this.#linesOfFile();
      if (this.#index === this.#files.length - 1) return;
      if (this.#end > this.#start) yield this.#nextLine(this.#end, false);
      this.#nextFile();
    }
  }

  [Symbol.dispose](): void {
    if (this.#descriptor !== undefined) closeSync(this.#descriptor);
    this.#descriptor = undefined;
  }

  #listFiles(): string[] {
    let entries: Dirent[];
    try {
      entries = readdirSync(this.#directory, { withFileTypes: true });
    } catch (error) {
      throw unreadable(this.#directory, error);
    }
    const names = entries.filter((entry) => entry.isFile()).map(({ name }) => name);
    return names.filter((name) => FILE_NAME.test(name)).sort();
  }

  #nextFile(): void {
    this[Symbol.dispose]();
    this.#index++;
    this.#line = 0;
    this.#start = HEADROOM_BYTES;
    this.#end = HEADROOM_BYTES;
  }

  *#linesOfFile(): Generator<TrailLine> {
    for (let searched = this.#end; this.#read();) {
      for (;;) {
        const feed = this.#memory.subarray(0, this.#end).indexOf(LINE_FEED, searched);
        if (feed < 0) break;
        searched = feed + 1;
        yield this.#nextLine(feed, true);
      }
      searched = this.#makeRoom();
    }
  }

  #nextLine(end: number, isComplete: boolean): TrailLine {
    const file = this.#files[this.#index]!;
    const line = {
      file,
      line: ++this.#line,
      day: FILE_NAME.exec(file)![1]!,
      memory: this.#memory,
      start: this.#start,
      end,
      isComplete,
    };
    this.#start = isComplete ? end + 1 : end;
    return line;
  }

  /** Returns false at the end of the file. */
  #read(): boolean {
    const path = join(this.#directory, this.#files[this.#index]!);
    try {
      this.#descriptor ??= openFile(path);
      const room = this.#memory.length - this.#end;
      const bytes = readSync(this.#descriptor, this.#memory, this.#end, room, null);
      this.#end += bytes;
      this.bytes += bytes;
      return bytes > 0;
    } catch (error) {
      throw unreadable(path, error);
    }
  }

  /** Moves the unterminated line to the front. Returns the offset from which to search for its line feed. */
  #makeRoom(): number {
    const length = this.#end - this.#start;
    if (length > LINE_BYTES_MAX) {
      const position = `${this.#files[this.#index]!}:${this.#line + 1}`;
      throw new TailgateError("AUDIT_UNREADABLE", `${position} is longer than any event can be.`);
    }
    const previous = this.#memory;
    if (this.#end === previous.length && length + READ_BYTES > previous.length) {
      this.#memory = Buffer.allocUnsafeSlow(HEADROOM_BYTES + 2 * length + READ_BYTES);
    }
    previous.copy(this.#memory, HEADROOM_BYTES, this.#start, this.#end);
    this.#start = HEADROOM_BYTES;
    this.#end = HEADROOM_BYTES + length;
    return this.#end;
  }
}

/** Reads the whole trail. */
export function* trailLines(logDir: string): Generator<TrailLine> {
  using reader = new TrailReader(logDir);
  yield* reader.lines();
}

function openFile(path: string): number {
  const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
  const descriptor = openSync(path, flags);
  if (fstatSync(descriptor).isFile()) return descriptor;
  closeSync(descriptor);
  throw new Error("it is not a regular file");
}

function unreadable(path: string, error: unknown): TailgateError {
  const text = `The audit trail cannot be read: ${path}: ${textOf(error)}.`;
  return new TailgateError("AUDIT_UNREADABLE", text, { cause: error });
}

/** Returns a copy of the line that stays valid. */
export function copyLine(line: TrailLine): TrailLine {
  const { start, end } = line;
  const memory = Buffer.alloc(HEADROOM_BYTES + end - start);
  line.memory.copy(memory, HEADROOM_BYTES, start, end);
  return { ...line, memory, start: HEADROOM_BYTES, end: memory.length };
}

/** The end of each line of a hash chain. */
const LINK = /,"seq":(\d{1,16}),"hash":"([0-9a-f]{64})"\}$/;
const LINK_BYTES_MAX = 7 + 16 + 9 + 64 + 2;
const HASH_MEMBER_BYTES = 9 + 64 + 2;

/** Returns the line's sequence and hash; undefined if it does not end with them. */
export function parseLink({ memory, start, end, isComplete }: TrailLine): ChainLink | undefined {
  if (!isComplete) return undefined;
  const tail = memory.toString("latin1", Math.max(start, end - LINK_BYTES_MAX), end);
  const match = LINK.exec(tail);
  return match === null ? undefined : { seq: Number(match[1]), hash: match[2]! };
}

/** Returns the hash that a chained line must have if it follows the line with the hash `previous`. */
export function chainHash(previous: string, { memory, start, end }: TrailLine): string {
  const from = start - HEADROOM_BYTES;
  memory.write(previous, from, "latin1");
  return crypto.hash("sha256", memory.subarray(from, end - HASH_MEMBER_BYTES), "hex");
}

/** The members that link a line, in a gateway's compact JSON; other programs put a space after a colon. */
const LINK_MEMBERS = [Buffer.from(',"seq":'), Buffer.from(',"hash":"')];

/**
 * Returns whether a line without a link was never part of a chain, as far as its bytes tell. A damaged link leaves
 * traces.
 */
export function isLegacyLine(line: TrailLine): boolean {
  const bytes = line.memory.subarray(line.start, line.end);
  return !LINK_MEMBERS.some((member) => bytes.includes(member)) || isUnlinkedEvent(line);
}

/** Returns whether the line is an event of a gateway whose journal is in memory, or of an older version. */
export function isUnlinkedEvent({ memory, start, end, isComplete }: TrailLine): boolean {
  if (!isComplete) return false;
  try {
    const event: unknown = JSON.parse(memory.toString("utf8", start, end));
    return typeof event === "object" && event !== null && !("seq" in event) && !("hash" in event);
  } catch {
    return false;
  }
}
