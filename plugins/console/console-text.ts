import { LEVELS, type Batch, type Level } from "tailgate/plugin";
import {
  consoleLine,
  DEPTH_MAX,
  EXTRAS_CHARACTERS_MAX,
  formatExtras,
  formatLevel,
  VALUE_CHARACTERS_MAX,
} from "./console-line.ts";

/** Lines are written once there are this many bytes, so that a large batch does not block the event loop. */
const FULL_BYTES = 128 << 10;

/** Includes room for the record that fills the buffer. A larger one gets a larger buffer temporarily. */
const MEMORY_BYTES = FULL_BYTES + (64 << 10);

/** The most bytes of a line beside the message: separators, level, colors, and attributes before they exceed the limit. */
const OVERHEAD_BYTES_MAX = EXTRAS_CHARACTERS_MAX + 64;

/** The members that each system log's `data` begins with, in this order. */
const TIME_START = '{"timestamp":"'.length;
const SECOND_BYTES = "2025-10-13T09:27:24".length;
const DATE_BYTES = "2025-10-13".length;
const TIME_END = TIME_START + "2025-10-13T09:27:24.339163Z".length;
const LEVEL_KEY_BYTES = '","level":"'.length;
const LOGGER_KEY_BYTES = '","logger":"'.length;
const MESSAGE_KEY_BYTES = '","message":"'.length;
const MODULE_KEY_BYTES = '","module":"'.length;
const FUNCTION_KEY_BYTES = '","function":"'.length;
const LINE_KEY_BYTES = '","line":'.length;

const LINE_FEED = 0x0a;
const SPACE = 0x20;
const QUOTE = 0x22;
const COMMA = 0x2c;
const POINT = 0x2e;
const EQUALS = 0x3d;
const BACKSLASH = 0x5c;
const OPENING_BRACE = 0x7b;
const CLOSING_BRACE = 0x7d;
const TILDE = 0x7e;

const SEPARATOR = Buffer.from(" - ");
const EXCEPTION_PREFIX = Buffer.from("exception.");

/**
 * Collects the lines of records. Records of plain ASCII without escapes and exceptions, which most are, are copied from
 * their JSON; all others are parsed and formatted by {@link consoleLine}, with the same result. Parsing every record
 * would add 40 % to the CPU time of a gateway that logs to the console.
 */
export class ConsoleText {
  readonly #isColored: boolean;
  readonly #levels: Readonly<Record<Level, Uint8Array>>;
  /** The SGR sequences around attributes. */
  readonly #extrasStart: Uint8Array;
  readonly #extrasEnd: Uint8Array;
  #memory = Buffer.allocUnsafeSlow(MEMORY_BYTES);
  #length = 0;

  constructor(isColored: boolean) {
    this.#isColored = isColored;
    const levels = LEVELS.map((level) => [level, Buffer.from(formatLevel(level, isColored))]);
    this.#levels = Object.fromEntries(levels) as Record<Level, Uint8Array>;
    const [start = "", end = ""] = formatExtras({ a: 1 }, isColored).split(" a=1");
    this.#extrasStart = Buffer.from(start);
    this.#extrasEnd = Buffer.from(end);
  }

  /** The lines; valid until the next change. */
  get bytes(): Uint8Array {
    return this.#memory.subarray(0, this.#length);
  }

  get isFull(): boolean {
    return this.#length >= FULL_BYTES;
  }

