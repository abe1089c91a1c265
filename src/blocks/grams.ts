/**
 * Grams are pieces of text by which a block's filter tells that no value of the block contains a text. There are two kinds:
 *
 * - Words: each piece of {@link WORD_BYTES} bytes of a run of letters. Characters of more than ASCII count as letters.
 * - Ids: of a run of letters, digits, `-` and `_` with a digit, the minimizers of its pieces of {@link ID_BYTES} bytes: of
 *   each {@link DENSE_WINDOW} neighbors the one with the smallest hash. So a text of eight bytes shares at least one with
 *   each text that contains it.
 *
 * A run of a text that is searched for lies in a run of each value that contains it, whose grams therefore include its own.
 * Text is taken as `fold` returns it, which is how it is compared.
 *
 * What each kind of value adds, and what the filter is not asked:
 *
 * | value | grams |
 * |---|---|
 * | text of messages, attributes, elements, nested values, names of loggers, levels and services | those of the text |
 * | call site | those of the attributes that it is a part of |
 * | true, false, null | those of the word |
 * | numbers | those of the decimal form, unless the block has too many: see {@link NEEDS_NUMBERS} |
 * | trace and span ids, bytes | those of the hexadecimal and of the base64 form |
 * | the JSON of structured bodies | those of the JSON, escapes included, from the envelope |
 * | days and hours, as in `2026-11-28T10`, as a whole run: the timestamp of each record has them | none, in no text |
 */

import { fold, FOLDED_BYTES, hasUnusualFolding } from "../wire/query/fold.ts";
import type { JsonValue } from "../wire/envelope.ts";

const WORD_BYTES = 4;
const ID_BYTES = 6;
const DENSE_WINDOW = 3;
/** Of blocks whose values have too many ids. */
const SPARSE_WINDOW = 11;

/** What a gram needs of a filter, as bits: a filter that lacks it says nothing about the gram. */
export const NEEDS_DENSE_IDS = 1;
/** The text can lie in a number, and the filter has those of numbers. */
export const NEEDS_NUMBERS = 2;

/** A gram that each value with a text has, if the filter has what it needs. */
export interface RequiredGram {
  readonly hash: number;
  readonly needs: number;
}

/** What a byte is in a run, if it is no letter. Letters stand for themselves, in lower case. */
const BREAK = 0;
const DIGIT = 1;
const JOINER = 2;
/** A byte of text that has to be folded first. */
const UNFOLDED = 3;
const LETTER_MIN = 0x61;

const SEPARATOR = 0xff;

/** What bytes are in folded text, and in text as it came. */
const FOLDED_CLASSES = classes((byte) => byte);
const RAW_CLASSES = classes(() => UNFOLDED);

function classes(beyondAscii: (byte: number) => number): Uint8Array {
  return Uint8Array.from({ length: 256 }, (_, byte) => {
    if (byte === SEPARATOR) return BREAK;
    if (byte >= 0x80) return beyondAscii(byte);
    const character = String.fromCharCode(byte);
    if (/[A-Za-z]/.test(character)) return FOLDED_BYTES[byte]!;
    if (/\d/.test(character)) return DIGIT;
    return /[-_]/.test(character) ? JOINER : BREAK;
  });
}

/** Integers from -999 999 to 9 999 999 have too few digits for a gram. */
const SHORT_NUMBER_MIN = -1e6;
const SHORT_NUMBER_MAX = 1e7;
const SHORT_FRACTION = 1e7;

const HEX_DIGITS = Buffer.from("0123456789abcdef");
const TRUE = Buffer.from("true");
const FALSE = Buffer.from("false");
const NULL = Buffer.from("null");

export interface GramSetOptions {
  /** With sparse ids, only texts of 16 bytes and more surely have a gram, a third as many. */
  readonly hasSparseIds: boolean;
  /** What exceeds it is left out, and {@link GramSet.isFull} is set. */
  readonly gramsMax: number;
  /** The same for numbers, whose grams are all left out then. */
  readonly numberGramsMax: number;
}

/** The grams of a block's values. Values may be added several times, but time is saved if each distinct one is added once. */
export class GramSet {
  readonly #window: number;
  readonly #texts: HashSet;
  readonly #numbers: HashSet;
  #hasUnusualFolding = false;
  /** Texts to be scanned as bytes. */
  #scratch = Buffer.allocUnsafeSlow(1 << 12);

  constructor({ hasSparseIds, gramsMax, numberGramsMax }: GramSetOptions) {
    this.#window = hasSparseIds ? SPARSE_WINDOW : DENSE_WINDOW;
    this.#texts = new HashSet(gramsMax);
    this.#numbers = new HashSet(numberGramsMax);
  }

