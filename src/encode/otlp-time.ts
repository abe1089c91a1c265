/** Nanoseconds since 1970 as halves of 64 bits, without a double ever holding them: it would lose some. */

const WORD = 2 ** 32;
const MILLI_NANOS = 1_000_000;
const SECOND_MILLIS = 1000;
const MILLI_MICROS = 1000;
const MICRO_NANOS = 1000;

/** Whole seconds and the microseconds of the second, for each time that 64 bits can hold. */
export class SplitTime {
  seconds = 0;
  micros = 0;

  /**
   * Long division by a million, a half at a time: the remainder of the upper half times 2^32 stays below 2^52, where
   * doubles are exact.
   */
  set(low: number, high: number): void {
    const upper = Math.floor(high / MILLI_NANOS);
    const rest = (high - upper * MILLI_NANOS) * WORD + low;
    const lower = Math.floor(rest / MILLI_NANOS);
    const nanos = rest - lower * MILLI_NANOS;
    const millis = upper * WORD + lower;
    this.seconds = Math.floor(millis / SECOND_MILLIS);
    this.micros =
      (millis - this.seconds * SECOND_MILLIS) * MILLI_MICROS + Math.floor(nanos / MICRO_NANOS);
  }
}
