import { attributeName, metIllFormedName, WORD_BYTES, type JsonWords } from "./attributes.ts";

/**
 * Writes JSON as UTF-8 into growing memory. When the memory is replaced by a larger piece, what is between `mark` and
 * `position` moves along, so a record is always contiguous.
 */

const SCRATCH_BYTES = 512;

/**
 * The maximum size of an envelope. Positions in a batch have 31 bits, and a row of the journal, which also contains the
 * OpenTelemetry record, can have a billion bytes.
 */
export const RECORD_BYTES_MAX = 256 << 20;

/** Values nested deeper than this become {@link DEPTH_TEXT}. Protobuf's own decoders have the same limit. */
export const DEPTH_MAX = 100;

export const DEPTH_TEXT = `[nested deeper than ${DEPTH_MAX} levels]`;

/** The bytes of a UTF-16 code unit at most. */
const UTF8_BYTES_MAX = 3;

/** Strings up to this length are written by a loop; longer ones by V8's functions, which have a higher fixed cost. */
const LOOP_CHARS_MAX = 20;

/** Longer text is escaped in chunks of this length. */
const ESCAPED_CHARS_MAX = 64 << 10;

/** The names of a map with more members are not cached. */
const NAMES_KNOWN_MAX = 64;

/** INT64_MAX + 1: OTLP encodes numbers from here on as doubles. */
const INT64_END = 2 ** 63;

/** Whether OTLP encodes a number as an integer that JavaScript cannot represent exactly. */
export function isUnsafeInteger(value: number): boolean {
  return Number.isInteger(value) && !Number.isSafeInteger(value) && Math.abs(value) < INT64_END;
}

const QUOTE = 0x22;
const ZERO = 0x30;
const POINT = 0x2e;
const THOUSAND = 1000;
const INT32_MAX = 2 ** 31 - 1;
/** The digits of 2^31. */
const DIGITS_MAX = 10;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;
const COMMA = 0x2c;
const COLON = 0x3a;

/** Returns ASCII text as bytes, for parts that are written often. */
export function ascii(text: string): Uint8Array {
  return Buffer.from(text, "latin1");
}

const TRUE = ascii("true");
const FALSE = ascii("false");
const NULL = ascii("null");

/** Bytes, and a view of the same memory. */
export interface ByteSource {
  readonly bytes: Uint8Array;
  readonly view: DataView;
}

/** Writes one record after the other; see above. */
export class JsonWriter {
  buffer: Buffer<ArrayBuffer>;
  /** A view of the same memory, to read and write several bytes at a time. */
  view: DataView;
  /** The position of the next byte. */
  position = 0;
  /** The start of the record that is being written. */
  mark = 0;
  /**
   * For values of the JavaScript SDK, which has one type for integers and doubles: whole numbers beyond 2^53 are then
   * written as integers. A plugin's `Value` has such integers as bigint.
   */
  wholeNumbersAreIntegers = false;
  /** The maximum size of the record. */
  bytesMax = RECORD_BYTES_MAX;
  /** The number of open lists and maps around the current value. */
  #depth = 0;
  readonly #slabBytes: number;

  /** `slabBytes`: the memory to allocate at a time. */
  constructor(slabBytes: number) {
    this.#slabBytes = slabBytes;
    this.buffer = Buffer.allocUnsafeSlow(slabBytes);
    this.view = viewOf(this.buffer);
  }

  /** Returns a writer for one value, to be read with {@link text}. */
  static scratch(bytesMax = RECORD_BYTES_MAX): JsonWriter {
    const writer = new JsonWriter(SCRATCH_BYTES);
    writer.bytesMax = bytesMax;
    return writer;
  }

  /** Starts a record at the position, and resets what the previous one may have left behind by an exception. */
  begin(): void {
    this.mark = this.position;
    this.wholeNumbersAreIntegers = false;
    this.bytesMax = RECORD_BYTES_MAX;
    this.#depth = 0;
  }

  /** Returns what was written since the mark. */
  text(): string {
    return this.buffer.toString("utf8", this.mark, this.position);
  }

