import { BLANK, DASH, DIGIT, LINE_END, VALUE_END, WORD } from "./cursor.ts";
import type { Cursor, Verifier } from "./cursor.ts";
import { normalizeKey } from "./key-globs.ts";
import { HASH_START, MASK_START } from "./rules.ts";
import { looksRandom } from "./tokens.ts";

/** How much of a word is before and after the keyword. */
const BEFORE_BYTES_MAX = 64;
const AFTER_BYTES_MAX = 32;
const BLANKS_MAX = 8;

/** Keywords whose values are secrets, whatever they are. `-` and `_` within them are ignored. */
const STRICT_KEYWORDS = [
  "password",
  "passwd",
  "pwd",
  "passphrase",
  "apikey",
  "accesskey",
  "privatekey",
  "accountkey",
  "credential",
];

/** Keywords of headers, whose values have several words. */
const HEADER_KEYWORDS = ["cookie"];

/** Keywords that have other meanings, too: their values must look like secrets. */
const LOOSE_KEYWORDS = ["token", "secret", "signature", "sessionid"];

export const ASSIGNMENT_KEYWORDS: readonly string[] = [
  ...STRICT_KEYWORDS,
  ...HEADER_KEYWORDS,
  ...LOOSE_KEYWORDS,
];

/** What the values of a word are. */
export type WordKind = "strict" | "header" | "loose";

/** Returns what the values of a word are by the keywords in it; undefined if they are no secrets. */
export function assignmentKind(word: string): WordKind | undefined {
  const key = normalizeKey(word);
  const has = (keyword: string): boolean => key.includes(keyword);
  if (HEADER_KEYWORDS.some((keyword) => key.endsWith(keyword))) return "header";
  if (STRICT_KEYWORDS.some(has)) return "strict";
  return LOOSE_KEYWORDS.some(has) ? "loose" : undefined;
}

/** Words that say something about a secret instead of being one. */
const NO_VALUES = new Set(
  "true false null none nil undefined yes no required missing invalid incorrect wrong expired".split(
    " ",
  ),
);

const BACKSLASH = 0x5c;
const DOUBLE_QUOTE = 0x22;
const QUOTES: ReadonlySet<number> = new Set([DOUBLE_QUOTE, 0x27, 0x60]);
const COLON = 0x3a;
const EQUALS = 0x3d;
const LESS = 0x3c;
const GREATER = 0x3e;
const PERCENT = 0x25;
const SLASH = 0x2f;
/** Unquoted values that begin like this are placeholders, nested values or calls. */
const NO_VALUE_STARTS = new Set(Buffer.from("{[(<"));

/** A word with a secret, and where what follows it begins. */
interface Word {
  readonly kind: WordKind;
  readonly start: number;
  readonly stop: number;
  readonly text: string;
}

/**
 * Returns what finds the value of `password=...`, `"password": "..."`, `--password ...` or `<password>...`, at a keyword
 * within the word. `kindOf` tells what the values of a word are.
 */
export function assignmentVerifier(kindOf: (word: string) => WordKind | undefined): Verifier {
  return (cursor, at) => {
    const stop = cursor.run(at, WORD, AFTER_BYTES_MAX);
    if (stop >= cursor.end) return false;
    const value = valueStart(cursor, stop);
    if (value.start === 0 && !cursor.is(stop, BLANK)) return false;
    const start = cursor.runBack(at, WORD, BEFORE_BYTES_MAX);
    const text = cursor.slice(start, stop);
    const kind = kindOf(text);
    if (kind === undefined) return false;
    const word = { kind, start, stop, text };
    return value.start > 0 ? assignedValue(cursor, word, value) : flagValue(cursor, word);
  };
}

/** The start of a value, and how its key is quoted. */
interface ValueStart {
  /** 0 if no value follows. */
  start: number;
  separator: number;
  escapes: number;
  quote: number;
}

const position: ValueStart = { start: 0, separator: 0, escapes: 0, quote: 0 };

