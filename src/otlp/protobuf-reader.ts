import type { TailgateError } from "../wire/errors.ts";
import { undecodable } from "./findings.ts";

/** A varint of 64 bits takes ten bytes at most (protobuf.dev/programming-guides/encoding). */
const VARINT_BYTES_MAX = 10;

const WIRE_TYPE_BITS = 7;
const WIRE_TYPE_VARINT = 0;
const WIRE_TYPE_FIXED64 = 1;
const WIRE_TYPE_LENGTH = 2;
const WIRE_TYPE_FIXED32 = 5;

/** A tag or a length below it is one byte. */
const SHORT_BYTES = 0x80;
const SHORT_HEAD_BYTES = 2;
/** Of a tag that is one byte: that it is, and its wire type. */
const SHORT_TAG_MASK = SHORT_BYTES | WIRE_TYPE_BITS;

const WORD = 2 ** 32;

/** Field numbers up to here fit into the bits of a known field's mask. */
const KNOWN_NUMBER_MAX = 31;

/**
 * Reads protobuf's wire format. Each method that takes `end`, the end of the message that it reads from, throws
 * TailgateError OTLP_UNDECODABLE, with the place, rather than read beyond it. 64-bit values come in halves, because a
 * double would lose nanoseconds.
 */
export class ProtobufReader {
  /** The bytes as they were given, never a copy; always a Buffer, so that reading is compiled for one kind of array. */
  readonly bytes: Buffer;
  readonly view: DataView;
  /** The place of the next byte. */
  position = 0;
  /** The unsigned halves of what {@link varint} or {@link fixed64} read last. */
  low = 0;
  high = 0;
  /** Where what {@link field} has found lies. */
  start = 0;
  end = 0;

  constructor({ buffer, byteOffset, byteLength }: Uint8Array) {
    this.bytes = Buffer.from(buffer, byteOffset, byteLength);
    this.view = new DataView(buffer, byteOffset, byteLength);
  }

  /**
   * Reads a field's number and wire type. A field of a length is gone past, and {@link start} and {@link end} say
   * where its bytes lie; of another one the value is next.
   */
  field(end: number): number {
    const { bytes, position } = this;
    const start = position + SHORT_HEAD_BYTES;
    if (start <= end) {
      // Nearly all fields are messages or texts of a small number and size.
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

  /** Goes past what {@link field} has found and the message does not know; see {@link skip}. */
  ignore(tag: number, end: number, known: number): void {
    if ((tag & WIRE_TYPE_BITS) === WIRE_TYPE_LENGTH) this.#checkUnknown(tag, known);
    else this.skip(tag, end, known);
  }

  /** Reads a field's number and wire type. */
  tag(end: number): number {
    const byte = this.position < end ? this.bytes[this.position]! : 0x80;
    if (byte < 0x80) this.position++;
    const tag = byte < 0x80 ? byte : this.#small(end);
    if (tag >>> 3 === 0) throw this.wrong("a field has the number 0");
    return tag;
  }

  /** Reads the length of an embedded message or a string, and answers where it ends. */
  length(end: number): number {
    const byte = this.position < end ? this.bytes[this.position]! : 0x80;
    if (byte < 0x80) this.position++;
    const length = byte < 0x80 ? byte : this.#small(end);
    if (length > end - this.position) {
      throw this.wrong(`${length} bytes are announced where ${end - this.position} are left`);
    }
    return this.position + length;
  }

  /** Reads a varint that has to fit into 32 bits. */
  #small(end: number): number {
    this.varint(end);
    if (this.high !== 0) throw this.wrong("a tag or a length has more than 32 bits");
    return this.low;
  }

  /** Reads a varint into {@link low} and {@link high}; bits beyond the 64th are lost, as everywhere in protobuf. */
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
    const place = this.#fixed(8, end);
    this.low = this.view.getUint32(place, true);
    this.high = this.view.getUint32(place + 4, true);
  }

  fixed32(end: number): number {
    return this.view.getUint32(this.#fixed(4, end), true);
  }

  double(end: number): number {
    return this.view.getFloat64(this.#fixed(8, end), true);
  }

  /** Goes past that many bytes and answers where they start. */
  #fixed(bytes: number, end: number): number {
    const place = this.position;
    if (end - place < bytes) throw this.wrong("a number is cut off");
    this.position = place + bytes;
    return place;
  }

  /** The varint that was read last as an int64: a number where that is exact, else a bigint. */
  int64(): number | bigint {
    const high = this.high | 0;
    const value = high * WORD + this.low;
    if (Number.isSafeInteger(value)) return value;
    return (BigInt(high) << 32n) | BigInt(this.low);
  }

  /**
   * Goes past the value of a field whose tag was read and is not one of those that its message expects. `known` has
   * the bits of the expected fields' numbers: one of these with another wire type is no newer field, but an error.
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
        // Groups, 3 and 4, went with proto2; OTLP is proto3.
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

  /** The error for what is wrong at the reader's place. */
  wrong(why: string): TailgateError {
    return undecodable(`byte ${this.position} of ${this.bytes.length}`, why);
  }
}
