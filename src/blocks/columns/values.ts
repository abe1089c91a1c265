/** The values of a column as bytes: each value, or the distinct ones and then a code of one or two bytes for each value. */

import { SPAN_ID_BYTES, TRACE_ID_BYTES } from "../../otlp/schema.ts";
import { DamagedChunkError } from "../block-view.ts";
import type { ScratchMemory } from "./scratch-memory.ts";
import type { ColumnHead } from "./splitter.ts";

/** How the end of a value is known. */
export type Delimiting =
  /** Values have a fixed number of bytes. */
  | number
  /** The byte 0xFF, which UTF-8 does not have. */
  | "text"
  /** The last byte of a varint is less than 0x80. */
  | "varint"
  /** The lengths of all come first, each as a varint. */
  | "lengths";

const TEXT_END = 0xff;

export function delimitingOf({ kind, place }: ColumnHead): Delimiting {
  switch (kind) {
    case "text":
    case "field":
      return "text";
    case "int":
    case "varint":
      return "varint";
    case "bool":
      return 1;
    case "fixed32":
      return 4;
    case "double":
    case "time":
      return 8;
    case "id":
      return place === "trace_id" ? TRACE_ID_BYTES : SPAN_ID_BYTES;
    case "bytes":
      return "lengths";
    default:
      return 0;
  }
}

export interface EncodedValues {
  /** The number of distinct values; 0 if each value is stored by itself. */
  readonly distinct: number;
  readonly bytes: Buffer;
}

/** With fewer values than that, it is not known whether many are equal. */
const SAMPLE = 512;
/** If more than this share of the values are distinct, all are stored. */
const DISTINCT_SHARE_MAX = 0.7;
const CODES_MAX = 1 << 16;
const FREE = -1;
const SLOTS_MIN = 64;
const DATA_BYTES_MIN = 256;

/** Where the values of records are: the start and the end of each in the bytes of all. */
export interface ValuePlaces {
  readonly bytes: DataView;
  readonly starts: Uint32Array;
  readonly ends: Uint32Array;
}

/** Collects the values of a column. What it returns is in the memory, too. */
export class ValuesBuilder {
  readonly #delimiting: Delimiting;
  readonly #memory: ScratchMemory;
  readonly #separator: number;
  /** The values that are stored: the distinct ones as long as there are codes. */
  #data: DataView<ArrayBuffer>;
  #dataLength = 0;
  /** Where each stored value ends, with its separator. */
  readonly #ends: Uint32Array;
  #stored = 0;
  /** For each value the index of the stored one; undefined if too many are distinct. */
  #codes: Uint16Array | undefined;
  #length = 0;
  #plainBytes = 0;
  #slots: Int32Array;

  /** `length`: how many values will be added. */
  constructor(length: number, delimiting: Delimiting, memory: ScratchMemory) {
    this.#delimiting = delimiting;
    this.#memory = memory;
    this.#separator = delimiting === "text" ? 1 : 0;
    this.#data = memory.view(DATA_BYTES_MIN);
    this.#ends = memory.uint32(length);
    this.#codes = memory.uint16(length);
    this.#slots = memory.int32(SLOTS_MIN).fill(FREE);
  }

