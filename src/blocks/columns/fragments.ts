import { WORD_BYTES } from "../../envelope/attributes.ts";

const UNKNOWN = -1;
/** The start of a value that makes nothing. */
export const NO_FRAGMENT = -2;

/** More than that is forgotten. */
const WORDS_MAX = 1 << 19;

/** What the distinct values of a column make, as words, each made when it is first needed. */
export class Fragments {
  words = new Int32Array(256);
  /** The number of bytes of each value. */
  readonly lengths: Int32Array;
  /** Where the words of each value start. */
  readonly #starts: Int32Array;
  readonly #make: (value: number) => Uint8Array | undefined;
  #length = 0;

  /** `make` may return undefined; what it returns is copied. */
  constructor(distinct: number, make: (value: number) => Uint8Array | undefined) {
    this.#starts = new Int32Array(distinct).fill(UNKNOWN);
    this.lengths = new Int32Array(distinct);
    this.#make = make;
  }

  /** Returns where the words of a value start, or {@link NO_FRAGMENT}. */
  startOf(value: number): number {
    const start = this.#starts[value]!;
    return start === UNKNOWN ? this.#add(value) : start;
  }

  #add(value: number): number {
    const bytes = this.#make(value);
    if (bytes === undefined) return (this.#starts[value] = NO_FRAGMENT);
    const added = Math.ceil(bytes.length / WORD_BYTES);
    if (this.#length > 0 && this.#length + added > WORDS_MAX) {
      this.#starts.fill(UNKNOWN);
      this.#length = 0;
    }
    const start = this.#length;
    this.#length += added;
    if (this.#length > this.words.length) {
      const larger = new Int32Array(2 * this.#length);
      larger.set(this.words);
      this.words = larger;
    }
    new Uint8Array(this.words.buffer).set(bytes, WORD_BYTES * start);
    this.lengths[value] = bytes.length;
    return (this.#starts[value] = start);
  }
}

/** Writes bytes that are given as words, and up to three bytes more. */
export function putWords(
  view: DataView,
  at: number,
  words: Int32Array,
  start: number,
  bytes: number,
): void {
  for (let offset = 0, word = start; offset < bytes; offset += WORD_BYTES) {
    view.setInt32(at + offset, words[word++]!, true);
  }
}
