/** Times of records, as their distances to the times of the envelopes in microseconds, and the nanoseconds that are left. */

import type { ScratchMemory } from "./scratch-memory.ts";
import {
  FormatError,
  unpackIntegers,
  toSigned,
  packIntegers,
  toUnsigned,
  type DecodedValues,
  type EncodedValues,
  type ValuePlaces,
} from "./values.ts";

const WORD = 2 ** 32;
const MICRO_NANOS = 1000;
const TIME_BYTES = 8;
/** Later than that, microseconds and their differences are not exact. */
const MICROS_MAX = 2 ** 51;

const AS_DISTANCES = 0;
const AS_BYTES = 1;

/** Encodes the times of envelopes, in microseconds, as differences. */
export function encodeEnvelopeTimes(times: Float64Array): Buffer {
  if (!isExact(times)) {
    const { buffer, byteOffset, byteLength } = times;
    return Buffer.concat([Buffer.from([AS_BYTES]), new Uint8Array(buffer, byteOffset, byteLength)]);
  }
  const differences = new Float64Array(times.length);
  for (let index = 0, last = 0; index < times.length; index++) {
    const time = times[index]!;
    differences[index] = toUnsigned(time - last);
    last = time;
  }
  return Buffer.concat([Buffer.from([AS_DISTANCES]), packIntegers(differences)]);
}

function isExact(times: Float64Array): boolean {
  for (let index = 0; index < times.length; index++) {
    if (!(Math.abs(times[index]!) <= MICROS_MAX)) return false;
  }
  return true;
}

/** @throws FormatError */
export function decodeEnvelopeTimes(bytes: Buffer, length: number): Float64Array {
  if (bytes[0] === AS_BYTES) {
    if (bytes.length !== 1 + TIME_BYTES * length) throw new FormatError("times are missing");
    return new Float64Array(Uint8Array.from(bytes.subarray(1)).buffer);
  }
  const { values: times } = unpackIntegers(bytes, 1, length);
  let last = 0;
  for (let index = 0; index < length; index++) {
    last += toSigned(times[index]!);
    times[index] = last;
  }
  return times;
}

/** Collects times of records. */
export class TimesBuilder {
  readonly #distances: Float64Array;
  readonly #nanos: Uint16Array<ArrayBuffer>;
  /** All of them as they came. */
  readonly #words: Uint32Array<ArrayBuffer>;
  #isNear = true;
  #length = 0;

  /** `length`: how many will be added. */
  constructor(length: number, memory: ScratchMemory) {
    this.#distances = memory.float64(length);
    this.#nanos = memory.uint16(length);
    this.#words = memory.uint32(2 * length);
  }

  /** Adds a value of each of these records, as `ValuesBuilder` does. `times`: those of the records' envelopes. */
  addAll(
    { bytes, starts }: ValuePlaces,
    records: Uint16Array,
    firstValues: Uint32Array,
    slot: number,
    times: Float64Array,
  ): void {
    for (let item = 0; item < records.length; item++) {
      const record = records[item]!;
      const start = starts[firstValues[record]! + slot]!;
      const low = bytes.getUint32(start, true);
      const high = bytes.getUint32(start + 4, true);
      const rest = (high % MICRO_NANOS) * WORD + low;
      const micros = Math.floor(high / MICRO_NANOS) * WORD + Math.floor(rest / MICRO_NANOS);
      const distance = micros - times[record]!;
      if (micros > MICROS_MAX || !(Math.abs(distance) <= MICROS_MAX)) this.#isNear = false;
      const index = this.#length++;
      this.#words[2 * index] = low;
      this.#words[2 * index + 1] = high;
      this.#distances[index] = toUnsigned(distance);
      this.#nanos[index] = rest % MICRO_NANOS;
    }
  }

  finish(): EncodedValues {
    if (!this.#isNear) {
      const bytes = bytesOf(this.#words);
      return { distinct: 0, bytes: Buffer.concat([Buffer.from([AS_BYTES]), bytes]) };
    }
    const nanos = bytesOf(this.#nanos);
    const parts = [Buffer.from([AS_DISTANCES]), nanos, packIntegers(this.#distances)];
    return { distinct: 0, bytes: Buffer.concat(parts) };
  }
}

function bytesOf({ buffer, byteOffset, byteLength }: Uint16Array | Uint32Array): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength);
}

/** @throws FormatError */
export function decodeTimes(bytes: Buffer, times: Float64Array): DecodedValues {
  const { length } = times;
  const offsets = new Uint32Array(length + 1);
  for (let index = 0; index <= length; index++) offsets[index] = TIME_BYTES * index;
  const decoded = { offsets, codes: undefined, distinct: length, separator: 0 };
  if (length > 0 && bytes[0] === AS_BYTES) {
    if (bytes.length !== 1 + TIME_BYTES * length) throw new FormatError("times are missing");
    return { ...decoded, data: bytes.subarray(1) };
  }
  const { values } = unpackIntegers(bytes, 1 + 2 * length, length);
  const words = new Uint32Array(2 * length);
  for (let index = 0; index < length; index++) {
    const micros = times[index]! + toSigned(values[index]!);
    const nanos = bytes[1 + 2 * index]! | (bytes[2 + 2 * index]! << 8);
    const upper = Math.floor(micros / WORD);
    const rest = (micros - upper * WORD) * MICRO_NANOS + nanos;
    const carry = Math.floor(rest / WORD);
    const high = upper * MICRO_NANOS + carry;
    if (!(high >= 0 && high < WORD)) throw new FormatError("a time is out of range");
    words[2 * index] = rest - carry * WORD;
    words[2 * index + 1] = high;
  }
  return { ...decoded, data: Buffer.from(words.buffer) };
}