  clear(): void {
    this.#length = 0;
    if (this.#memory.length > MEMORY_BYTES) this.#memory = Buffer.allocUnsafeSlow(MEMORY_BYTES);
  }

  /** Adds the lines of a record. */
  add(batch: Batch, index: number): void {
    const data = batch.data(index);
    const length = this.#length;
    this.#reserve(3 * data.length + OVERHEAD_BYTES_MAX);
    if (this.#addPlainRecord(data, batch.level(index))) return;
    this.#length = length;
    const text = consoleLine(batch.envelope(index), this.#isColored);
    this.#reserve(3 * text.length);
    this.#length += this.#memory.write(text, this.#length);
  }

  #reserve(bytes: number): void {
    if (this.#length + bytes <= this.#memory.length) return;
    const larger = Buffer.allocUnsafeSlow(this.#length + bytes);
    larger.set(this.bytes);
    this.#memory = larger;
  }

  /** Returns false if the record is not a plain one; what it has added is invalid then. */
  #addPlainRecord(data: Uint8Array, level: Level): boolean {
    const start = this.#length;
    this.#addBytes(data, TIME_START, TIME_START + SECOND_BYTES);
    this.#memory[start + DATE_BYTES] = SPACE;
    this.#addBytes(SEPARATOR);
    const logger = TIME_END + LEVEL_KEY_BYTES + level.length + LOGGER_KEY_BYTES;
    const loggerEnd = this.#addPlainText(data, logger);
    if (loggerEnd < 0) return false;
    this.#addBytes(SEPARATOR);
    this.#addBytes(this.#levels[level]);
    this.#addBytes(SEPARATOR);
    const messageEnd = this.#addPlainText(data, loggerEnd + MESSAGE_KEY_BYTES);
    if (messageEnd < 0) return false;
    const extras = findExtras(data, messageEnd);
    if (extras < 0 || !this.#addExtras(data, extras)) return false;
    this.#memory[this.#length++] = LINE_FEED;
    return true;
  }

  #addBytes(source: Uint8Array, start = 0, end = source.length): void {
    const memory = this.#memory;
    let length = this.#length;
    for (let index = start; index < end; index++) memory[length++] = source[index]!;
    this.#length = length;
  }

  /** Adds the rest of a JSON string. Returns the index of its closing quote; -1 if it is not plain. */
  #addPlainText(data: Uint8Array, start: number): number {
    const end = plainEnd(data, start);
    if (end >= 0) this.#addBytes(data, start, end);
    return end;
  }

  #addExtras(data: Uint8Array, comma: number): boolean {
    if (comma === data.length - 1) return true;
    this.#addBytes(this.#extrasStart);
    const start = this.#length;
    const end = this.#addMembers(data, comma, start, start, start);
    this.#addBytes(this.#extrasEnd);
    return end === data.length - 1;
  }

  /**
   * Adds ` key=value` for each member of an object, from the character before the first key on. Keys are prefixed with
   * the memory from `prefix` to `prefixEnd`. Returns the index of the closing brace; -1 if a member is not plain, or the
   * attributes from `start` on exceed the limit.
   */
  #addMembers(
    data: Uint8Array,
    before: number,
    prefix: number,
    prefixEnd: number,
    start: number,
    depth = 1,
  ): number {
    let at = before;
    do {
      const key = at + 2;
      const keyEnd = plainEnd(data, key);
      if (keyEnd < 0 || !isPlainKey(data, key, keyEnd)) return -1;
      this.#memory[this.#length++] = SPACE;
      const name = this.#length;
      this.#addBytes(this.#memory, prefix, prefixEnd);
      this.#addBytes(data, key, keyEnd);
      const value = keyEnd + '":'.length;
      if (data[value] === OPENING_BRACE) {
        if (depth === DEPTH_MAX || data[value + 1] !== QUOTE) return -1;
        this.#memory[this.#length++] = POINT;
        const nameEnd = this.#length;
        // The first member's name is added in the same place again.
        this.#length = name - 1;
        at = this.#addMembers(data, value, name, nameEnd, start, depth + 1);
        if (at < 0) return -1;
        at++;
      } else {
        this.#memory[this.#length++] = EQUALS;
        at = data[value] === QUOTE ? this.#addString(data, value) : this.#addLiteral(data, value);
        if (at < 0 || this.#length - start > EXTRAS_CHARACTERS_MAX) return -1;
      }
    } while (data[at] === COMMA);
    return data[at] === CLOSING_BRACE ? at : -1;
  }

  /** Adds a string, in quotes unless it is one word. Returns the index after it; -1 if it is not plain. */
  #addString(data: Uint8Array, quote: number): number {
    const start = quote + 1;
    const end = plainEnd(data, start);
    if (end < 0 || end - start > VALUE_CHARACTERS_MAX) return -1;
    if (isOneWord(data, start, end)) this.#addBytes(data, start, end);
    else this.#addBytes(data, quote, end + 1);
    return end + 1;
  }

  /** Adds a number without sign and exponent, or `true`, `false` or `null`. Returns the index after it, or -1. */
  #addLiteral(data: Uint8Array, start: number): number {
    const isPart = isLetter(data[start]) ? isLetter : isDigitOrPoint;
    let end = start;
    while (isPart(data[end])) end++;
    if (end === start || (data[end] !== COMMA && data[end] !== CLOSING_BRACE)) return -1;
    this.#addBytes(data, start, end);
    return end;
  }
}

/** Returns the index of the comma before the first attribute, or of the final brace; -1 if the call site is not plain. */
function findExtras(data: Uint8Array, messageEnd: number): number {
  const moduleEnd = plainEnd(data, messageEnd + MODULE_KEY_BYTES);
  if (moduleEnd < 0) return -1;
  const functionEnd = plainEnd(data, moduleEnd + FUNCTION_KEY_BYTES);
  if (functionEnd < 0) return -1;
  let at = functionEnd + LINE_KEY_BYTES;
  while (isDigitOrPoint(data[at])) at++;
  return at;
}

/** Returns the index of a JSON string's closing quote; -1 if it contains an escape or anything but printable ASCII. */
function plainEnd(data: Uint8Array, start: number): number {
  for (let at = start; ; at++) {
    const byte = data[at];
    if (byte === QUOTE) return at;
    if (byte === undefined || byte < SPACE || byte > TILDE || byte === BACKSLASH) return -1;
  }
}

function isOneWord(data: Uint8Array, start: number, end: number): boolean {
  for (let at = start; at < end; at++) {
    if (data[at] === SPACE || data[at] === EQUALS) return false;
  }
  return end > start;
}

/** JavaScript sorts keys that are integers first, and exceptions have lines of their own. */
function isPlainKey(data: Uint8Array, start: number, end: number): boolean {
  if (isDigitOrPoint(data[start])) return false;
  const length = EXCEPTION_PREFIX.length;
  if (end - start <= length) return true;
  for (let index = 0; index < length; index++) {
    if (data[start + index] !== EXCEPTION_PREFIX[index]) return true;
  }
  return false;
}

function isDigitOrPoint(byte: number | undefined): boolean {
  return byte !== undefined && ((byte >= 0x30 && byte <= 0x39) || byte === POINT);
}

function isLetter(byte: number | undefined): boolean {
  return byte !== undefined && byte >= 0x61 && byte <= 0x7a;
}
