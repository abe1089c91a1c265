/** The class of the bytes of characters beyond ASCII, of which the case does not show in single bytes. */

import { borderLengths } from "./text-search.ts";

const BEYOND_ASCII = 0x80;

/** The bytes that are the same ignoring case, by their lower-case letter. */
const CLASSES = Uint8Array.from({ length: 256 }, (_, byte) => {
  // What separates values is in none.
  if (byte === 0xff) return byte;
  if (byte >= BEYOND_ASCII) return BEYOND_ASCII;
  return byte >= 0x41 && byte <= 0x5a ? byte + 0x20 : byte;
});

/** The number of comparisons, beyond one for each byte of text, after which the method of Horspool, which may take quadratic time, ends. */
const CREDIT_MAX = 1 << 16;

/**
 * Finds a folded text in the UTF-8 of others, ignoring case, at gigabytes a second: by the method of Horspool, with a shift table
 * that knows both cases. In characters beyond ASCII, any of the same number of bytes is found; {@link isExact} is then false.
 */
export class TextFinder {
  /** True if what is found surely is the text, in texts without unusual folding. */
  readonly isExact: boolean;
  /** In bytes. */
  readonly length: number;
  readonly #bytes: Buffer;
  readonly #classes: Uint8Array;
  readonly #shifts: Int32Array;
  /** Without letters, a search for the bytes themselves is faster. */
  readonly #hasNoCase: boolean;
  #borders: Int32Array | undefined;
  /** The comparisons that are left; a slower method earns new ones. */
  #credit = CREDIT_MAX;

  /** `text` is folded and not empty. */
  constructor(text: string) {
    this.#bytes = Buffer.from(text);
    this.#classes = this.#bytes.map((byte) => CLASSES[byte]!);
    this.length = this.#bytes.length;
    this.isExact = !this.#classes.includes(BEYOND_ASCII);
    this.#hasNoCase = this.isExact && !/[a-z]/.test(text);
    const last = this.length - 1;
    const shiftOfClass = new Int32Array(256).fill(this.length);
    for (let at = 0; at < last; at++) shiftOfClass[this.#classes[at]!] = last - at;
    this.#shifts = Int32Array.from(CLASSES, (byteClass) => shiftOfClass[byteClass]!);
  }

  /** Returns the position of the first match within `from` and `end`; -1 if there is none. */
  find(bytes: Buffer, from: number, end: number): number {
    if (!this.#hasNoCase) {
      return this.#credit > 0
        ? this.#findFolded(bytes, from, end)
        : this.#findLinearly(bytes, from, end);
    }
    if (end === bytes.length) return bytes.indexOf(this.#bytes, from);
    const found = bytes.subarray(from, end).indexOf(this.#bytes);
    return found < 0 ? found : from + found;
  }

  #findFolded(bytes: Buffer, from: number, end: number): number {
    const classes = this.#classes;
    const shifts = this.#shifts;
    const last = this.length - 1;
    const lastClass = classes[last]!;
    let credit = this.#credit;
    for (let at = from + last; at < end;) {
      const byte = bytes[at]!;
      if (CLASSES[byte] === lastClass) {
        let matched = 1;
        while (matched <= last && CLASSES[bytes[at - matched]!] === classes[last - matched]) {
          matched++;
        }
        if (matched > last) return this.#found(at - last, credit);
        credit += shifts[byte]! - matched;
        if (credit < 0) return this.#findLinearly(bytes, at - last, end);
      }
      at += shifts[byte]!;
    }
    return this.#found(-1, credit);
  }

  #found(position: number, credit: number): number {
    this.#credit = Math.min(credit, CREDIT_MAX);
    return position;
  }

  /** Does the same in linear time (Knuth-Morris-Pratt), four times as slow. */
  #findLinearly(bytes: Buffer, from: number, end: number): number {
    const classes = this.#classes;
    const borders = (this.#borders ??= borderLengths(classes));
    let matched = 0;
    for (let at = from; at < end; at++) {
      const byteClass = CLASSES[bytes[at]!];
      while (matched > 0 && byteClass !== classes[matched]) matched = borders[matched - 1]!;
      if (byteClass === classes[matched]) matched++;
      if (matched === classes.length) return this.#found(at - matched + 1, at - from);
    }
    return this.#found(-1, end - from);
  }
}