  /**
   * Makes space for that many bytes after `position`; `buffer` may be a different one afterwards.
   * @throws RangeError if the record gets larger than {@link bytesMax}.
   */
  reserve(bytes: number): void {
    if (this.position + bytes > this.buffer.length) this.#grow(bytes);
  }

  #grow(bytes: number): void {
    const written = this.position - this.mark;
    if (written + bytes > this.bytesMax) {
      throw new RangeError(`it takes more than ${this.bytesMax} bytes`);
    }
    const larger = Buffer.allocUnsafeSlow(Math.max(this.#slabBytes, 2 * (written + bytes)));
    this.buffer.copy(larger, 0, this.mark, this.position);
    this.continueIn(larger, 0);
    this.position = written;
  }

  /** Continues in other memory, at `position`. */
  continueIn(buffer: Buffer<ArrayBuffer>, position: number): void {
    this.buffer = buffer;
    this.view = viewOf(buffer);
    this.position = position;
    this.mark = position;
  }

  /** Writes bytes that are already JSON. */
  raw(bytes: Uint8Array): void {
    this.reserve(bytes.length);
    this.buffer.set(bytes, this.position);
    this.position += bytes.length;
  }

  words({ words, length }: JsonWords): void {
    this.reserve(WORD_BYTES * words.length);
    const { view } = this;
    let at = this.position;
    for (let index = 0; index < words.length; index++) {
      view.setInt32(at, words[index]!, true);
      at += WORD_BYTES;
    }
    this.position += length;
  }

  byte(byte: number): void {
    this.reserve(1);
    this.buffer[this.position++] = byte;
  }

  /** Writes a string with its quotes; lone surrogates become U+FFFD. */
  string(text: string): void {
    // The exact length matters only if the memory may be too small.
    if (this.position + 2 + UTF8_BYTES_MAX * text.length > this.buffer.length) {
      this.reserve(2 + Buffer.byteLength(text));
    }
    const end = text.length <= LOOP_CHARS_MAX ? this.#shortText(text) : this.#longText(text);
    if (end < 0) return this.#escapedText(text);
    this.buffer[this.position] = QUOTE;
    this.buffer[end] = QUOTE;
    this.position = end + 1;
  }

  /** Writes plain ASCII after a quote; returns where it ends, or -1 if the text is anything else. */
  #shortText(text: string): number {
    const { buffer } = this;
    let position = this.position + 1;
    for (let index = 0; index < text.length; index++) {
      const char = text.charCodeAt(index);
      if (char > 127 || PLAIN[char] === 0) return -1;
      buffer[position++] = char;
    }
    return position;
  }

