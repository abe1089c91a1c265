import { textOf } from "../wire/errors.ts";
import type { LogRecord, Resource, Scope, Value } from "../plugin/index.ts";
import { DEPTH_MAX, DEPTH_TEXT } from "../envelope/json-writer.ts";
import type { RequestIndex } from "./request-index.ts";
import { isInt64, ProtobufWriter, putVarint, varintBytes, ProtobufReader } from "./protobuf.ts";
import {
  REQUEST,
  RESOURCE_LOGS,
  RESOURCE,
  SCOPE_LOGS,
  SCOPE,
  LOG_RECORD,
  KEY_VALUE,
  ANY_VALUE,
  ARRAY_VALUE,
} from "./schema.ts";

const RECORD = LOG_RECORD.tags;
const VALUE = ANY_VALUE.tags;
const { values: LIST_VALUES } = ARRAY_VALUE.tags;

/** A record in protobuf, in the parts that {@link buildRequest} puts together to requests. */
export interface EncodedRecord {
  /** The fields of its ResourceLogs apart from the scope logs. Records that share it should have the same object. */
  readonly resource: Uint8Array;
  /** The fields of its ScopeLogs apart from the records. Records that share it should have the same object. */
  readonly scope: Uint8Array;
  /** Its LogRecord message. */
  readonly record: Uint8Array;
}

/** The fields of a LogRecord message, apart from its attributes. Zeros and empty strings stand for absent fields. */
export interface LogRecordFields {
  /** Nanoseconds since 1970 UTC. */
  readonly timestamp: bigint;
  readonly observedTimestamp: bigint;
  readonly severityNumber: number;
  readonly severityText: string;
  /** Null if there is no body. */
  readonly body: Value;
  readonly eventName: string;
  readonly traceId: string;
  readonly spanId: string;
  readonly flags: number;
  readonly droppedAttributes: number;
}

const UINT64_MAX = 2n ** 64n - 1n;

/** One message is encoded at a time, without interruption. */
const writer = new ProtobufWriter();

/** Encodes a record of a plugin or of this process. */
export function encodeLogRecord(record: LogRecord): EncodedRecord {
  return {
    resource: record.resource === null ? NOTHING : encodeResource(record.resource),
    scope: encodeScope(record.scope),
    record: encodeRecordFields(
      { ...record, droppedAttributes: 0 },
      [...record.attributes.keys()],
      [...record.attributes.values()],
    ),
  };
}

const NOTHING = new Uint8Array();

/** Returns the fields of a ResourceLogs message, without scope logs. */
export function encodeResource({ attributes }: Resource, schemaUrl = ""): Uint8Array {
  writer.begin();
  writer.message(RESOURCE_LOGS.tags.resource, () => writeMap(RESOURCE.tags.attributes, attributes));
  writeText(RESOURCE_LOGS.tags.schemaUrl, schemaUrl);
  return writer.take();
}

/** Returns the fields of a ScopeLogs message, without records. */
export function encodeScope({ name, version, attributes }: Scope, schemaUrl = ""): Uint8Array {
  writer.begin();
  writer.message(SCOPE_LOGS.tags.scope, () => {
    writeText(SCOPE.tags.name, name);
    writeText(SCOPE.tags.version, version);
    writeMap(SCOPE.tags.attributes, attributes);
  });
  writeText(SCOPE_LOGS.tags.schemaUrl, schemaUrl);
  return writer.take();
}

/**
 * Returns a LogRecord message. Attributes are given in two columns; those whose value is undefined are left out. It never
 * throws: callers in JavaScript may pass anything, and what OTLP cannot express is left out or becomes a string.
 */
