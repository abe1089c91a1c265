const WORD = 2 ** 32;

/** A small seeded generator (sfc32). The same seed and index give the same numbers, so every input is reproducible. */
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

  /** Returns a whole number from 0 to `end` - 1. */
  below(end: number): number {
    return Math.floor((this.#next() / WORD) * end);
  }

  /** Returns a whole number from `from` to `to`, inclusive. */
  between(from: number, to: number): number {
    return from + this.below(to - from + 1);
  }

  /** Returns true once in `times` calls on average. */
  once(times: number): boolean {
    return this.below(times) === 0;
  }

  pick<T>(choices: readonly T[]): T {
    return choices[this.below(choices.length)]!;
  }

  /** Returns up to `lengthMax` items. Short lists are more likely than long ones. */
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

/** Lengths at which one of our formats or a protocol changes, and their neighbors. */
const BOUNDARIES = [
  ...[0, 1, 3, 4, 5, 8, 15, 16, 17, 20, 21, 31, 32, 63, 64, 65],
  ...[123, 124, 125, 126, 127, 128, 129, 255, 256, 257, 510, 512],
];
const LARGE_BOUNDARIES = [4095, 4096, 4097, 16_383, 16_384, 16_385, 65_535, 65_536];
const HUGE_BOUNDARIES = [1 << 20, (1 << 21) - 1, 1 << 21];

/** One length in this many is near the limit of a frame header or varint, or near the size of a slab. */
const LARGE_EVERY = 150;
const HUGE_EVERY = 20_000;

/** Returns a length for a string or bytes: usually short, often at a boundary, rarely very large. */
export function lengthOf(random: Random): number {
  if (random.once(HUGE_EVERY)) return random.pick(HUGE_BOUNDARIES) - random.below(400);
  if (random.once(LARGE_EVERY)) {
    // The data around a string adds some hundred bytes to the length in question, and escapes multiply it.
    const divisor = random.pick([1, 1, 1, 2, 3, 6]);
    return Math.floor((random.pick(LARGE_BOUNDARIES) - random.below(400)) / divisor);
  }
  return random.once(3) ? random.pick(BOUNDARIES) : random.below(24);
}
