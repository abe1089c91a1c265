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

/** What stands for a member's value. */
export const TEXT = 0;
/** A text that is there also where it is empty. */
export const KEPT_TEXT = 1;
export const TIME = 2;
export const COUNT = 3;
export const FLAGS = 4;
export const TRACE_ID = 5;
export const SPAN_ID = 6;
export const INTEGER = 7;
export const DOUBLE = 8;
export const BOOLEAN = 9;
export const BYTES = 10;
export const MESSAGE = 11;
export const MESSAGES = 12;

/** One member of an object in OTLP's JSON, and the protobuf field that it is. */
export interface Member {
  /** Its name and the quote behind it, by words: the last one may lie over the one before it. */
  readonly words: readonly number[];
  readonly bytes: number;
  readonly tag: number;
  readonly form: number;
  /** What a message, or each of a list of them, consists of. */
  readonly members: readonly Member[];
  /** Its place among the members of its object, as a bit. */
  readonly bit: number;
}

type Row = readonly [
  name: string,
  tag: number,
  form: number,
  members?: readonly Member[] | undefined,
];

const WORD_BYTES = 4;

function table(rows: readonly Row[]): Member[] {
  return rows.map(([name, tag, form, members = []], index) => {
    const text = Buffer.from(`${name}"`);
    const words: number[] = [];
    for (let place = 0; place < text.length - WORD_BYTES; place += WORD_BYTES) {
      words.push(text.readInt32LE(place));
    }
    words.push(text.readInt32LE(text.length - WORD_BYTES));
    return { words, bytes: text.length, tag, form, members, bit: 1 << index };
  });
}

/** A value may hold values: the table is filled when it is there. */
const ANY_VALUE: Member[] = [];

const KEY_VALUE = table([
  ["key", KEY_VALUE_KEY, TEXT],
  ["value", KEY_VALUE_VALUE, MESSAGE, ANY_VALUE],
]);

ANY_VALUE.push(
  ...table([
    ["stringValue", VALUE_STRING, KEPT_TEXT],
    ["intValue", VALUE_INT, INTEGER],
    [
      "kvlistValue",
      VALUE_KEY_VALUES,
      MESSAGE,
      table([["values", LIST_VALUES, MESSAGES, KEY_VALUE]]),
    ],
    ["doubleValue", VALUE_DOUBLE, DOUBLE],
    ["boolValue", VALUE_BOOL, BOOLEAN],
    ["bytesValue", VALUE_BYTES, BYTES],
    ["arrayValue", VALUE_ARRAY, MESSAGE, table([["values", LIST_VALUES, MESSAGES, ANY_VALUE]])],
  ]),
);

/** In the order in which JavaScript's SDK sends them. */
export const RECORD = table([
  ["timeUnixNano", RECORD_TIME, TIME],
  ["observedTimeUnixNano", RECORD_OBSERVED_TIME, TIME],
  ["severityNumber", RECORD_SEVERITY_NUMBER, COUNT],
  ["severityText", RECORD_SEVERITY_TEXT, TEXT],
  ["body", RECORD_BODY, MESSAGE, ANY_VALUE],
  ["eventName", RECORD_EVENT_NAME, TEXT],
  ["attributes", RECORD_ATTRIBUTES, MESSAGES, KEY_VALUE],
  ["droppedAttributesCount", RECORD_DROPPED_ATTRIBUTES, COUNT],
  ["flags", RECORD_FLAGS, FLAGS],
  ["traceId", RECORD_TRACE_ID, TRACE_ID],
  ["spanId", RECORD_SPAN_ID, SPAN_ID],
]);

const SCOPE = table([
  ["name", SCOPE_NAME, TEXT],
  ["version", SCOPE_VERSION, TEXT],
  ["attributes", SCOPE_ATTRIBUTES, MESSAGES, KEY_VALUE],
  ["droppedAttributesCount", SCOPE_DROPPED_ATTRIBUTES, COUNT],
]);

const SCOPE_LOGS = table([
  ["scope", SCOPE_LOGS_SCOPE, MESSAGE, SCOPE],
  ["logRecords", SCOPE_LOGS_RECORDS, MESSAGES, RECORD],
  ["schemaUrl", SCOPE_LOGS_SCHEMA_URL, TEXT],
]);

const RESOURCE = table([
  ["attributes", RESOURCE_ATTRIBUTES, MESSAGES, KEY_VALUE],
  ["droppedAttributesCount", RESOURCE_DROPPED_ATTRIBUTES, COUNT],
]);

const RESOURCE_LOGS = table([
  ["resource", RESOURCE_LOGS_RESOURCE, MESSAGE, RESOURCE],
  ["scopeLogs", RESOURCE_LOGS_SCOPE_LOGS, MESSAGES, SCOPE_LOGS],
  ["schemaUrl", RESOURCE_LOGS_SCHEMA_URL, TEXT],
]);

/** The members of an ExportLogsServiceRequest (opentelemetry-proto 1.10). */
export const REQUEST = table([["resourceLogs", REQUEST_RESOURCE_LOGS, MESSAGES, RESOURCE_LOGS]]);

/** A value is one of these, and no more than one. */
export function isOneOf(members: readonly Member[]): boolean {
  return members === ANY_VALUE;
}
