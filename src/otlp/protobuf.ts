/** Protobuf's wire format: reading and writing it (protobuf.dev/programming-guides/encoding). */

import type { TailgateError } from "../wire/errors.ts";
import { undecodable } from "./findings.ts";

/** The longest varint, of 64 bits (protobuf.dev/programming-guides/encoding). */
const VARINT_BYTES_MAX = 10;

const WIRE_TYPE_BITS = 7;
const WIRE_TYPE_VARINT = 0;
const WIRE_TYPE_FIXED64 = 1;
const WIRE_TYPE_LENGTH = 2;
const WIRE_TYPE_FIXED32 = 5;

/** A smaller tag or length has one byte. */
const SHORT_BYTES = 0x80;
const SHORT_HEAD_BYTES = 2;
/** The bits of a tag that tell whether it has one byte, and its wire type. */
const SHORT_TAG_MASK = SHORT_BYTES | WIRE_TYPE_BITS;

const WORD = 2 ** 32;

/** The highest field number that has a bit in `Message.strictNumbers`. */
const KNOWN_NUMBER_MAX = 31;

/**
 * Reads protobuf's wire format. Methods take the end of the message that they read from, and throw TailgateError
 * OTLP_UNDECODABLE with the position instead of reading beyond it. 64-bit values come in halves, because a double would
 * lose nanoseconds.
 */
export class ProtobufReader {
  /** The given bytes, not a copy; always a Buffer, so that reads are compiled for one kind of array. */
  readonly bytes: Buffer;
  readonly view: DataView;
  /** The position of the next byte. */
  position = 0;
  /** The unsigned halves of what {@link varint} or {@link fixed64} last read. */
  low = 0;
  high = 0;
  /** The content of the length-delimited field that {@link field} last read. */
  start = 0;
  end = 0;

  constructor({ buffer, byteOffset, byteLength }: Uint8Array) {
    this.bytes = Buffer.from(buffer, byteOffset, byteLength);
    this.view = new DataView(buffer, byteOffset, byteLength);
  }

  /**
   * Reads a field's tag. For a length-delimited field it advances past the content, and sets {@link start} and
   * {@link end}; the value of any other field comes next.
   */
  field(end: number): number {
    const { bytes, position } = this;
    const start = position + SHORT_HEAD_BYTES;
    if (start <= end) {
      // Nearly all fields are messages or strings with a small number and size.
      const tag = bytes[position]!;
      const length = bytes[position + 1]!;
      const isShort = (tag & SHORT_TAG_MASK) === WIRE_TYPE_LENGTH && length < SHORT_BYTES;
      if (isShort && tag > WIRE_TYPE_BITS && start + length <= end) {
        this.start = start;
        this.end = start + length;
        this.position = this.end;
        return tag;
      }
    }
    return this.#anyField(end);
  }

