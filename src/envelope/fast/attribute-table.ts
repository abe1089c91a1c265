import { CODE_PREFIX, STACKTRACE } from "../call-site.ts";
import { ERR, INGESTED_BY, RENAME_PREFIX, RESERVED } from "../attributes.ts";
import { ascii, type ByteSource } from "../json-writer.ts";
import { ProtobufReader } from "../../otlp/protobuf.ts";
import { LOG_RECORD, KEY_VALUE, ANY_VALUE } from "../../otlp/schema.ts";

const { attributes: RECORD_ATTRIBUTES } = LOG_RECORD.tags;
const { key: KEY_VALUE_KEY, value: KEY_VALUE_VALUE } = KEY_VALUE.tags;
const { intValue: VALUE_INT, stringValue: VALUE_STRING } = ANY_VALUE.tags;

/** The kind of an attribute, which follows from its name. */
const ORDINARY = 0;
export const RESERVED_NAME = 1;
/** A name with the prefix of renamed attributes. */
export const RENAME_LOOKALIKE = 2;
export const EVENT_TYPE = 3;
export const TRACE_ID_NAME = 4;
export const SPAN_ID_NAME = 5;
export const SERVICE_NAME = 6;
/** `event_name`, the envelope's own member for the event's name. */
export const EVENT_NAME_MEMBER = 7;
/** `event.name`, the attribute for the event's name. */
export const EVENT_NAME_ATTRIBUTE = 8;
export const ERR_NAME = 9;
/** It may name the logger of a record without a scope name. */
export const LOGGER_NAME = 10;
/** {@link INGESTED_BY}, which only the gateway sets in audit events. */
export const INGESTED_BY_NAME = 11;
/** From here on, attributes describe the call site and are not extras. */
export const CODE_OTHER = 12;
export const FILE_PATH = 13;
export const FILE_PATH_OLD = 14;
export const FUNCTION_NAME = 15;
export const FUNCTION_NAME_OLD = 16;
export const NAMESPACE = 17;
export const LINE_NUMBER = 18;
export const LINE_NUMBER_OLD = 19;
const KINDS = 20;

/** The columns of an attribute's row: the positions of its key and value, the key's hash, and the kind. */
const KEY_START = 0;
const KEY_END = 1;
const VALUE_START = 2;
const VALUE_END = 3;
const HASH = 4;
const KIND = 5;
const COLUMNS = 6;

/** A record with more attributes takes the plain path: the search for duplicates is quadratic. */
const ATTRIBUTES_MAX = 64;

/** A smaller length has one byte on the wire. */
const SHORT_BYTES = 0x80;
/** The size of the tag and the length of a field that is shorter than {@link SHORT_BYTES}. */
const SHORT_HEAD_BYTES = 2;
const WORD_BYTES = 4;
const LONG_BYTES = 8;
/** From this length on, words of eight bytes are faster. */
const LONG_RANGE_BYTES = 2 * LONG_BYTES;
const FNV_OFFSET = 0x811c9dc5;
const FNV_PRIME = 0x01000193;
/** What {@link keyHash} returns for a key that is not ASCII. */
const NOT_ASCII = -1;

interface SpecialName {
  readonly name: Uint8Array;
  readonly kind: number;
}

const specialNames = new Map<number, SpecialName>();
/** For the low bits of a hash, whether a special name has them: most keys need no look-up in the map. */
const HASH_BITS = 0x3ff;
const specialBits = new Uint8Array(HASH_BITS + 1);
for (const [text, kind] of [
  ...Array.from(RESERVED, (name) => [name, RESERVED_NAME] as const),
  ["event_type", EVENT_TYPE],
  ["trace_id", TRACE_ID_NAME],
  ["span_id", SPAN_ID_NAME],
  ["service", SERVICE_NAME],
  ["event_name", EVENT_NAME_MEMBER],
  ["event.name", EVENT_NAME_ATTRIBUTE],
  [ERR, ERR_NAME],
  [INGESTED_BY, INGESTED_BY_NAME],
  ["logger.name", LOGGER_NAME],
  ["name", LOGGER_NAME],
  [STACKTRACE, ORDINARY],
  ["code.file.path", FILE_PATH],
  ["code.filepath", FILE_PATH_OLD],
  ["code.function.name", FUNCTION_NAME],
  ["code.function", FUNCTION_NAME_OLD],
  ["code.namespace", NAMESPACE],
  ["code.line.number", LINE_NUMBER],
  ["code.lineno", LINE_NUMBER_OLD],
] as const) {
  const name = ascii(text);
  const hash = keyHash(new ProtobufReader(name), 0, name.length);
  specialNames.set(hash, { name, kind });
  specialBits[hash & HASH_BITS] = 1;
}

