/** The position of a search in a text, and what verifiers share. */

/** Classes of characters, as bits. */
export const DIGIT = 1;
export const UPPER = 2;
export const LOWER = 4;
export const UNDERSCORE = 8;
export const DASH = 16;
export const DOT = 32;
export const BLANK = 64;
/** The other characters of base64 and of a token68 (RFC 9110, section 11.2). */
export const BASE64 = 128;
/** Other characters of the local part of an address. */
export const LOCAL = 256;
/** Part of a character that is not ASCII. */
export const HIGH = 512;
export const LINE_END = 1024;
/** Ends a value that has no quotes. */
export const VALUE_END = 2048;
/** Ends a URL. */
export const URL_END = 4096;

export const LETTER = UPPER | LOWER;
export const ALPHANUMERIC = DIGIT | LETTER;
export const WORD = ALPHANUMERIC | UNDERSCORE | DASH;

const CLASSES = new Uint16Array(256);
add("0123456789", DIGIT);
add("ABCDEFGHIJKLMNOPQRSTUVWXYZ", UPPER);
add("abcdefghijklmnopqrstuvwxyz", LOWER);
add("_", UNDERSCORE);
add("-", DASH);
add(".", DOT);
add(" \t", BLANK);
add("+/=~", BASE64);
add("%+'", LOCAL);
add("\r\n", LINE_END);
add(" \t\r\n\v\f\0\\\"'`,;&<>)]}|", VALUE_END);
add(" \t\r\n\v\f\0\\\"'`<>", URL_END);
CLASSES.fill(HIGH, 0x80);

function add(characters: string, bits: number): void {
  for (const character of characters) CLASSES[character.charCodeAt(0)]! |= bits;
}

/** Returns whether a byte is of one of the classes. */
export function isOf(byte: number | undefined, classes: number): boolean {
  return byte !== undefined && (CLASSES[byte]! & classes) !== 0;
}

/**
 * A position in a text of UTF-8. Verifiers look around a keyword, and say what they have found. They must be bounded, or set
 * {@link resume} behind what they have read: the search is linear then.
 */
export class Cursor {
  bytes: Uint8Array = new Uint8Array();
  /** The text is from `begin` to before `end`; what is before `floor` was found already. */
  begin = 0;
  floor = 0;
  end = 0;
  /** What was found last. */
  start = 0;
  stop = 0;
  /** The quote of an unquoted value's replacement, and the number of backslashes before it; 0 for other finds. */
  quote = 0;
  quoteEscapes = 0;
  /** False if only an empty replacement needs the quotes. */
  isQuoteNeeded = false;
  /** The position at which the search continues if nothing was found. */
  resume = 0;
  /** True if no key block ends in the rest of the text. */
  hasNoKeyEnd = false;

  open(bytes: Uint8Array, begin: number, end: number): void {
    this.bytes = bytes;
    this.begin = begin;
    this.floor = begin;
    this.end = end;
    this.hasNoKeyEnd = false;
  }

  /** Returns the byte at a position of the text; undefined outside. */
  at(position: number): number | undefined {
    return position >= this.begin && position < this.end ? this.bytes[position] : undefined;
  }

  is(position: number, classes: number): boolean {
    return position >= this.begin && position < this.end && isOf(this.bytes[position], classes);
  }

  /** Returns where the characters of the classes end, from `position` on, at most `max` of them. */
  run(position: number, classes: number, max = Infinity): number {
    const limit = Math.min(this.end, position + max);
    let at = position;
    while (at < limit && isOf(this.bytes[at], classes)) at++;
    return at;
  }

  /** Returns where the first character of the classes is, from `position` on, or else the end of the text. */
  until(position: number, classes: number): number {
    let at = position;
    while (at < this.end && !isOf(this.bytes[at], classes)) at++;
    return at;
  }

  /** Returns where the characters of the classes before `position` start. */
  runBack(position: number, classes: number, max: number, lowest = this.floor): number {
    const limit = Math.max(lowest, position - max);
    let at = position;
    while (at > limit && isOf(this.bytes[at - 1], classes)) at--;
    return at;
  }

  /** Returns whether the text has these characters, case included, at a position. */
  has(position: number, text: string): boolean {
    if (position < this.begin || position + text.length > this.end) return false;
    for (let index = 0; index < text.length; index++) {
      if (this.bytes[position + index] !== text.charCodeAt(index)) return false;
    }
    return true;
  }

  /** Returns a part of the text, which should be short and ASCII. */
  slice(start: number, stop: number): string {
    let text = "";
    for (let at = start; at < stop; at++) text += String.fromCharCode(this.bytes[at]!);
    return text;
  }

  found(start: number, stop: number): boolean {
    this.start = start;
    this.stop = stop;
    this.quote = 0;
    return true;
  }

  /** Reports that nothing was found up to a position. */
  skipTo(position: number): boolean {
    this.resume = position;
    return false;
  }
}

/** Decides whether there is something to be redacted at a keyword, which ends before `at`. */
export type Verifier = (cursor: Cursor, at: number) => boolean;
