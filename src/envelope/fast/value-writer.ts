import {
  arePlainWords,
  isPlainWord,
  PLAIN,
  writeEscaped,
  DEPTH_MAX,
  putNumber,
  type ByteSource,
  type JsonWriter,
} from "../json-writer.ts";
import type { ProtobufReader } from "../../otlp/protobuf.ts";
import { KEY_VALUE, ANY_VALUE, ARRAY_VALUE } from "../../otlp/schema.ts";

const { key: KEY_VALUE_KEY, value: KEY_VALUE_VALUE } = KEY_VALUE.tags;
const {
  arrayValue: VALUE_ARRAY,
  boolValue: VALUE_BOOL,
  bytesValue: VALUE_BYTES,
  doubleValue: VALUE_DOUBLE,
  intValue: VALUE_INT,
  kvlistValue: VALUE_KEY_VALUES,
  stringValue: VALUE_STRING,
} = ANY_VALUE.tags;
const { values: LIST_VALUES } = ARRAY_VALUE.tags;

/** Returned instead of a position for what is left to the plain path. */
export const UNUSUAL = -1;

/** Maps with more keys, including those of the maps around them, are left to the plain path. */
const KEYS_MAX = 64;

/** The hashes of the keys of the open maps, the innermost last. One value is written at a time. */
const hashes = new Int32Array(KEYS_MAX);

/** A smaller length has one byte on the wire. */
const SHORT_BYTES = 0x80;

/** An integer of so many bits is surely a small one, of 31 bits. */
const SMALL_BITS = 28;

const HASH_PRIME = 0x01000193;
const WORD_BYTES = 4;

const COMMA = 0x2c;
const QUOTE = 0x22;
const COLON = 0x3a;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;

/**
 * Writes values in protobuf as JSON, at reserved positions. It returns {@link UNUSUAL} for what is left to the plain path
 * because it is rare: values in more than one field, unknown fields, keys that need escapes or may be repeated, nesting
 * beyond DEPTH_MAX. Methods may throw TailgateError OTLP_UNDECODABLE.
 */
export class ValueWriter {
  readonly #reader: ProtobufReader;
  readonly #writer: JsonWriter;
  #hashCount = 0;

  constructor(reader: ProtobufReader, writer: JsonWriter) {
    this.#reader = reader;
    this.#writer = writer;
  }

  /** Writes the AnyValue between `start` and `end`. */
  put(at: number, start: number, end: number): number {
    this.#hashCount = 0;
    return this.#value(at, start, end, 0);
  }

  /** Writes an AnyValue that is a string and nothing else. */
  putString(at: number, start: number, end: number): number {
    if (start === end || this.#reader.bytes[start] !== VALUE_STRING) return UNUSUAL;
    const text = this.#contentStart(start + 1, end);
    return text < 0 ? UNUSUAL : putText(this.#writer, at, this.#reader, text, end);
  }

  #value(at: number, start: number, end: number, depth: number): number {
    if (start === end) return this.#null(at);
    switch (this.#reader.bytes[start]) {
      case VALUE_STRING:
        return this.putString(at, start, end);
      case VALUE_INT:
        return this.#integer(at, start + 1, end);
      case VALUE_KEY_VALUES:
        return this.#entries(at, start, end, depth, true);
      case VALUE_ARRAY:
        return this.#entries(at, start, end, depth, false);
      default:
        return this.#scalar(at, start, end);
    }
  }

  /** Returns where the content starts whose length is at `position`; {@link UNUSUAL} if it does not end at `end`. */
  #contentStart(position: number, end: number): number {
    const reader = this.#reader;
    const length = position < end ? reader.bytes[position]! : SHORT_BYTES;
    if (length < SHORT_BYTES) return position + 1 + length === end ? position + 1 : UNUSUAL;
    reader.position = position;
    return reader.length(end) === end ? reader.position : UNUSUAL;
  }

