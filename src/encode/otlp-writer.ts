import type { LogRecord, Resource, Scope, Value } from "../plugin.ts";
import { DEPTH_MAX, DEPTH_TEXT } from "./json-writer.ts";
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
} from "./otlp-fields.ts";
import type { OtlpPieces } from "./otlp-request.ts";
import { ProtobufWriter } from "./protobuf-writer.ts";
import type { Origin } from "./record-batch.ts";

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

const INT64_MIN = -(2n ** 63n);
const INT64_MAX = 2n ** 63n - 1n;

/** Work is done on one record at a time, and within one call. */
const writer = new ProtobufWriter();

/** Keeps records as objects: for those of plugins. */
export class RecordOrigin implements Origin {
  readonly recordBytes: number;
  readonly #records: readonly LogRecord[];

  /** `recordBytes`: about what a record takes in memory. */
  constructor(records: readonly LogRecord[], recordBytes: number) {
    this.#records = records;
    this.recordBytes = recordBytes;
  }

  record(index: number): LogRecord {
    return this.#records[index]!;
  }

  otlp(index: number): OtlpPieces {
    const record = this.#records[index]!;
    return {
      resource: record.resource === null ? NOTHING : resourcePiece(record.resource),
      scope: scopePiece(record.scope),
      record: recordPiece(
        { ...record, droppedAttributes: 0 },
        record.attributes.keys(),
        record.attributes.values(),
      ),
    };
  }
}

const NOTHING = new Uint8Array();

/** A resource as ResourceLogs has it. */
export function resourcePiece({ attributes }: Resource, schemaUrl = ""): Uint8Array {
  writer.message(RESOURCE_LOGS_RESOURCE, () =>
    writeAttributes(RESOURCE_ATTRIBUTES, attributes.keys(), attributes.values()),
  );
  if (schemaUrl !== "") writer.string(RESOURCE_LOGS_SCHEMA_URL, schemaUrl);
  return writer.take();
}

/** A scope as ScopeLogs has it. */
export function scopePiece({ name, version, attributes }: Scope, schemaUrl = ""): Uint8Array {
  writer.message(SCOPE_LOGS_SCOPE, () => {
    if (name !== "") writer.string(SCOPE_NAME, name);
    if (version !== "") writer.string(SCOPE_VERSION, version);
    writeAttributes(SCOPE_ATTRIBUTES, attributes.keys(), attributes.values());
  });
  if (schemaUrl !== "") writer.string(SCOPE_LOGS_SCHEMA_URL, schemaUrl);
  return writer.take();
}

/** A LogRecord message; attributes as two columns, those without a value left out. */
export function recordPiece(
  fields: RecordFields,
  keys: Iterable<string>,
  values: Iterable<Value | undefined>,
): Uint8Array {
  if (fields.timestamp !== 0n) writer.fixed64(RECORD_TIME, fields.timestamp);
  if (fields.severityNumber !== 0) writer.int64(RECORD_SEVERITY_NUMBER, fields.severityNumber);
  if (fields.severityText !== "") writer.string(RECORD_SEVERITY_TEXT, fields.severityText);
  if (fields.body !== null) writeValue(RECORD_BODY, fields.body, 0);
  writeAttributes(RECORD_ATTRIBUTES, keys, values);
  if (fields.droppedAttributes !== 0) {
    writer.varint(RECORD_DROPPED_ATTRIBUTES, fields.droppedAttributes);
  }
  if (fields.flags !== 0) writer.fixed32(RECORD_FLAGS, fields.flags);
  if (fields.traceId !== "") writer.bytes(RECORD_TRACE_ID, Buffer.from(fields.traceId, "hex"));
  if (fields.spanId !== "") writer.bytes(RECORD_SPAN_ID, Buffer.from(fields.spanId, "hex"));
  if (fields.observedTimestamp !== 0n) {
    writer.fixed64(RECORD_OBSERVED_TIME, fields.observedTimestamp);
  }
  if (fields.eventName !== "") writer.string(RECORD_EVENT_NAME, fields.eventName);
  return writer.take();
}

function writeAttributes(
  tag: number,
  keys: Iterable<string>,
  values: Iterable<Value | undefined>,
): void {
  const remaining = values[Symbol.iterator]();
  for (const key of keys) {
    const value = remaining.next().value as Value | undefined;
    if (value !== undefined) writeKeyValue(tag, key, value, 0);
  }
}

function writeKeyValue(tag: number, key: string, value: Value, depth: number): void {
  writer.message(tag, () => {
    if (key !== "") writer.string(KEY_VALUE_KEY, key);
    writeValue(KEY_VALUE_VALUE, value, depth);
  });
}

/** An AnyValue, of which `depth` lists and maps are around it. Null is one without a value. */
function writeValue(tag: number, value: Value, depth: number): void {
  writer.message(tag, () => {
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
        if (value !== null) writeObject(value, depth);
    }
  });
}

/** JavaScript has one type for both: whole numbers are integers, as its SDK sends them. */
function writeNumber(value: number): void {
  if (Number.isSafeInteger(value) && !Object.is(value, -0)) writer.int64(VALUE_INT, value);
  else writer.double(VALUE_DOUBLE, value);
}

function writeInteger(value: bigint): void {
  if (value >= INT64_MIN && value <= INT64_MAX) writer.int64(VALUE_INT, value);
  else writer.string(VALUE_STRING, String(value));
}

function writeObject(
  value: Exclude<Value, string | number | bigint | boolean | null>,
  depth: number,
): void {
  if (value instanceof Uint8Array) writer.bytes(VALUE_BYTES, value);
  else if (depth >= DEPTH_MAX) writer.string(VALUE_STRING, DEPTH_TEXT);
  else if (Array.isArray(value)) {
    writer.message(VALUE_ARRAY, () => {
      for (const inner of value) writeValue(LIST_VALUES, inner, depth + 1);
    });
  } else {
    writer.message(VALUE_KEY_VALUES, () => {
      for (const [key, inner] of value) writeKeyValue(LIST_VALUES, key, inner, depth + 1);
    });
  }
}
