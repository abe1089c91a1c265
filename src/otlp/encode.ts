import { textOf } from "../wire/errors.ts";
import type { LogRecord, Resource, Scope, Value } from "../plugin/index.ts";
import { DEPTH_MAX, DEPTH_TEXT } from "../envelope/json-writer.ts";
import { isInt64, ProtobufWriter } from "./protobuf-writer.ts";
import { ProtobufReader } from "./protobuf-reader.ts";
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

const { resourceLogs: REQUEST_RESOURCE_LOGS } = REQUEST.tags;
const {
  resource: RESOURCE_LOGS_RESOURCE,
  schemaUrl: RESOURCE_LOGS_SCHEMA_URL,
  scopeLogs: RESOURCE_LOGS_SCOPE_LOGS,
} = RESOURCE_LOGS.tags;
const { attributes: RESOURCE_ATTRIBUTES } = RESOURCE.tags;
const {
  schemaUrl: SCOPE_LOGS_SCHEMA_URL,
  scope: SCOPE_LOGS_SCOPE,
  logRecords: SCOPE_LOGS_RECORDS,
} = SCOPE_LOGS.tags;
const { attributes: SCOPE_ATTRIBUTES, name: SCOPE_NAME, version: SCOPE_VERSION } = SCOPE.tags;
const {
  attributes: RECORD_ATTRIBUTES,
  body: RECORD_BODY,
  droppedAttributesCount: RECORD_DROPPED_ATTRIBUTES,
  eventName: RECORD_EVENT_NAME,
  flags: RECORD_FLAGS,
  observedTimeUnixNano: RECORD_OBSERVED_TIME,
  severityNumber: RECORD_SEVERITY_NUMBER,
  severityText: RECORD_SEVERITY_TEXT,
  spanId: RECORD_SPAN_ID,
  timeUnixNano: RECORD_TIME,
  traceId: RECORD_TRACE_ID,
} = LOG_RECORD.tags;
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

/** What a LogRecord message says, apart from its attributes. */
export interface LogRecordFields {
  /** Nanoseconds since 1970 UTC; 0n where absent, like all that is 0 or "". */
  readonly timestamp: bigint;
  readonly observedTimestamp: bigint;
  readonly severityNumber: number;
  readonly severityText: string;
  /** Null without a body. */
  readonly body: Value;
  readonly eventName: string;
  readonly traceId: string;
  readonly spanId: string;
  readonly flags: number;
  readonly droppedAttributes: number;
}

const UINT64_MAX = 2n ** 64n - 1n;

/** Work is done on one record at a time, and within one call. */
const writer = new ProtobufWriter();

/** Encodes one record of a plugin or of this process. */
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

/** A resource as ResourceLogs has it. */
export function encodeResource({ attributes }: Resource, schemaUrl = ""): Uint8Array {
  writer.begin();
  writer.message(RESOURCE_LOGS_RESOURCE, () => writeMap(RESOURCE_ATTRIBUTES, attributes));
  writeText(RESOURCE_LOGS_SCHEMA_URL, schemaUrl);
  return writer.take();
}

/** A scope as ScopeLogs has it. */
export function encodeScope({ name, version, attributes }: Scope, schemaUrl = ""): Uint8Array {
  writer.begin();
  writer.message(SCOPE_LOGS_SCOPE, () => {
    writeText(SCOPE_NAME, name);
    writeText(SCOPE_VERSION, version);
    writeMap(SCOPE_ATTRIBUTES, attributes);
  });
  writeText(SCOPE_LOGS_SCHEMA_URL, schemaUrl);
  return writer.take();
}

/**
 * A LogRecord message; attributes as two columns, those without a value left out. Callers in JavaScript may have put
 * anything in place of a number or a text: what OTLP cannot say is left out or made a text, and nothing throws.
 */
