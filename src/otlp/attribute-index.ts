import type { ProtobufReader } from "./protobuf.ts";
import type { ScannedRecord } from "./scanned-record.ts";
import { KEY_VALUE, LOG_RECORD } from "./schema.ts";

const { attributes: RECORD_ATTRIBUTES } = LOG_RECORD.tags;
const { key: KEY_VALUE_KEY, value: KEY_VALUE_VALUE } = KEY_VALUE.tags;

/** A smaller length has one byte. */
const SHORT_BYTES = 0x80;
/** The tag and the length of a short field. */
const SHORT_HEAD_BYTES = 2;

/** Says where the attributes of one record are, so that looking up several names takes one pass over them. */
export class AttributeIndex {
  /** For each attribute the start of its key, the end of its key, and the start and the end of its KeyValue. */
  readonly #positions: number[] = [];
  #length = 0;
  /** False if a KeyValue has a form by which the position of its key is not certain. */
  #isCertain = true;
  #bytes: Uint8Array = new Uint8Array();

  /** @throws TailgateError OTLP_UNDECODABLE */
  read(reader: ProtobufReader, { attributesStart, attributesEnd: end }: ScannedRecord): void {
    this.#length = 0;
    this.#isCertain = true;
    this.#bytes = reader.bytes;
    if (attributesStart === 0) return;
    reader.position = attributesStart;
    while (reader.position < end) {
      const tag = reader.field(end);
      if (tag !== RECORD_ATTRIBUTES) {
        reader.ignore(tag, end, 0);
        continue;
      }
      const after = reader.position;
      this.#add(reader, reader.start, after);
      reader.position = after;
    }
  }

  /** Adds a KeyValue: its key, and nothing after it but the value. */
  #add(reader: ProtobufReader, start: number, end: number): void {
    const { bytes } = reader;
    const length = bytes[start + 1]!;
    const keyStart = start + SHORT_HEAD_BYTES;
    const keyEnd = keyStart + length;
    const isShort = bytes[start] === KEY_VALUE_KEY && length < SHORT_BYTES && keyEnd <= end;
    if (!isShort || !hasOnlyValue(reader, keyEnd, end)) {
      this.#isCertain = false;
      return;
    }
    const positions = this.#positions;
    const at = 4 * this.#length++;
    positions[at] = keyStart;
    positions[at + 1] = keyEnd;
    positions[at + 2] = start;
    positions[at + 3] = end;
  }

  /**
   * Returns the number of the last attribute with a key, -1 if there is none; undefined if that is not certain.
   * `key` is in UTF-8.
   */
  find(key: Uint8Array): number | undefined {
    if (!this.#isCertain) return undefined;
    const positions = this.#positions;
    const { length } = key;
    for (let at = 4 * (this.#length - 1); at >= 0; at -= 4) {
      const start = positions[at]!;
      if (positions[at + 1]! - start === length && this.#isSame(start, key)) return at >> 2;
    }
    return -1;
  }

  /** Returns where the KeyValue of an attribute starts. */
  start(attribute: number): number {
    return this.#positions[4 * attribute + 2]!;
  }

  end(attribute: number): number {
    return this.#positions[4 * attribute + 3]!;
  }

  #isSame(from: number, key: Uint8Array): boolean {
    for (let index = key.length - 1; index >= 0; index--) {
      if (this.#bytes[from + index] !== key[index]) return false;
    }
    return true;
  }
}

function hasOnlyValue(reader: ProtobufReader, start: number, end: number): boolean {
  if (start === end) return true;
  reader.position = start;
  return reader.tag(end) === KEY_VALUE_VALUE && reader.length(end) === end;
}

/** The keys that are looked up: they come from the configuration and from plugins. */
const knownKeys = new Map<string, Uint8Array>();
const KEYS_MAX = 1024;

/** Returns a key in UTF-8; undefined if other bytes may decode to it. */
export function keyBytes(name: string): Uint8Array | undefined {
  let key = knownKeys.get(name);
  if (key !== undefined) return key;
  if (name.includes("\uFFFD")) return undefined;
  key = Buffer.from(name);
  if (knownKeys.size >= KEYS_MAX) knownKeys.clear();
  knownKeys.set(name, key);
  return key;
}