  #anyField(end: number): number {
    const tag = this.tag(end);
    if ((tag & WIRE_TYPE_BITS) === WIRE_TYPE_LENGTH) {
      this.end = this.length(end);
      this.start = this.position;
      this.position = this.end;
    }
    return tag;
  }

  /** Skips an unknown field whose tag {@link field} has read; see {@link skip}. */
  ignore(tag: number, end: number, known: number): void {
    if ((tag & WIRE_TYPE_BITS) === WIRE_TYPE_LENGTH) this.#checkUnknown(tag, known);
    else this.skip(tag, end, known);
  }

  /** Reads a field's tag: its number and wire type. */
  tag(end: number): number {
    const byte = this.position < end ? this.bytes[this.position]! : 0x80;
    if (byte < 0x80) this.position++;
    const tag = byte < 0x80 ? byte : this.#small(end);
    if (tag >>> 3 === 0) throw this.wrong("a field has the number 0");
    return tag;
  }

  /** Reads the length of a message or a string, and returns where it ends. */
  length(end: number): number {
    const byte = this.position < end ? this.bytes[this.position]! : 0x80;
    if (byte < 0x80) this.position++;
    const length = byte < 0x80 ? byte : this.#small(end);
    if (length > end - this.position) {
      throw this.wrong(
        `a length of ${length} exceeds the ${end - this.position} bytes that are left`,
      );
    }
    return this.position + length;
  }

  /** Reads the length and the content of a string; returns a view of the request's memory. */
  content(end: number): Buffer {
    const stop = this.length(end);
    const bytes = this.bytes.subarray(this.position, stop);
    this.position = stop;
    return bytes;
  }

  /** Reads a varint of at most 32 bits. */
  #small(end: number): number {
    this.varint(end);
    if (this.high !== 0) throw this.wrong("a tag or a length has more than 32 bits");
    return this.low;
  }

  /** Reads a varint into {@link low} and {@link high}; bits beyond the 64th are dropped, as protobuf requires. */
  varint(end: number): void {
    const { bytes } = this;
    const start = this.position;
    let low = 0;
    let high = 0;
    for (let count = 0; count < VARINT_BYTES_MAX; count++) {
      if (start + count >= end) throw this.wrong("a number is cut off");
      const byte = bytes[start + count]!;
      const bits = byte & 0x7f;
      const shift = 7 * count;
      if (shift < 32) low |= bits << shift;
      if (shift > 28) high |= bits << (shift - 32);
      else if (shift === 28) high = bits >>> 4;
      if (byte < 0x80) {
        this.position = start + count + 1;
        this.low = low >>> 0;
        this.high = high >>> 0;
        return;
      }
    }
    throw this.wrong(`a number has more than ${VARINT_BYTES_MAX} bytes`);
  }

  /** Reads eight bytes into {@link low} and {@link high}. */
  fixed64(end: number): void {
    const start = this.#fixed(8, end);
    this.low = this.view.getUint32(start, true);
    this.high = this.view.getUint32(start + 4, true);
  }

  fixed32(end: number): number {
    return this.view.getUint32(this.#fixed(4, end), true);
  }

  double(end: number): number {
    return this.view.getFloat64(this.#fixed(8, end), true);
  }

  /** Skips that many bytes and returns where they start. */
  #fixed(bytes: number, end: number): number {
    const start = this.position;
    if (end - start < bytes) throw this.wrong("a number is cut off");
    this.position = start + bytes;
    return start;
  }

  /** Returns the last varint as an int64: a number if that is exact, else a bigint. */
  int64(): number | bigint {
    const high = this.high | 0;
    const value = high * WORD + this.low;
    if (Number.isSafeInteger(value)) return value;
    return (BigInt(high) << 32n) | BigInt(this.low);
  }

  /**
   * Skips the value of a field whose tag was read and is not one of those that the message expects. `known` has the bits of
   * the expected numbers: such a field with another wire type is not a newer field, but an error.
   */
  skip(tag: number, end: number, known: number): void {
    this.#checkUnknown(tag, known);
    switch (tag & WIRE_TYPE_BITS) {
      case WIRE_TYPE_VARINT:
        this.varint(end);
        break;
      case WIRE_TYPE_FIXED64:
        this.#fixed(8, end);
        break;
      case WIRE_TYPE_LENGTH:
        this.position = this.length(end);
        break;
      case WIRE_TYPE_FIXED32:
        this.#fixed(4, end);
        break;
      default:
        // The wire types 3 and 4 are groups, which proto3 does not have.
        throw this.#wrongType(tag);
    }
  }

  #checkUnknown(tag: number, known: number): void {
    const number = tag >>> 3;
    if (number <= KNOWN_NUMBER_MAX && (known & (1 << number)) !== 0) throw this.#wrongType(tag);
  }

  #wrongType(tag: number): TailgateError {
    return this.wrong(`field ${tag >>> 3} has the wire type ${tag & WIRE_TYPE_BITS}`);
  }

  /** Returns the error for what is wrong at the reader's position. */
  wrong(why: string): TailgateError {
    return undecodable(`byte ${this.position} of ${this.bytes.length}`, why);
  }
}

const INITIAL_SIZE = 16 << 10;
/** A larger buffer is not reused. */
const SIZE_REUSED_MAX = 1 << 20;

const INT64_MASK = 0xffff_ffff_ffff_ffffn;

/** Strings up to this length are written by a loop; the engine's own function takes longer to start. */
const LOOP_CHARS_MAX = 20;
/** The most that a UTF-16 unit takes. */
const UTF8_BYTES_MAX = 3;

/** The longest varint of 32 bits. */
const VARINT_32_BYTES = 5;

/** Writes protobuf's wire format (protobuf.dev/programming-guides/encoding). */
export class ProtobufWriter {
  #buffer = Buffer.allocUnsafeSlow(INITIAL_SIZE);
  #view = viewOf(this.#buffer);
  #position = 0;

  /** Discards what an exception may have left of the previous message. */
  begin(): void {
    this.#position = 0;
  }