const CODE_BYTES = ascii(CODE_PREFIX);
const RENAME_BYTES = ascii(RENAME_PREFIX);

/**
 * The attributes of one record, as positions in a request. All records share its memory. Most records have the same keys as
 * the previous one, in the same order, whose hashes and kinds are then known.
 */
export class AttributeTable {
  length = 0;
  /** The request that the rows belong to; undefined if they are not complete. */
  #reader: ProtobufReader | undefined;
  readonly #rows = new Int32Array(COLUMNS * ATTRIBUTES_MAX);
  /** The kinds of the attributes, as bits, and the last attribute of each kind. */
  #kinds = 0;
  readonly #last = new Int32Array(KINDS);

  /**
   * Reads the attributes between `start` and `end` of a record. Returns false for what is left to the plain path because it
   * is rare: many attributes, repeated or non-ASCII names, call sites of unusual types.
   * @throws TailgateError OTLP_UNDECODABLE
   */
  read(reader: ProtobufReader, start: number, end: number): boolean {
    const before = this.#reader === reader ? this.length : 0;
    this.#reader = undefined;
    const position = this.#readAlike(reader, start, end, before);
    if (position < 0) return false;
    if (position < end || this.length < before || before === 0) {
      this.#countKinds();
      if (!this.#readOthers(reader, position, end)) return false;
    }
    this.#reader = reader;
    return true;
  }

  /**
   * Reads attributes as long as they have the same keys as the previous record, which had `before` of them. Returns the
   * position that it has reached, or -1 for an unusual call site.
   */
  #readAlike(reader: ProtobufReader, start: number, end: number, before: number): number {
    const { bytes } = reader;
    const rows = this.#rows;
    let position = start;
    for (this.length = 0; this.length < before && position < end; this.length++) {
      const row = COLUMNS * this.length;
      const keyValue = position + SHORT_HEAD_BYTES;
      if (keyValue > end || bytes[position] !== RECORD_ATTRIBUTES) break;
      const length = bytes[position + 1]!;
      const attributeEnd = keyValue + length;
      if (length >= SHORT_BYTES || attributeEnd > end) break;
      const keyEnd = shortKeyEnd(bytes, keyValue, attributeEnd);
      if (keyEnd < 0) break;
      const keyStart = keyValue + SHORT_HEAD_BYTES;
      const keyBefore = rows[row + KEY_START]!;
      const keyLength = keyEnd - keyStart;
      if (rows[row + KEY_END]! - keyBefore !== keyLength) break;
      if (!areSame(reader, keyBefore, keyStart, keyLength)) break;
      rows[row + KEY_START] = keyStart;
      rows[row + KEY_END] = keyEnd;
      rows[row + VALUE_START] = keyEnd + SHORT_HEAD_BYTES;
      rows[row + VALUE_END] = attributeEnd;
      if (rows[row + KIND]! >= CODE_OTHER && !this.#readCode(reader, row)) return -1;
      position = attributeEnd;
    }
    return position;
  }

  #countKinds(): void {
    this.#kinds = 0;
    for (let index = 0; index < this.length; index++) this.#countKind(index);
  }

