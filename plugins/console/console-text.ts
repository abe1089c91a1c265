import { LEVELS, printable, type JsonValue, type Level } from "tailgate/plugin";
import { ByteSearch } from "./byte-search.ts";
import {
  exceptionLines,
  EXTRA_CHARACTERS_MAX,
  EXTRAS_CHARACTERS_MAX,
  extrasText,
  FIELD_DEPTH_MAX,
  shownExtras,
  shownLevel,
} from "./console-line.ts";

/** What is gathered before it is written, so that a large batch does not keep the event loop from others for long. */
const FULL_BYTES = 128 << 10;

/** Room for the record that makes it full; a larger one gets larger memory, for as long as it is there. */
const MEMORY_BYTES = FULL_BYTES + (64 << 10);

/** DEL is one byte, and shown as `\x7f`. */
const GROWTH_MAX = 4;

/** What a line has beside pieces of its record. */
const FIXED_BYTES_MAX = 64;

/** The members that every system log's `data` begins with, in this order (DESIGN "The envelope"). */
const BEFORE_TIME_BYTES = '{"timestamp":"'.length;
const SECOND_BYTES = "2025-10-13T09:27:24".length;
const DATE_BYTES = "2025-10-13".length;
const MICROS_BYTES = ".339163Z".length;
const BEFORE_LEVEL_BYTES = '","level":"'.length;
const BEFORE_LOGGER_BYTES = '","logger":"'.length;
const BEFORE_MESSAGE_BYTES = '","message":"'.length;

const BEFORE_MODULE_BYTES = '","module":"'.length;
const BEFORE_FUNCTION_BYTES = '","function":"'.length;
const BEFORE_LINE_BYTES = '","line":'.length;

const LINE_FEED = 0x0a;
const SPACE = 0x20;
const QUOTE = 0x22;
const COMMA = 0x2c;
const DASH = 0x2d;
const POINT = 0x2e;
const ZERO = 0x30;
const NINE = 0x39;
const EQUALS = 0x3d;
const BACKSLASH = 0x5c;
const SMALL_A = 0x61;
const SMALL_Z = 0x7a;
const OPENING_BRACE = 0x7b;
const CLOSING_BRACE = 0x7d;
const TILDE = 0x7e;

/**
 * Bytes of a JSON string that end it, are not what they say, or begin what `printable` may have to change: DEL, C1
 * (0xc2), U+061C (0xd8), and the line separators and the other bidi controls (0xe2).
 */
const NEEDS_CARE = new Uint8Array(256);
for (const byte of [QUOTE, BACKSLASH, 0x7f, 0xc2, 0xd8, 0xe2]) NEEDS_CARE[byte] = 1;

/** What follows a backslash in a JSON string: shown without it, or as it is there. Others `printable` has to change. */
const SHOWN_ALONE = 1;
const SHOWN_ESCAPED = 2;
const ESCAPES = new Uint8Array(256);
for (const byte of Buffer.from('"\\')) ESCAPES[byte] = SHOWN_ALONE;
for (const byte of Buffer.from("nrt")) ESCAPES[byte] = SHOWN_ESCAPED;

const EXCEPTION = new ByteSearch(',"exception.');
const EXCEPTION_NAME = Buffer.from("exception.");

/**
 * Lines for people, gathered to be written in one go: of each record the original's line, `2025-10-13 09:27:24 - logger
 * - WARNING - message key=value` in UTC. An exception follows on indented lines, so that none of them can pass for a
 * record. They are made of the records' bytes; the memory is used again and again.
 */
export class ConsoleText {
  #memory = Buffer.allocUnsafeSlow(MEMORY_BYTES);
  #length = 0;
  readonly #levels: Readonly<Record<Level, Buffer>>;
  readonly #isColored: boolean;
  /** What comes before and after the attributes. */
  readonly #extrasStart: Buffer;
  readonly #extrasEnd: Buffer;

  constructor(isColored: boolean) {
    this.#isColored = isColored;
    const [start = "", end = ""] = shownExtras(" ", isColored).split(" ");
    this.#extrasStart = Buffer.from(start);
    this.#extrasEnd = Buffer.from(end);
    const levels = LEVELS.map(
      (level) => [level, Buffer.from(shownLevel(level, isColored))] as const,
    );
    this.#levels = Object.fromEntries(levels) as Record<Level, Buffer>;
  }

  /** The lines; valid until the next change. */
  get bytes(): Uint8Array {
    return this.#memory.subarray(0, this.#length);
  }

  get isFull(): boolean {
    return this.#length >= FULL_BYTES;
  }