  /** Returns a copy of what was written since the last call. */
  take(): Uint8Array {
    const bytes = Buffer.allocUnsafe(this.#position);
    this.#buffer.copy(bytes, 0, 0, this.#position);
    this.#position = 0;
    if (this.#buffer.length > SIZE_REUSED_MAX)
      this.#continueIn(Buffer.allocUnsafeSlow(INITIAL_SIZE));
    return bytes;
  }

  /** Writes a number from 0 to 2^32 - 1. */
  varint(tag: number, value: number): void {
    this.#reserve(2 * VARINT_32_BYTES);
    this.#varint(tag);
    this.#varint(value);
  }

  /** Writes an integer from -2^63 to 2^63 - 1. */
  int64(tag: number, value: number | bigint): void {
    if (typeof value === "number" && value >= 0 && value < WORD) return this.varint(tag, value);
    this.#reserve(3 * VARINT_32_BYTES);
    this.#varint(tag);
    let rest = BigInt(value) & INT64_MASK;
    for (; rest > 0x7fn; rest >>= 7n) this.#buffer[this.#position++] = Number(rest & 0x7fn) | 0x80;
    this.#buffer[this.#position++] = Number(rest);
  }

  fixed64(tag: number, value: bigint): void {
    this.#reserve(VARINT_32_BYTES + 8);
    this.#varint(tag);
    this.#view.setBigUint64(this.#position, value, true);
    this.#position += 8;
  }

  fixed32(tag: number, value: number): void {
    this.#reserve(VARINT_32_BYTES + 4);
    this.#varint(tag);
    this.#position = this.#buffer.writeUInt32LE(value >>> 0, this.#position);
  }

  double(tag: number, value: number): void {
    this.#reserve(VARINT_32_BYTES + 8);
    this.#varint(tag);
    this.#position = this.#buffer.writeDoubleLE(value, this.#position);
  }

  /** Writes a string in UTF-8; lone surrogates become U+FFFD. */
  string(tag: number, text: string): void {
    if (text.length < SHORT_BYTES) return this.#shortString(tag, text);
    const length = Buffer.byteLength(text);
    this.#reserve(2 * VARINT_32_BYTES + length);
    this.#varint(tag);
    this.#varint(length);
    this.#buffer.write(text, this.#position, length, "utf8");
    this.#position += length;
  }

  /** Writes a string whose length in bytes is known only afterwards, and mostly needs one byte. */
  #shortString(tag: number, text: string): void {
    const start = this.open(tag);
    this.#reserve(UTF8_BYTES_MAX * text.length);
    if (text.length > LOOP_CHARS_MAX || !this.#ascii(text)) {
      this.#position += this.#buffer.write(text, this.#position);
    }
    this.close(start);
  }

  /** Returns false, with nothing written, if the string is not ASCII. */
  #ascii(text: string): boolean {
    const buffer = this.#buffer;
    let position = this.#position;
    for (let index = 0; index < text.length; index++) {
      const char = text.charCodeAt(index);
      if (char >= SHORT_BYTES) return false;
      buffer[position++] = char;
    }
    this.#position = position;
    return true;
  }

  bytes(tag: number, bytes: Uint8Array): void {
    this.#reserve(2 * VARINT_32_BYTES + bytes.length);
    this.#varint(tag);
    this.#varint(bytes.length);
    this.raw(bytes);
  }

  /** Writes fields that are already encoded. */
  raw(bytes: Uint8Array): void {
    this.#reserve(bytes.length);
    this.#buffer.set(bytes, this.#position);
    this.#position += bytes.length;
  }

  /** Writes an embedded message, whose fields `write` writes. */
  message(tag: number, write: () => void): void {
    const start = this.open(tag);
    write();
    this.close(start);
  }

  /** Begins an embedded message; returns what to pass to {@link close} after its fields. */
  open(tag: number): number {
    this.#reserve(2 * VARINT_32_BYTES);
    this.#varint(tag);
    return this.#position++;
  }

  close(start: number): void {
    const length = this.#position - start - 1;
    if (length < SHORT_BYTES) this.#buffer[start] = length;
    else this.#widen(start, length);
  }

  /** Most messages are short, so one byte is reserved for the length; a longer message is moved. */
  #widen(start: number, length: number): void {
    const end = this.#position;
    this.#reserve(VARINT_32_BYTES);
    this.#position = start;
    const bytes = varintBytes(length);
    this.#buffer.copyWithin(start + bytes, start + 1, end);
    this.#varint(length);
    this.#position = end + bytes - 1;
  }

  #varint(value: number): void {
    this.#position = putVarint(this.#buffer, this.#position, value);
  }

  #reserve(bytes: number): void {
    const needed = this.#position + bytes;
    if (needed <= this.#buffer.length) return;
    const larger = Buffer.allocUnsafeSlow(2 * needed);
    larger.set(this.#buffer.subarray(0, this.#position));
    this.#continueIn(larger);
  }

  #continueIn(buffer: Buffer<ArrayBuffer>): void {
    this.#buffer = buffer;
    this.#view = viewOf(buffer);
  }
}

function viewOf({ buffer, byteOffset, byteLength }: Buffer): DataView {
  return new DataView(buffer, byteOffset, byteLength);
}

/** Writes an integer from 0 on as a varint and returns the position after it. */
export function putVarint(bytes: Uint8Array, at: number, value: number): number {
  let position = at;
  let rest = value;
  for (; rest > 0x7f; rest = Math.floor(rest / 0x80)) bytes[position++] = (rest % 0x80) | 0x80;
  bytes[position] = rest;
  return position + 1;
}

export function varintBytes(value: number): number {
  let bytes = 1;
  for (let rest = value; rest > 0x7f; rest = Math.floor(rest / 0x80)) bytes++;
  return bytes;
}

/** True if an int64 can hold the integer. */
export function isInt64(integer: bigint): boolean {
  return BigInt.asIntN(64, integer) === integer;
}