export function encodeRecordFields(
  fields: LogRecordFields,
  keys: readonly string[],
  values: readonly (Value | undefined)[],
): Uint8Array {
  writer.begin();
  writeTime(RECORD_TIME, fields.timestamp);
  const severity = integerOf(fields.severityNumber);
  if (severity !== 0) writer.int64(RECORD_SEVERITY_NUMBER, severity);
  writeText(RECORD_SEVERITY_TEXT, fields.severityText);
  if (fields.body !== null) writeValue(RECORD_BODY, fields.body, 0);
  writeAttributes(RECORD_ATTRIBUTES, keys, values);
  const dropped = integerOf(fields.droppedAttributes);
  if (dropped > 0) writer.varint(RECORD_DROPPED_ATTRIBUTES, dropped);
  const flags = integerOf(fields.flags);
  if (flags !== 0) writer.fixed32(RECORD_FLAGS, flags);
  writeId(RECORD_TRACE_ID, fields.traceId);
  writeId(RECORD_SPAN_ID, fields.spanId);
  writeTime(RECORD_OBSERVED_TIME, fields.observedTimestamp);
  writeText(RECORD_EVENT_NAME, fields.eventName);
  return writer.take();
}

function writeTime(tag: number, nanos: bigint): void {
  if (typeof nanos === "bigint" && nanos > 0n && nanos <= UINT64_MAX) writer.fixed64(tag, nanos);
}

/** What int32 and uint32 hold; 0 for everything else. */
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

function writeAttributes(
  tag: number,
  keys: readonly string[],
  values: readonly (Value | undefined)[],
): void {
  for (let index = 0; index < keys.length; index++) {
    const value = values[index];
    if (value !== undefined) writeKeyValue(tag, keys[index]!, value, 0);
  }
}

function writeMap(tag: number, attributes: ReadonlyMap<string, Value>): void {
  for (const [key, value] of attributes) writeKeyValue(tag, key, value, 0);
}

function writeKeyValue(tag: number, key: string, value: Value, depth: number): void {
  const start = writer.open(tag);
  writeText(KEY_VALUE_KEY, key);
  writeValue(KEY_VALUE_VALUE, value, depth);
  writer.close(start);
}

/** An AnyValue, of which `depth` lists and maps are around it. Null is one without a value. */
function writeValue(tag: number, value: Value, depth: number): void {
  const start = writer.open(tag);
  if (value !== null) writeContent(value, depth);
  writer.close(start);
}

function writeContent(value: Exclude<Value, null>, depth: number): void {
  switch (typeof value) {
    case "string":
      return writer.string(VALUE_STRING, value);
    case "boolean":
      return writer.varint(VALUE_BOOL, value ? 1 : 0);
    case "number":
      return writeNumber(value);
    case "bigint":
      return writeInteger(value);
    default:
      writeObject(value, depth);
  }
}

/** JavaScript has one type for both: whole numbers are integers, as its SDK sends them. */
function writeNumber(value: number): void {
  if (Number.isSafeInteger(value) && !Object.is(value, -0)) writer.int64(VALUE_INT, value);
  else writer.double(VALUE_DOUBLE, value);
}

function writeInteger(value: bigint): void {
  if (isInt64(value)) writer.int64(VALUE_INT, value);
  else writer.string(VALUE_STRING, String(value));
}

function writeObject(
  value: Exclude<Value, string | number | bigint | boolean | null>,
  depth: number,
): void {
  if (value instanceof Uint8Array) writer.bytes(VALUE_BYTES, value);
  else if (depth >= DEPTH_MAX) writer.string(VALUE_STRING, DEPTH_TEXT);
  else if (Array.isArray(value)) {
    const start = writer.open(VALUE_ARRAY);
    for (const inner of value) writeValue(LIST_VALUES, inner, depth + 1);
    writer.close(start);
  } else if (value instanceof Map) {
    const start = writer.open(VALUE_KEY_VALUES);
    for (const [key, inner] of value) writeKeyValue(LIST_VALUES, key, inner, depth + 1);
    writer.close(start);
  } else writer.string(VALUE_STRING, textOf(value));
}

/** A record as pieces of an ExportLogsServiceRequest: what it takes to put it into another one as it came. */
export interface EncodedRecord {
  /** The fields of its ResourceLogs beside the scope logs, with their tags. Equal objects save work. */
  readonly resource: Uint8Array;
  /** The fields of its ScopeLogs beside the records, with their tags. Equal objects save work. */
  readonly scope: Uint8Array;
  /** Its LogRecord message. */
  readonly record: Uint8Array;
}

/** A run of records of one scope. */
interface ScopeRun {
  readonly scope: Uint8Array;
  readonly records: Uint8Array[];
  /** Of the ScopeLogs message. */
  bytes: number;
}

