import { textOf } from "../wire/errors.ts";
import type { LogRecord, Resource, Scope, Value } from "../plugin/index.ts";
import { isInt64 } from "./int64.ts";
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
  RESOURCE_LOGS_RESOURCE,
  RESOURCE_LOGS_SCHEMA_URL,
  SCOPE_ATTRIBUTES,
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
import { otlpRequest, type OtlpPieces } from "./otlp-request.ts";
import { ProtobufOrigin } from "../batch/protobuf-origin.ts";
import { ProtobufWriter } from "./protobuf-writer.ts";
import type { Origin } from "../batch/record-batch.ts";

/** What a LogRecord message says, apart from its attributes. */
export interface RecordFields {
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

/** What one of them takes in memory beside the request. */
const ORIGIN_BYTES = 512;

/**
 * Keeps records of plugins as the request that they would have come in: a plugin may change its objects later, and what
 * an object holds that is no OTLP must not come up when a commit is made of it and others.
 */
export class RecordOrigin implements Origin {
  readonly #request: ProtobufOrigin;

  constructor(records: readonly LogRecord[]) {
    const request = otlpRequest(records.length, (index) => piecesOf(records[index]!));
    this.#request = new ProtobufOrigin(request, records.length);
  }

  /** A request for each record would take more memory than the records. */
  get isInterim(): boolean {
    return this.#request.records === 1;
  }

  get recordBytes(): number {
    return this.#request.recordBytes + ORIGIN_BYTES;
  }

  get records(): number {
    return this.#request.records;
  }

  get request(): Uint8Array {
    return this.#request.request;
  }

  record(index: number): LogRecord {
    return this.#request.record(index);
  }

  otlp(index: number): OtlpPieces {
    return this.#request.otlp(index);
  }
}

function piecesOf(record: LogRecord): OtlpPieces {
  return {
    resource: record.resource === null ? NOTHING : resourcePiece(record.resource),
    scope: scopePiece(record.scope),
    record: recordPiece(
      { ...record, droppedAttributes: 0 },
      [...record.attributes.keys()],
      [...record.attributes.values()],
    ),
  };
}

const NOTHING = new Uint8Array();

/** A resource as ResourceLogs has it. */
export function resourcePiece({ attributes }: Resource, schemaUrl = ""): Uint8Array {
  writer.begin();
  writer.message(RESOURCE_LOGS_RESOURCE, () => writeMap(RESOURCE_ATTRIBUTES, attributes));
  writeText(RESOURCE_LOGS_SCHEMA_URL, schemaUrl);
  return writer.take();
}

/** A scope as ScopeLogs has it. */
export function scopePiece({ name, version, attributes }: Scope, schemaUrl = ""): Uint8Array {
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
export function recordPiece(
  fields: RecordFields,
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