  #null(at: number): number {
    const writer = this.#writer;
    writer.position = at;
    writer.null();
    return writer.position;
  }

  #integer(at: number, start: number, end: number): number {
    const { bytes } = this.#reader;
    let value = 0;
    let index = start;
    for (let shift = 0; shift < SMALL_BITS && index < end; shift += 7) {
      const byte = bytes[index++]!;
      value |= (byte & 0x7f) << shift;
      if (byte < 0x80) return index === end ? putNumber(this.#writer.buffer, at, value) : UNUSUAL;
    }
    return this.#scalar(at, start - 1, end);
  }

  /** Writes what is not a string, a list or a map, with the writer's own methods. */
  #scalar(at: number, start: number, end: number): number {
    const reader = this.#reader;
    const writer = this.#writer;
    const { buffer } = writer;
    writer.position = at;
    reader.position = start;
    switch (reader.tag(end)) {
      case VALUE_BOOL:
        reader.varint(end);
        writer.boolean(reader.low !== 0 || reader.high !== 0);
        break;
      case VALUE_INT:
        reader.varint(end);
        writer.value(reader.int64());
        break;
      case VALUE_DOUBLE:
        writer.number(reader.double(end));
        break;
      case VALUE_BYTES:
        writer.base64(reader.content(end));
        break;
      default:
        return UNUSUAL;
    }
    // Enough was reserved if the writer is still in the same memory.
    return reader.position === end && writer.buffer === buffer ? writer.position : UNUSUAL;
  }

  /** Writes a list or a map. */
  #entries(at: number, start: number, end: number, depth: number, isMap: boolean): number {
    const content = this.#contentStart(start + 1, end);
    if (content < 0 || depth === DEPTH_MAX) return UNUSUAL;
    const { buffer } = this.#writer;
    const outer = this.#hashCount;
    let position = at;
    buffer[position++] = isMap ? OPEN_BRACE : OPEN_BRACKET;
    for (let index = content; index < end;) {
      const entry = this.#entryStart(index, end);
      if (entry < 0) return UNUSUAL;
      const { position: stop } = this.#reader;
      if (index > content) buffer[position++] = COMMA;
      position = isMap
        ? this.#member(position, entry, stop, depth + 1, outer)
        : this.#value(position, entry, stop, depth + 1);
      if (position < 0) return UNUSUAL;
      index = stop;
    }
    this.#hashCount = outer;
    buffer[position] = isMap ? CLOSE_BRACE : CLOSE_BRACKET;
    return position + 1;
  }

  /** Returns where an entry of a list or a map starts; it ends at the reader's position. */
  #entryStart(index: number, end: number): number {
    const reader = this.#reader;
    if (reader.bytes[index] !== LIST_VALUES) return UNUSUAL;
    reader.position = index + 1;
    const stop = reader.length(end);
    const start = reader.position;
    reader.position = stop;
    return start;
  }

  /** Writes a KeyValue with its key first and its value, if any, last; the first `outer` hashes are of other maps. */
  #member(at: number, start: number, end: number, depth: number, outer: number): number {
    const reader = this.#reader;
    const { bytes } = reader;
    if (start === end || bytes[start] !== KEY_VALUE_KEY) return UNUSUAL;
    reader.position = start + 1;
    const keyEnd = reader.length(end);
    const position = this.#key(at, reader.position, keyEnd, outer);
    if (position < 0) return UNUSUAL;
    if (keyEnd === end) return this.#null(position);
    if (bytes[keyEnd] !== KEY_VALUE_VALUE) return UNUSUAL;
    const value = this.#contentStart(keyEnd + 1, end);
    return value < 0 ? UNUSUAL : this.#value(position, value, end, depth);
  }

  /** Writes a key and its colon, and hashes it in the same loop: it must be new in its map. */
  #key(at: number, start: number, end: number, outer: number): number {
    const { bytes, view: from } = this.#reader;
    const { buffer, view: to } = this.#writer;
    let hash = end - start;
    let position = at;
    let index = start;
    buffer[position++] = QUOTE;
    for (; index + WORD_BYTES <= end; index += WORD_BYTES) {
      const word = from.getInt32(index, true);
      if (!isPlainWord(word)) return UNUSUAL;
      to.setInt32(position, word, true);
      position += WORD_BYTES;
      hash = Math.imul(hash ^ word, HASH_PRIME);
    }
    for (; index < end; index++) {
      const byte = bytes[index]!;
      if (PLAIN[byte] === 0) return UNUSUAL;
      buffer[position++] = byte;
      hash = Math.imul(hash ^ byte, HASH_PRIME);
    }
    buffer[position] = QUOTE;
    buffer[position + 1] = COLON;
    return this.#isNew(hash, outer) ? position + 2 : UNUSUAL;
  }

  #isNew(hash: number, outer: number): boolean {
    if (this.#hashCount === KEYS_MAX) return false;
    for (let index = outer; index < this.#hashCount; index++) {
      if (hashes[index] === hash) return false;
    }
    hashes[this.#hashCount++] = hash;
    return true;
  }
}