  /** Does the same for any text that needs no escapes: V8 writes it, then it is checked. */
  #longText(text: string): number {
    const start = this.position + 1;
    const end = start + this.buffer.write(text, start);
    // It is ASCII if it has as many bytes as characters.
    const needsNone =
      end - start === text.length ? this.#isPlain(start, end) : this.#needsNoEscape(start, end);
    return needsNone ? end : -1;
  }

  /** Whether ASCII text of at least two words needs no escape. */
  #isPlain(start: number, end: number): boolean {
    const { view } = this;
    const last = end - 2 * WORD_BYTES;
    for (let at = start; at < last; at += 2 * WORD_BYTES) {
      if (!arePlainWords(view.getInt32(at, true), view.getInt32(at + WORD_BYTES, true))) {
        return false;
      }
    }
    // The last two words may overlap with the previous ones, so that no bytes are left over.
    return arePlainWords(view.getInt32(last, true), view.getInt32(last + WORD_BYTES, true));
  }

  #needsNoEscape(start: number, end: number): boolean {
    let at = start;
    for (; at + WORD_BYTES <= end; at += WORD_BYTES) {
      if (needsEscape(this.view.getInt32(at, true))) return false;
    }
    for (; at < end; at++) {
      const byte = this.buffer[at]!;
      if (byte < 128 && PLAIN[byte] === 0) return false;
    }
    return true;
  }

  #escapedText(text: string): void {
    const wellFormed = text.isWellFormed() ? text : text.toWellFormed();
    if (wellFormed.length > ESCAPED_CHARS_MAX) return this.#escapedChunks(wellFormed);
    const json = JSON.stringify(wellFormed);
    this.reserve(Buffer.byteLength(json));
    this.position += this.buffer.write(json, this.position);
  }

  /** Writes a long text in chunks: if its escapes make it too large, that is noticed early. */
  #escapedChunks(text: string): void {
    this.byte(QUOTE);
    for (let start = 0; start < text.length;) {
      let end = start + ESCAPED_CHARS_MAX;
      // A surrogate pair stays together.
      if (isHighSurrogate(text.charCodeAt(end - 1))) end++;
      const json = JSON.stringify(text.slice(start, end)).slice(1, -1);
      this.reserve(Buffer.byteLength(json));
      this.position += this.buffer.write(json, this.position);
      start = end;
    }
    this.byte(QUOTE);
  }

  /** Writes a number; NaN and infinities become strings. */
  number(value: number): void {
    if (value >= 0 && (value | 0) === value) return this.#digits(value);
    if (this.#shortDecimal(value)) return;
    if (!Number.isFinite(value)) return this.string(String(value));
    if (this.wholeNumbersAreIntegers && isUnsafeInteger(value)) return this.bigint(BigInt(value));
    this.asciiText(value === 0 ? "0" : String(value));
  }

  /**
   * Writes a number of up to three decimals without creating a string; returns false for any other. With so few digits, no
   * other text of this length or less stands for the same double, so it is the text that String() returns.
   */
  #shortDecimal(value: number): boolean {
    const thousandths = Math.round(value * THOUSAND);
    const isShort = thousandths > 0 && thousandths <= INT32_MAX && thousandths / THOUSAND === value;
    if (!isShort) return false;
    this.reserve(DIGITS_MAX + ".000".length);
    const { buffer } = this;
    const whole = (thousandths / THOUSAND) | 0;
    let position = putNumber(buffer, this.position, whole);
    buffer[position++] = POINT;
    let rest = thousandths - THOUSAND * whole;
    for (let unit = THOUSAND / 10; rest > 0; unit /= 10) {
      const digit = (rest / unit) | 0;
      buffer[position++] = ZERO + digit;
      rest -= unit * digit;
    }
    this.position = position;
    return true;
  }

  /** Writes an integer from 0 to 2^31 - 1 without creating a string. */
  #digits(value: number): void {
    this.reserve(DIGITS_MAX);
    this.position = putNumber(this.buffer, this.position, value);
  }

  /** Writes ASCII text that is already JSON. */
  asciiText(text: string): void {
    this.reserve(text.length);
    const buffer = this.buffer;
    let position = this.position;
    for (let index = 0; index < text.length; index++) buffer[position++] = text.charCodeAt(index);
    this.position = position;
  }

  boolean(value: boolean): void {
    this.raw(value ? TRUE : FALSE);
  }

  null(): void {
    this.raw(NULL);
  }

  base64(bytes: Uint8Array): void {
    this.reserve(2 + 4 * Math.ceil(bytes.length / 3));
    this.buffer[this.position++] = QUOTE;
    this.position += this.buffer.write(toBase64(bytes), this.position, "latin1");
    this.buffer[this.position++] = QUOTE;
  }

  /**
   * Writes the value of an attribute: a plugin's `Value`, or that of the OpenTelemetry SDK, with objects instead of maps.
   * Undefined becomes null in lists and is omitted from objects.
   */
  value(value: unknown): void {
    switch (typeof value) {
      case "string":
        return this.string(value);
      case "number":
        return this.number(value);
      case "boolean":
        return this.boolean(value);
      case "bigint":
        return this.bigint(value);
      case "object":
        return value === null ? this.null() : this.#object(value);
      default:
        return this.null();
    }
  }

  /** Writes a comma and one member of an object; see {@link closeObject}. */
  member(name: string, value: unknown): void {
    this.words(attributeName(name).member);
    this.value(value);
  }

  /** Writes the same for a name that will hardly occur again. */
  rareMember(name: string, value: unknown): void {
    this.byte(COMMA);
    this.string(name);
    this.byte(COLON);
    this.value(value);
  }

  /**
   * Makes an object of the members that were written from `start` bytes after the mark on, at least one: the brace
   * replaces the comma of the first one.
   */
  closeObject(start: number): void {
    this.buffer[this.mark + start] = OPEN_BRACE;
    this.byte(CLOSE_BRACE);
  }

  /** Writes an integer, as a decimal string if JavaScript cannot represent it exactly. */
  bigint(value: bigint): void {
    const safe = value >= Number.MIN_SAFE_INTEGER && value <= Number.MAX_SAFE_INTEGER;
    if (safe) this.asciiText(String(value));
    else this.string(String(value));
  }

  #object(value: object): void {
    if (value instanceof Uint8Array) return this.base64(value);
    if (this.#depth >= DEPTH_MAX) return this.string(DEPTH_TEXT);
    this.#depth++;
    if (Array.isArray(value)) this.#list(value);
    else this.#members(value);
    this.#depth--;
  }

  #list(values: readonly unknown[]): void {
    this.byte(0x5b);
    for (let index = 0; index < values.length; index++) {
      if (index > 0) this.byte(COMMA);
      this.value(values[index]);
    }
    this.byte(0x5d);
  }

  #members(holder: object): void {
    const start = this.position - this.mark;
    if (holder instanceof Map) {
      const isKnown = holder.size <= NAMES_KNOWN_MAX;
      for (const [name, value] of holder) {
        if (value === undefined) continue;
        if (isKnown) this.member(String(name), value);
        else this.rareMember(String(name), value);
      }
    } else {
      // V8 reads the properties that it enumerates itself fast, whatever the object's shape.
      for (const name in holder) {
        if (!Object.prototype.hasOwnProperty.call(holder, name)) continue;
        const value = (holder as Record<string, unknown>)[name];
        if (value !== undefined) this.member(name, value);
      }
    }
    const isLarge = holder instanceof Map && holder.size > NAMES_KNOWN_MAX;
    if ((isLarge || metIllFormedName()) && hasIllFormedName(holder)) {
      // Two such names may be the same in JSON.
      this.position = this.mark + start;
      return this.#members(wellFormedMembers(holder));
    }
    if (this.position - this.mark === start) this.byte(OPEN_BRACE);
    this.closeObject(start);
  }
}