  #countKind(index: number): void {
    const kind = this.kind(index);
    this.#kinds |= 1 << kind;
    this.#last[kind] = index;
  }

  #readOthers(reader: ProtobufReader, start: number, end: number): boolean {
    reader.position = start;
    while (reader.position < end) {
      const tag = reader.tag(end);
      if (tag !== RECORD_ATTRIBUTES) reader.skip(tag, end, 0);
      else if (!this.#keyValue(reader, reader.length(end))) return false;
    }
    return true;
  }

  kind(index: number): number {
    return this.#rows[COLUMNS * index + KIND]!;
  }

  keyStart(index: number): number {
    return this.#rows[COLUMNS * index + KEY_START]!;
  }

  keyEnd(index: number): number {
    return this.#rows[COLUMNS * index + KEY_END]!;
  }

  /** Returns where the value's AnyValue starts; for the strings of the call site, where the string itself starts. */
  valueStart(index: number): number {
    return this.#rows[COLUMNS * index + VALUE_START]!;
  }

  valueEnd(index: number): number {
    return this.#rows[COLUMNS * index + VALUE_END]!;
  }

  has(kind: number): boolean {
    return (this.#kinds & (1 << kind)) !== 0;
  }

  /** True if an attribute has this name, in UTF-8. */
  hasName({ bytes }: ProtobufReader, name: Uint8Array): boolean {
    for (let index = 0; index < this.length; index++) {
      const start = this.keyStart(index);
      const isSameLength = this.keyEnd(index) - start === name.length;
      if (isSameLength && name.every((byte, offset) => bytes[start + offset] === byte)) return true;
    }
    return false;
  }

  /** True if an attribute describes the call site. */
  get hasCode(): boolean {
    return this.#kinds >= 1 << CODE_OTHER;
  }

  /** Returns the last attribute of that kind; -1 if there is none. */
  indexOf(kind: number): number {
    return this.has(kind) ? this.#last[kind]! : -1;
  }

  #keyValue(reader: ProtobufReader, end: number): boolean {
    const start = reader.position;
    const shortEnd = shortKeyEnd(reader.bytes, start, end);
    if (shortEnd < 0) return this.#anyKeyValue(reader, end);
    reader.position = end;
    const keyStart = start + SHORT_HEAD_BYTES;
    return this.#add(reader, keyStart, shortEnd, shortEnd + SHORT_HEAD_BYTES, end);
  }

  #anyKeyValue(reader: ProtobufReader, end: number): boolean {
    let keyStart = -1;
    let keyEnd = -1;
    let valueStart = -1;
    let valueEnd = -1;
    while (reader.position < end) {
      const tag = reader.tag(end);
      if (tag === KEY_VALUE_KEY && keyStart < 0) {
        keyEnd = reader.length(end);
        keyStart = reader.position;
        reader.position = keyEnd;
      } else if (tag === KEY_VALUE_VALUE && valueStart < 0) {
        valueEnd = reader.length(end);
        valueStart = reader.position;
        reader.position = valueEnd;
      } else if (tag === KEY_VALUE_KEY || tag === KEY_VALUE_VALUE) {
        return false;
      } else {
        reader.skip(tag, end, KEY_VALUE.strictNumbers);
      }
    }
    return this.#add(reader, keyStart, keyEnd, valueStart, valueEnd);
  }

  /** Adds an attribute; -1 is both start and end of an absent key or value. */
  #add(
    reader: ProtobufReader,
    keyStart: number,
    keyEnd: number,
    valueStart: number,
    valueEnd: number,
  ): boolean {
    const row = COLUMNS * this.length;
    if (!this.#addName(reader, row, keyStart, keyEnd)) return false;
    const rows = this.#rows;
    rows[row + KEY_START] = keyStart;
    rows[row + KEY_END] = keyEnd;
    rows[row + VALUE_START] = valueStart;
    rows[row + VALUE_END] = valueEnd;
    this.#countKind(this.length++);
    return rows[row + KIND]! < CODE_OTHER || this.#readCode(reader, row);
  }

  /** Adds a name to a row; returns false if it is not ASCII, is repeated, or exceeds the table. */
  #addName(reader: ProtobufReader, row: number, start: number, end: number): boolean {
    const hash = keyHash(reader, start, end);
    if (this.length === ATTRIBUTES_MAX || hash === NOT_ASCII || this.#hasHash(hash)) return false;
    this.#rows[row + HASH] = hash;
    this.#rows[row + KIND] = kindOf(reader.bytes, start, end, hash);
    return true;
  }

  /** Also true for different names with the same hash, one in a billion pairs; the plain path tells them apart. */
  #hasHash(hash: number): boolean {
    const end = COLUMNS * this.length;
    for (let cell = HASH; cell < end; cell += COLUMNS) {
      if (this.#rows[cell] === hash) return true;
    }
    return false;
  }

  /** Reads an attribute of the call site; returns false if its value has an unusual type. */
  #readCode(reader: ProtobufReader, row: number): boolean {
    const after = reader.position;
    const start = this.#rows[row + VALUE_START]!;
    const end = this.#rows[row + VALUE_END]!;
    reader.position = start;
    const plain = start < end && this.#isPlainCode(reader, row, end);
    reader.position = after;
    return plain;
  }

  #isPlainCode(reader: ProtobufReader, row: number, end: number): boolean {
    const kind = this.#rows[row + KIND]!;
    const isLine = kind === LINE_NUMBER || kind === LINE_NUMBER_OLD;
    const tag = reader.tag(end);
    if (tag === VALUE_STRING && !isLine) {
      const stop = reader.length(end);
      this.#rows[row + VALUE_START] = reader.position;
      return stop === end;
    }
    if (tag !== VALUE_INT || (kind !== CODE_OTHER && !isLine)) return false;
    reader.varint(end);
    return reader.position === end;
  }
}

