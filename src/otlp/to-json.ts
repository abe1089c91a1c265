/**
 * OTLP's JSON form of an ExportLogsServiceRequest in protobuf, field by field, so that nothing is lost of what a
 * record does not have: types of numbers, schema URLs, counts of dropped attributes.
 */

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
  REQUEST_RESOURCE_LOGS,
  RESOURCE_ATTRIBUTES,
  RESOURCE_DROPPED_ATTRIBUTES,
  RESOURCE_LOGS_RESOURCE,
  RESOURCE_LOGS_SCHEMA_URL,
  RESOURCE_LOGS_SCOPE_LOGS,
  SCOPE_ATTRIBUTES,
  SCOPE_DROPPED_ATTRIBUTES,
  SCOPE_LOGS_RECORDS,
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
import { ProtobufReader } from "./protobuf-reader.ts";

/** Reads a field's value, up to the end of its message, as JSON text. `depth` lists and maps are around it. */
type ReadField = (reader: ProtobufReader, end: number, depth: number) => string;

interface Field {
  readonly name: string;
  readonly read: ReadField;
  readonly isList?: boolean;
}

/** A message's fields by their tags. */
type Fields = ReadonlyMap<number, Field>;

/**
 * The request as JSON, UTF-8.
 * @throws TailgateError OTLP_UNDECODABLE
 */
export function otlpToJson(request: Uint8Array): Uint8Array {
  return Buffer.from(messageText(new ProtobufReader(request), request.length, REQUEST, 0));
}

/** Of a field that is there twice, and is no list, the last value counts. */
function messageText(
  reader: ProtobufReader,
  end: number,
  fields: Fields,
  depth: number,
  isOneOf = false,
): string {
  const members = new Map<string, string | string[]>();
  while (reader.position < end) {
    const tag = reader.tag(end);
    const field = fields.get(tag);
    if (field === undefined) {
      reader.skip(tag, end, 0);
      continue;
    }
    const text = field.read(reader, end, depth);
    if (isOneOf) members.clear();
    const list = field.isList ? members.get(field.name) : undefined;
    if (Array.isArray(list)) list.push(text);
    else members.set(field.name, field.isList ? [text] : text);
  }
  const texts = [...members].map(
    ([name, value]) => `"${name}":${Array.isArray(value) ? `[${value.join(",")}]` : value}`,
  );
  return `{${texts.join(",")}}`;
}

const text: ReadField = (reader, end) => JSON.stringify(bytesOf(reader, end).toString());

const hex: ReadField = (reader, end) => `"${bytesOf(reader, end).toString("hex")}"`;

const base64: ReadField = (reader, end) => `"${bytesOf(reader, end).toString("base64")}"`;

const count: ReadField = (reader, end) => {
  reader.varint(end);
  return String(reader.low);
};

const enumeration: ReadField = (reader, end) => {
  reader.varint(end);
  return String(reader.low | 0);
};

const int64: ReadField = (reader, end) => {
  reader.varint(end);
  return `"${reader.int64()}"`;
};

const nanos: ReadField = (reader, end) => {
  reader.fixed64(end);
  return `"${(BigInt(reader.high) << 32n) | BigInt(reader.low)}"`;
};

const fixed32: ReadField = (reader, end) => String(reader.fixed32(end));

const boolean: ReadField = (reader, end) => {
  reader.varint(end);
  return String(reader.low !== 0 || reader.high !== 0);
};

/** JSON has neither NaN nor infinities, and JavaScript's has no negative zero. */
const double: ReadField = (reader, end) => {
  const value = reader.double(end);
  if (Object.is(value, -0)) return "-0.0";
  return Number.isFinite(value) ? String(value) : `"${value}"`;
};

/** A message within the message. */
function message(fields: () => Fields): ReadField {
  return (reader, end, depth) => messageText(reader, reader.length(end), fields(), depth);
}

const value: ReadField = (reader, end, depth) =>
  messageText(reader, reader.length(end), depth < DEPTH_MAX ? VALUE : DEEPEST_VALUE, depth, true);

/** The list or the map in a value. */
function nested(fields: () => Fields): ReadField {
  return (reader, end, depth) => messageText(reader, reader.length(end), fields(), depth + 1);
}

const tooDeep: ReadField = (reader, end) => {
  reader.position = reader.length(end);
  return JSON.stringify(DEPTH_TEXT);
};