export function encodeRecordFields(
  fields: LogRecordFields,
  keys: readonly string[],
  values: readonly (Value | undefined)[],
): Uint8Array {
  writer.begin();
  writeTime(RECORD.timeUnixNano, fields.timestamp);
  const severity = integerOf(fields.severityNumber);
  if (severity !== 0) writer.int64(RECORD.severityNumber, severity);
  writeText(RECORD.severityText, fields.severityText);
  if (fields.body !== null) writeValue(RECORD.body, fields.body, 0);
  for (let index = 0; index < keys.length; index++) {
    const value = values[index];
    if (value !== undefined) writeKeyValue(RECORD.attributes, keys[index]!, value, 0);
  }
  const dropped = integerOf(fields.droppedAttributes);
  if (dropped > 0) writer.varint(RECORD.droppedAttributesCount, dropped);
  const flags = integerOf(fields.flags);
  if (flags !== 0) writer.fixed32(RECORD.flags, flags);
  writeId(RECORD.traceId, fields.traceId);
  writeId(RECORD.spanId, fields.spanId);
  writeTime(RECORD.observedTimeUnixNano, fields.observedTimestamp);
  writeText(RECORD.eventName, fields.eventName);
  return writer.take();
}

/** Returns an attribute as a field of a LogRecord message. Appended to one, it adds the attribute. */
export function encodeAttribute(name: string, value: Value): Uint8Array {
  writer.begin();
  writeKeyValue(RECORD.attributes, name, value, 0);
  return writer.take();
}

function writeTime(tag: number, nanos: bigint): void {
  if (typeof nanos === "bigint" && nanos > 0n && nanos <= UINT64_MAX) writer.fixed64(tag, nanos);
}

/** Returns an integer that both int32 and uint32 can hold, and 0 for everything else. */
function integerOf(value: number): number {
  return Number.isInteger(value) && Math.abs(value) < 2 ** 31 ? value : 0;
}

function writeText(tag: number, text: string): void {
  const string = typeof text === "string" ? text : textOf(text);
  if (string !== "") writer.string(tag, string);
}

function writeId(tag: number, hex: string): void {
  if (typeof hex === "string" && hex !== "") writer.bytes(tag, Buffer.from(hex, "hex"));
}

function writeMap(tag: number, attributes: ReadonlyMap<string, Value>): void {
  for (const [key, value] of attributes) writeKeyValue(tag, key, value, 0);
}

function writeKeyValue(tag: number, key: string, value: Value, depth: number): void {
  const start = writer.open(tag);
  writeText(KEY_VALUE.tags.key, key);
  writeValue(KEY_VALUE.tags.value, value, depth);
  writer.close(start);
}

/** Writes an AnyValue that is nested in `depth` lists and maps; for null, one without a value. */
function writeValue(tag: number, value: Value, depth: number): void {
  const start = writer.open(tag);
  if (value !== null) writeContent(value, depth);
  writer.close(start);
}

function writeContent(value: Exclude<Value, null>, depth: number): void {
  switch (typeof value) {
    case "string":
      return writer.string(VALUE.stringValue, value);
    case "boolean":
      return writer.varint(VALUE.boolValue, value ? 1 : 0);
    case "number":
      // JavaScript does not tell integers from doubles. Whole numbers are sent as integers, as its SDK does.
      return Number.isSafeInteger(value) && !Object.is(value, -0)
        ? writer.int64(VALUE.intValue, value)
        : writer.double(VALUE.doubleValue, value);
    case "bigint":
      return isInt64(value)
        ? writer.int64(VALUE.intValue, value)
        : writer.string(VALUE.stringValue, String(value));
    default:
      writeObject(value, depth);
  }
}

function writeObject(
  value: Exclude<Value, string | number | bigint | boolean | null>,
  depth: number,
): void {
  if (value instanceof Uint8Array) writer.bytes(VALUE.bytesValue, value);
  else if (depth >= DEPTH_MAX) writer.string(VALUE.stringValue, DEPTH_TEXT);
  else if (Array.isArray(value)) {
    const start = writer.open(VALUE.arrayValue);
    for (const inner of value) writeValue(LIST_VALUES, inner, depth + 1);
    writer.close(start);
  } else if (value instanceof Map) {
    const start = writer.open(VALUE.kvlistValue);
    for (const [key, inner] of value) writeKeyValue(LIST_VALUES, key, inner, depth + 1);
    writer.close(start);
  } else writer.string(VALUE.stringValue, textOf(value));
}