/** Reads a closing quote and the separator after a word. The result is valid until the next call. */
function valueStart(cursor: Cursor, stop: number): ValueStart {
  position.start = 0;
  position.escapes = cursorEscapes(cursor, stop);
  position.quote = quoteAt(cursor, stop + position.escapes);
  let at = position.quote === 0 ? stop : stop + position.escapes + 1;
  // A parameter of a form: `user[password]=...`.
  if (position.quote === 0 && cursor.has(at, "]")) at++;
  if (cursor.at(at) === GREATER) {
    position.separator = GREATER;
    position.start = at + 1;
    return position;
  }
  at = cursor.run(at, BLANK, BLANKS_MAX);
  const byte = cursor.at(at);
  if (byte !== COLON && byte !== EQUALS && !cursor.has(at, "%3D")) return position;
  position.separator = byte === COLON ? COLON : EQUALS;
  if (byte !== COLON && byte !== EQUALS) at += 2;
  const next = cursor.at(at + 1);
  // Comparisons and namespaces are no assignments; `:=` and `=>` are.
  if (next === byte && byte !== PERCENT) return position;
  if (byte === COLON && next === EQUALS) at++;
  if (byte === EQUALS && next === GREATER) at++;
  position.start = at + 1;
  return position;
}

function cursorEscapes(cursor: Cursor, at: number): number {
  let escapes = 0;
  while (escapes < BLANKS_MAX && cursor.at(at + escapes) === BACKSLASH) escapes++;
  return escapes;
}

function quoteAt(cursor: Cursor, at: number): number {
  const byte = cursor.at(at);
  return byte !== undefined && QUOTES.has(byte) ? byte : 0;
}

function assignedValue(cursor: Cursor, word: Word, given: ValueStart): boolean {
  const { separator, escapes: keyEscapes, quote: keyQuote } = given;
  if (separator === GREATER) return elementValue(cursor, word, given.start);
  const at = cursor.run(given.start, BLANK, BLANKS_MAX);
  const escapes = cursorEscapes(cursor, at);
  const quote = quoteAt(cursor, at + escapes);
  if (quote !== 0) {
    const start = at + escapes + 1;
    if (isPlaceholder(cursor, start, true)) return false;
    const stop = quotedEnd(cursor, start, escapes, quote);
    return isSecret(cursor, word, start, stop) && cursor.found(start, stop);
  }
  // `password= next=1`: the value is empty.
  if (separator === EQUALS && at > given.start && !cursor.is(word.stop, BLANK)) return false;
  if (isPlaceholder(cursor, at, false)) return false;
  const isHeader = word.kind === "header";
  const stop = isHeader ? headerEnd(cursor, at, separator, keyQuote) : cursor.until(at, VALUE_END);
  if (!isSecret(cursor, word, at, stop)) return false;
  cursor.found(at, stop);
  // JSON stays JSON if a number becomes a text, and a removed value does not make the next word one.
  cursor.quote = keyQuote === 0 ? DOUBLE_QUOTE : keyQuote;
  cursor.quoteEscapes = keyEscapes;
  cursor.isQuoteNeeded = keyQuote !== 0;
  return true;
}

/**
 * Returns where a quoted value ends. At depth 0 an odd number of backslashes escapes a quote; within an escaped text, the
 * number that stands before its own quotes is to be subtracted.
 */
function quotedEnd(cursor: Cursor, start: number, escapes: number, quote: number): number {
  let backslashes = 0;
  for (let at = start; at < cursor.end; at++) {
    const byte = cursor.bytes[at];
    if (byte === BACKSLASH) {
      backslashes++;
      continue;
    }
    if (byte === quote) {
      if (backslashes < escapes) return at - backslashes;
      if ((backslashes - escapes) % (2 * (escapes + 1)) === 0) return at - escapes;
    }
    backslashes = 0;
  }
  return cursor.end;
}

const SCHEMES = new Set("basic bearer digest negotiate token apikey".split(" "));
const SCHEME_BYTES_MAX = 16;

