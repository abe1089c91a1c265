/** What is gathered before it is written: large enough that the cost of a write does not count. */
const FULL_BYTES = 1 << 20;

/** Room for the line that makes it full; a longer one gets larger memory, for as long as it is there. */
const MEMORY_BYTES = FULL_BYTES + (64 << 10);

const LINE_FEED = 0x0a;

/** Lines of a log file, gathered to be written in one go. The memory is used again and again. */
export class LineBuffer {
  #memory = Buffer.allocUnsafeSlow(MEMORY_BYTES);
  #length = 0;
  /** For each line where it ends, its line feed included, and the sequence of its record. */
  readonly #ends: number[] = [];
  readonly #sequences: number[] = [];

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

  /** Adds a part of a line, which {@link endLine} completes. */
  add(part: Uint8Array): void {
    const end = this.#length + part.length;
    if (end >= this.#memory.length) this.#grow(end);
    this.#memory.set(part, this.#length);
    this.#length = end;
  }

  /** There is always room for the line feed: memory ends behind what was added. */
  endLine(sequence: number): void {
    this.#memory[this.#length++] = LINE_FEED;
    this.#ends.push(this.#length);
    this.#sequences.push(sequence);
  }

  /** Where the last line ends that lies whole within the first `bytes`, and its sequence; undefined without one. */
  lastLineWithin(bytes: number): { readonly end: number; readonly sequence: number } | undefined {
    const index = this.#ends.findLastIndex((end) => end <= bytes);
    if (index < 0) return undefined;
    return { end: this.#ends[index]!, sequence: this.#sequences[index]! };
  }

  clear(): void {
    this.#length = 0;
    this.#ends.length = 0;
    this.#sequences.length = 0;
    if (this.#memory.length > MEMORY_BYTES) this.#memory = Buffer.allocUnsafeSlow(MEMORY_BYTES);
  }

  #grow(bytes: number): void {
    const larger = Buffer.allocUnsafeSlow(2 * bytes);
    larger.set(this.bytes);
    this.#memory = larger;
  }
}
