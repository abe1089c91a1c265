/** Nanoseconds since 1970 in 64 bits, split so that doubles hold them exactly. */

const WORD = 2 ** 32;
const MICRO_NANOS = 1_000;

export interface SplitNanos {
  readonly micros: number;
  /** Nanoseconds, 0 to 999. */
  readonly rest: number;
}

/** `low` and `high`: the halves of the number. Exact up to 2^53 microseconds. */
export function splitNanos(low: number, high: number): SplitNanos {
  const upper = Math.floor(high / MICRO_NANOS);
  const remainder = (high - upper * MICRO_NANOS) * WORD + low;
  const lower = Math.floor(remainder / MICRO_NANOS);
  return { micros: upper * WORD + lower, rest: remainder - lower * MICRO_NANOS };
}

/** Writes them as a fixed64 of protobuf. */
export function writeNanos(bytes: Buffer, at: number, { micros, rest }: SplitNanos): void {
  const upper = Math.floor(micros / WORD);
  const lower = (micros - upper * WORD) * MICRO_NANOS + rest;
  const carry = Math.floor(lower / WORD);
  bytes.writeUInt32LE(lower - carry * WORD, at);
  bytes.writeUInt32LE(upper * MICRO_NANOS + carry, at + 4);
}
