import type { LineFile } from "./line-file.ts";

/** Lines are written once there are this many bytes, so that the cost of the call is negligible. */
const FULL_BYTES = 1 << 20;

/** Includes room for the line that fills the buffer. A longer line gets a larger buffer temporarily. */
const MEMORY_BYTES = FULL_BYTES + (64 << 10);

const LINE_FEED = 0x0a;

/** Lines with consecutive sequences: the number of lines before them, and the sequence of the first. */
interface LineRun {
  readonly linesBefore: number;
  readonly first: number;
}

/** A reusable buffer for lines of a log file that are written in one call. */
export class LineBuffer {
  #memory = new Uint8Array(MEMORY_BYTES);
  #length = 0;
  #lines = 0;
  #lastSequence = 0;
  readonly #runs: LineRun[] = [];

  /** The lines; valid until the next change. */
  get bytes(): Uint8Array {
    return this.#memory.subarray(0, this.#length);
  }

  get byteLength(): number {
    return this.#length;
  }

  get isFull(): boolean {
    return this.#length >= FULL_BYTES;
  }

  /** Adds the line of the record with that sequence. `line`: without a line feed. */
  addLine(line: Uint8Array, sequence: number): void {
    const lineEnd = this.#length + line.length;
    if (lineEnd >= this.#memory.length) this.#grow(lineEnd + 1);
    this.#memory.set(line, this.#length);
    this.#memory[lineEnd] = LINE_FEED;
    this.#length = lineEnd + 1;
    if (sequence !== this.#lastSequence + 1 || this.#lines === 0) {
      this.#runs.push({ linesBefore: this.#lines, first: sequence });
    }
    this.#lastSequence = sequence;
    this.#lines++;
  }

  /** Returns the end and the sequence of the last line that is complete within the first `bytes`. */
  lastLineWithin(bytes: number): { readonly end: number; readonly sequence: number } | undefined {
    if (this.#lines === 0 || bytes === 0) return undefined;
    if (bytes >= this.#length) return { end: this.#length, sequence: this.#lastSequence };
    const end = this.#memory.lastIndexOf(LINE_FEED, bytes - 1) + 1;
    const lines = countLineFeeds(this.#memory.subarray(0, end));
    const run = this.#runs.findLast((one) => one.linesBefore < lines);
    return run && { end, sequence: run.first + lines - run.linesBefore - 1 };
  }

  clear(): void {
    this.#length = 0;
    this.#lines = 0;
    this.#runs.length = 0;
    if (this.#memory.length > MEMORY_BYTES) this.#memory = new Uint8Array(MEMORY_BYTES);
  }

  #grow(bytes: number): void {
    const larger = new Uint8Array(2 * bytes);
    larger.set(this.bytes);
    this.#memory = larger;
  }
}

function countLineFeeds(bytes: Uint8Array): number {
  let count = 0;
  for (let at = bytes.indexOf(LINE_FEED); at >= 0; at = bytes.indexOf(LINE_FEED, at + 1)) count++;
  return count;
}

/**
 * Collects lines for a file while earlier lines are being written. After an error, all lines that are not in the file
 * are discarded; the file's `sequence` tells which these are.
 */
export class LineWriter {
  readonly #file: LineFile;
  #collected = new LineBuffer();
  #inProgress = new LineBuffer();
  #writing: Promise<void> = Promise.resolve();

  constructor(file: LineFile) {
    this.#file = file;
  }

  /** The size of the file once all added lines are written. */
  get fileBytes(): number {
    return this.#file.size + this.#inProgress.byteLength + this.#collected.byteLength;
  }

  /** Whether it is time to call {@link proceed}. */
  get isFull(): boolean {
    return this.#collected.isFull;
  }

  /** Adds the line of the record with that sequence. `line`: without a line feed. */
  addLine(line: Uint8Array, sequence: number): void {
    this.#collected.addLine(line, sequence);
  }

  /** Starts writing the added lines. Resolves when more can be added. */
  async proceed(signal: AbortSignal): Promise<void> {
    await this.#settled();
    [this.#collected, this.#inProgress] = [this.#inProgress, this.#collected];
    this.#writing = this.#file.append(this.#inProgress, signal);
  }

  /** Resolves when all added lines are in the file. */
  async flush(signal: AbortSignal): Promise<void> {
    await this.proceed(signal);
    await this.#settled();
  }

  async #settled(): Promise<void> {
    const writing = this.#writing;
    this.#writing = Promise.resolve();
    try {
      await writing;
    } catch (error) {
      this.#collected.clear();
      throw error;
    }
  }
}
