const INITIAL_SIZE = 16 << 10;
/** A larger buffer is not reused. */
const SIZE_REUSED_MAX = 1 << 20;

const WORD = 2 ** 32;
const INT64_MASK = 0xffff_ffff_ffff_ffffn;

/** A smaller length has one byte on the wire, a smaller character one byte in UTF-8. */
const SHORT_BYTES = 0x80;
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
