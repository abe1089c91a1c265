/** Finds a short text of ASCII in bytes (Boyer, Moore and Horspool): of most bytes that lie between it sees none. */
export class ByteSearch {
  readonly #text: Buffer;
  /** For each byte how far it is from the last place that it has in the text, but for the end, to that end. */
  readonly #skips: Uint8Array;

  constructor(text: string) {
    this.#text = Buffer.from(text, "latin1");
    const last = text.length - 1;
    this.#skips = new Uint8Array(256).fill(text.length);
    for (let index = 0; index < last; index++) this.#skips[this.#text[index]!] = last - index;
  }

  isWithin(bytes: Buffer, start: number, end: number): boolean {
    const text = this.#text;
    const skips = this.#skips;
    const last = text.length - 1;
    const lastByte = text[last];
    for (let place = start + last; place < end;) {
      const byte = bytes[place]!;
      if (byte === lastByte && text.compare(bytes, place - last, place + 1) === 0) return true;
      place += skips[byte]!;
    }
    return false;
  }
}
