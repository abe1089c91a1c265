/**
 * Makes records fit to be sent on. What a sender got wrong and the gateway took all the same, a strict decoder refuses
 * together with everything else in the request: text that is not UTF-8 (proto3), ids of another length, a known field
 * with another type. The journal keeps records as they came; they are repaired whenever they are exported.
 */

import { isUtf8 } from "node:buffer";
import { DEPTH_MAX, DEPTH_TEXT } from "../envelope/json-writer.ts";
import {
  KEY_VALUE_KEY,
  KEY_VALUE_VALUE,
  LIST_VALUES,
  RECORD_ATTRIBUTES,
  RECORD_BODY,
  RECORD_DROPPED_ATTRIBUTES,
  RECORD_EVENT_NAME,
  RECORD_FLAGS,
  RECORD_OBSERVED_TIME,
  RECORD_SEVERITY_NUMBER,
  RECORD_SEVERITY_TEXT,
  RECORD_SPAN_ID,
  RECORD_TIME,
  RECORD_TRACE_ID,
  RESOURCE_ATTRIBUTES,
  RESOURCE_DROPPED_ATTRIBUTES,
  RESOURCE_LOGS_RESOURCE,
  RESOURCE_LOGS_SCHEMA_URL,
  SCOPE_ATTRIBUTES,
  SCOPE_DROPPED_ATTRIBUTES,
  SCOPE_LOGS_SCHEMA_URL,
  SCOPE_LOGS_SCOPE,
  SCOPE_NAME,
  SCOPE_VERSION,
  VALUE_ARRAY,
  VALUE_BOOL,
  VALUE_BYTES,
  VALUE_DOUBLE,
  VALUE_INT,
  VALUE_KEY_VALUES,
  VALUE_STRING,
} from "./fields.ts";
import type { EncodedRecord } from "./encode.ts";
import { ProtobufReader } from "./protobuf-reader.ts";
import { SPAN_ID_BYTES, TRACE_ID_BYTES } from "./record-fields.ts";
import { undecodable } from "./findings.ts";

const WIRE_TYPE_BITS = 7;
const VARINT = 0;
const FIXED64 = 1;
const LENGTH = 2;
const FIXED32 = 5;

/** The highest bit of each byte of a word: 0 in ASCII. */
const HIGH_BITS = 0x80808080 | 0;

const EMPTY: Uint8Array = new Uint8Array();

/** What a field of a message has to be. */
interface Field {
  readonly wireType: number;
  readonly isText: boolean;
  /** The length of an id; 0 for other fields. */
  readonly idBytes: number;
  readonly message: Message | undefined;
  /** True for a list or a map within a value: how deep these are nested is bounded. */
  readonly isNested: boolean;
}

/** By their numbers. */
type Message = (Field | undefined)[];

function add(
  message: Message,
  tags: readonly number[],
  {
    isText = false,
    idBytes = 0,
    inner,
    isNested = false,
  }: Partial<Omit<Field, "message">> & {
    inner?: Message;
  } = {},
): void {
  for (const tag of tags) {
    const wireType = tag & WIRE_TYPE_BITS;
    message[tag >>> 3] = { wireType, isText, idBytes, message: inner, isNested };
  }
}

const VALUE: Message = [];
const KEY_VALUE: Message = [];
const LIST: Message = [];
const MAP: Message = [];
const RESOURCE: Message = [];
const SCOPE: Message = [];
const RECORD: Message = [];
/** ResourceLogs and ScopeLogs without what is in them. */
const RESOURCE_LOGS: Message = [];
const SCOPE_LOGS: Message = [];