/** Consecutive records of one scope. */
interface ScopeRun {
  readonly scope: Uint8Array;
  /** Each one, or several with their tags and lengths. */
  readonly records: Uint8Array[];
  /** The size of the ScopeLogs message. */
  bytes: number;
}

interface ResourceRun {
  readonly resource: Uint8Array;
  readonly scopes: ScopeRun[];
}

/** Returns an ExportLogsServiceRequest with the records in their order. */
export function buildRequest(
  length: number,
  recordAt: (index: number) => EncodedRecord,
): Uint8Array<ArrayBuffer> {
  const request = RequestBuilder.of(length, recordAt);
  const bytes = Buffer.allocUnsafeSlow(request.byteLength);
  request.writeTo(bytes, 0);
  return bytes;
}

/** A request whose size is known before it is written, so that it can be written in place. Concatenated, several are one. */
export interface RequestPart {
  readonly byteLength: number;
  writeTo(bytes: Uint8Array, start: number): void;
}

export class RequestBuilder implements RequestPart {
  readonly byteLength: number;
  readonly #runs: readonly ResourceRun[];
  readonly #sizes: readonly number[];
  /** Whether the records have their tags and lengths. */
  readonly #areFields: boolean;

  private constructor(runs: readonly ResourceRun[], areFields: boolean) {
    this.#runs = runs;
    this.#areFields = areFields;
    this.#sizes = runs.map(sizeOf);
    this.byteLength = this.#sizes.reduce((sum, size) => sum + fieldBytes(size), 0);
  }

  static of(length: number, recordAt: (index: number) => EncodedRecord): RequestBuilder {
    const runs: ResourceRun[] = [];
    for (let index = 0; index < length; index++) add(runs, recordAt(index));
    return new RequestBuilder(runs, false);
  }

  /**
   * Builds a request of the records of another one that are selected, in its order. Records that follow one another are
   * copied together. `resourceOf` and `scopeOf` return the fields beside the records. Undefined if a record's length is not
   * encoded as usual.
   */
  static ofSelected(
    index: RequestIndex,
    isSelected: (record: number) => boolean,
    resourceOf: (resource: number) => Uint8Array,
    scopeOf: (scope: number) => Uint8Array,
  ): RequestBuilder | undefined {
    const { bytes } = index.reader;
    const runs: ResourceRun[] = [];
    let resource = -1;
    let scope = -1;
    let scopeRun: ScopeRun = { scope: bytes, records: [], bytes: 0 };
    let start = 0;
    let end = 0;
    for (let record = 0; record < index.length; record++) {
      if (!isSelected(record)) continue;
      const fieldStart = fieldStartOf(bytes, index.start(record), index.end(record));
      if (fieldStart === undefined) return undefined;
      const isNewScope = index.scope(record) !== scope;
      if (isNewScope || fieldStart !== end) {
        if (end > start) scopeRun.records.push(bytes.subarray(start, end));
        start = fieldStart;
      }
      end = index.end(record);
      if (isNewScope) {
        if (index.resource(record) !== resource) {
          resource = index.resource(record);
          runs.push({ resource: resourceOf(resource), scopes: [] });
        }
        scope = index.scope(record);
        const fields = scopeOf(scope);
        scopeRun = { scope: fields, records: [], bytes: fields.length };
        runs.at(-1)!.scopes.push(scopeRun);
      }
      scopeRun.bytes += end - fieldStart;
    }
    scopeRun.records.push(bytes.subarray(start, end));
    return new RequestBuilder(runs, true);
  }

