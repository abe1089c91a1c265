import { isUtf8 } from "node:buffer";
import { SPAN_ID_BYTES, TRACE_ID_BYTES } from "../../otlp/schema.ts";
import { BASE64 } from "../../otlp/json-message.ts";
import { needsEscape } from "../json-writer.ts";
import {
  BOOL,
  BYTES,
  DOUBLE,
  ESCAPED,
  FIXED32,
  HEX,
  INT64,
  MESSAGE,
  MESSAGES,
  RECORD_MEMBERS,
  REQUEST_MEMBERS,
  SPAN_ID,
  STRING,
  TIME,
  TRACE_ID,
  UINT32,
  Uint64,
  type JsonMember,
  type JsonMembers,
} from "./json-tables.ts";

/** Messages nested deeper are left to the plain path. */
const MESSAGE_DEPTH_MAX = 64;

const WORD_BYTES = 4;
/** Strings are copied in words, and the last one may exceed the string. */
const SLACK_BYTES = 64;
/** The memory of a larger request is not reused. */
const REUSED_BYTES_MAX = 4 << 20;

const SHORT_BYTES = 0x80;

/** A 32-bit number of so many digits cannot overflow. */
const SMALL_DIGITS_MAX = 9;

const SPACE = 0x20;
const QUOTE = 0x22;
const COMMA = 0x2c;
const MINUS = 0x2d;
const ZERO = 0x30;
const NINE = 0x39;
const COLON = 0x3a;
const OPEN_BRACKET = 0x5b;
const BACKSLASH = 0x5c;
const CLOSE_BRACKET = 0x5d;
const LETTER_U = 0x75;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;

const TRUE = Buffer.from("true").readInt32LE();
const FALS = Buffer.from("fals").readInt32LE();
const LETTER_E = 0x65;

const JSON_NUMBER = /^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?$/;
const NUMBER_CHARS_MAX = 40;

let memory: Buffer | undefined;

/**
 * Transcodes an ExportLogsServiceRequest from JSON to protobuf in one pass over its bytes, if it has the form in which
 * SDKs send it. Otherwise it returns undefined, and `jsonToProtobuf` accepts the request or says what is wrong with it.
 * Both make the same records of a request: test/encode/fast-json.test.ts compares them on generated requests.
 */
export function fastJsonToProtobuf(body: Uint8Array): Uint8Array | undefined {
  if (!isUtf8(body)) return undefined;
  const transcoder = new JsonTranscoder(body);
  return transcoder.request() ? transcoder.takeCopy() : undefined;
}

/** Does the same for one record, which must be UTF-8; returns a LogRecord message. */
export function fastRecordToProtobuf(record: Uint8Array): Uint8Array | undefined {
  const transcoder = new JsonTranscoder(record);
  return transcoder.record() ? transcoder.takeCopy(Buffer.allocUnsafe) : undefined;
}

/** Each method advances over what it reads, and returns false if that does not have the usual form. */
class JsonTranscoder {
  readonly #bytes: Buffer;
  readonly #view: DataView;
  readonly #end: number;
  #position = 0;
  /** The output, which is never longer than the input. */
  readonly #target: Buffer;
  readonly #targetView: DataView;
  #written = 0;
  readonly #number = new Uint64();