/** Writes an integer from 0 to 2^31 - 1 and returns the position after it. */
export function putNumber(buffer: Buffer, at: number, value: number): number {
  let digits = 1;
  for (let power = 10; power <= value; power *= 10) digits++;
  let rest = value;
  for (let position = at + digits - 1; position >= at; position--) {
    const tens = (rest / 10) | 0;
    buffer[position] = ZERO + rest - 10 * tens;
    rest = tens;
  }
  return at + digits;
}

function hasIllFormedName(holder: object): boolean {
  const names = holder instanceof Map ? holder.keys() : Object.keys(holder);
  for (const name of names) if (!String(name).isWellFormed()) return true;
  return false;
}

/** Returns the members with well-formed names; the last value of a repeated name counts. */
function wellFormedMembers(holder: object): ReadonlyMap<string, unknown> {
  const entries = holder instanceof Map ? [...holder] : Object.entries(holder);
  return new Map(entries.map(([name, value]) => [String(name).toWellFormed(), value as unknown]));
}

function isHighSurrogate(unit: number): boolean {
  return unit >= 0xd800 && unit <= 0xdbff;
}

function viewOf(buffer: Buffer): DataView {
  return new DataView(buffer.buffer, buffer.byteOffset, buffer.byteLength);
}

export function toBase64(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("base64");
}

/** Escapes text for JSON strings (RFC 8259, section 7) that are always valid UTF-8. */

/** For each ASCII character what follows its backslash; 0 if it needs no escape, 1 for the \u00xx form. */
const ESCAPES = new Uint8Array(128);
ESCAPES.fill(1, 0, 0x20);
for (const [char, escape] of Object.entries({
  '"': '"',
  "\\": "\\",
  "\b": "b",
  "\f": "f",
  "\n": "n",
  "\r": "r",
  "\t": "t",
})) {
  ESCAPES[char.charCodeAt(0)] = escape.charCodeAt(0);
}

/** For each byte whether it is an ASCII character that needs no escape. */
export const PLAIN = new Uint8Array(256);
for (let byte = 0; byte < 128; byte++) PLAIN[byte] = ESCAPES[byte] === 0 ? 1 : 0;