interface ResourceRun {
  readonly resource: Uint8Array;
  readonly scopes: ScopeRun[];
}

/** An ExportLogsServiceRequest of the records, which stand in it in their order. */
export function buildRequest(
  length: number,
  piecesOf: (index: number) => EncodedRecord,
): Uint8Array<ArrayBuffer> {
  const request = new RequestBuilder(length, piecesOf);
  const bytes = Buffer.allocUnsafeSlow(request.byteLength);
  request.writeTo(bytes, 0);
  return bytes;
}

/** A request whose size is known before it is written, so that it can be written to where it belongs. */
export class RequestBuilder {
  readonly byteLength: number;
  readonly #runs: readonly ResourceRun[];
  readonly #sizes: readonly number[];

  constructor(length: number, piecesOf: (index: number) => EncodedRecord) {
    const runs: ResourceRun[] = [];
    for (let index = 0; index < length; index++) add(runs, piecesOf(index));
    this.#runs = runs;
    this.#sizes = runs.map(sizeOf);
    this.byteLength = this.#sizes.reduce((sum, size) => sum + fieldBytes(size), 0);
  }

  writeTo(bytes: Uint8Array, position: number): void {
    const fields = new FieldWriter(bytes, position);
    for (const [index, { resource, scopes }] of this.#runs.entries()) {
      fields.head(REQUEST_RESOURCE_LOGS, this.#sizes[index]!);
      fields.raw(resource);
      for (const { scope, records, bytes: scopeBytes } of scopes) {
        fields.head(RESOURCE_LOGS_SCOPE_LOGS, scopeBytes);
        fields.raw(scope);
        for (const record of records) {
          fields.head(SCOPE_LOGS_RECORDS, record.length);
          fields.raw(record);
        }
      }
    }
  }
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

/** A field with a length: the tags that are used here have one byte. */
function fieldBytes(length: number): number {
  return 1 + varintBytes(length) + length;
}

function varintBytes(value: number): number {
  let bytes = 1;
  for (let rest = value; rest > 0x7f; rest = Math.floor(rest / 0x80)) bytes++;
  return bytes;
}

class FieldWriter {
  readonly #bytes: Uint8Array;
  #position: number;

  constructor(bytes: Uint8Array, position: number) {
    this.#bytes = bytes;
    this.#position = position;
  }

  head(tag: number, length: number): void {
    this.#bytes[this.#position++] = tag;
    let rest = length;
    for (; rest > 0x7f; rest = Math.floor(rest / 0x80)) {
      this.#bytes[this.#position++] = (rest % 0x80) | 0x80;
    }
    this.#bytes[this.#position++] = rest;
  }

  raw(bytes: Uint8Array): void {
    this.#bytes.set(bytes, this.#position);
    this.#position += bytes.length;
  }
}

/**
 * The pieces with a text as one more attribute of the record, unless it has one of that name. In protobuf a field that
 * is appended to a message is one more of that field.
 */
export function withAttribute(pieces: EncodedRecord, name: string, text: string): EncodedRecord {
  const { record } = pieces;
  if (hasAttribute(record, name)) return pieces;
  writer.message(RECORD_ATTRIBUTES, () => {
    writer.string(KEY_VALUE_KEY, name);
    writer.message(KEY_VALUE_VALUE, () => writer.string(VALUE_STRING, text));
  });
  const { resource, scope } = pieces;
  return { resource, scope, record: Buffer.concat([record, writer.take()]) };
}

function hasAttribute(record: Uint8Array, name: string): boolean {
  // Where its bytes are nowhere, which is most of the time, there is nothing to read.
  const bytes = Buffer.from(record.buffer, record.byteOffset, record.byteLength);
  if (!bytes.includes(name)) return false;
  const reader = new ProtobufReader(record);
  while (reader.position < record.length) {
    const tag = reader.field(record.length);
    if (tag !== RECORD_ATTRIBUTES) reader.ignore(tag, record.length, 0);
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
    if (tag === KEY_VALUE_KEY) {
      isSame = reader.bytes.toString("utf8", reader.start, reader.end) === name;
    } else reader.ignore(tag, end, 0);
  }
  reader.position = after;
  return isSame;
}