  constructor({ buffer, byteOffset, byteLength }: Uint8Array) {
    this.#bytes = Buffer.from(buffer, byteOffset, byteLength);
    this.#view = new DataView(buffer, byteOffset, byteLength);
    this.#end = byteLength;
    this.#target = targetOf(byteLength + SLACK_BYTES);
    this.#targetView = new DataView(
      this.#target.buffer,
      this.#target.byteOffset,
      this.#target.byteLength,
    );
  }

  request(): boolean {
    return this.#whole(REQUEST_MEMBERS);
  }

  record(): boolean {
    return this.#whole(RECORD_MEMBERS);
  }

  #whole(members: JsonMembers): boolean {
    if (!this.#object(members, 0)) return false;
    this.#skipSpace();
    return this.#position === this.#end;
  }

  takeCopy(allocate = Buffer.allocUnsafeSlow): Uint8Array {
    const bytes = allocate(this.#written);
    this.#target.copy(bytes, 0, 0, this.#written);
    return bytes;
  }

  #skipSpace(): void {
    const bytes = this.#bytes;
    let position = this.#position;
    // Skips JSON's white space; the caller rejects any other control character.
    while (position < this.#end && bytes[position]! <= SPACE && isSpace(bytes[position]!))
      position++;
    this.#position = position;
  }

  #accept(byte: number): boolean {
    if (this.#bytes[this.#position] !== byte) {
      this.#skipSpace();
      if (this.#bytes[this.#position] !== byte) return false;
    }
    this.#position++;
    return true;
  }

  /** Accepts a quote without skipping white space before it. */
  #acceptQuote(): boolean {
    if (this.#bytes[this.#position] !== QUOTE) return false;
    this.#position++;
    return true;
  }

  #object({ list, isOneOf }: JsonMembers, depth: number): boolean {
    if (!this.#accept(OPEN_BRACE)) return false;
    if (this.#accept(CLOSE_BRACE)) return true;
    let seen = 0;
    let expected = 0;
    do {
      if (!this.#accept(QUOTE)) return false;
      const index = this.#memberAt(list, expected);
      if (index < 0) return false;
      const member = list[index]!;
      if ((seen & member.bit) !== 0) return false;
      seen |= member.bit;
      expected = index + 1;
      this.#position += member.bytes;
      if (!this.#accept(COLON) || !this.#value(member, depth)) return false;
    } while (this.#accept(COMMA));
    // Which of several values counts is left to the plain path.
    return this.#accept(CLOSE_BRACE) && (!isOneOf || (seen & (seen - 1)) === 0);
  }

  /** Returns the index of the member whose name is here, most likely the expected one; -1 if there is none. */
  #memberAt(members: readonly JsonMember[], expected: number): number {
    const count = members.length;
    for (let tried = 0; tried < count; tried++) {
      const index = (expected + tried) % count;
      if (this.#isNamed(members[index]!)) return index;
    }
    return -1;
  }

  #isNamed({ words, bytes }: JsonMember): boolean {
    const position = this.#position;
    if (position + bytes > this.#end) return false;
    const last = words.length - 1;
    for (let index = 0; index < last; index++) {
      if (this.#view.getInt32(position + WORD_BYTES * index, true) !== words[index]) return false;
    }
    return this.#view.getInt32(position + bytes - WORD_BYTES, true) === words[last];
  }

  #value(member: JsonMember, depth: number): boolean {
    const { tag } = member;
    switch (member.form) {
      case STRING:
        return this.#text(tag, member.isOneOf);
      case TIME:
        return this.#time(tag);
      case UINT32:
      case FIXED32:
        return this.#smallNumber(tag, member.form === FIXED32);
      case TRACE_ID:
        return this.#id(tag, TRACE_ID_BYTES);
      case SPAN_ID:
        return this.#id(tag, SPAN_ID_BYTES);
      case INT64:
        return this.#integer(tag);
      case DOUBLE:
        return this.#double(tag);
      case BOOL:
        return this.#boolean(tag);
      case BYTES:
        return this.#byteString(tag);
      case MESSAGE:
        return this.#message(member, depth);
      case MESSAGES:
        return this.#messages(member, depth);
      default:
        return false;
    }
  }

  #messages(member: JsonMember, depth: number): boolean {
    if (!this.#accept(OPEN_BRACKET)) return false;
    if (this.#accept(CLOSE_BRACKET)) return true;
    do {
      if (!this.#message(member, depth)) return false;
    } while (this.#accept(COMMA));
    return this.#accept(CLOSE_BRACKET);
  }

  #message({ tag, members }: JsonMember, depth: number): boolean {
    if (depth === MESSAGE_DEPTH_MAX) return false;
    this.#target[this.#written] = tag;
    const start = this.#written + 2;
    this.#written = start;
    if (!this.#object(members!, depth + 1)) return false;
    this.#setLength(start);
    return true;
  }

  /** Writes the length of the output since `start` before it, where one byte is reserved, and moves the output if it needs more. */
  #setLength(start: number): void {
    const target = this.#target;
    const length = this.#written - start;
    if (length < SHORT_BYTES) {
      target[start - 1] = length;
      return;
    }
    let more = 0;
    for (let rest = length >>> 7; rest > 0; rest >>>= 7) more++;
    target.copyWithin(start + more, start, this.#written);
    this.#written += more;
    this.#varint(start - 1, length, 0);
  }

  /** Writes a varint of 64 bits at a position; returns the position after it. */
  #varint(at: number, low: number, high: number): number {
    const target = this.#target;
    let written = at;
    let rest = low >>> 0;
    let upper = high >>> 0;
    while (rest >= SHORT_BYTES || upper > 0) {
      target[written++] = (rest & 0x7f) | SHORT_BYTES;
      rest = ((rest >>> 7) | ((upper & 0x7f) << 25)) >>> 0;
      upper >>>= 7;
    }
    target[written] = rest;
    return written + 1;
  }

  #text(tag: number, isOneOf: boolean): boolean {
    if (!this.#accept(QUOTE)) return false;
    this.#target[this.#written] = tag;
    const start = this.#written + 2;
    this.#written = start;
    if (!this.#copyText()) return false;
    if (this.#written === start && !isOneOf) this.#written = start - 2;
    else this.#setLength(start);
    return true;
  }

  /** Copies a string up to its quote, unescaped. */
  #copyText(): boolean {
    while (this.#copyPlain()) {
      const byte = this.#bytes[this.#position];
      if (byte === QUOTE) {
        this.#position++;
        return true;
      }
      if (byte !== BACKSLASH || !this.#escape()) return false;
    }
    return false;
  }

  /** Copies a string up to a quote or a backslash. */
  #copyPlain(): boolean {
    const bytes = this.#bytes;
    const target = this.#target;
    const last = this.#end - WORD_BYTES;
    let position = this.#position;
    let written = this.#written;
    for (; position <= last; position += WORD_BYTES) {
      const word = this.#view.getInt32(position, true);
      if (needsEscape(word)) break;
      this.#targetView.setInt32(written, word, true);
      written += WORD_BYTES;
    }
    for (; position < this.#end; position++) {
      const byte = bytes[position]!;
      if (byte === QUOTE || byte === BACKSLASH || byte < SPACE) break;
      target[written++] = byte;
    }
    this.#position = position;
    this.#written = written;
    return position < this.#end;
  }

  #escape(): boolean {
    const char = this.#bytes[this.#position + 1]!;
    if (char === LETTER_U) return this.#unicodeEscape();
    const meaning = ESCAPED[char];
    if (!meaning) return false;
    this.#target[this.#written++] = meaning;
    this.#position += 2;
    return true;
  }

  #unicodeEscape(): boolean {
    const unit = this.#hexUnit(this.#position);
    if (unit < 0) return false;
    this.#position += 6;
    if (unit < 0xd800 || unit > 0xdfff) {
      this.#character(unit);
      return true;
    }
    let text = String.fromCharCode(unit);
    if (!text.isWellFormed()) {
      const second = this.#hexUnit(this.#position);
      const pair = second < 0 ? text : text + String.fromCharCode(second);
      if (pair.length === 2 && pair.isWellFormed()) {
        text = pair;
        this.#position += 6;
      }
    }
    this.#written += this.#target.write(text.toWellFormed(), this.#written);
    return true;
  }

  /** Writes a character of one code unit in UTF-8. */
  #character(unit: number): void {
    const target = this.#target;
    if (unit < 0x80) target[this.#written++] = unit;
    else {
      if (unit < 0x800) target[this.#written++] = 0xc0 | (unit >> 6);
      else {
        target[this.#written++] = 0xe0 | (unit >> 12);
        target[this.#written++] = 0x80 | ((unit >> 6) & 0x3f);
      }
      target[this.#written++] = 0x80 | (unit & 0x3f);
    }
  }

  /** Returns the code unit of the \u escape at a position; -1 if there is none. */
  #hexUnit(position: number): number {
    const bytes = this.#bytes;
    if (bytes[position] !== BACKSLASH || bytes[position + 1] !== LETTER_U) return -1;
    if (position + 6 > this.#end) return -1;
    let unit = 0;
    for (let index = position + 2; index < position + 6; index++) {
      const digit = HEX[bytes[index]!]!;
      if (digit > 15) return -1;
      unit = (unit << 4) | digit;
    }
    return unit;
  }

  /** Reads a non-negative integer, quoted or not, into {@link #number}. */
  #digits(): boolean {
    const bytes = this.#bytes;
    this.#skipSpace();
    const isText = bytes[this.#position] === QUOTE;
    if (isText) this.#position++;
    const start = this.#position;
    let position = start;
    while (bytes[position]! >= ZERO && bytes[position]! <= NINE) position++;
    const isPadded = bytes[start] === ZERO && position > start + 1;
    this.#position = position;
    if (!this.#number.read(bytes, start, position)) return false;
    return isText ? this.#acceptQuote() : !isPadded && isEndOfNumber(bytes[position]);
  }

  #time(tag: number): boolean {
    if (!this.#digits()) return false;
    const { low, high } = this.#number;
    if (low === 0 && high === 0) return true;
    const written = this.#written;
    this.#target[written] = tag;
    this.#targetView.setInt32(written + 1, low, true);
    this.#targetView.setInt32(written + 5, high, true);
    this.#written = written + 9;
    return true;
  }

  #smallNumber(tag: number, isFixed: boolean): boolean {
    this.#skipSpace();
    const start = this.#position;
    if (this.#bytes[start] === QUOTE || !this.#digits()) return false;
    if (this.#position - start > SMALL_DIGITS_MAX) return false;
    const { low } = this.#number;
    if (low === 0) return true;
    this.#target[this.#written++] = tag;
    if (isFixed) this.#targetView.setInt32(this.#written, low, true);
    this.#written = isFixed ? this.#written + 4 : this.#varint(this.#written, low, 0);
    return true;
  }

  #integer(tag: number): boolean {
    this.#skipSpace();
    const bytes = this.#bytes;
    const isText = bytes[this.#position] === QUOTE;
    if (bytes[isText ? this.#position + 1 : this.#position] === MINUS)
      return this.#negative(tag, isText);
    if (!this.#digits()) return false;
    const { low, high } = this.#number;
    // Beyond int64 it becomes a double.
    if (high >>> 0 >= 2 ** 31) return false;
    this.#target[this.#written] = tag;
    this.#written = this.#varint(this.#written + 1, low, high);
    return true;
  }

  #negative(tag: number, isText: boolean): boolean {
    const bytes = this.#bytes;
    const start = this.#position + (isText ? 2 : 1);
    let position = start;
    while (bytes[position]! >= ZERO && bytes[position]! <= NINE) position++;
    if (!this.#number.read(bytes, start, position)) return false;
    if (
      !isText &&
      ((bytes[start] === ZERO && position > start + 1) || !isEndOfNumber(bytes[position]))
    ) {
      return false;
    }
    this.#position = position;
    if (isText && !this.#acceptQuote()) return false;
    const { low, high } = this.#number;
    // The plain path decides about -0.
    if (high >>> 0 >= 2 ** 31 || (low === 0 && high === 0)) return false;
    // Two's complement.
    const upper = low === 0 ? -high : ~high;
    this.#target[this.#written] = tag;
    this.#written = this.#varint(this.#written + 1, -low, upper);
    return true;
  }

  #double(tag: number): boolean {
    this.#skipSpace();
    const start = this.#position;
    let position = start;
    while (!isEndOfNumber(this.#bytes[position]) && position - start < NUMBER_CHARS_MAX) position++;
    const text = this.#bytes.toString("latin1", start, position);
    // If a number is cut off at the limit, what follows does not end the member.
    if (!JSON_NUMBER.test(text)) return false;
    this.#position = position;
    this.#target[this.#written] = tag;
    this.#targetView.setFloat64(this.#written + 1, Number(text), true);
    this.#written += 9;
    return true;
  }

  #boolean(tag: number): boolean {
    this.#skipSpace();
    const position = this.#position;
    if (position + 5 > this.#end) return false;
    const word = this.#view.getInt32(position, true);
    const isTrue = word === TRUE;
    if (!isTrue && (word !== FALS || this.#bytes[position + 4] !== LETTER_E)) return false;
    this.#position = position + (isTrue ? 4 : 5);
    this.#target[this.#written++] = tag;
    this.#target[this.#written++] = isTrue ? 1 : 0;
    return true;
  }

  #byteString(tag: number): boolean {
    if (!this.#accept(QUOTE)) return false;
    const end = this.#bytes.indexOf(QUOTE, this.#position);
    if (end < 0) return false;
    const text = this.#bytes.toString("latin1", this.#position, end);
    if (!BASE64.test(text)) return false;
    this.#position = end + 1;
    this.#target[this.#written] = tag;
    const start = this.#written + 2;
    this.#written = start + this.#target.write(text, start, "base64");
    this.#setLength(start);
    return true;
  }

  /** Reads an id of the right length, or an empty one. */
  #id(tag: number, length: number): boolean {
    if (!this.#accept(QUOTE)) return false;
    if (this.#acceptQuote()) return true;
    const bytes = this.#bytes;
    const target = this.#target;
    let written = this.#written;
    target[written++] = tag;
    target[written++] = length;
    let position = this.#position;
    if (position + 2 * length >= this.#end) return false;
    for (const end = position + 2 * length; position < end; position += 2) {
      const upper = HEX[bytes[position]!]!;
      const lower = HEX[bytes[position + 1]!]!;
      if ((upper | lower) > 15) return false;
      target[written++] = (upper << 4) | lower;
    }
    this.#position = position + 1;
    this.#written = written;
    return bytes[position] === QUOTE;
  }
}

function isSpace(byte: number): boolean {
  return byte === SPACE || byte === 0x0a || byte === 0x0d || byte === 0x09;
}

/** True for a byte that may follow a number; the caller checks which one it has to be. */
function isEndOfNumber(byte: number | undefined): boolean {
  return byte === COMMA || byte === CLOSE_BRACE || byte === CLOSE_BRACKET || isSpace(byte ?? SPACE);
}

function targetOf(bytes: number): Buffer {
  if (memory !== undefined && memory.length >= bytes) return memory;
  const target = Buffer.allocUnsafeSlow(bytes);
  if (bytes <= REUSED_BYTES_MAX) memory = target;
  return target;
}
