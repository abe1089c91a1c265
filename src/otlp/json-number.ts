/**
 * 64-bit integers in OTLP's JSON: decimal strings, or bare numbers, whose digits JSON.parse does not keep. Both come
 * with exponents too.
 */

/** What JSON.parse makes of a bare number may be another one from here on. */
const SAFE_DIGITS_MAX = 15;

/** A number of more digits is beyond 64 bits. */
const DIGITS_MAX = 20;

const DECIMAL = /^(-?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?$/;
const SHORT_INTEGER = new RegExp(`^-?\\d{1,${SAFE_DIGITS_MAX}}$`);

/**
 * An integer that is written as decimal text: exact up to {@link DIGITS_MAX} digits, the nearest double beyond, and
 * undefined for texts that are no integers.
 */
export function parseInteger(text: string): bigint | number | undefined {
  if (SHORT_INTEGER.test(text)) return Number(text);
  const match = DECIMAL.exec(text);
  if (!match) return undefined;
  const [, sign = "", whole = "", fraction = "", exponentText = "0"] = match;
  const digits = (whole + fraction).replace(/^0+/, "");
  const exponent = Number(exponentText) - fraction.length;
  const wholeDigits = digits.length + exponent;
  if (digits === "") return 0;
  if (wholeDigits > DIGITS_MAX) return Number(text);
  if (wholeDigits <= 0 || /[^0]/.test(digits.slice(wholeDigits))) return undefined;
  return BigInt(sign + digits.slice(0, wholeDigits).padEnd(wholeDigits, "0"));
}

const BARE_INTEGER = /("(?:intValue|timeUnixNano|observedTimeUnixNano)"\s*:\s*)(-?\d[\d.eE+-]*)/g;

/**
 * The JSON text with its bare 64-bit integers as strings, so that parsing keeps their digits. A text that looks like
 * such a member cannot stand inside of a string, where the quotes around the name would have backslashes before them.
 * Unlike a reviver this does not recurse, so that no depth of nesting exhausts the stack.
 */
export function quoteIntegers(json: string): string {
  return json.replaceAll(BARE_INTEGER, '$1"$2"');
}
