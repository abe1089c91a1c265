/** The position and the length of the timestamp's text in an envelope's `data`, which never change. */
export const TIMESTAMP_START = '{"timestamp":"'.length;
export const TIMESTAMP_LENGTH = "2025-10-13T09:27:24.339163Z".length;

/** The last second of the year 9999: later ones have no ISO form of the same length. */
const SECONDS_MAX = 253_402_300_799;

/** `2025-10-13T09:27:24.` for the last second that was written; most records share it with the previous one. */
let cachedSecond = -1;
const cachedText = new Uint8Array(20);

/** Returns `2025-10-13T09:27:24.` for seconds since 1970 UTC; valid until the next call. */
export function textOfSecond(seconds: number): Uint8Array {
  if (seconds !== cachedSecond) cacheSecond(seconds);
  return cachedText;
}

function cacheSecond(seconds: number): void {
  const text = new Date(1000 * seconds).toISOString();
  for (let index = 0; index < cachedText.length; index++)
    cachedText[index] = text.charCodeAt(index);
  cachedSecond = seconds;
}

/** Whether {@link textOfSecond} can show these seconds: the years 1970 to 9999. */
export function isShownSecond(seconds: number): boolean {
  return seconds >= 0 && seconds <= SECONDS_MAX;
}

/** The number of bytes that {@link putMicros} writes. */
export const MICROS_BYTES = 7;

const ZERO = 0x30;
const TRIPLE = 1000;
const TRIPLE_DIGITS = 3;
/** The Z of UTC as the fourth byte, after three digits. */
const ZULU = 0x5a << 24;

/** The three digits of each number below a thousand, the first one in the lowest byte. */
const TRIPLES = Int32Array.from(
  { length: TRIPLE },
  (_, number) =>
    (ZERO + Math.floor(number / 100)) |
    ((ZERO + (Math.floor(number / 10) % 10)) << 8) |
    ((ZERO + (number % 10)) << 16),
);

/** Writes six digits and the Z of UTC at a position, and returns the position after them; micros 0-999999. */
export function putMicros(
  { view }: { readonly view: DataView },
  at: number,
  micros: number,
): number {
  const upper = (micros / TRIPLE) | 0;
  view.setInt32(at, TRIPLES[upper]!, true);
  view.setInt32(at + TRIPLE_DIGITS, TRIPLES[micros - TRIPLE * upper]! | ZULU, true);
  return at + MICROS_BYTES;
}

const WORD = 2 ** 32;
const MILLI_NANOS = 1_000_000;
const SECOND_MILLIS = 1000;
const MICRO_NANOS = 1000;

const SECOND_NANOS = SECOND_MILLIS * MILLI_NANOS;

/**
 * Splits nanoseconds since 1970 into seconds and microseconds. The nanoseconds come as two halves of 64 bits, because a
 * double would lose the lowest digits.
 */
export class SplitTime {
  seconds = 0;
  micros = 0;
  /** The time that was last split by division, and its nanoseconds within the second. */
  #low = 0;
  #high = 0;
  #nanos = 0;

  set(low: number, high: number): void {
    // Most times are in the same second as the previous one: the difference is small, and so exact.
    const nanos = this.#nanos + (high - this.#high) * WORD + (low - this.#low);
    if (nanos >= 0 && nanos < SECOND_NANOS) this.micros = Math.floor(nanos / MICRO_NANOS);
    else this.#divide(low, high);
  }

  /**
   * Divides by a million, one half at a time: the remainder of the upper half times 2^32 stays below 2^52, where doubles
   * are exact.
   */
  #divide(low: number, high: number): void {
    const upper = Math.floor(high / MILLI_NANOS);
    const rest = (high - upper * MILLI_NANOS) * WORD + low;
    const lower = Math.floor(rest / MILLI_NANOS);
    const millis = upper * WORD + lower;
    this.seconds = Math.floor(millis / SECOND_MILLIS);
    const milli = millis - this.seconds * SECOND_MILLIS;
    this.#low = low;
    this.#high = high;
    this.#nanos = milli * MILLI_NANOS + rest - lower * MILLI_NANOS;
    this.micros = Math.floor(this.#nanos / MICRO_NANOS);
  }
}