// The functions below take a position in memory that was reserved before, and return the position after what they have
// written, so that only numbers are passed around.

/** The memory to write to, by bytes and by words. */
export interface ByteTarget {
  readonly buffer: Buffer;
  readonly view: DataView;
}

/** How many bytes a byte of a string may become: a control character takes the six of \u00xx. */
export const TEXT_GROWTH_MAX = 6;

/** The two hex digits of each byte, the first one in the lower half. */
const HEX_PAIRS = Uint16Array.from({ length: 256 }, (_, byte) => {
  const digits = byte.toString(16).padStart(2, "0");
  return digits.charCodeAt(0) | (digits.charCodeAt(1) << 8);
});

/** Writes bytes that are already JSON. */
export function putRaw({ buffer }: ByteTarget, at: number, bytes: Uint8Array): number {
  buffer.set(bytes, at);
  return at + bytes.length;
}

/** Writes a string that is given in UTF-8, with its quotes; what is not UTF-8 becomes U+FFFD. */
export function putText(
  target: ByteTarget,
  at: number,
  source: ByteSource,
  start: number,
  end: number,
): number {
  const { buffer, view: to } = target;
  buffer[at] = QUOTE;
  const last = end - WORD_BYTES;
  if (last < start) return putShortText(target, at + 1, source, start, end);
  const from = source.view;
  let position = at + 1;
  let index = start;
  // Copies two words at a time, then single ones.
  for (const pairs = last - WORD_BYTES; index < pairs; index += 2 * WORD_BYTES) {
    const word = from.getInt32(index, true);
    const next = from.getInt32(index + WORD_BYTES, true);
    if (!arePlainWords(word, next)) break;
    to.setInt32(position, word, true);
    to.setInt32(position + WORD_BYTES, next, true);
    position += 2 * WORD_BYTES;
  }
  for (; index < last; index += WORD_BYTES) {
    const word = from.getInt32(index, true);
    if (!isPlainWord(word)) return putEscaped(target, position, source, index, end);
    to.setInt32(position, word, true);
    position += WORD_BYTES;
  }
  // The last word may overlap the previous one, so that no bytes are left over.
  const word = from.getInt32(last, true);
  if (!isPlainWord(word)) return putEscaped(target, position, source, index, end);
  position += end - index;
  to.setInt32(position - WORD_BYTES, word, true);
  buffer[position] = QUOTE;
  return position + 1;
}

/** Writes a string that is shorter than a word, after its first quote. */
function putShortText(
  target: ByteTarget,
  at: number,
  source: ByteSource,
  start: number,
  end: number,
): number {
  const { buffer } = target;
  const { bytes } = source;
  let position = at;
  for (let index = start; index < end; index++) {
    const byte = bytes[index]!;
    if (PLAIN[byte] === 0) return putEscaped(target, position, source, index, end);
    buffer[position++] = byte;
  }
  buffer[position] = QUOTE;
  return position + 1;
}

/** Writes the rest of a string, from a byte that may need an escape. */
function putEscaped(
  { buffer }: ByteTarget,
  at: number,
  { bytes }: ByteSource,
  start: number,
  end: number,
): number {
  const position = writeEscaped(buffer, at, bytes, start, end);
  buffer[position] = QUOTE;
  return position + 1;
}

/** Writes bytes as hex digits and a closing quote. */
export function putId(
  { buffer, view }: ByteTarget,
  at: number,
  { bytes }: ByteSource,
  start: number,
  length: number,
): number {
  let position = at;
  for (let index = start; index < start + length; index++) {
    view.setInt16(position, HEX_PAIRS[bytes[index]!]!, true);
    position += 2;
  }
  buffer[position] = QUOTE;
  return position + 1;
}