function kindOf(bytes: Uint8Array, start: number, end: number, hash: number): number {
  if (specialBits[hash & HASH_BITS] !== 0) {
    const special = specialNames.get(hash);
    if (special?.name.length === end - start && startsWith(bytes, start, end, special.name)) {
      return special.kind;
    }
  }
  if (startsWith(bytes, start, end, CODE_BYTES)) return CODE_OTHER;
  return startsWith(bytes, start, end, RENAME_BYTES) ? RENAME_LOOKALIKE : ORDINARY;
}

/**
 * Returns the end of the key if the KeyValue between `start` and `end` has the usual form: a short key, whose bytes follow
 * a tag and a length, then a short value up to `end`. Otherwise it returns -1.
 */
function shortKeyEnd(bytes: Uint8Array, start: number, end: number): number {
  if (end - start < 2 * SHORT_HEAD_BYTES || bytes[start] !== KEY_VALUE_KEY) return -1;
  const keyLength = bytes[start + 1]!;
  const keyEnd = start + SHORT_HEAD_BYTES + keyLength;
  const valueStart = keyEnd + SHORT_HEAD_BYTES;
  if (keyLength >= SHORT_BYTES || valueStart > end || end - valueStart >= SHORT_BYTES) return -1;
  const isUsual = bytes[keyEnd] === KEY_VALUE_VALUE && bytes[keyEnd + 1] === end - valueStart;
  return isUsual ? keyEnd : -1;
}

/** True if the ranges of that length at two positions have the same bytes. */
export function areSame(source: ByteSource, one: number, other: number, length: number): boolean {
  if (length >= LONG_RANGE_BYTES) return areSameLong(source, one, other, length);
  const { bytes, view } = source;
  const last = length - WORD_BYTES;
  for (let offset = 0; offset < last; offset += WORD_BYTES) {
    if (view.getInt32(one + offset) !== view.getInt32(other + offset)) return false;
  }
  // The last word may overlap the previous one.
  if (last >= 0) return view.getInt32(one + last) === view.getInt32(other + last);
  for (let offset = 0; offset < length; offset++) {
    if (bytes[one + offset] !== bytes[other + offset]) return false;
  }
  return true;
}

/** The compiler turns bigints that are only compared into machine words, without allocating any. */
function areSameLong({ view }: ByteSource, one: number, other: number, length: number): boolean {
  const last = length - LONG_BYTES;
  for (let offset = 0; offset < last; offset += LONG_BYTES) {
    if (view.getBigInt64(one + offset, true) !== view.getBigInt64(other + offset, true)) {
      return false;
    }
  }
  return view.getBigInt64(one + last, true) === view.getBigInt64(other + last, true);
}

/** True if the bytes between two positions start with the given prefix. */
export function startsWith(
  bytes: Uint8Array,
  start: number,
  end: number,
  prefix: Uint8Array,
): boolean {
  if (end - start < prefix.length) return false;
  for (let index = 0; index < prefix.length; index++) {
    if (bytes[start + index] !== prefix[index]) return false;
  }
  return true;
}

/**
 * Returns a hash of at least 0 of a key, after FNV-1a but four bytes at a time; {@link NOT_ASCII} for other keys, of which
 * two may differ on the wire and be equal in the envelope, if they are not UTF-8.
 */
function keyHash({ bytes, view }: ByteSource, start: number, end: number): number {
  let hash = FNV_OFFSET;
  let all = 0;
  let index = start;
  for (; index + WORD_BYTES <= end; index += WORD_BYTES) {
    const word = view.getInt32(index, true);
    all |= word;
    hash = Math.imul(hash ^ word, FNV_PRIME);
  }
  for (; index < end; index++) {
    const byte = bytes[index]!;
    all |= byte;
    hash = Math.imul(hash ^ byte, FNV_PRIME);
  }
  // Multiplication carries bits upwards only, so the upper ones are folded into the lower ones.
  return (all & 0x80808080) === 0 ? (hash ^ (hash >>> 15)) & 0x7fff_ffff : NOT_ASCII;
}