add(VALUE, [VALUE_STRING], { isText: true });
add(VALUE, [VALUE_BOOL, VALUE_INT, VALUE_DOUBLE, VALUE_BYTES]);
add(VALUE, [VALUE_ARRAY], { inner: LIST, isNested: true });
add(VALUE, [VALUE_KEY_VALUES], { inner: MAP, isNested: true });
add(KEY_VALUE, [KEY_VALUE_KEY], { isText: true });
add(KEY_VALUE, [KEY_VALUE_VALUE], { inner: VALUE });
add(LIST, [LIST_VALUES], { inner: VALUE });
add(MAP, [LIST_VALUES], { inner: KEY_VALUE });
add(RESOURCE, [RESOURCE_ATTRIBUTES], { inner: KEY_VALUE });
add(RESOURCE, [RESOURCE_DROPPED_ATTRIBUTES]);
add(RESOURCE_LOGS, [RESOURCE_LOGS_RESOURCE], { inner: RESOURCE });
add(RESOURCE_LOGS, [RESOURCE_LOGS_SCHEMA_URL], { isText: true });
add(SCOPE, [SCOPE_NAME, SCOPE_VERSION], { isText: true });
add(SCOPE, [SCOPE_ATTRIBUTES], { inner: KEY_VALUE });
add(SCOPE, [SCOPE_DROPPED_ATTRIBUTES]);
add(SCOPE_LOGS, [SCOPE_LOGS_SCOPE], { inner: SCOPE });
add(SCOPE_LOGS, [SCOPE_LOGS_SCHEMA_URL], { isText: true });
add(RECORD, [RECORD_TIME, RECORD_OBSERVED_TIME, RECORD_SEVERITY_NUMBER, RECORD_FLAGS]);
add(RECORD, [RECORD_DROPPED_ATTRIBUTES]);
add(RECORD, [RECORD_SEVERITY_TEXT, RECORD_EVENT_NAME], { isText: true });
add(RECORD, [RECORD_BODY], { inner: VALUE });
add(RECORD, [RECORD_ATTRIBUTES], { inner: KEY_VALUE });
add(RECORD, [RECORD_TRACE_ID], { idBytes: TRACE_ID_BYTES });
add(RECORD, [RECORD_SPAN_ID], { idBytes: SPAN_ID_BYTES });

/** Repairs the pieces of records that are sent together: most have the resource and the scope of the one before. */
export class RecordRepair {
  readonly #scan = new Scan();
  #resource = EMPTY;
  #soundResource: Uint8Array = EMPTY;
  #scope = EMPTY;
  #soundScope: Uint8Array = EMPTY;

  /**
   * Returns the pieces themselves if nothing in them is wrong.
   * @throws TailgateError OTLP_UNDECODABLE if they are no protobuf.
   */
  repair(pieces: EncodedRecord): EncodedRecord {
    const { resource, scope, record } = pieces;
    if (resource !== this.#resource) {
      this.#soundResource = this.#sound(resource, RESOURCE_LOGS);
      this.#resource = resource;
    }
    if (scope !== this.#scope) {
      this.#soundScope = this.#sound(scope, SCOPE_LOGS);
      this.#scope = scope;
    }
    const soundRecord = this.#sound(record, RECORD);
    const isSound =
      soundRecord === record && this.#soundResource === resource && this.#soundScope === scope;
    if (isSound) return pieces;
    return { resource: this.#soundResource, scope: this.#soundScope, record: soundRecord };
  }

  #sound(bytes: Uint8Array, message: Message): Uint8Array {
    if (this.#scan.isSound(bytes, message)) return bytes;
    return repaired(new ProtobufReader(bytes), bytes.length, message, 0);
  }
}

/** Looks for what is wrong, in one walk over bytes that are nearly always sound. */
class Scan {
  #bytes: Uint8Array = EMPTY;
  #position = 0;
  /** Of the memory in which most pieces lie, with where this one starts in it. */
  #view = new DataView(EMPTY.buffer);
  #start = 0;

  isSound(bytes: Uint8Array, message: Message): boolean {
    if (bytes.buffer !== this.#view.buffer) this.#view = new DataView(bytes.buffer);
    this.#start = bytes.byteOffset;
    this.#bytes = bytes;
    this.#position = 0;
    return this.#isMessage(message, bytes.length, 0);
  }

  #isMessage(message: Message, end: number, depth: number): boolean {
    const isRecord = message === RECORD;
    while (this.#position < end) {
      const tag = this.#varint(end);
      if (tag <= WIRE_TYPE_BITS) throw this.#cutOff();
      const wireType = tag & WIRE_TYPE_BITS;
      const field = message[tag >>> 3];
      if (field !== undefined && field.wireType !== wireType) return false;
      if (wireType === LENGTH) {
        const stop = this.#varint(end) + this.#position;
        if (stop > end) throw this.#cutOff();
        // The intake has checked the types in a record's values: if all bytes are ASCII, so are the texts.
        const isAscii = isRecord && field?.idBytes === 0 && this.#isAscii(this.#position, stop);
        if (field === undefined || isAscii) this.#position = stop;
        else if (!this.#isField(field, stop, depth)) return false;
      } else this.#skip(wireType, end);
    }
    return true;
  }

  #isAscii(start: number, end: number): boolean {
    const view = this.#view;
    const stop = this.#start + end;
    let place = this.#start + start;
    for (const last = stop - 4; place <= last; place += 4) {
      if ((view.getInt32(place, true) & HIGH_BITS) !== 0) return false;
    }
    for (; place < stop; place++) if (view.getUint8(place) >= 0x80) return false;
    return true;
  }

