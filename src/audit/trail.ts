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

const FILE_NAME = /^audit_(\d{8})\.jsonl$/;

const READ_BYTES = 1 << 20;

/** Before each line there is room for the hash of the line before, so that both are hashed in one go. */
export const HEADROOM_BYTES = 64;

/** No event is as large; what has no line feed for so long is not read into memory. */
const LINE_BYTES_MAX = 64 << 20;

const LINE_FEED = 0x0a;

/** Where a line is. */
export interface Place {
  readonly file: string;
  /** From 1. */
  readonly line: number;
}

/** A line, valid until the next one is asked for. What lies before `start` in the memory may be written over. */
export interface TrailLine extends Place {
  /** The UTC day that the file's name says: `20261124`. */
  readonly day: string;
  readonly memory: Buffer;
  readonly start: number;
  /** Where its line feed is. */
  readonly end: number;
  /** False for what stands at the end of a file that is not the newest, without a line feed. */
  readonly isWhole: boolean;
}

/** The bytes at the end of the newest file that are no whole line (yet). */
export interface IncompleteLine extends Place {
  readonly bytes: number;
}

/** Reads the lines of all audit files, the oldest day first. */
export class Trail {
  readonly #directory: string;
  #files: string[] = [];
  #index = 0;
  #descriptor: number | undefined;
  #memory = Buffer.allocUnsafeSlow(HEADROOM_BYTES + READ_BYTES);
  /** What was read and is not yet part of a line lies from `#start` to `#end`. */
  #start = HEADROOM_BYTES;
  #end = HEADROOM_BYTES;
  #line = 0;
  #bytes = 0;

  constructor(logDir: string) {
    this.#directory = join(logDir, AUDIT_DIRECTORY);
  }

  /** What was read so far. */
  get bytes(): number {
    return this.#bytes;
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
   * The lines from where the last call stopped to what is there now: the files of a gateway at work grow.
   * @throws TailgateError AUDIT_UNREADABLE
   */
  *lines(): Generator<TrailLine> {
    this.#files = this.#list();
    while (this.#index < this.#files.length) {
      yield* this.#linesOfFile();
      if (this.#index === this.#files.length - 1) return;
      if (this.#end > this.#start) yield this.#take(this.#end, false);
      this.#nextFile();
    }
  }

  close(): void {
    if (this.#descriptor !== undefined) closeSync(this.#descriptor);
    this.#descriptor = undefined;
  }

  #list(): string[] {
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
    this.close();
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
        yield this.#take(feed, true);
      }
      searched = this.#makeRoom();
    }
  }

  #take(end: number, isWhole: boolean): TrailLine {
    const file = this.#files[this.#index]!;
    const line = {
      file,
      line: ++this.#line,
      day: FILE_NAME.exec(file)![1]!,
      memory: this.#memory,
      start: this.#start,
      end,
      isWhole,
    };
    this.#start = isWhole ? end + 1 : end;
    return line;
  }

  /** Answers false at the end of the file. */
  #read(): boolean {
    const path = join(this.#directory, this.#files[this.#index]!);
    try {
      this.#descriptor ??= openFile(path);
      const bytes = readSync(this.#descriptor, this.#memory, this.#end, this.#room, null);
      this.#end += bytes;
      this.#bytes += bytes;
      return bytes > 0;
    } catch (error) {
      throw unreadable(path, error);
    }
  }

  get #room(): number {
    return this.#memory.length - this.#end;
  }

  /** Moves the line that has no end yet to the front; answers from where on its end is to be looked for. */
  #makeRoom(): number {
    const length = this.#end - this.#start;
    if (length > LINE_BYTES_MAX) {
      const place = `${this.#files[this.#index]!}:${this.#line + 1}`;
      throw new TailgateError("AUDIT_UNREADABLE", `${place} is longer than any event can be.`);
    }
    const former = this.#memory;
    if (length + READ_BYTES > former.length) {
      this.#memory = Buffer.allocUnsafeSlow(HEADROOM_BYTES + 2 * length + READ_BYTES);
    }
    former.copy(this.#memory, HEADROOM_BYTES, this.#start, this.#end);
    this.#start = HEADROOM_BYTES;
    this.#end = HEADROOM_BYTES + length;
    return this.#end;
  }
}

function openFile(path: string): number {
  const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
  const descriptor = openSync(path, flags);
  if (fstatSync(descriptor).isFile()) return descriptor;
  closeSync(descriptor);
  throw new Error("it is no regular file");
}

function unreadable(path: string, error: unknown): TailgateError {
  const text = `The audit trail cannot be read: ${path}: ${textOf(error)}.`;
  return new TailgateError("AUDIT_UNREADABLE", text, { cause: error });
}
