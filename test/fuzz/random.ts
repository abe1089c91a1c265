const WORD = 2 ** 32;

/** A small seeded generator (sfc32): the same seed and index always give the same numbers, so any input can be made again. */
export class Random {
  #a: number;
  #b: number;
  #c: number;
  #counter = 1;

  constructor(seed: number, index: number) {
    this.#a = seed | 0;
    this.#b = index | 0;
    this.#c = 0x9e3779b9;
    for (let round = 0; round < 12; round++) this.#next();
  }

  #next(): number {
    const sum = (this.#a + this.#b + this.#counter++) | 0;
    this.#a = this.#b ^ (this.#b >>> 9);
    this.#b = (this.#c + (this.#c << 3)) | 0;
    this.#c = ((this.#c << 21) | (this.#c >>> 11)) + sum;
    this.#c |= 0;
    return sum >>> 0;
  }

  /** A whole number from 0 to `end` - 1. */
  below(end: number): number {
    return Math.floor((this.#next() / WORD) * end);
  }

  /** A whole number from `from` to `to`, both included. */
  between(from: number, to: number): number {
    return from + this.below(to - from + 1);
  }

  /** True once in `times`. */
  once(times: number): boolean {
    return this.below(times) === 0;
  }

  pick<T>(choices: readonly T[]): T {
    return choices[this.below(choices.length)]!;
  }

  /** So many items, `lengthMax` at most; short lists are likelier than long ones. */
  list<T>(lengthMax: number, item: () => T): T[] {
    const length = Math.min(this.below(lengthMax + 1), this.below(lengthMax + 1));
    return Array.from({ length }, item);
  }

  word(): number {
    return this.#next();
  }

  bytes(length: number): Buffer {
    const bytes = Buffer.allocUnsafe(length);
    for (let index = 0; index < length; index++) bytes[index] = this.#next() & 0xff;
    return bytes;
  }
}

/** Lengths at which a format of ours or of a protocol changes, and their neighbors. */
const BOUNDARIES = [
  ...[0, 1, 3, 4, 5, 8, 15, 16, 17, 20, 21, 31, 32, 63, 64, 65],
  ...[123, 124, 125, 126, 127, 128, 129, 255, 256, 257, 510, 512],
];
const LARGE_BOUNDARIES = [4095, 4096, 4097, 16_383, 16_384, 16_385, 65_535, 65_536];
const HUGE_BOUNDARIES = [1 << 20, (1 << 21) - 1, 1 << 21];

/** One text in so many is as large as a frame head or a varint can tell, and one in so many as large as a slab. */
const LARGE_EVERY = 150;
const HUGE_EVERY = 20_000;

/** A length for a text or a list of bytes: mostly short, often at a boundary, rarely very large. */
export function lengthOf(random: Random): number {
  if (random.once(HUGE_EVERY)) return random.pick(HUGE_BOUNDARIES) - random.below(400);
  if (random.once(LARGE_EVERY)) {
    // What is around a text takes some hundred bytes of the length that counts, and escapes multiply it.
    const divisor = random.pick([1, 1, 1, 2, 3, 6]);
    return Math.floor((random.pick(LARGE_BOUNDARIES) - random.below(400)) / divisor);
  }
  return random.once(3) ? random.pick(BOUNDARIES) : random.below(24);
}
