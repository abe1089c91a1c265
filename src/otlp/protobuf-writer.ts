const SIZE_AT_FIRST = 16 << 10;
/** Memory that one large message has needed is not kept. */
const SIZE_KEPT_MAX = 1 << 20;

const WORD = 2 ** 32;
const INT64_MASK = 0xffff_ffff_ffff_ffffn;

/** A length below it is one byte on the wire, a character below it one byte in UTF-8. */
const SHORT_BYTES = 0x80;
/** Texts up to this length are written by a loop; the engine's own function starts slower. */
const LOOP_CHARS_MAX = 20;
/** What a UTF-16 unit may become. */
const UTF8_BYTES_MAX = 3;

/** A varint has at most as many bytes where the value has up to 32 bits. */
const VARINT_32_BYTES = 5;

/** Writes protobuf's wire format (protobuf.dev/programming-guides/encoding). Tags are those of otlp-fields.ts. */
export class ProtobufWriter {
  #buffer = Buffer.allocUnsafeSlow(SIZE_AT_FIRST);
  #view = viewOf(this.#buffer);
  #position = 0;

  /** Discards what an exception has left of the message before. */
  begin(): void {
    this.#position = 0;
  }

  /** What was written since the last call, in memory of its own. */
  take(): Uint8Array {
    const bytes = Buffer.allocUnsafe(this.#position);
    this.#buffer.copy(bytes, 0, 0, this.#position);
    this.#position = 0;
    if (this.#buffer.length > SIZE_KEPT_MAX)
      this.#continueIn(Buffer.allocUnsafeSlow(SIZE_AT_FIRST));
    return bytes;
  }

  /** A number from 0 to 2^32 - 1. */
  varint(tag: number, value: number): void {
    this.#reserve(2 * VARINT_32_BYTES);
    this.#varint(tag);
    this.#varint(value);
  }

  /** A whole number from -2^63 to 2^63 - 1, as int64 has it. */
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

  /** Lone surrogates become U+FFFD. */
  string(tag: number, text: string): void {
    if (text.length < SHORT_BYTES) return this.#shortString(tag, text);
    const length = Buffer.byteLength(text);
    this.#reserve(2 * VARINT_32_BYTES + length);
    this.#varint(tag);
    this.#varint(length);
    this.#buffer.write(text, this.#position, length, "utf8");
    this.#position += length;
  }

  /** One whose length is known when it is written: most need one byte for it. */
  #shortString(tag: number, text: string): void {
    const start = this.open(tag);
    this.#reserve(UTF8_BYTES_MAX * text.length);
    if (text.length > LOOP_CHARS_MAX || !this.#ascii(text)) {
      this.#position += this.#buffer.write(text, this.#position);
    }
    this.close(start);
  }

  /** False, with nothing written, for a text that is not ASCII. */
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
    this.#buffer.set(bytes, this.#position);
    this.#position += bytes.length;
  }

  /** A message within the message, which `write` writes. */
  message(tag: number, write: () => void): void {
    const start = this.open(tag);
    write();
    this.close(start);
  }

  /** Begins a message within the message; answers what {@link close} is to be given behind its fields. */
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

  /** Most messages are short: room for one byte of length was left, and a longer one is moved. */
  #widen(start: number, length: number): void {
    const end = this.#position;
    this.#reserve(VARINT_32_BYTES);
    this.#position = start;
    let bytes = 1;
    for (let rest = length; rest > 0x7f; rest = Math.floor(rest / 0x80)) bytes++;
    this.#buffer.copyWithin(start + bytes, start + 1, end);
    this.#varint(length);
    this.#position = end + bytes - 1;
  }

  #varint(value: number): void {
    let rest = value;
    for (; rest > 0x7f; rest = Math.floor(rest / 0x80)) {
      this.#buffer[this.#position++] = (rest % 0x80) | 0x80;
    }
    this.#buffer[this.#position++] = rest;
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

const INT64_MIN = -(2n ** 63n);
const INT64_MAX = 2n ** 63n - 1n;

/** True if an int64 can hold the integer. */
export function isInt64(integer: bigint): boolean {
  return integer >= INT64_MIN && integer <= INT64_MAX;
}