  #isField(field: Field, stop: number, depth: number): boolean {
    const { message } = field;
    if (message !== undefined) {
      const inner = field.isNested ? depth + 1 : depth;
      return inner <= DEPTH_MAX && this.#isMessage(message, stop, inner);
    }
    const start = this.#position;
    this.#position = stop;
    if (field.isText) return isUtf8Text(this.#bytes, start, stop);
    return field.idBytes === 0 || isId(this.#bytes, start, stop, field.idBytes);
  }

  #skip(wireType: number, end: number): void {
    if (wireType === VARINT) this.#varint(end);
    else if (wireType === FIXED64) this.#position += 8;
    else if (wireType === FIXED32) this.#position += 4;
    else throw this.#cutOff();
    if (this.#position > end) throw this.#cutOff();
  }

  /** Only of tags and lengths the value counts: that of a larger number is not exact. */
  #varint(end: number): number {
    const bytes = this.#bytes;
    let value = 0;
    for (let factor = 1; this.#position < end; factor *= 0x80) {
      const byte = bytes[this.#position++]!;
      value += (byte & 0x7f) * factor;
      if (byte < 0x80) return value;
    }
    throw this.#cutOff();
  }

  #cutOff(): Error {
    const { length } = this.#bytes;
    return undecodable(`byte ${this.#position} of ${length}`, "a field is cut off or unknown");
  }
}

function isUtf8Text(bytes: Uint8Array, start: number, end: number): boolean {
  for (let index = start; index < end; index++) {
    if (bytes[index]! >= 0x80) return isUtf8(bytes.subarray(index, end));
  }
  return true;
}

/** One that is empty is absent. */
function isId(bytes: Uint8Array, start: number, end: number, length: number): boolean {
  if (start === end) return true;
  if (end - start !== length) return false;
  for (let index = start; index < end; index++) if (bytes[index] !== 0) return true;
  return false;
}

/** The message that ends at `end`, with what is wrong replaced or left out. Of an id that is there twice the last one counts. */
function repaired(reader: ProtobufReader, end: number, message: Message, depth: number): Buffer {
  const parts: Uint8Array[] = [];
  const ids = new Map<number, Uint8Array>();
  while (reader.position < end) {
    const start = reader.position;
    const tag = reader.tag(end);
    const field = message[tag >>> 3];
    const wireType = tag & WIRE_TYPE_BITS;
    if (wireType !== LENGTH || field === undefined) {
      reader.skip(tag, end, 0);
      if (field === undefined || field.wireType === wireType) {
        parts.push(reader.bytes.subarray(start, reader.position));
      }
      continue;
    }
    const stop = reader.length(end);
    const content = reader.bytes.subarray(reader.position, stop);
    if (field.idBytes > 0) ids.set(tag, content);
    else if (field.wireType === LENGTH) parts.push(...fieldOf(reader, tag, field, stop, depth));
    reader.position = stop;
  }
  for (const [tag, id] of ids) {
    const { idBytes } = message[tag >>> 3]!;
    if (id.length > 0 && isId(id, 0, id.length, idBytes)) parts.push(head(tag, id.length), id);
  }
  return Buffer.concat(parts);
}

/** A field of a length, repaired. */
function fieldOf(
  reader: ProtobufReader,
  tag: number,
  { isText: isTextField, message, isNested }: Field,
  stop: number,
  depth: number,
): Uint8Array[] {
  const start = reader.position;
  if (message !== undefined) {
    if (isNested && depth >= DEPTH_MAX) return textField(VALUE_STRING, DEPTH_TEXT);
    const content = repaired(reader, stop, message, isNested ? depth + 1 : depth);
    return [head(tag, content.length), content];
  }
  if (isTextField) return textField(tag, reader.bytes.toString("utf8", start, stop));
  return [head(tag, stop - start), reader.bytes.subarray(start, stop)];
}

function textField(tag: number, text: string): Uint8Array[] {
  const content = Buffer.from(text);
  return [head(tag, content.length), content];
}

/** The tags of known fields have one byte. */
function head(tag: number, length: number): Uint8Array {
  const bytes = [tag];
  let rest = length;
  for (; rest > 0x7f; rest = Math.floor(rest / 0x80)) bytes.push((rest % 0x80) | 0x80);
  return Uint8Array.from([...bytes, rest]);
}
