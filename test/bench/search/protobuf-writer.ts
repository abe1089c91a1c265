/** Writes OTLP messages into one buffer. Written for this benchmark: an encoder of Tailgate would be a part of what is measured. */

const BYTES = 4 << 20;

export type Value =
  | string
  | number
  | boolean
  | readonly Value[]
  | { readonly [key: string]: Value };

export class ProtobufWriter {
  readonly #bytes = Buffer.alloc(BYTES);
  length = 0;

  /** Returns a copy of what was written, and starts over. */
  take(): Buffer<ArrayBuffer> {
    const bytes = Buffer.from(this.#bytes.subarray(0, this.length));
    this.length = 0;
    return bytes;
  }

  byte(value: number): void {
    this.#bytes[this.length++] = value;
  }

  varint(value: number): void {
    let rest = value;
    while (rest > 127) {
      this.byte((rest % 128) | 128);
      rest = Math.floor(rest / 128);
    }
    this.byte(rest);
  }

  fixed32(tag: number, value: number): void {
    this.byte(tag);
    this.length = this.#bytes.writeUInt32LE(value, this.length);
  }

  fixed64(tag: number, value: bigint): void {
    this.byte(tag);
    this.length = this.#bytes.writeBigUInt64LE(value, this.length);
  }

  hex(tag: number, text: string): void {
    this.byte(tag);
    this.byte(text.length / 2);
    this.length += this.#bytes.write(text, this.length, "hex");
  }

  text(tag: number, text: string): void {
    this.message(tag, () => {
      this.length += this.#bytes.write(text, this.length);
    });
  }

  /** Writes a field whose content `write` writes. */
  message(tag: number, write: () => void): void {
    this.byte(tag);
    const start = this.length++;
    write();
    const size = this.length - start - 1;
    if (size < 128) {
      this.#bytes[start] = size;
      return;
    }
    const sizeBytes = size < 1 << 14 ? 2 : size < 1 << 21 ? 3 : 4;
    this.#bytes.copyWithin(start + sizeBytes, start + 1, this.length);
    const end = start + sizeBytes + size;
    this.length = start;
    this.varint(size);
    this.length = end;
  }

  attribute(tag: number, key: string, value: Value): void {
    this.message(tag, () => {
      this.text(0x0a, key);
      this.message(0x12, () => this.anyValue(value));
    });
  }

  anyValue(value: Value): void {
    if (typeof value === "string") this.text(0x0a, value);
    else if (typeof value === "boolean") {
      this.byte(0x10);
      this.byte(value ? 1 : 0);
    } else if (typeof value === "number") this.#number(value);
    else if (Array.isArray(value)) {
      this.message(0x2a, () => {
        for (const element of value as readonly Value[]) {
          this.message(0x0a, () => this.anyValue(element));
        }
      });
    } else {
      this.message(0x32, () => {
        for (const [key, inner] of Object.entries(value)) this.attribute(0x0a, key, inner);
      });
    }
  }

  #number(value: number): void {
    if (Number.isInteger(value)) {
      this.byte(0x18);
      this.varint(value);
    } else {
      this.byte(0x21);
      this.length = this.#bytes.writeDoubleLE(value, this.length);
    }
  }
}