/** Returns where the value of a header ends: with the line or a quote, after `=` with the credentials. */
function headerEnd(cursor: Cursor, start: number, separator: number, keyQuote: number): number {
  if (keyQuote !== 0 || separator === EQUALS) {
    const stop = cursor.until(start, VALUE_END);
    const scheme = cursor.slice(start, Math.min(stop, start + SCHEME_BYTES_MAX)).toLowerCase();
    const next = cursor.run(stop, BLANK, BLANKS_MAX);
    return SCHEMES.has(scheme) && next > stop ? cursor.until(next, VALUE_END) : stop;
  }
  let at = start;
  while (at < cursor.end && !cursor.is(at, LINE_END) && quoteAt(cursor, at) === 0) at++;
  while (at > start && cursor.at(at - 1) === BACKSLASH) at--;
  return at;
}

/** Finds the content of `<password>...</password>`. */
function elementValue(cursor: Cursor, word: Word, start: number): boolean {
  if (cursor.at(word.start - 1) !== LESS || isPlaceholder(cursor, start, true)) return false;
  let stop = start;
  while (stop < cursor.end && cursor.bytes[stop] !== LESS) stop++;
  const isFound = cursor.has(stop, "</") && isSecret(cursor, word, start, stop);
  return isFound ? cursor.found(start, stop) : cursor.skipTo(stop);
}

/** Finds the value after an option of a command line: `--password hunter2`. */
function flagValue(cursor: Cursor, word: Word): boolean {
  if (!cursor.is(word.start, DASH)) return false;
  const at = cursor.run(word.stop, BLANK, BLANKS_MAX);
  const quote = quoteAt(cursor, at);
  const start = quote === 0 ? at : at + 1;
  if (cursor.is(start, DASH) || isPlaceholder(cursor, start, quote !== 0)) return false;
  const stop = quote === 0 ? cursor.until(start, VALUE_END) : quotedEnd(cursor, start, 0, quote);
  return isSecret(cursor, word, start, stop) && cursor.found(start, stop);
}

/** Returns whether what follows is no value, but a variable, a nested value or what was redacted already. */
function isPlaceholder(cursor: Cursor, start: number, isQuoted: boolean): boolean {
  const first = cursor.at(start);
  if (first === undefined) return true;
  // The block of a key is found as such.
  if (!isQuoted && (NO_VALUE_STARTS.has(first) || cursor.has(start, "-----"))) return true;
  return PLACEHOLDERS.some((placeholder) => cursor.has(start, placeholder));
}

const PLACEHOLDERS = [MASK_START, HASH_START, "${", "{{", "***"];

/** A longer value is not examined. */
const EXAMINED_BYTES_MAX = 64;
const LOOSE_BYTES_MIN = 6;

/** Returns whether a value is a secret, by what is known of the word. */
function isSecret(cursor: Cursor, { kind, text }: Word, start: number, stop: number): boolean {
  const length = stop - start;
  if (length <= 0 || length > EXAMINED_BYTES_MAX) return length > 0;
  if (NO_VALUES.has(cursor.slice(start, stop).toLowerCase())) return false;
  const isNumber = cursor.run(start, DIGIT) >= stop;
  if (kind === "loose") {
    const isOneWord = cursor.until(start, BLANK) >= stop;
    return length >= LOOSE_BYTES_MIN && !isNumber && isOneWord && looksRandom(cursor, start, stop);
  }
  if (isNumber && !isAtEnd(text)) return false;
  // `PWD=/home/app` is the working directory.
  return cursor.at(start) !== SLASH || !normalizeKey(text).endsWith("pwd");
}

/** Returns whether a word ends with its keyword: numbers are secrets in `password: 1234`, and not in `password_age: 90`. */
function isAtEnd(word: string): boolean {
  const key = normalizeKey(word);
  const keywords = STRICT_KEYWORDS.filter((keyword) => key.includes(keyword));
  return keywords.length === 0 || keywords.some((keyword) => key.endsWith(keyword));
}
