import { isInt64 } from "./encode.ts";
import { LIBRARY, severityNumberOf } from "./json-aliases.ts";
import { DEPTH_MAX, DEPTH_TEXT } from "../envelope/json-writer.ts";
import { parseInteger } from "./json-number.ts";
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
import { ProtobufWriter } from "./protobuf-writer.ts";

/** Parsed JSON that {@link JsonDecoder} has read without an error: every member has its type, or is null or absent. */
export type ReadJson = Readonly<Record<string, unknown>>;

const HEX = /^(?:[0-9a-f]{2})+$/i;

/** Work is done on one record at a time, and within one call. */
const writer = new ProtobufWriter();

/** The ResourceLogs' fields beside the scope logs, in protobuf. */
export function resourcePieceOfJson(resourceLogs: ReadJson): Uint8Array {
  writer.begin();
  const resource = resourceLogs["resource"] as ReadJson | undefined;
  if (resource) {
    writer.message(RESOURCE_LOGS_RESOURCE, () => {
      writeKeyValues(RESOURCE_ATTRIBUTES, resource["attributes"], 0);
      writeCount(RESOURCE_DROPPED_ATTRIBUTES, resource["droppedAttributesCount"]);
    });
  }
  writeText(RESOURCE_LOGS_SCHEMA_URL, resourceLogs["schemaUrl"]);
  return writer.take();
}

/** The ScopeLogs' fields beside the records, in protobuf. */
export function scopePieceOfJson(scopeLogs: ReadJson): Uint8Array {
  writer.begin();
  const scope = (scopeLogs["scope"] ?? scopeLogs[LIBRARY]) as ReadJson | undefined;
  if (scope) {
    writer.message(SCOPE_LOGS_SCOPE, () => {
      writeText(SCOPE_NAME, scope["name"]);
      writeText(SCOPE_VERSION, scope["version"]);
      writeKeyValues(SCOPE_ATTRIBUTES, scope["attributes"], 0);
      writeCount(SCOPE_DROPPED_ATTRIBUTES, scope["droppedAttributesCount"]);
    });
  }
  writeText(SCOPE_LOGS_SCHEMA_URL, scopeLogs["schemaUrl"]);
  return writer.take();
}

/** A LogRecord message. The times are given apart, as they were read. */
export function recordPieceOfJson(
  json: ReadJson,
  timestamp: bigint,
  observedTimestamp: bigint,
): Uint8Array {
  writer.begin();
  if (timestamp !== 0n) writer.fixed64(RECORD_TIME, timestamp);
  const severity = json["severityNumber"];
  const named = typeof severity === "string" ? severityNumberOf(severity) : undefined;
  writeCount(RECORD_SEVERITY_NUMBER, named ?? severity);
  writeText(RECORD_SEVERITY_TEXT, json["severityText"]);
  if (json["body"]) writeValue(RECORD_BODY, json["body"] as ReadJson, 0);
  writeKeyValues(RECORD_ATTRIBUTES, json["attributes"], 0);
  writeCount(RECORD_DROPPED_ATTRIBUTES, json["droppedAttributesCount"]);
  const flags = integerOf(json["flags"]);
  if (flags !== 0) writer.fixed32(RECORD_FLAGS, Number(flags));
  writeId(RECORD_TRACE_ID, json["traceId"]);
  writeId(RECORD_SPAN_ID, json["spanId"]);
  if (observedTimestamp !== 0n) writer.fixed64(RECORD_OBSERVED_TIME, observedTimestamp);
  writeText(RECORD_EVENT_NAME, json["eventName"]);
  return writer.take();
}

function writeText(tag: number, text: unknown): void {
  if (typeof text === "string" && text !== "") writer.string(tag, text);
}

function writeCount(tag: number, count: unknown): void {
  const integer = integerOf(count);
  if (integer !== 0) writer.int64(tag, integer);
}

/** What is no hex is left out: a part of it might look like an id. */
function writeId(tag: number, hex: unknown): void {
  if (typeof hex === "string" && HEX.test(hex)) writer.bytes(tag, Buffer.from(hex, "hex"));
}

function integerOf(value: unknown): number | bigint {
  if (typeof value === "string") return parseInteger(value) ?? 0;
  return typeof value === "number" && Number.isInteger(value) ? value : 0;
}

function writeKeyValues(tag: number, list: unknown, depth: number): void {
  for (const pair of (list ?? []) as readonly ReadJson[]) {
    writer.message(tag, () => {
      writeText(KEY_VALUE_KEY, pair["key"]);
      if (pair["value"]) writeValue(KEY_VALUE_VALUE, pair["value"] as ReadJson, depth);
    });
  }
}

/** An AnyValue, of which `depth` lists and maps are around it. Members are asked for in the order of the decoder. */
function writeValue(tag: number, json: ReadJson | null, depth: number): void {
  writer.message(tag, () => {
    if (json !== null) writeOneOf(json, depth);
  });
}

function writeOneOf(json: ReadJson, depth: number): void {
  const { stringValue, intValue, doubleValue, boolValue, kvlistValue, arrayValue, bytesValue } =
    json;
  if (isThere(stringValue)) writer.string(VALUE_STRING, stringValue as string);
  else if (isThere(intValue)) writeInteger(intValue);
  else if (doubleValue !== undefined) writer.double(VALUE_DOUBLE, doubleOf(doubleValue));
  else if (isThere(boolValue)) writer.varint(VALUE_BOOL, boolValue === true ? 1 : 0);
  else if (isThere(kvlistValue) || isThere(arrayValue)) {
    writeNested((kvlistValue ?? arrayValue) as ReadJson, isThere(kvlistValue), depth);
  } else if (isThere(bytesValue)) {
    writer.bytes(VALUE_BYTES, Buffer.from(bytesValue as string, "base64"));
  }
}

function writeNested(json: ReadJson, isMap: boolean, depth: number): void {
  if (depth >= DEPTH_MAX) return writer.string(VALUE_STRING, DEPTH_TEXT);
  writer.message(isMap ? VALUE_KEY_VALUES : VALUE_ARRAY, () => {
    if (isMap) return writeKeyValues(LIST_VALUES, json["values"], depth + 1);
    for (const inner of (json["values"] ?? []) as readonly (ReadJson | null)[]) {
      writeValue(LIST_VALUES, inner, depth + 1);
    }
  });
}

/** An integer outside of int64 is the nearest double, as in the envelope. */
function writeInteger(value: unknown): void {
  const integer = integerOf(value);
  const isExact = integer !== Infinity && integer !== -Infinity && isInt64(BigInt(integer));
  if (isExact) writer.int64(VALUE_INT, integer);
  else writer.double(VALUE_DOUBLE, Number(integer));
}

/** JSON has no NaN, which is sent as a text or as null. */
function doubleOf(value: unknown): number {
  return value === null ? Number.NaN : Number(value);
}

function isThere(value: unknown): boolean {
  return value !== undefined && value !== null;
}
