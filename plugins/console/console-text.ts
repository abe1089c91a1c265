import { LEVELS, printable, type JsonValue, type Level } from "tailgate/plugin";
import { ByteSearch } from "./byte-search.ts";
import { exceptionLines, shownLevel } from "./console-line.ts";

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

const LINE_FEED = 0x0a;
const SPACE = 0x20;
const QUOTE = 0x22;
const DASH = 0x2d;
const BACKSLASH = 0x5c;

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

/**
 * Lines for people, gathered to be written in one go: of each record the original's line, `2025-10-13 09:27:24 - logger
 * - WARNING - message` in UTC. An exception follows on indented lines, so that none of them can pass for a record. They
 * are made of the records' bytes; the memory is used again and again.
 */
export class ConsoleText {
  #memory = Buffer.allocUnsafeSlow(MEMORY_BYTES);
  #length = 0;
  readonly #levels: Readonly<Record<Level, Buffer>>;

  constructor(isColored: boolean) {
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

  #addException(source: Buffer, start: number, end: number): void {
    const data = JSON.parse(source.toString("utf8", start, end)) as Record<string, JsonValue>;
    const text = exceptionLines(data);
    this.#reserve(Buffer.byteLength(text));
    this.#length += this.#memory.write(text, this.#length);
  }

  #reserve(bytes: number): void {
    if (this.#length + bytes <= this.#memory.length) return;
    const larger = Buffer.allocUnsafeSlow(this.#length + bytes);
    larger.set(this.bytes);
    this.#memory = larger;
  }
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
