import { ALPHANUMERIC, DIGIT, DOT, isOf, LETTER, UNDERSCORE, type Cursor } from "./cursor.ts";
import type { Verifier } from "./cursor.ts";

const DIGITS_MIN = 13;
const DIGITS_MAX = 19;

/** How far a card's groups may reach back from the digits that were found. */
const BACK_BYTES_MAX = 24;

const SPACE = 0x20;
const HYPHEN = 0x2d;

/** Finds a payment card number (ISO/IEC 7812), with or without separators, in a run of digits. */
export const verifyCard: Verifier = (cursor, at) => {
  let start = at;
  const lowest = Math.max(cursor.floor, at - BACK_BYTES_MAX);
  while (start > lowest && (cursor.is(start - 1, DIGIT) || isSeparator(cursor, start - 1))) start--;
  while (!cursor.is(start, DIGIT)) start++;
  for (let group = start; ;) {
    const end = cursor.run(group, DIGIT);
    const stop = cardEnd(cursor, group, end);
    if (stop > 0) return cursor.found(group, stop);
    if (!isSeparator(cursor, end)) return cursor.skipTo(Math.max(end, at));
    group = end + 1;
  }
};

/** Returns whether there is a space or a hyphen between two digits. */
function isSeparator(cursor: Cursor, at: number): boolean {
  const byte = cursor.at(at);
  return (
    (byte === SPACE || byte === HYPHEN) && cursor.is(at - 1, DIGIT) && cursor.is(at + 1, DIGIT)
  );
}

/** Returns the end of the card that starts with a group of digits; 0 if none does. */
function cardEnd(cursor: Cursor, start: number, end: number): number {
  const digits = end - start;
  if (digits >= DIGITS_MIN) {
    return digits <= DIGITS_MAX && isCard(cursor, start, end) ? end : 0;
  }
  if (digits !== 4) return 0;
  const separator = cursor.at(end)!;
  const groups = [4, 0, 0, 0, 0];
  let count = 1;
  let stop = end;
  while (count < groups.length && cursor.at(stop) === separator && isSeparator(cursor, stop)) {
    const next = cursor.run(stop + 1, DIGIT, DIGITS_MAX);
    groups[count++] = next - stop - 1;
    stop = next;
    if (LAYOUTS.has(groups.slice(0, count).join()) && isCard(cursor, start, stop)) return stop;
  }
  return 0;
}

const LAYOUTS = new Set(["4,6,5", "4,6,4", "4,4,4,4", "4,4,4,4,3"]);

function isCard(cursor: Cursor, start: number, stop: number): boolean {
  return (
    !isJoined(cursor, start - 1, -1) &&
    !isJoined(cursor, stop, 1) &&
    isCardNumber(cursor.bytes, start, stop)
  );
}

/** Returns whether the character beside the number makes it part of something else, such as a word or a fraction. */
function isJoined(cursor: Cursor, at: number, direction: 1 | -1): boolean {
  if (cursor.is(at, LETTER | DIGIT | UNDERSCORE)) return true;
  return cursor.is(at, DOT) && cursor.is(at + direction, ALPHANUMERIC);
}

/** Returns whether the digits, with single separators between them, have the prefix of an issuer and the right check digit. */
function isCardNumber(bytes: Uint8Array, start: number, stop: number): boolean {
  let digits = 0;
  let prefix = 0;
  for (let at = start; at < stop; at++) {
    if (!isOf(bytes[at], DIGIT)) continue;
    if (digits < PREFIX_DIGITS) prefix = 10 * prefix + digitOf(bytes[at]!);
    digits++;
  }
  return hasIssuer(prefix, digits) && passesLuhn(bytes, start, stop);
}

const PREFIX_DIGITS = 6;

/** Ranges of the first six digits, and of the number of digits. */
const ISSUERS: readonly (readonly [from: number, to: number, min: number, max: number])[] = [
  // Mir and Mastercard
  [220000, 220499, 16, 19],
  [222100, 272099, 16, 16],
  // Diners Club, American Express, JCB
  [300000, 305999, 14, 19],
  [309500, 309599, 14, 19],
  [340000, 349999, 15, 15],
  [352800, 358999, 16, 19],
  [360000, 369999, 14, 19],
  [370000, 379999, 15, 15],
  [380000, 399999, 14, 19],
  // Visa
  [400000, 499999, 13, 13],
  [400000, 499999, 16, 16],
  [400000, 499999, 19, 19],
  // Maestro, RuPay and Mastercard
  [500000, 509999, 13, 19],
  [510000, 559999, 16, 16],
  [560000, 589999, 13, 19],
  // Discover, UnionPay, Maestro, RuPay
  [600000, 699999, 13, 19],
];

function hasIssuer(prefix: number, digits: number): boolean {
  for (const [from, to, min, max] of ISSUERS) {
    if (prefix >= from && prefix <= to && digits >= min && digits <= max) return true;
  }
  return false;
}

/** The check digit of ISO/IEC 7812-1, annex B. */
function passesLuhn(bytes: Uint8Array, start: number, stop: number): boolean {
  let sum = 0;
  let isDoubled = false;
  for (let at = stop - 1; at >= start; at--) {
    if (!isOf(bytes[at], DIGIT)) continue;
    const digit = digitOf(bytes[at]!);
    const doubled = 2 * digit;
    sum += isDoubled ? (doubled > 9 ? doubled - 9 : doubled) : digit;
    isDoubled = !isDoubled;
  }
  return sum % 10 === 0;
}

function digitOf(byte: number): number {
  return byte & 0x0f;
}

const scratch = Buffer.alloc(DIGITS_MAX + 1);

/** Returns whether an integer is a card number. Cheap for nearly all of them, such as times in nanoseconds. */
export function isCardInteger(value: number | bigint): boolean {
  if (!mayBeCard(value) || !isInteger(value)) return false;
  const length = scratch.write(value.toString(), "latin1");
  return isCardNumber(scratch, 0, length);
}

/** Returns whether an integer has enough digits, and the first is that of an issuer. */
export function mayBeCard(value: number | bigint): boolean {
  if (value >= 10 ** DIGITS_MAX) return false;
  for (let unit = 10 ** (DIGITS_MAX - 1); unit >= 10 ** (DIGITS_MIN - 1); unit /= 10) {
    if (value >= unit) return value >= 2 * unit && value < 7 * unit;
  }
  return false;
}

function isInteger(value: number | bigint): boolean {
  return typeof value === "bigint" || Number.isInteger(value);
}