function bytesOf(reader: ProtobufReader, end: number): Buffer {
  const stop = reader.length(end);
  const bytes = reader.bytes.subarray(reader.position, stop);
  reader.position = stop;
  return bytes;
}

const KEY_VALUE: Fields = new Map([
  [KEY_VALUE_KEY, { name: "key", read: text }],
  [KEY_VALUE_VALUE, { name: "value", read: value }],
]);

const keyValue = message(() => KEY_VALUE);

const LIST: Fields = new Map([[LIST_VALUES, { name: "values", read: value, isList: true }]]);

const MAP: Fields = new Map([[LIST_VALUES, { name: "values", read: keyValue, isList: true }]]);

const SIMPLE_VALUES: readonly [number, Field][] = [
  [VALUE_STRING, { name: "stringValue", read: text }],
  [VALUE_BOOL, { name: "boolValue", read: boolean }],
  [VALUE_INT, { name: "intValue", read: int64 }],
  [VALUE_DOUBLE, { name: "doubleValue", read: double }],
  [VALUE_BYTES, { name: "bytesValue", read: base64 }],
];

const VALUE: Fields = new Map([
  ...SIMPLE_VALUES,
  [VALUE_ARRAY, { name: "arrayValue", read: nested(() => LIST) }],
  [VALUE_KEY_VALUES, { name: "kvlistValue", read: nested(() => MAP) }],
]);

const DEEPEST_VALUE: Fields = new Map([
  ...SIMPLE_VALUES,
  [VALUE_ARRAY, { name: "stringValue", read: tooDeep }],
  [VALUE_KEY_VALUES, { name: "stringValue", read: tooDeep }],
]);

const RECORD: Fields = new Map<number, Field>([
  [RECORD_TIME, { name: "timeUnixNano", read: nanos }],
  [RECORD_OBSERVED_TIME, { name: "observedTimeUnixNano", read: nanos }],
  [RECORD_SEVERITY_NUMBER, { name: "severityNumber", read: enumeration }],
  [RECORD_SEVERITY_TEXT, { name: "severityText", read: text }],
  [RECORD_BODY, { name: "body", read: value }],
  [RECORD_ATTRIBUTES, { name: "attributes", read: keyValue, isList: true }],
  [RECORD_DROPPED_ATTRIBUTES, { name: "droppedAttributesCount", read: count }],
  [RECORD_FLAGS, { name: "flags", read: fixed32 }],
  [RECORD_TRACE_ID, { name: "traceId", read: hex }],
  [RECORD_SPAN_ID, { name: "spanId", read: hex }],
  [RECORD_EVENT_NAME, { name: "eventName", read: text }],
]);

const SCOPE: Fields = new Map<number, Field>([
  [SCOPE_NAME, { name: "name", read: text }],
  [SCOPE_VERSION, { name: "version", read: text }],
  [SCOPE_ATTRIBUTES, { name: "attributes", read: keyValue, isList: true }],
  [SCOPE_DROPPED_ATTRIBUTES, { name: "droppedAttributesCount", read: count }],
]);

const SCOPE_LOGS: Fields = new Map<number, Field>([
  [SCOPE_LOGS_SCOPE, { name: "scope", read: message(() => SCOPE) }],
  [SCOPE_LOGS_RECORDS, { name: "logRecords", read: message(() => RECORD), isList: true }],
  [SCOPE_LOGS_SCHEMA_URL, { name: "schemaUrl", read: text }],
]);

const RESOURCE: Fields = new Map<number, Field>([
  [RESOURCE_ATTRIBUTES, { name: "attributes", read: keyValue, isList: true }],
  [RESOURCE_DROPPED_ATTRIBUTES, { name: "droppedAttributesCount", read: count }],
]);

const RESOURCE_LOGS: Fields = new Map<number, Field>([
  [RESOURCE_LOGS_RESOURCE, { name: "resource", read: message(() => RESOURCE) }],
  [RESOURCE_LOGS_SCOPE_LOGS, { name: "scopeLogs", read: message(() => SCOPE_LOGS), isList: true }],
  [RESOURCE_LOGS_SCHEMA_URL, { name: "schemaUrl", read: text }],
]);

const REQUEST: Fields = new Map([
  [
    REQUEST_RESOURCE_LOGS,
    { name: "resourceLogs", read: message(() => RESOURCE_LOGS), isList: true },
  ],
]);