  /** Adds a value of each of these records: the one with the number `slot`, counted from the record's first value on. */
  addAll(
    { bytes, starts, ends }: ValuePlaces,
    records: Uint16Array,
    firstValues: Uint32Array,
    slot: number,
  ): void {
    // Null and what is empty have no bytes.
    if (this.#delimiting === 0) return;
    for (let item = 0; item < records.length; item++) {
      const value = firstValues[records[item]!]! + slot;
      this.#add(bytes, starts[value]!, ends[value]!);
    }
  }

  #add(bytes: DataView, start: number, end: number): void {
    this.#plainBytes += end - start + this.#separator;
    const codes = this.#codes;
    if (codes === undefined) return this.#store(bytes, start, end);
    codes[this.#length++] = this.#codeOf(bytes, start, end);
    const isTooDistinct = this.#stored > DISTINCT_SHARE_MAX * this.#length && this.#length > SAMPLE;
    if (isTooDistinct || this.#stored >= CODES_MAX) this.#expand();
  }

  #codeOf(bytes: DataView, start: number, end: number): number {
    const slots = this.#slots;
    const mask = slots.length - 1;
    let at = hashOf(bytes, start, end) & mask;
    for (let code = slots[at]!; code !== FREE; code = slots[at]!) {
      const from = this.#startOf(code);
      const size = this.#ends[code]! - this.#separator - from;
      if (size === end - start && isSame(this.#data, from, bytes, start, size)) return code;
      at = (at + 1) & mask;
    }
    const code = this.#stored;
    this.#store(bytes, start, end);
    slots[at] = code;
    if (2 * this.#stored > slots.length) this.#growSlots();
    return code;
  }

  #growSlots(): void {
    const slots = this.#memory.int32(4 * this.#slots.length).fill(FREE);
    const mask = slots.length - 1;
    for (let code = 0; code < this.#stored; code++) {
      const end = this.#ends[code]! - this.#separator;
      let at = hashOf(this.#data, this.#startOf(code), end) & mask;
      while (slots[at] !== FREE) at = (at + 1) & mask;
      slots[at] = code;
    }
    this.#slots = slots;
  }

  #startOf(stored: number): number {
    return stored === 0 ? 0 : this.#ends[stored - 1]!;
  }

  #store(bytes: DataView, start: number, end: number): void {
    const size = end - start;
    const needed = this.#dataLength + size + this.#separator;
    if (needed > this.#data.byteLength) this.#reserve(2 * needed);
    copyBytes(bytes, start, this.#data, this.#dataLength, size);
    if (this.#separator > 0) this.#data.setUint8(needed - 1, TEXT_END);
    this.#dataLength = needed;
    this.#ends[this.#stored++] = needed;
  }

  #reserve(bytes: number): void {
    const larger = this.#memory.view(bytes);
    new Uint8Array(larger.buffer, larger.byteOffset, bytes).set(this.#bytes(this.#dataLength));
    this.#data = larger;
  }

  /** Stores each value by itself from now on. */
  #expand(): void {
    const codes = this.#codes!;
    const data = this.#data;
    const ends = this.#ends.slice(0, this.#stored);
    this.#codes = undefined;
    this.#data = this.#memory.view(2 * this.#plainBytes);
    this.#dataLength = 0;
    this.#stored = 0;
    for (let index = 0; index < this.#length; index++) {
      const code = codes[index]!;
      this.#store(data, code === 0 ? 0 : ends[code - 1]!, ends[code]! - this.#separator);
    }
  }

  finish(): EncodedValues {
    if (this.#length === 0) return { distinct: 0, bytes: Buffer.alloc(0) };
    if (this.#codes === undefined) return { distinct: 0, bytes: this.#storedBytes() };
    const codesBytes = codeWidth(this.#stored) * this.#length;
    if (this.#dataLength + codesBytes >= this.#plainBytes) {
      this.#expand();
      return { distinct: 0, bytes: this.#storedBytes() };
    }
    const codes = encodeCodes(this.#codes.subarray(0, this.#length), this.#stored);
    return { distinct: this.#stored, bytes: Buffer.concat([this.#storedBytes(), codes]) };
  }

  #bytes(length: number): Buffer {
    return Buffer.from(this.#data.buffer, this.#data.byteOffset, length);
  }

  #storedBytes(): Buffer {
    const data = this.#bytes(this.#dataLength);
    if (this.#delimiting !== "lengths") return data;
    const lengths = Float64Array.from({ length: this.#stored }, (_, index) => {
      return this.#ends[index]! - this.#startOf(index);
    });
    return Buffer.concat([packIntegers(lengths), data]);
  }
}

const WORD_BYTES = 4;

/** Copies a range. Most are so short that a call into the engine takes longer than words one by one. */
function copyBytes(from: DataView, start: number, to: DataView, at: number, size: number): void {
  let offset = 0;
  for (; offset + WORD_BYTES <= size; offset += WORD_BYTES) {
    to.setInt32(at + offset, from.getInt32(start + offset, true), true);
  }
  for (; offset < size; offset++) to.setUint8(at + offset, from.getUint8(start + offset));
}

function isSame(
  one: DataView,
  start: number,
  other: DataView,
  otherStart: number,
  size: number,
): boolean {
  let offset = 0;
  for (; offset + WORD_BYTES <= size; offset += WORD_BYTES) {
    const word = one.getInt32(start + offset, true);
    if (word !== other.getInt32(otherStart + offset, true)) return false;
  }
  for (; offset < size; offset++) {
    if (one.getUint8(start + offset) !== other.getUint8(otherStart + offset)) return false;
  }
  return true;
}

function hashOf(bytes: DataView, start: number, end: number): number {
  let hash = (end - start) | 0;
  let at = start;
  for (; at + WORD_BYTES <= end; at += WORD_BYTES) {
    hash = Math.imul(hash ^ bytes.getInt32(at, true), 0x9e3779b1);
    hash ^= hash >>> 15;
  }
  for (; at < end; at++) hash = Math.imul(hash ^ bytes.getUint8(at), 0x01000193);
  return hash ^ (hash >>> 15);
}

const LOOP_BYTES_MAX = 24;

/** Copies a range, which is mostly short; returns the position after it. */
export function copy(
  from: Uint8Array,
  start: number,
  end: number,
  to: Uint8Array,
  at: number,
): number {
  let position = at;
  if (end - start <= LOOP_BYTES_MAX) {
    for (let index = start; index < end; index++) to[position++] = from[index]!;
    return position;
  }
  to.set(from.subarray(start, end), position);
  return position + end - start;
}

/** Returns codes from 0 to `count - 1` in as few bytes each as possible: none if there is only one. */
export function encodeCodes(codes: Uint16Array, count: number): Buffer {
  switch (codeWidth(count)) {
    case 0:
      return Buffer.alloc(0);
    case 1:
      return Buffer.from(codes);
    default: {
      const bytes = Buffer.allocUnsafe(2 * codes.length);
      for (let index = 0; index < codes.length; index++) {
        bytes[2 * index] = codes[index]! & 0xff;
        bytes[2 * index + 1] = codes[index]! >> 8;
      }
      return bytes;
    }
  }
}

function codeWidth(count: number): number {
  if (count <= 1) return 0;
  return count <= 256 ? 1 : 2;
}

/** Thrown when bytes are not what was written. */
export class FormatError extends Error {}

/**
 * Reads the codes of `length` values.
 * @throws FormatError
 */
export function decodeCodes(
  bytes: Uint8Array,
  length: number,
  count: number,
): Uint8Array | Uint16Array {
  const width = codeWidth(count);
  if (bytes.length !== width * length) throw new FormatError("codes have another size");
  if (width === 0) return new Uint8Array(length);
  const codes = width === 1 ? new Uint8Array(bytes) : new Uint16Array(new Uint8Array(bytes).buffer);
  for (let index = 0; index < length; index++) {
    if (codes[index]! >= count) throw new FormatError(`the code ${codes[index]} is unknown`);
  }
  return codes;
}

/** The values of a column. */
export interface DecodedValues {
  /** The (distinct) values, each followed by the byte 0xFF if they are text. */
  readonly data: Buffer;
  /** The position of each (distinct) value in `data`, and at the end that of the end of the last one. */
  readonly offsets: Uint32Array;
  readonly codes: Uint8Array | Uint16Array | undefined;
  readonly distinct: number;
  /** The number of bytes between values: 1 for text. */
  readonly separator: number;
}

/**
 * Returns `length` values; `distinct` is 0 if each is stored by itself. Most searches find nothing in most columns, so that
 * their codes and offsets are read when they are needed: {@link StoredValues.check} tells whether they can be.
 * @throws FormatError
 */
export function decodeValues(
  bytes: Buffer,
  length: number,
  distinct: number,
  delimiting: Delimiting,
): StoredValues {
  return new StoredValues(bytes, length, distinct, delimiting);
}

/** Values as they are stored. */
export class StoredValues implements DecodedValues {
  readonly distinct: number;
  readonly separator: number;
  readonly #length: number;
  readonly #delimiting: Delimiting;
  readonly #values: Buffer;
  readonly #codesBytes: Buffer | undefined;
  #codes: Uint8Array | Uint16Array | undefined;
  #split: { readonly data: Buffer; readonly offsets: Uint32Array } | undefined;

  constructor(bytes: Buffer, length: number, distinct: number, delimiting: Delimiting) {
    const codesBytes = distinct === 0 ? 0 : codeWidth(distinct) * length;
    const end = bytes.length - codesBytes;
    if (end < 0) throw new FormatError("a column is too short");
    this.distinct = distinct === 0 ? length : distinct;
    this.separator = delimiting === "text" ? 1 : 0;
    this.#length = length;
    this.#delimiting = delimiting;
    this.#values = bytes.subarray(0, end);
    this.#codesBytes = distinct === 0 ? undefined : bytes.subarray(end);
  }

  get codes(): Uint8Array | Uint16Array | undefined {
    if (this.#codesBytes === undefined) return undefined;
    return (this.#codes ??= read(() =>
      decodeCodes(this.#codesBytes!, this.#length, this.distinct),
    ));
  }

  get data(): Buffer {
    return this.#delimiting === "lengths" ? this.#splitOnce.data : this.#values;
  }

  get offsets(): Uint32Array {
    return this.#splitOnce.offsets;
  }

  get #splitOnce(): { readonly data: Buffer; readonly offsets: Uint32Array } {
    return (this.#split ??= read(() => splitValues(this.#values, this.distinct, this.#delimiting)));
  }

  /** @throws DamagedChunkError if it is not what was written. */
  check(): void {
    void this.codes;
    void this.#splitOnce;
  }
}

function read<Value>(decode: () => Value): Value {
  try {
    return decode();
  } catch (error) {
    throw new DamagedChunkError("a column is not as it was written", { cause: error });
  }
}

function splitValues(
  bytes: Buffer,
  count: number,
  delimiting: Delimiting,
): { data: Buffer; offsets: Uint32Array } {
  const offsets = new Uint32Array(count + 1);
  let data = bytes;
  if (typeof delimiting === "number") {
    for (let index = 0; index <= count; index++) offsets[index] = delimiting * index;
  } else if (delimiting === "text") {
    for (let index = 0, end = 0; index < count; index++) {
      end = bytes.indexOf(TEXT_END, end) + 1;
      if (end === 0) throw new FormatError("a text has no end");
      offsets[index + 1] = end;
    }
  } else if (delimiting === "varint") {
    for (let index = 0, end = 0; index < count; index++) {
      while (end < bytes.length && bytes[end]! >= 0x80) end++;
      offsets[index + 1] = ++end;
    }
  } else {
    const lengths = unpackIntegers(bytes, 0, count);
    let end = 0;
    for (const [index, size] of lengths.values.entries()) offsets[index + 1] = end += size;
    data = bytes.subarray(lengths.end);
  }
  if (offsets[count] !== data.length) throw new FormatError("a column has another size");
  return { data, offsets };
}

/** Returns integers from 0 to 2^53 - 1 each as a varint. */
export function packIntegers(numbers: ArrayLike<number>): Buffer {
  let bytes = Buffer.allocUnsafe(2 * numbers.length + 16);
  let position = 0;
  for (let index = 0; index < numbers.length; index++) {
    if (position + 8 > bytes.length) {
      const larger = Buffer.allocUnsafe(2 * bytes.length);
      bytes.copy(larger);
      bytes = larger;
    }
    let rest = numbers[index]!;
    for (; rest > 0x7f; rest = Math.floor(rest / 0x80)) bytes[position++] = (rest % 0x80) | 0x80;
    bytes[position++] = rest;
  }
  return bytes.subarray(0, position);
}

/**
 * Reads integers that `packIntegers` has written; a missing one is an error.
 * @throws FormatError
 */
export function unpackIntegers(
  bytes: Uint8Array,
  start: number,
  count: number,
): { values: Float64Array; end: number } {
  if (count > bytes.length - start) throw new FormatError("numbers are missing");
  const values = new Float64Array(count);
  let position = start;
  for (let index = 0; index < count; index++) {
    let value = 0;
    for (let unit = 1; ; unit *= 0x80) {
      if (position >= bytes.length || unit > 2 ** 49)
        throw new FormatError("a number is incomplete");
      const byte = bytes[position++]!;
      value += (byte & 0x7f) * unit;
      if (byte < 0x80) break;
    }
    values[index] = value;
  }
  return { values, end: position };
}

/** Maps integers of both signs to those from 0 on, small ones to small ones. */
export function toUnsigned(number: number): number {
  return number < 0 ? -2 * number - 1 : 2 * number;
}

export function toSigned(number: number): number {
  return number % 2 === 0 ? number / 2 : -(number + 1) / 2;
}
