import { isUtf8 } from "node:buffer";
import { needsEscape } from "../envelope/escapes.ts";
import { BASE64 } from "./json-decoder.ts";
import {
  BOOLEAN,
  BYTES,
  COUNT,
  DOUBLE,
  FLAGS,
  INTEGER,
  isOneOf,
  KEPT_TEXT,
  MESSAGE,
  MESSAGES,
  RECORD,
  REQUEST,
  SPAN_ID,
  TEXT,
  TIME,
  TRACE_ID,
  type Member,
} from "./json-names.ts";
import { SPAN_ID_BYTES, TRACE_ID_BYTES } from "./schema.ts";
import { Uint64 } from "./uint64.ts";

/** Deeper values are left to the decoder, which knows where to stop. */
const DEPTH_MAX = 64;

const WORD_BYTES = 4;
/** Texts are written in words, and the last one may go beyond. */
const SLACK_BYTES = 64;
/** Memory that one large request has needed is not kept. */
const KEPT_BYTES_MAX = 4 << 20;

const SHORT_BYTES = 0x80;

/** A small number has at most so many digits. */
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

/** For each byte the value of the hex digit that it is, else 16. */
const HEX = new Uint8Array(256).fill(16);
for (let value = 0; value < 16; value++) {
  const digit = value.toString(16);
  HEX[digit.charCodeAt(0)] = value;
  HEX[digit.toUpperCase().charCodeAt(0)] = value;
}

/** What a backslash and that character stand for, else 0. */
const ESCAPED = new Uint8Array(256);
for (const [char, meaning] of Object.entries({
  '"': '"',
  "\\": "\\",
  "/": "/",
  b: "\b",
  f: "\f",
  n: "\n",
  r: "\r",
  t: "\t",
})) {
  ESCAPED[char.charCodeAt(0)] = meaning.charCodeAt(0);
}

let memory: Buffer | undefined;

/**
 * An ExportLogsServiceRequest in JSON as protobuf, in one walk over its bytes: undefined where it does not have the form
 * in which nearly all are sent. Then the decoder has to read it, which takes all forms that there are, or tells what is
 * wrong with it.
 */
export function protobufOfUsualJson(body: Uint8Array): Uint8Array | undefined {
  if (!isUtf8(body)) return undefined;
  const scanner = new UsualJson(body);
  return scanner.request() ? scanner.written() : undefined;
}

/** The same of one record, as the LogRecord message that it is. */
export function protobufOfUsualRecord(record: Uint8Array): Uint8Array | undefined {
  const scanner = new UsualJson(record);
  return scanner.record() ? scanner.written(Buffer.allocUnsafe) : undefined;
}