  /** Adds the lines of the record whose `data` lies there in `source`. */
  add(source: Buffer, start: number, end: number, level: Level): void {
    this.#reserve(GROWTH_MAX * (end - start) + FIXED_BYTES_MAX);
    const time = start + BEFORE_TIME_BYTES;
    this.#addTime(source, time);
    this.#addSeparator();
    const logger =
      time + SECOND_BYTES + MICROS_BYTES + BEFORE_LEVEL_BYTES + level.length + BEFORE_LOGGER_BYTES;
    const loggerEnd = this.#addText(source, logger);
    this.#addSeparator();
    this.#addLevel(level);
    this.#addSeparator();
    const messageEnd = this.#addText(source, loggerEnd + BEFORE_MESSAGE_BYTES);
    const extras = extrasStart(source, messageEnd);
    if (extras < end - 1) this.#addExtras(source, start, extras, end);
    this.#memory[this.#length++] = LINE_FEED;
    if (EXCEPTION.isWithin(source, messageEnd, end)) this.#addException(source, start, end);
  }

  clear(): void {
    this.#length = 0;
    if (this.#memory.length > MEMORY_BYTES) this.#memory = Buffer.allocUnsafeSlow(MEMORY_BYTES);
  }

  /** Date and time of day, with a space between. */
  #addTime(source: Buffer, start: number): void {
    const memory = this.#memory;
    const length = this.#length;
    for (let index = 0; index < SECOND_BYTES; index++) {
      memory[length + index] = source[start + index]!;
    }
    memory[length + DATE_BYTES] = SPACE;
    this.#length = length + SECOND_BYTES;
  }

  #addLevel(level: Level): void {
    const memory = this.#memory;
    const bytes = this.#levels[level];
    for (let index = 0; index < bytes.length; index++) memory[this.#length++] = bytes[index]!;
  }

  #addSeparator(): void {
    const memory = this.#memory;
    memory[this.#length++] = SPACE;
    memory[this.#length++] = DASH;
    memory[this.#length++] = SPACE;
  }

  /** Adds what the JSON string says whose first character is at `start`; answers where its closing quote is. */
  #addText(source: Buffer, start: number): number {
    const length = this.#length;
    for (let place = this.#addPlain(source, start); ; place = this.#addPlain(source, place + 1)) {
      if (source[place] === QUOTE) return place;
      if (isUnprintable(source, place)) {
        this.#length = length;
        return this.#addCarefully(source, start);
      }
      if (source[place] === BACKSLASH && ESCAPES[source[++place]!] === SHOWN_ESCAPED) {
        this.#memory[this.#length++] = BACKSLASH;
      }
      this.#memory[this.#length++] = source[place]!;
    }
  }

  /** Adds what needs no care; answers where something does. */
  #addPlain(source: Buffer, start: number): number {
    const memory = this.#memory;
    let length = this.#length;
    let place = start;
    let byte = source[place]!;
    while (NEEDS_CARE[byte] === 0) {
      memory[length++] = byte;
      byte = source[++place]!;
    }
    this.#length = length;
    return place;
  }

  #addCarefully(source: Buffer, start: number): number {
    let end = start;
    while (source[end] !== QUOTE) end += source[end] === BACKSLASH ? 2 : 1;
    const text = JSON.parse(source.toString("utf8", start - 1, end + 1)) as string;
    this.#length += this.#memory.write(printable(text), this.#length);
    return end;
  }

  /** Adds the attributes, the first of which begins with the comma at `place`. */
  #addExtras(source: Buffer, start: number, place: number, end: number): void {
    const length = this.#length;
    this.#addBytes(this.#extrasStart);
    const textStart = this.#length;
    const isSimple = this.#addMembers(source, place, this.#length, this.#length, 1) > 0;
    if (isSimple && this.#length - textStart <= EXTRAS_CHARACTERS_MAX) {
      return this.#addBytes(this.#extrasEnd);
    }
    this.#length = length;
    this.#addExtrasCarefully(source, start, end);
  }

  #addBytes(bytes: Buffer): void {
    for (let index = 0; index < bytes.length; index++) this.#memory[this.#length++] = bytes[index]!;
  }

  /**
   * Adds ` key=value` for each member of an object, from the comma (or the brace) before the first one on; keys are
   * preceded by what lies in the memory from `prefix` to `prefixEnd`. Returns where the object's closing brace is; -1 if
   * a member is not one of the simple ones.
   */
  #addMembers(
    source: Buffer,
    before: number,
    prefix: number,
    prefixEnd: number,
    depth: number,
  ): number {
    const memory = this.#memory;
    let place = before;
    do {
      const name = place + 2;
      const nameEnd = plainEnd(source, name);
      if (nameEnd < 0 || !isSimpleName(source, name, nameEnd)) return -1;
      let length = this.#length;
      memory[length++] = SPACE;
      const shownName = length;
      for (let index = prefix; index < prefixEnd; index++) memory[length++] = memory[index]!;
      for (let index = name; index < nameEnd; index++) memory[length++] = source[index]!;
      const value = nameEnd + '":'.length;
      const first = source[value]!;
      if (first === OPENING_BRACE) {
        if (depth === FIELD_DEPTH_MAX || source[value + 1] !== QUOTE) return -1;
        memory[length++] = POINT;
        // The first member writes the same bytes to the same place.
        place = this.#addMembers(source, value, shownName, length, depth + 1) + 1;
        if (place === 0) return -1;
        continue;
      }
      memory[length++] = EQUALS;
      this.#length = length;
      place = first === QUOTE ? this.#addWord(source, value) : this.#addBare(source, value);
      if (place < 0) return -1;
    } while (source[place] === COMMA);
    return place;
  }

  /** Adds a text, in quotes unless it is one word. Returns where it ends; -1 if it is not simple. */
  #addWord(source: Buffer, quote: number): number {
    const memory = this.#memory;
    const start = quote + 1;
    const end = plainEnd(source, start);
    if (end < 0 || end - start > EXTRA_CHARACTERS_MAX) return -1;
    const quotes = isOneWord(source, start, end) ? 0 : 1;
    let length = this.#length;
    for (let index = start - quotes; index < end + quotes; index++) {
      memory[length++] = source[index]!;
    }
    this.#length = length;
    return end + 1;
  }

  /** The same for a number without a sign or an exponent, or `true`, `false`, `null`. */
  #addBare(source: Buffer, start: number): number {
    const memory = this.#memory;
    const isWord = isLetter(source[start]!);
    let length = this.#length;
    let place = start;
    for (let byte = source[place]!; byte !== COMMA && byte !== CLOSING_BRACE;) {
      if (isWord ? !isLetter(byte) : !isDigit(byte) && byte !== POINT) return -1;
      memory[length++] = byte;
      byte = source[++place]!;
    }
    this.#length = length;
    return place;
  }

  #addExtrasCarefully(source: Buffer, start: number, end: number): void {
    const data = JSON.parse(source.toString("utf8", start, end)) as Record<string, JsonValue>;
    this.#addString(shownExtras(extrasText(data), this.#isColored));
  }

  #addString(text: string): void {
    // The line feed and the memory of the message are reserved already.
    this.#reserve(Buffer.byteLength(text) + 1);
    this.#length += this.#memory.write(text, this.#length);
  }

  #addException(source: Buffer, start: number, end: number): void {
    const data = JSON.parse(source.toString("utf8", start, end)) as Record<string, JsonValue>;
    this.#addString(exceptionLines(data));
  }

  #reserve(bytes: number): void {
    if (this.#length + bytes <= this.#memory.length) return;
    const larger = Buffer.allocUnsafeSlow(this.#length + bytes);
    larger.set(this.bytes);
    this.#memory = larger;
  }
}