  /** True if there were too many grams: the set is not complete. */
  get isFull(): boolean {
    return this.#texts.isFull;
  }

  /** Whether folding moves the bytes of a text that {@link addText} has added, or may move them because not all were read. */
  get hasUnusualFolding(): boolean {
    return this.#hasUnusualFolding || this.isFull;
  }

  /** Whether the grams of all numbers are there. */
  get hasNumbers(): boolean {
    return !this.#numbers.isFull;
  }

  /** Returns the grams; some of them may be there twice. */
  hashes(): Int32Array {
    const texts = this.#texts.values();
    if (!this.hasNumbers) return texts;
    const numbers = this.#numbers.values();
    const hashes = new Int32Array(texts.length + numbers.length);
    hashes.set(texts);
    hashes.set(numbers, texts.length);
    return hashes;
  }

  /** Adds texts in UTF-8, as they came; several are separated by the byte 0xFF. */
  addText(bytes: Buffer, start = 0, end = bytes.length): void {
    let position = start;
    while (position < end && !this.isFull) {
      position = scan(bytes, position, end, RAW_CLASSES, this.#window, this.#texts);
      if (position === end) return;
      const before = bytes.lastIndexOf(SEPARATOR, position);
      const valueStart = before < start ? start : before + 1;
      const after = bytes.indexOf(SEPARATOR, position);
      const valueEnd = after < 0 || after > end ? end : after;
      const text = bytes.toString("utf8", valueStart, valueEnd);
      this.#hasUnusualFolding ||= hasUnusualFolding(text);
      this.addString(text);
      position = valueEnd;
    }
  }

  addString(text: string): void {
    const folded = fold(text);
    const bytes = this.#reserve(3 * folded.length);
    const length = bytes.write(folded);
    scan(bytes, 0, length, FOLDED_CLASSES, this.#window, this.#texts);
  }

  #reserve(bytes: number): Buffer {
    if (this.#scratch.length < bytes) this.#scratch = Buffer.allocUnsafeSlow(2 * bytes);
    return this.#scratch;
  }

  /** Adds a number. Integers beyond 2^53, which a number does not hold exactly, have to be given as bigint. */
  addNumber(value: number | bigint): void {
    if (typeof value === "number") {
      if (value > SHORT_NUMBER_MIN && value < SHORT_NUMBER_MAX && isShort(value)) return;
      if (!Number.isFinite(value)) return this.addString(String(value));
    }
    // Grams of numbers are worth little, so few of them are kept.
    if (!this.hasNumbers || this.#window !== DENSE_WINDOW) return;
    const length = this.#scratch.write(String(value), "latin1");
    scan(this.#scratch, 0, length, FOLDED_CLASSES, this.#window, this.#numbers);
  }

  addBoolean(value: boolean): void {
    this.addText(value ? TRUE : FALSE);
  }

  addNull(): void {
    this.addText(NULL);
  }

  /** Adds an id as envelopes show it, in hexadecimal. */
  addHex(bytes: Uint8Array, start = 0, end = bytes.length): void {
    const digits = this.#reserve(2 * (end - start));
    let length = 0;
    for (let index = start; index < end; index++) {
      digits[length++] = HEX_DIGITS[bytes[index]! >> 4]!;
      digits[length++] = HEX_DIGITS[bytes[index]! & 15]!;
    }
    scan(digits, 0, length, FOLDED_CLASSES, this.#window, this.#texts);
  }

  /** Adds bytes as envelopes show them, in base64. */
  addBase64(bytes: Buffer, start = 0, end = bytes.length): void {
    this.addString(bytes.toString("base64", start, end));
  }

  /** Adds all that a search for text sees of a value of an envelope: its `data`, or a part of it. */
  addJson(value: JsonValue): void {
    switch (typeof value) {
      case "string":
        return this.addString(value);
      case "number":
        return this.addNumber(value);
      case "boolean":
        return this.addBoolean(value);
      default:
        if (value === null) return this.addNull();
        for (const inner of Object.values(value)) this.addJson(inner);
    }
  }
}

/** Whether the decimal form of a number below 10 million has no run with a gram. */
function isShort(value: number): boolean {
  return (value | 0) === value || Math.round(value * SHORT_FRACTION) / SHORT_FRACTION === value;
}

/**
 * Returns the grams that each value has that contains a text. None if the text is too short: then the filter cannot tell.
 * `text` is folded.
 */
export function gramsOf(text: string): RequiredGram[] {
  // A value that contains half of a character contains the rest of the text as well.
  const bytes = Buffer.from(text.replaceAll(/\p{Surrogate}/gu, " "));
  const words = new HashSet(SMALL_MAX);
  const grams: RequiredGram[] = [];
  forEachRun(bytes, (start, end) => {
    const needs = canBeInNumber(bytes, start, end) ? NEEDS_NUMBERS : 0;
    const dense = new HashSet(SMALL_MAX);
    const sparse = new HashSet(SMALL_MAX);
    scanRun(bytes, start, end, DENSE_WINDOW, words, dense);
    scanRun(bytes, start, end, SPARSE_WINDOW, words, sparse);
    const isSparse = new Set(sparse.values());
    for (const hash of dense.values()) {
      grams.push({ hash, needs: isSparse.has(hash) ? needs : needs | NEEDS_DENSE_IDS });
    }
  });
  for (const hash of words.values()) grams.push({ hash, needs: 0 });
  return grams;
}

function forEachRun(bytes: Buffer, visit: (start: number, end: number) => void): void {
  let start = 0;
  for (let end = 0; end <= bytes.length; end++) {
    if (end < bytes.length && FOLDED_CLASSES[bytes[end]!] !== BREAK) continue;
    if (end > start) visit(start, end);
    start = end + 1;
  }
}

/** What JSON numbers have between the characters that end a run: `.` and `+`. */
const NUMBER_RUN = /^-?\d*(?:e-?\d*)?$/;

function canBeInNumber(bytes: Buffer, start: number, end: number): boolean {
  return NUMBER_RUN.test(bytes.toString("latin1", start, end));
}

/** Adds the grams of texts. Returns the position of the first byte that has to be folded first, or the end. */
function scan(
  bytes: Uint8Array,
  start: number,
  end: number,
  classOf: Uint8Array,
  window: number,
  set: HashSet,
): number {
  let position = start;
  while (position < end) {
    if (classOf[bytes[position]!] === BREAK) {
      position++;
      continue;
    }
    let runEnd = position;
    let hasDigit = false;
    let letters = 0;
    let word = 0;
    for (; runEnd < end; runEnd++) {
      const kind = classOf[bytes[runEnd]!]!;
      if (kind >= LETTER_MIN) {
        word = (word << 8) | kind;
        if (++letters >= WORD_BYTES) set.addWord(word);
        continue;
      }
      letters = 0;
      if (kind === DIGIT) hasDigit = true;
      else if (kind === BREAK) break;
      else if (kind === UNFOLDED) return runEnd;
    }
    if (hasDigit) addMinimizers(bytes, position, runEnd, window, set);
    position = runEnd;
  }
  return end;
}

/** Does the same for one run of folded text, with words and ids apart. */
function scanRun(
  bytes: Uint8Array,
  start: number,
  end: number,
  window: number,
  words: HashSet,
  ids: HashSet,
): void {
  let letters = 0;
  let word = 0;
  let hasDigit = false;
  for (let position = start; position < end; position++) {
    const byte = bytes[position]!;
    const kind = FOLDED_CLASSES[byte]!;
    if (kind === DIGIT) hasDigit = true;
    letters = kind >= LETTER_MIN ? letters + 1 : 0;
    word = (word << 8) | byte;
    if (letters >= WORD_BYTES) words.addWord(word);
  }
  if (hasDigit) addMinimizers(bytes, start, end, window, ids);
}

/** The maximum number of grams of a text that is searched for, and of its bytes. */
const SMALL_MAX = 1 << 14;

/** The hashes of the last pieces of a run. */
const recent = new Int32Array(16);

function addMinimizers(
  bytes: Uint8Array,
  start: number,
  end: number,
  window: number,
  set: HashSet,
): void {
  if (end - start < ID_BYTES + window - 1 || canBeInTime(bytes, start, end)) return;
  if (window === DENSE_WINDOW) addDense(bytes, start, end, set);
  else addSparse(bytes, start, end, set);
}

function addDense(bytes: Uint8Array, start: number, end: number, set: HashSet): void {
  // The last six bytes: four and the two before them.
  let low = 0;
  let high = 0;
  // The last hashes.
  let first = 0;
  let second = 0;
  let added = 0;
  let position = start;
  for (const firstPiece = start + ID_BYTES - 1; position < firstPiece; position++) {
    high = (high << 8) | (low >>> 24);
    low = (low << 8) | FOLDED_BYTES[bytes[position]!]!;
  }
  for (const firstWindow = position + DENSE_WINDOW - 1; position < end; position++) {
    high = ((high << 8) | (low >>> 24)) & 0xffff;
    low = (low << 8) | FOLDED_BYTES[bytes[position]!]!;
    const third = hashOfPiece(low, high);
    if (position >= firstWindow) {
      const least = Math.min(first, second, third);
      if (least !== added) {
        set.add(least);
        added = least;
      }
    }
    first = second;
    second = third;
  }
}

function hashOfPiece(low: number, high: number): number {
  return mixed(Math.imul(low, 0x9e3779b1) ^ Math.imul(high + 1, 0x85ebca6b));
}

/** Does the same as {@link addDense} with the sparse window. */
function addSparse(bytes: Uint8Array, start: number, end: number, set: HashSet): void {
  let low = 0;
  let high = 0;
  for (let position = start; position < end; position++) {
    high = ((high << 8) | (low >>> 24)) & 0xffff;
    low = (low << 8) | FOLDED_BYTES[bytes[position]!]!;
    const piece = position - start - (ID_BYTES - 1);
    if (piece < 0) continue;
    recent[piece & 15] = hashOfPiece(low, high);
    if (piece < SPARSE_WINDOW - 1) continue;
    let least = recent[piece & 15]!;
    for (let back = 1; back < SPARSE_WINDOW; back++) {
      least = Math.min(least, recent[(piece - back) & 15]!);
    }
    set.add(least);
  }
}

/** What is before the first colon of a timestamp; it has no longer run. */
const DAY_AND_HOUR = "0000-00-00t00";

/** Whether a run that is long enough for an id can be a part of a timestamp. */
function canBeInTime(bytes: Uint8Array, start: number, end: number): boolean {
  const length = end - start;
  for (let offset = 0; offset + length <= DAY_AND_HOUR.length; offset++) {
    let index = 0;
    while (index < length && isAs(DAY_AND_HOUR[offset + index]!, bytes[start + index]!)) index++;
    if (index === length) return true;
  }
  return false;
}

function isAs(expected: string, byte: number): boolean {
  if (expected === "0") return byte >= 0x30 && byte <= 0x39;
  return FOLDED_BYTES[byte] === expected.charCodeAt(0);
}

/** Returns the hash of a number of 32 bits, of which each bit depends on all of the number's: 32 bits with a sign, never 0. */
export function mixed(value: number): number {
  let hash = Math.imul(value ^ (value >>> 15), 0x2c1b3c6d);
  hash = Math.imul(hash ^ (hash >>> 12), 0x297a2d39);
  return hash ^ (hash >>> 15) || 1;
}

/** A set of hashes, with open addressing. */
class HashSet {
  size = 0;
  isFull = false;
  readonly #max: number;
  /** 0 is free. */
  #slots: Int32Array;
  /** Words that were added lately, by a part of their hash: most occur again soon. */
  readonly #recentWords: Int32Array;
  readonly #recentShift: number;

  constructor(max: number) {
    this.#max = max;
    const [bits, recentBits] = max > SMALL_MAX ? [15, 12] : [6, 4];
    this.#slots = new Int32Array(1 << bits);
    this.#recentWords = new Int32Array(1 << recentBits);
    this.#recentShift = 32 - recentBits;
  }

  /** Adds the gram of four bytes. */
  addWord(word: number): void {
    const place = Math.imul(word, 0x9e3779b1) >>> this.#recentShift;
    if (this.#recentWords[place] === word) return;
    this.#recentWords[place] = word;
    this.add(mixed(word));
  }

  add(hash: number): void {
    const slots = this.#slots;
    const mask = slots.length - 1;
    let at = hash & mask;
    for (;;) {
      const found = slots[at];
      if (found === hash) return;
      if (found === 0) break;
      at = (at + 1) & mask;
    }
    if (this.size >= this.#max) {
      this.isFull = true;
      return;
    }
    slots[at] = hash;
    this.size++;
    if (4 * this.size > 3 * slots.length) this.#grow();
  }

  values(): Int32Array {
    const values = new Int32Array(this.size);
    let size = 0;
    const slots = this.#slots;
    for (let at = 0; at < slots.length; at++) if (slots[at] !== 0) values[size++] = slots[at]!;
    return values;
  }

  #grow(): void {
    const before = this.#slots;
    const slots = new Int32Array(2 * before.length);
    const mask = slots.length - 1;
    for (let place = 0; place < before.length; place++) {
      const hash = before[place]!;
      if (hash === 0) continue;
      let at = hash & mask;
      while (slots[at] !== 0) at = (at + 1) & mask;
      slots[at] = hash;
    }
    this.#slots = slots;
  }
}