/** Each method goes past what it reads, and answers false where that is not of the usual form. */
class UsualJson {
  readonly #bytes: Buffer;
  readonly #view: DataView;
  readonly #end: number;
  #place = 0;
  /** What is written is never longer than what is read. */
  readonly #target: Buffer;
  readonly #targetView: DataView;
  #position = 0;
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
    return this.#whole(REQUEST);
  }

  record(): boolean {
    return this.#whole(RECORD);
  }

  #whole(members: readonly Member[]): boolean {
    if (!this.#object(members, 0)) return false;
    this.#skipSpace();
    return this.#place === this.#end;
  }

  /** A copy. */
  written(allocate = Buffer.allocUnsafeSlow): Uint8Array {
    const bytes = allocate(this.#position);
    this.#target.copy(bytes, 0, 0, this.#position);
    return bytes;
  }

  #skipSpace(): void {
    const bytes = this.#bytes;
    let place = this.#place;
    // JSON's white space; another control character is found by who reads on.
    while (place < this.#end && bytes[place]! <= SPACE && isSpace(bytes[place]!)) place++;
    this.#place = place;
  }

  #take(byte: number): boolean {
    if (this.#bytes[this.#place] !== byte) {
      this.#skipSpace();
      if (this.#bytes[this.#place] !== byte) return false;
    }
    this.#place++;
    return true;
  }

  /** Inside of a text there is no white space to skip. */
  #takeEndOfText(): boolean {
    if (this.#bytes[this.#place] !== QUOTE) return false;
    this.#place++;
    return true;
  }

  #object(members: readonly Member[], depth: number): boolean {
    if (!this.#take(OPEN_BRACE)) return false;
    if (this.#take(CLOSE_BRACE)) return true;
    let seen = 0;
    let expected = 0;
    do {
      if (!this.#take(QUOTE)) return false;
      const index = this.#memberAt(members, expected);
      if (index < 0) return false;
      const member = members[index]!;
      if ((seen & member.bit) !== 0) return false;
      seen |= member.bit;
      expected = index + 1;
      this.#place += member.bytes;
      if (!this.#take(COLON) || !this.#value(member, depth)) return false;
    } while (this.#take(COMMA));
    // Of more than one value the decoder knows which one counts.
    return this.#take(CLOSE_BRACE) && (!isOneOf(members) || (seen & (seen - 1)) === 0);
  }

  /** The member whose name stands here, most likely the one that is expected; -1 for none. */
  #memberAt(members: readonly Member[], expected: number): number {
    const count = members.length;
    for (let tried = 0; tried < count; tried++) {
      const index = (expected + tried) % count;
      if (this.#isNamed(members[index]!)) return index;
    }
    return -1;
  }

  #isNamed({ words, bytes }: Member): boolean {
    const place = this.#place;
    if (place + bytes > this.#end) return false;
    const last = words.length - 1;
    for (let index = 0; index < last; index++) {
      if (this.#view.getInt32(place + WORD_BYTES * index, true) !== words[index]) return false;
    }
    return this.#view.getInt32(place + bytes - WORD_BYTES, true) === words[last];
  }

  #value(member: Member, depth: number): boolean {
    const { tag } = member;
    switch (member.form) {
      case TEXT:
        return this.#text(tag, false);
      case KEPT_TEXT:
        return this.#text(tag, true);
      case TIME:
        return this.#time(tag);
      case COUNT:
      case FLAGS:
        return this.#smallNumber(tag, member.form === FLAGS);
      case TRACE_ID:
        return this.#id(tag, TRACE_ID_BYTES);
      case SPAN_ID:
        return this.#id(tag, SPAN_ID_BYTES);
      case INTEGER:
        return this.#integer(tag);
      case DOUBLE:
        return this.#double(tag);
      case BOOLEAN:
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

  #messages(member: Member, depth: number): boolean {
    if (!this.#take(OPEN_BRACKET)) return false;
    if (this.#take(CLOSE_BRACKET)) return true;
    do {
      if (!this.#message(member, depth)) return false;
    } while (this.#take(COMMA));
    return this.#take(CLOSE_BRACKET);
  }

  #message({ tag, members }: Member, depth: number): boolean {
    if (depth === DEPTH_MAX) return false;
    this.#target[this.#position] = tag;
    const start = this.#position + 2;
    this.#position = start;
    if (!this.#object(members, depth + 1)) return false;
    this.#setLength(start);
    return true;
  }

  /** Writes the length of what was written since `start` before it. There is room for one byte, and more is made. */
  #setLength(start: number): void {
    const target = this.#target;
    const length = this.#position - start;
    if (length < SHORT_BYTES) {
      target[start - 1] = length;
      return;
    }
    let more = 0;
    for (let rest = length >>> 7; rest > 0; rest >>>= 7) more++;
    target.copyWithin(start + more, start, this.#position);
    this.#position += more;
    this.#varint(start - 1, length, 0);
  }

  /** Writes a varint of 64 bits at a place; answers where it ends. */
  #varint(at: number, low: number, high: number): number {
    const target = this.#target;
    let position = at;
    let rest = low >>> 0;
    let upper = high >>> 0;
    while (rest >= SHORT_BYTES || upper > 0) {
      target[position++] = (rest & 0x7f) | SHORT_BYTES;
      rest = ((rest >>> 7) | ((upper & 0x7f) << 25)) >>> 0;
      upper >>>= 7;
    }
    target[position] = rest;
    return position + 1;
  }

  #text(tag: number, isKept: boolean): boolean {
    if (!this.#take(QUOTE)) return false;
    this.#target[this.#position] = tag;
    const start = this.#position + 2;
    this.#position = start;
    if (!this.#copyText()) return false;
    if (this.#position === start && !isKept) this.#position = start - 2;
    else this.#setLength(start);
    return true;
  }

  /** Copies a text up to its quote, without the escapes that JSON needs. */
  #copyText(): boolean {
    while (this.#copyPlain()) {
      const byte = this.#bytes[this.#place];
      if (byte === QUOTE) {
        this.#place++;
        return true;
      }
      if (byte !== BACKSLASH || !this.#escape()) return false;
    }
    return false;
  }

  /** Copies a text up to a quote or a backslash. */
  #copyPlain(): boolean {
    const bytes = this.#bytes;
    const target = this.#target;
    const last = this.#end - WORD_BYTES;
    let place = this.#place;
    let position = this.#position;
    for (; place <= last; place += WORD_BYTES) {
      const word = this.#view.getInt32(place, true);
      if (needsEscape(word)) break;
      this.#targetView.setInt32(position, word, true);
      position += WORD_BYTES;
    }
    for (; place < this.#end; place++) {
      const byte = bytes[place]!;
      if (byte === QUOTE || byte === BACKSLASH || byte < SPACE) break;
      target[position++] = byte;
    }
    this.#place = place;
    this.#position = position;
    return place < this.#end;
  }

  #escape(): boolean {
    const char = this.#bytes[this.#place + 1]!;
    if (char === LETTER_U) return this.#unicodeEscape();
    const meaning = ESCAPED[char];
    if (!meaning) return false;
    this.#target[this.#position++] = meaning;
    this.#place += 2;
    return true;
  }

  #unicodeEscape(): boolean {
    const unit = this.#hexUnit(this.#place);
    if (unit < 0) return false;
    this.#place += 6;
    if (unit < 0xd800 || unit > 0xdfff) {
      this.#character(unit);
      return true;
    }
    let text = String.fromCharCode(unit);
    if (!text.isWellFormed()) {
      const second = this.#hexUnit(this.#place);
      const pair = second < 0 ? text : text + String.fromCharCode(second);
      if (pair.length === 2 && pair.isWellFormed()) {
        text = pair;
        this.#place += 6;
      }
    }
    this.#position += this.#target.write(text.toWellFormed(), this.#position);
    return true;
  }

  /** Writes a character of one code unit in UTF-8. */
  #character(unit: number): void {
    const target = this.#target;
    if (unit < 0x80) target[this.#position++] = unit;
    else {
      if (unit < 0x800) target[this.#position++] = 0xc0 | (unit >> 6);
      else {
        target[this.#position++] = 0xe0 | (unit >> 12);
        target[this.#position++] = 0x80 | ((unit >> 6) & 0x3f);
      }
      target[this.#position++] = 0x80 | (unit & 0x3f);
    }
  }

  /** The code unit of the \u escape that stands there; -1 where none does. */
  #hexUnit(place: number): number {
    const bytes = this.#bytes;
    if (bytes[place] !== BACKSLASH || bytes[place + 1] !== LETTER_U) return -1;
    if (place + 6 > this.#end) return -1;
    let unit = 0;
    for (let index = place + 2; index < place + 6; index++) {
      const digit = HEX[bytes[index]!]!;
      if (digit > 15) return -1;
      unit = (unit << 4) | digit;
    }
    return unit;
  }

  /** Reads a whole number, as a text or as it is, into {@link #number}. */
  #digits(): boolean {
    const bytes = this.#bytes;
    this.#skipSpace();
    const isText = bytes[this.#place] === QUOTE;
    if (isText) this.#place++;
    const start = this.#place;
    let place = start;
    while (bytes[place]! >= ZERO && bytes[place]! <= NINE) place++;
    const isPadded = bytes[start] === ZERO && place > start + 1;
    this.#place = place;
    if (!this.#number.read(bytes, start, place)) return false;
    return isText ? this.#takeEndOfText() : !isPadded && isEndOfNumber(bytes[place]);
  }

  #time(tag: number): boolean {
    if (!this.#digits()) return false;
    const { low, high } = this.#number;
    if (low === 0 && high === 0) return true;
    const position = this.#position;
    this.#target[position] = tag;
    this.#targetView.setInt32(position + 1, low, true);
    this.#targetView.setInt32(position + 5, high, true);
    this.#position = position + 9;
    return true;
  }

  #smallNumber(tag: number, isFixed: boolean): boolean {
    this.#skipSpace();
    const start = this.#place;
    if (this.#bytes[start] === QUOTE || !this.#digits()) return false;
    if (this.#place - start > SMALL_DIGITS_MAX) return false;
    const { low } = this.#number;
    if (low === 0) return true;
    this.#target[this.#position++] = tag;
    if (isFixed) this.#targetView.setInt32(this.#position, low, true);
    this.#position = isFixed ? this.#position + 4 : this.#varint(this.#position, low, 0);
    return true;
  }

  #integer(tag: number): boolean {
    this.#skipSpace();
    const bytes = this.#bytes;
    const isText = bytes[this.#place] === QUOTE;
    if (bytes[isText ? this.#place + 1 : this.#place] === MINUS) return this.#negative(tag, isText);
    if (!this.#digits()) return false;
    const { low, high } = this.#number;
    // Beyond int64 it would be a double.
    if (high >>> 0 >= 2 ** 31) return false;
    this.#target[this.#position] = tag;
    this.#position = this.#varint(this.#position + 1, low, high);
    return true;
  }

  #negative(tag: number, isText: boolean): boolean {
    const bytes = this.#bytes;
    const start = this.#place + (isText ? 2 : 1);
    let place = start;
    while (bytes[place]! >= ZERO && bytes[place]! <= NINE) place++;
    if (!this.#number.read(bytes, start, place)) return false;
    if (!isText && ((bytes[start] === ZERO && place > start + 1) || !isEndOfNumber(bytes[place]))) {
      return false;
    }
    this.#place = place;
    if (isText && !this.#takeEndOfText()) return false;
    const { low, high } = this.#number;
    // -0 is another number than 0, and no integer.
    if (high >>> 0 >= 2 ** 31 || (low === 0 && high === 0)) return false;
    // Two's complement.
    const upper = low === 0 ? -high : ~high;
    this.#target[this.#position] = tag;
    this.#position = this.#varint(this.#position + 1, -low, upper);
    return true;
  }

  #double(tag: number): boolean {
    this.#skipSpace();
    const start = this.#place;
    let place = start;
    while (!isEndOfNumber(this.#bytes[place]) && place - start < NUMBER_CHARS_MAX) place++;
    const text = this.#bytes.toString("latin1", start, place);
    // Of a longer one there is more behind, which is no end of a member.
    if (!JSON_NUMBER.test(text)) return false;
    this.#place = place;
    this.#target[this.#position] = tag;
    this.#targetView.setFloat64(this.#position + 1, Number(text), true);
    this.#position += 9;
    return true;
  }

  #boolean(tag: number): boolean {
    this.#skipSpace();
    const place = this.#place;
    if (place + 5 > this.#end) return false;
    const word = this.#view.getInt32(place, true);
    const isTrue = word === TRUE;
    if (!isTrue && (word !== FALS || this.#bytes[place + 4] !== LETTER_E)) return false;
    this.#place = place + (isTrue ? 4 : 5);
    this.#target[this.#position++] = tag;
    this.#target[this.#position++] = isTrue ? 1 : 0;
    return true;
  }

  #byteString(tag: number): boolean {
    if (!this.#take(QUOTE)) return false;
    const end = this.#bytes.indexOf(QUOTE, this.#place);
    if (end < 0) return false;
    const text = this.#bytes.toString("latin1", this.#place, end);
    if (!BASE64.test(text)) return false;
    this.#place = end + 1;
    this.#target[this.#position] = tag;
    const start = this.#position + 2;
    this.#position = start + this.#target.write(text, start, "base64");
    this.#setLength(start);
    return true;
  }

  /** An id of all its digits, or none. */
  #id(tag: number, length: number): boolean {
    if (!this.#take(QUOTE)) return false;
    if (this.#takeEndOfText()) return true;
    const bytes = this.#bytes;
    const target = this.#target;
    let position = this.#position;
    target[position++] = tag;
    target[position++] = length;
    let place = this.#place;
    if (place + 2 * length >= this.#end) return false;
    for (const end = place + 2 * length; place < end; place += 2) {
      const upper = HEX[bytes[place]!]!;
      const lower = HEX[bytes[place + 1]!]!;
      if ((upper | lower) > 15) return false;
      target[position++] = (upper << 4) | lower;
    }
    this.#place = place + 1;
    this.#position = position;
    return bytes[place] === QUOTE;
  }
}

function isSpace(byte: number): boolean {
  return byte === SPACE || byte === 0x0a || byte === 0x0d || byte === 0x09;
}

/** Whether what stands behind a number may stand there; what it really is is found by who reads on. */
function isEndOfNumber(byte: number | undefined): boolean {
  return byte === COMMA || byte === CLOSE_BRACE || byte === CLOSE_BRACKET || isSpace(byte ?? SPACE);
}

function targetOf(bytes: number): Buffer {
  if (memory !== undefined && memory.length >= bytes) return memory;
  const target = Buffer.allocUnsafeSlow(bytes);
  if (bytes <= KEPT_BYTES_MAX) memory = target;
  return target;
}
