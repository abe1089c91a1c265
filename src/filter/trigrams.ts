/**
 * Sets of the trigrams of envelopes, which tell without parsing an envelope that it does not contain a text. One set serves
 * all filters: looking up the trigrams of a text takes a few nanoseconds, searching for it as long as the envelope is.
 */

/** The hashes of a text's trigrams, all of which an envelope with this text has; empty if it may have none of them. */
export type Trigrams = Uint32Array;

const NO_TRIGRAMS: Trigrams = new Uint32Array();

/** Text that numbers may contain, which are not always written as they are in JSON. */
const NUMERIC = /^[\d.+e-]*$/;

/**
 * Returns the parts of a folded text that is searched for in values which are the same in an envelope's JSON, in any case, unless
 * that has other forms of them ({@link OTHER_FORMS}).
 */
export function plainRuns(text: string): string[] {
  if (NUMERIC.test(text)) return [];
  return Array.from(text.matchAll(/[ !#-[\]-~]{3,}/g), ([run]) => run);
}

/**
 * Returns the trigrams of a folded text that is searched for in values. Of characters other than ASCII, and of those that are
 * escaped in JSON, there are none.
 */
export function trigramsOf(text: string): Trigrams {
  const hashes = new Set<number>();
  for (const run of plainRuns(text)) {
    for (let index = 2; index < run.length; index++) {
      let codes = 0;
      for (let at = index - 2; at <= index; at++) codes = (codes << 8) | run.charCodeAt(at) | CASE;
      hashes.add(hashOf(codes) >>> 0);
    }
  }
  return hashes.size === 0 ? NO_TRIGRAMS : Uint32Array.from(hashes);
}

/** Returns the trigrams of several texts, each of which is in a value or in the name of a member. */
export function trigramsOfAll(texts: readonly string[]): Trigrams {
  return Uint32Array.from(new Set(texts.flatMap((text) => [...trigramsOf(text)])));
}

/** Sets letters in lower case; that some other characters become equal as well does no harm. */
const CASE = 0x20;

/** Of three bytes. */
function hashOf(codes: number): number {
  return Math.imul(codes & 0xff_ffff, 0x9e37_79b1);
}

/** Fewer than one bit in eight is set, so texts of five trigrams are mistaken once in 30 000 times. */
const BITS_PER_BYTE_LOG2 = 3;
const BITS_LOG2_MIN = 10;
/** Sets are small, even those of large envelopes. */
const BITS_LOG2_MAX = 18;

/** The trigrams of one envelope. */
export class TrigramSet {
  readonly #bits: Uint8Array;
  readonly #shift: number;

  /** The bytes are an envelope's JSON in UTF-8. */
  constructor(bytes: Buffer, start: number, end: number) {
    const sizeLog2 = 32 - Math.clz32(end - start) + BITS_PER_BYTE_LOG2;
    const bitsLog2 = Math.min(Math.max(sizeLog2, BITS_LOG2_MIN), BITS_LOG2_MAX);
    this.#shift = 32 - bitsLog2;
    this.#bits = new Uint8Array(2 ** (bitsLog2 - 3));
    this.#add(bytes, start, end);
  }

  #add(bytes: Buffer, start: number, end: number): void {
    const bits = this.#bits;
    const shift = this.#shift;
    let union = 0;
    let codes = 0;
    for (let index = start; index < end; index++) {
      const byte = bytes[index]!;
      codes = (codes << 8) | byte | CASE;
      const bit = hashOf(codes) >>> shift;
      bits[bit >>> 3]! |= 1 << (bit & 7);
      union |= byte;
    }
    if (hasOtherForms(bytes.subarray(start, end), union >= 0x80)) bits.fill(0xff);
  }

  /** Returns false if the envelope surely lacks one of the trigrams. */
  mayHave(trigrams: Trigrams): boolean {
    const bits = this.#bits;
    const shift = this.#shift;
    for (let index = 0; index < trigrams.length; index++) {
      const bit = trigrams[index]! >>> shift;
      if ((bits[bit >>> 3]! & (1 << (bit & 7))) === 0) return false;
    }
    return true;
  }
}

const BACKSLASH = 0x5c;

/** Whether ASCII characters of values may have other bytes: by an escape, or by folding. */
function hasOtherForms(bytes: Buffer, hasNonAscii: boolean): boolean {
  for (let at = bytes.indexOf(BACKSLASH); at >= 0; at = bytes.indexOf(BACKSLASH, at + 2)) {
    if (OTHER_ESCAPES.has(bytes[at + 1]!)) return true;
  }
  return hasNonAscii && FOLDED_TO_ASCII.some((character) => bytes.includes(character));
}

/** `\u` and `\/`; the other escapes stand for characters that are in no trigram. */
const OTHER_ESCAPES: ReadonlySet<number> = new Set([0x75, 0x2f]);

/** The Kelvin sign, long s, the Greek question mark and varia. */
const FOLDED_TO_ASCII: readonly Buffer[] = ["\u{212a}", "\u{17f}", "\u{37e}", "\u{1fef}"].map(
  (character) => Buffer.from(character),
);

/** Bytes without which an envelope surely has no other forms of the characters of {@link plainRuns}. */
export const OTHER_FORMS: readonly Buffer[] = [
  ...[...OTHER_ESCAPES].map((code) => Buffer.of(BACKSLASH, code)),
  ...FOLDED_TO_ASCII,
];
