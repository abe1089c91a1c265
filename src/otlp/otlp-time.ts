/** Nanoseconds since 1970 as halves of 64 bits, without a double ever holding them: it would lose some. */

const WORD = 2 ** 32;
const MILLI_NANOS = 1_000_000;
const SECOND_MILLIS = 1000;
const MICRO_NANOS = 1000;

const SECOND_NANOS = SECOND_MILLIS * MILLI_NANOS;

/** Whole seconds and the microseconds of the second, for each time that 64 bits can hold. */
export class SplitTime {
  seconds = 0;
  micros = 0;
  /** The time that was split last by division, and the nanoseconds of its second. */
  #low = 0;
  #high = 0;
  #nanos = 0;

  set(low: number, high: number): void {
    // Most times lie in the second of the one before: what is between them is small, and so exact.
    const nanos = this.#nanos + (high - this.#high) * WORD + (low - this.#low);
    if (nanos >= 0 && nanos < SECOND_NANOS) this.micros = Math.floor(nanos / MICRO_NANOS);
    else this.#divide(low, high);
  }

  /**
   * Long division by a million, a half at a time: the remainder of the upper half times 2^32 stays below 2^52, where
   * doubles are exact.
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