const HEX = Buffer.from("0123456789abcdef");

/**
 * Whether four bytes are ASCII characters that need no escape: none is from 0x80 up, below 0x20, a quote or a backslash.
 * In each difference the lowest byte that is one of these sets its highest bit, and nothing else does.
 */
export function isPlainWord(word: number): boolean {
  const unlikeQuote = (word ^ 0x22222222) - 0x01010101;
  const unlikeBackslash = (word ^ 0x5c5c5c5c) - 0x01010101;
  return ((word | (word - 0x20202020) | unlikeQuote | unlikeBackslash) & 0x80808080) === 0;
}

/** Does the same for eight bytes. */
export function arePlainWords(word: number, next: number): boolean {
  const unlikeQuote = ((word ^ 0x22222222) - 0x01010101) | ((next ^ 0x22222222) - 0x01010101);
  const unlikeBackslash = ((word ^ 0x5c5c5c5c) - 0x01010101) | ((next ^ 0x5c5c5c5c) - 0x01010101);
  const plain = word | next | (word - 0x20202020) | (next - 0x20202020);
  return ((plain | unlikeQuote | unlikeBackslash) & 0x80808080) === 0;
}

/** Whether one of four bytes is below 0x20, a quote or a backslash. Bytes of non-ASCII characters are not. */
export function needsEscape(word: number): boolean {
  const quote = word ^ 0x22222222;
  const backslash = word ^ 0x5c5c5c5c;
  const found =
    ((word - 0x20202020) & ~word) |
    ((quote - 0x01010101) & ~quote) |
    ((backslash - 0x01010101) & ~backslash);
  return (found & 0x80808080) !== 0;
}

/**
 * Writes bytes of text with the escapes that they need; invalid UTF-8 becomes U+FFFD. There must be space for six times
 * as many bytes. Returns the new position.
 */
export function writeEscaped(
  buffer: Buffer,
  at: number,
  source: Uint8Array,
  start: number,
  end: number,
): number {
  let position = at;
  let index = start;
  while (index < end) {
    const byte = source[index]!;
    if (byte < 128) {
      const escape = ESCAPES[byte]!;
      index++;
      if (escape === 0) {
        buffer[position++] = byte;
      } else if (escape === 1) {
        position = writeControl(buffer, position, byte);
      } else {
        buffer[position++] = 0x5c;
        buffer[position++] = escape;
      }
      continue;
    }
    const length = sequenceLength(source, index, end);
    if (length > 0) {
      for (const last = index + length; index < last;) buffer[position++] = source[index++]!;
    } else {
      buffer[position++] = 0xef;
      buffer[position++] = 0xbf;
      buffer[position++] = 0xbd;
      index -= length;
    }
  }
  return position;
}

/** Writes the \u00xx form of a control character and returns the new position. */
function writeControl(buffer: Buffer, position: number, byte: number): number {
  buffer[position++] = 0x5c;
  buffer[position++] = 0x75;
  buffer[position++] = 0x30;
  buffer[position++] = 0x30;
  buffer[position++] = HEX[byte >> 4]!;
  buffer[position++] = HEX[byte & 15]!;
  return position;
}

/**
 * Returns the length of the UTF-8 sequence at `index` (Unicode 16, table 3-7), or minus the number of bytes that one
 * U+FFFD replaces: the longest prefix of a sequence that could have become valid, as in the WHATWG's decoder.
 */
function sequenceLength(source: Uint8Array, index: number, end: number): number {
  const lead = source[index]!;
  if (lead < 0xc2 || lead > 0xf4) return -1;
  const length = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
  if (index + 1 >= end) return -1;
  const second = source[index + 1]!;
  const lowest = lead === 0xe0 ? 0xa0 : lead === 0xf0 ? 0x90 : 0x80;
  const highest = lead === 0xed ? 0x9f : lead === 0xf4 ? 0x8f : 0xbf;
  if (second < lowest || second > highest) return -1;
  for (let offset = 2; offset < length; offset++) {
    if (index + offset >= end || (source[index + offset]! & 0xc0) !== 0x80) return -offset;
  }
  return length;
}
