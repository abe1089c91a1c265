const ZERO = 0x30;
/** All numbers of so many digits have less than 64 bits. */
const DIGITS_MAX = 19;
const LOWER_DIGITS = 9;
const BILLION = 1e9;

const WORD = 2 ** 32;
/** The upper digits are multiplied in two parts, so that each product stays below 2^47, where doubles are exact. */
const PART = 2 ** 17;
const PARTS_OF_WORD = WORD / PART;

/** A number of 64 bits, read from decimal digits without a double ever holding more than it can. */
export class Uint64 {
  /** Its halves, as signed numbers. */
  low = 0;
  high = 0;

  /** Reads digits; false where there are none, or too many. */
  read(bytes: Uint8Array, start: number, end: number): boolean {
    const count = end - start;
    if (count < 1 || count > DIGITS_MAX) return false;
    const split = Math.max(start, end - LOWER_DIGITS);
    const upper = numberOf(bytes, start, split);
    const lower = numberOf(bytes, split, end);
    const upperPart = Math.floor(upper / PART);
    const shifted = upperPart * BILLION;
    const high = Math.floor(shifted / PARTS_OF_WORD);
    const sum =
      (shifted - high * PARTS_OF_WORD) * PART + (upper - upperPart * PART) * BILLION + lower;
    const carry = Math.floor(sum / WORD);
    this.low = (sum - carry * WORD) | 0;
    this.high = (high + carry) | 0;
    return true;
  }
}

function numberOf(bytes: Uint8Array, start: number, end: number): number {
  let number = 0;
  for (let index = start; index < end; index++) number = 10 * number + bytes[index]! - ZERO;
  return number;
}
