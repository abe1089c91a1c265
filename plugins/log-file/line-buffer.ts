/** What is gathered before it is written: large enough that the cost of a write does not count. */
const FULL_BYTES = 1 << 20;

/** Room for the line that makes it full; a longer one gets larger memory, for as long as it is there. */
const MEMORY_BYTES = FULL_BYTES + (64 << 10);

const LINE_FEED = 0x0a;

/** So many lines before, and the sequence of the record of the next one; those behind it follow one another. */
interface Run {
  readonly lines: number;
  readonly first: number;
}

/** Lines of a log file, gathered to be written in one go. The memory is used again and again. */
export class LineBuffer {
  #memory = Buffer.allocUnsafeSlow(MEMORY_BYTES);
  #length = 0;
  #lines = 0;
  #lastSequence = 0;
  readonly #runs: Run[] = [];

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

  /** Adds the line of the record with that sequence: what `source` has there, where no line feed is. */
  addLine(source: Buffer, start: number, end: number, sequence: number): void {
    const lineEnd = this.#length + end - start;
    if (lineEnd >= this.#memory.length) this.#grow(lineEnd + 1);
    source.copy(this.#memory, this.#length, start, end);
    this.#memory[lineEnd] = LINE_FEED;
    this.#length = lineEnd + 1;
    if (sequence !== this.#lastSequence + 1 || this.#lines === 0) {
      this.#runs.push({ lines: this.#lines, first: sequence });
    }
    this.#lastSequence = sequence;
    this.#lines++;
  }

  /** Where the last line ends that lies whole within the first `bytes`, and its sequence; undefined without one. */
  lastLineWithin(bytes: number): { readonly end: number; readonly sequence: number } | undefined {
    if (this.#lines === 0 || bytes === 0) return undefined;
    if (bytes >= this.#length) return { end: this.#length, sequence: this.#lastSequence };
    const end = this.#memory.lastIndexOf(LINE_FEED, bytes - 1) + 1;
    const lines = lineFeedsIn(this.#memory.subarray(0, end));
    const run = this.#runs.findLast((one) => one.lines < lines);
    return run && { end, sequence: run.first + lines - run.lines - 1 };
  }

  clear(): void {
    this.#length = 0;
    this.#lines = 0;
    this.#runs.length = 0;
    if (this.#memory.length > MEMORY_BYTES) this.#memory = Buffer.allocUnsafeSlow(MEMORY_BYTES);
  }

  #grow(bytes: number): void {
    const larger = Buffer.allocUnsafeSlow(2 * bytes);
    larger.set(this.bytes);
    this.#memory = larger;
  }
}

function lineFeedsIn(bytes: Uint8Array): number {
  let count = 0;
  for (let at = bytes.indexOf(LINE_FEED); at >= 0; at = bytes.indexOf(LINE_FEED, at + 1)) count++;
  return count;
}
