const WORD_BITS = 32;

/** A set of records of a block, by their indexes. */
export class RecordSet {
  /** The number of records of the block. */
  readonly size: number;
  readonly #words: Uint32Array;

  private constructor(size: number, words: Uint32Array) {
    this.size = size;
    this.#words = words;
  }

  static none(size: number): RecordSet {
    return new RecordSet(size, new Uint32Array(Math.ceil(size / WORD_BITS)));
  }

  static of(size: number, indexes: ArrayLike<number>): RecordSet {
    const records = RecordSet.none(size);
    records.addAll(indexes);
    return records;
  }

  static all(size: number): RecordSet {
    return RecordSet.none(size).complement();
  }

  has(index: number): boolean {
    return (this.#words[index >>> 5]! & (1 << (index & 31))) !== 0;
  }

  add(index: number): void {
    this.#words[index >>> 5]! |= 1 << (index & 31);
  }

  addAll(indexes: ArrayLike<number>): void {
    const words = this.#words;
    for (let at = 0; at < indexes.length; at++) {
      const index = indexes[at]!;
      words[index >>> 5]! |= 1 << (index & 31);
    }
  }

  get isEmpty(): boolean {
    const words = this.#words;
    for (let at = 0; at < words.length; at++) if (words[at] !== 0) return false;
    return true;
  }

  get count(): number {
    const words = this.#words;
    let count = 0;
    for (let at = 0; at < words.length; at++) count += bitsOf(words[at]!);
    return count;
  }

  /** Adds the records of another set. */
  union(other: RecordSet): this {
    const words = this.#words;
    for (let at = 0; at < words.length; at++) words[at]! |= other.#words[at]!;
    return this;
  }

  /** Removes the records that another set does not have. */
  intersect(other: RecordSet): this {
    const words = this.#words;
    for (let at = 0; at < words.length; at++) words[at]! &= other.#words[at]!;
    return this;
  }

  /** Removes the records that another set has. */
  subtract(other: RecordSet): this {
    const words = this.#words;
    for (let at = 0; at < words.length; at++) words[at]! &= ~other.#words[at]!;
    return this;
  }

  /** Whether another set has all records of this one. */
  isWithin(other: RecordSet): boolean {
    const words = this.#words;
    for (let at = 0; at < words.length; at++) {
      if ((words[at]! & ~other.#words[at]!) !== 0) return false;
    }
    return true;
  }

  /** Replaces the set by the block's other records. */
  complement(): this {
    const words = this.#words;
    for (let at = 0; at < words.length; at++) words[at] = ~words[at]!;
    const rest = this.size % WORD_BITS;
    if (rest !== 0) words[words.length - 1]! &= 2 ** rest - 1;
    return this;
  }

  copy(): RecordSet {
    return new RecordSet(this.size, this.#words.slice());
  }

  /** Returns the indexes, ascending. */
  indexes(): Uint16Array<ArrayBuffer> {
    const indexes = new Uint16Array(this.count);
    const words = this.#words;
    let length = 0;
    for (let at = 0; at < words.length; at++) {
      for (let word = words[at]!; word !== 0; word &= word - 1) {
        indexes[length++] = WORD_BITS * at + 31 - Math.clz32(word & -word);
      }
    }
    return indexes;
  }
}

/** Returns the number of bits that are set. */
function bitsOf(word: number): number {
  const pairs = word - ((word >>> 1) & 0x5555_5555);
  const nibbles = (pairs & 0x3333_3333) + ((pairs >>> 2) & 0x3333_3333);
  return Math.imul((nibbles + (nibbles >>> 4)) & 0x0f0f_0f0f, 0x0101_0101) >>> 24;
}

/**
 * What is known of which records match: `surely` is a part of `perhaps`, and a record that is in neither does not match. The
 * sets are not changed any more; an operation may return one of its operands.
 */
export interface Verdict {
  readonly surely: RecordSet;
  readonly perhaps: RecordSet;
}

export function known(records: RecordSet): Verdict {
  return { surely: records, perhaps: records };
}

export function negated({ surely, perhaps }: Verdict): Verdict {
  const isKnown = surely === perhaps;
  const not = perhaps.copy().complement();
  return { surely: not, perhaps: isKnown ? not : surely.copy().complement() };
}

export function bothOf(one: Verdict, other: Verdict): Verdict {
  const perhaps = one.perhaps.copy().intersect(other.perhaps);
  const isKnown = one.surely === one.perhaps && other.surely === other.perhaps;
  return { surely: isKnown ? perhaps : one.surely.copy().intersect(other.surely), perhaps };
}

export function eitherOf(one: Verdict, other: Verdict): Verdict {
  const perhaps = one.perhaps.copy().union(other.perhaps);
  const isKnown = one.surely === one.perhaps && other.surely === other.perhaps;
  return { surely: isKnown ? perhaps : one.surely.copy().union(other.surely), perhaps };
}
