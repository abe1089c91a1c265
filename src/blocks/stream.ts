/** Streams of values, of which the chunks of a block consist. */

const BYTES_MIN = 1 << 10;
/** Copying fewer bytes one by one is faster. */
const SHORT_COPY = 24;

/** Bytes that are appended to. */
export class StreamWriter {
  bytes = Buffer.allocUnsafe(BYTES_MIN);
  length = 0;

  reserve(bytes: number): void {
    if (this.length + bytes <= this.bytes.length) return;
    const grown = Buffer.allocUnsafe(Math.max(2 * this.bytes.length, this.length + bytes));
    this.bytes.copy(grown, 0, 0, this.length);
    this.bytes = grown;
  }

  byte(value: number): void {
    this.reserve(1);
    this.bytes[this.length++] = value;
  }

  /** Writes an integer from 0 to 2^53 - 1 as protobuf does. */
  varint(value: number): void {
    this.reserve(8);
    let rest = value;
    while (rest >= 0x80) {
      this.bytes[this.length++] = (rest % 0x80) | 0x80;
      rest = Math.floor(rest / 0x80);
    }
    this.bytes[this.length++] = rest;
  }

  /** Writes an integer from -2^52 to 2^52 - 1; small ones of either sign take few bytes. */
  signed(value: number): void {
    this.varint(value >= 0 ? 2 * value : -2 * value - 1);
  }

  copy(source: Uint8Array, start: number, end: number): void {
    const size = end - start;
    this.reserve(size);
    if (size > SHORT_COPY) this.bytes.set(source.subarray(start, end), this.length);
    else {
      const { bytes } = this;
      for (let from = start, to = this.length; from < end; from++, to++) bytes[to] = source[from]!;
    }
    this.length += size;
  }

  get written(): Buffer {
    return this.bytes.subarray(0, this.length);
  }
}

/** Reads what {@link StreamWriter} has written. */
export class StreamReader {
  readonly bytes: Uint8Array;
  position = 0;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
  }

  /** @throws RangeError at the end, and for a number that no writer has written. */
  varint(): number {
    let result = 0;
    let factor = 1;
    for (;;) {
      const byte = this.bytes[this.position++];
      if (byte === undefined || factor > 2 ** 49) throw new RangeError("a stream is damaged");
      result += (byte & 0x7f) * factor;
      if (byte < 0x80) return result;
      factor *= 0x80;
    }
  }

  signed(): number {
    const value = this.varint();
    return value % 2 === 0 ? value / 2 : -(value + 1) / 2;
  }
}

/** Returns numbers as bytes, as few of each as possible: one, two, or four. */
export function packNumbers(values: ArrayLike<number>, max: number): Buffer {
  const packed = new (numbersFor(max))(values);
  return Buffer.from(packed.buffer, packed.byteOffset, packed.byteLength);
}

/** Reads what {@link packNumbers} has written for the same greatest number; in memory of its own. */
export function unpackNumbers(bytes: Uint8Array, max: number): Uint8Array | Uint16Array {
  const type = numbersFor(max);
  if (bytes.length % type.BYTES_PER_ELEMENT !== 0) throw new RangeError("a stream is damaged");
  const copy = new Uint8Array(bytes);
  return new type(copy.buffer, 0, copy.length / type.BYTES_PER_ELEMENT);
}

function numbersFor(max: number): typeof Uint8Array | typeof Uint16Array {
  if (max > 0xffff) throw new RangeError(`${max} does not fit into two bytes`);
  return max > 0xff ? Uint16Array : Uint8Array;
}
