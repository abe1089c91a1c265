import { DEPTH_MAX, type JsonWriter } from "./json-writer.ts";
import { keyHash, NOT_ASCII } from "./key-hash.ts";
import {
  KEY_VALUE_KEY,
  KEY_VALUE_VALUE,
  LIST_VALUES,
  VALUE_ARRAY,
  VALUE_BOOL,
  VALUE_BYTES,
  VALUE_DOUBLE,
  VALUE_INT,
  VALUE_KEY_VALUES,
  VALUE_STRING,
} from "./otlp-fields.ts";
import type { ProtobufReader } from "./protobuf-reader.ts";
import { isShortText, SHORT_HEAD_BYTES, shortKeyEnd } from "./short-key-value.ts";

/** Maps with more keys, those around them included, are left to the decoder. */
const KEYS_MAX = 64;

const COMMA = 0x2c;
const COLON = 0x3a;

/**
 * Writes values straight from protobuf as JSON. It answers false, with a part written that is to be thrown away,
 * where something is so rare that it is left to the decoder: values in more than one field, unknown fields, keys that
 * are not ASCII or may be there twice, nesting beyond {@link DEPTH_MAX}.
 */
export class ProtobufValueWriter {
  readonly #reader: ProtobufReader;
  readonly #writer: JsonWriter;
  /** The hashes of the keys of the maps that are being written, the innermost last. */
  readonly #hashes = new Int32Array(KEYS_MAX);
  #hashCount = 0;

  constructor(reader: ProtobufReader, writer: JsonWriter) {
    this.#reader = reader;
    this.#writer = writer;
  }

  /**
   * Writes the AnyValue between `start` and `end`.
   * @throws TailgateError OTLP_UNDECODABLE
   */
  write(start: number, end: number): boolean {
    if (isShortText(this.#reader.bytes, start, end)) {
      this.#writer.utf8(this.#reader, start + SHORT_HEAD_BYTES, end);
      return true;
    }
    this.#reader.position = start;
    this.#hashCount = 0;
    return this.#value(end, 0);
  }

  /** Leaves the reader at `end` where it answers true. */
  #value(end: number, depth: number): boolean {
    const reader = this.#reader;
    const writer = this.#writer;
    if (reader.position === end) {
      writer.null();
      return true;
    }
    switch (reader.tag(end)) {
      case VALUE_STRING: {
        const stop = reader.length(end);
        writer.utf8(reader, reader.position, stop);
        reader.position = stop;
        break;
      }
      case VALUE_BOOL:
        reader.varint(end);
        writer.boolean(reader.low !== 0 || reader.high !== 0);
        break;
      case VALUE_INT: {
        reader.varint(end);
        const value = reader.int64();
        if (typeof value === "number") writer.number(value);
        else writer.value(value);
        break;
      }
      case VALUE_DOUBLE:
        writer.number(reader.double(end));
        break;
      case VALUE_ARRAY:
        if (depth === DEPTH_MAX || !this.#list(reader.length(end), depth + 1)) return false;
        break;
      case VALUE_KEY_VALUES:
        if (depth === DEPTH_MAX || !this.#map(reader.length(end), depth + 1)) return false;
        break;
      case VALUE_BYTES: {
        const stop = reader.length(end);
        writer.base64(reader.bytes.subarray(reader.position, stop));
        reader.position = stop;
        break;
      }
      default:
        return false;
    }
    return reader.position === end;
  }

  #list(end: number, depth: number): boolean {
    const reader = this.#reader;
    const writer = this.#writer;
    writer.byte(0x5b);
    for (let first = true; reader.position < end; first = false) {
      if (reader.tag(end) !== LIST_VALUES) return false;
      if (!first) writer.byte(COMMA);
      if (!this.#value(reader.length(end), depth)) return false;
    }
    writer.byte(0x5d);
    return true;
  }

  #map(end: number, depth: number): boolean {
    const reader = this.#reader;
    const writer = this.#writer;
    const outer = this.#hashCount;
    writer.byte(0x7b);
    for (let first = true; reader.position < end; first = false) {
      if (reader.tag(end) !== LIST_VALUES) return false;
      if (!first) writer.byte(COMMA);
      if (!this.#member(reader.length(end), depth, outer)) return false;
    }
    writer.byte(0x7d);
    this.#hashCount = outer;
    return true;
  }

  /** Writes a KeyValue that has its key first and its value then, or none; `outer` hashes are of other maps. */
  #member(end: number, depth: number, outer: number): boolean {
    const reader = this.#reader;
    const writer = this.#writer;
    const start = reader.position;
    const shortEnd = shortKeyEnd(reader.bytes, start, end);
    if (shortEnd >= 0) {
      const valueStart = shortEnd + SHORT_HEAD_BYTES;
      if (!this.#key(start + SHORT_HEAD_BYTES, shortEnd, outer)) return false;
      reader.position = end;
      if (isShortText(reader.bytes, valueStart, end)) {
        writer.utf8(reader, valueStart + SHORT_HEAD_BYTES, end);
        return true;
      }
      reader.position = valueStart;
      return this.#value(end, depth);
    }
    if (reader.position === end || reader.tag(end) !== KEY_VALUE_KEY) return false;
    const stop = reader.length(end);
    if (!this.#key(reader.position, stop, outer)) return false;
    reader.position = stop;
    if (stop === end) {
      writer.null();
      return true;
    }
    if (reader.tag(end) !== KEY_VALUE_VALUE) return false;
    return this.#value(reader.length(end), depth) && reader.position === end;
  }

  /** Writes a key and its colon; false where it is not ASCII or may be in the map already. */
  #key(start: number, end: number, outer: number): boolean {
    const hashes = this.#hashes;
    const hash = keyHash(this.#reader, start, end);
    if (hash === NOT_ASCII || this.#hashCount === KEYS_MAX) return false;
    for (let index = outer; index < this.#hashCount; index++) {
      if (hashes[index] === hash) return false;
    }
    hashes[this.#hashCount++] = hash;
    this.#writer.utf8(this.#reader, start, end);
    this.#writer.byte(COLON);
    return true;
  }
}