/** Returns where the members that are attributes begin, with a comma, or the brace that ends `data`. */
function extrasStart(source: Buffer, messageEnd: number): number {
  const moduleEnd = stringEnd(source, messageEnd + BEFORE_MODULE_BYTES);
  const functionEnd = stringEnd(source, moduleEnd + BEFORE_FUNCTION_BYTES);
  let place = functionEnd + BEFORE_LINE_BYTES;
  while (isDigit(source[place]!)) place++;
  return place;
}

/** Returns where the closing quote is of the JSON string whose first character is at `start`. */
function stringEnd(source: Buffer, start: number): number {
  let end = start;
  while (source[end] !== QUOTE) end += source[end] === BACKSLASH ? 2 : 1;
  return end;
}

/** The same; -1 if the string has anything but printable characters of ASCII without escapes. */
function plainEnd(source: Buffer, start: number): number {
  for (let place = start; ; place++) {
    const byte = source[place]!;
    if (byte === QUOTE) return place;
    if (byte < SPACE || byte > TILDE || byte === BACKSLASH) return -1;
  }
}

function isOneWord(source: Buffer, start: number, end: number): boolean {
  for (let place = start; place < end; place++) {
    if (source[place] === SPACE || source[place] === EQUALS) return false;
  }
  return end > start;
}

function isDigit(byte: number): boolean {
  return byte >= ZERO && byte <= NINE;
}

function isLetter(byte: number): boolean {
  return byte >= SMALL_A && byte <= SMALL_Z;
}

/** JavaScript puts names that are numbers first, and an exception has lines of its own. */
function isSimpleName(source: Buffer, start: number, end: number): boolean {
  const first = source[start]!;
  if (first !== EXCEPTION_NAME[0]) return !isDigit(first);
  const prefixEnd = start + EXCEPTION_NAME.length;
  return prefixEnd > end || EXCEPTION_NAME.compare(source, start, prefixEnd) !== 0;
}

/** Whether `printable` would change the character at `place`, or perhaps: it is one that {@link NEEDS_CARE}. */
function isUnprintable(source: Buffer, place: number): boolean {
  const second = source[place + 1]!;
  switch (source[place]) {
    case BACKSLASH:
      return ESCAPES[second] === 0;
    case 0xc2:
      return second < 0xa0;
    case 0xd8:
      return second === 0x9c;
    case 0xe2:
      return second === 0x80 ? isUnprintablePunctuation(source[place + 2]!) : second === 0x81;
    default:
      return true;
  }
}

/** Of U+2000 to U+203F, by the last byte: U+200E and U+200F, and all from U+2028 on. */
function isUnprintablePunctuation(third: number): boolean {
  return third === 0x8e || third === 0x8f || third >= 0xa8;
}