  writeTo(bytes: Uint8Array, start: number): void {
    let at = start;
    for (const [index, { resource, scopes }] of this.#runs.entries()) {
      at = putField(bytes, at, REQUEST.tags.resourceLogs, this.#sizes[index]!, resource);
      for (const { scope, records, bytes: scopeBytes } of scopes) {
        at = putField(bytes, at, RESOURCE_LOGS.tags.scopeLogs, scopeBytes, scope);
        for (const record of records) {
          if (this.#areFields) {
            bytes.set(record, at);
            at += record.length;
          } else at = putField(bytes, at, SCOPE_LOGS.tags.logRecords, record.length, record);
        }
      }
    }
  }
}

/** Returns where the field starts that has a record between `start` and `end`; undefined if its length has a longer form. */
function fieldStartOf(bytes: Uint8Array, start: number, end: number): number | undefined {
  const length = end - start;
  const fieldStart = end - fieldBytes(length);
  if (bytes[fieldStart] !== SCOPE_LOGS.tags.logRecords) return undefined;
  let rest = length;
  for (let at = fieldStart + 1; at < start; at++, rest >>>= 7) {
    if (bytes[at] !== (rest < 0x80 ? rest : (rest & 0x7f) | 0x80)) return undefined;
  }
  return fieldStart;
}

function add(runs: ResourceRun[], { resource, scope, record }: EncodedRecord): void {
  let run = runs.at(-1);
  if (run === undefined || !isEqual(run.resource, resource)) {
    run = { resource, scopes: [] };
    runs.push(run);
  }
  let scopeRun = run.scopes.at(-1);
  if (scopeRun === undefined || !isEqual(scopeRun.scope, scope)) {
    scopeRun = { scope, records: [], bytes: scope.length };
    run.scopes.push(scopeRun);
  }
  scopeRun.records.push(record);
  scopeRun.bytes += fieldBytes(record.length);
}

function isEqual(one: Uint8Array, other: Uint8Array): boolean {
  return one === other || (one.length === other.length && Buffer.compare(one, other) === 0);
}

function sizeOf({ resource, scopes }: ResourceRun): number {
  return scopes.reduce((sum, { bytes }) => sum + fieldBytes(bytes), resource.length);
}

/** Returns the size of a length-delimited field; the tags that are used here have one byte. */
function fieldBytes(length: number): number {
  return 1 + varintBytes(length) + length;
}

/** Writes a field's tag and length, and the first part of its content; returns the position after them. */
function putField(
  bytes: Uint8Array,
  at: number,
  tag: number,
  length: number,
  start: Uint8Array,
): number {
  bytes[at] = tag;
  const position = putVarint(bytes, at + 1, length);
  bytes.set(start, position);
  return position + start.length;
}

/**
 * Returns the record with one more attribute, unless it has one of that name. Appending a repeated field to a message in
 * protobuf adds an element.
 */
export function withAttribute(encoded: EncodedRecord, name: string, text: string): EncodedRecord {
  const { resource, scope, record } = encoded;
  if (hasAttribute(record, name)) return encoded;
  writer.message(RECORD.attributes, () => {
    writer.string(KEY_VALUE.tags.key, name);
    writer.message(KEY_VALUE.tags.value, () => writer.string(VALUE.stringValue, text));
  });
  return { resource, scope, record: Buffer.concat([record, writer.take()]) };
}

function hasAttribute(record: Uint8Array, name: string): boolean {
  // Usually the record does not contain the name's bytes at all.
  const bytes = Buffer.from(record.buffer, record.byteOffset, record.byteLength);
  if (!bytes.includes(name)) return false;
  const reader = new ProtobufReader(record);
  while (reader.position < record.length) {
    const tag = reader.field(record.length);
    if (tag !== RECORD.attributes) reader.ignore(tag, record.length, 0);
    else if (isKey(reader, reader.start, reader.end, name)) return true;
  }
  return false;
}

function isKey(reader: ProtobufReader, start: number, end: number, name: string): boolean {
  const after = reader.position;
  reader.position = start;
  let isSame = false;
  while (reader.position < end) {
    const tag = reader.field(end);
    if (tag === KEY_VALUE.tags.key) {
      isSame = reader.bytes.toString("utf8", reader.start, reader.end) === name;
    } else reader.ignore(tag, end, 0);
  }
  reader.position = after;
  return isSame;
}
