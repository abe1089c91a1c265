/**
 * The tags of OTLP's protobuf fields: the field's number and its wire type, as they stand on the wire
 * (opentelemetry-proto 1.10, common/v1, resource/v1, logs/v1 and collector/logs/v1).
 */

const VARINT = 0;
const FIXED64 = 1;
const LENGTH = 2;
const FIXED32 = 5;

/** `ExportLogsServiceRequest.resource_logs` */
export const REQUEST_RESOURCE_LOGS = (1 << 3) | LENGTH;

export const RESOURCE_LOGS_RESOURCE = (1 << 3) | LENGTH;
export const RESOURCE_LOGS_SCOPE_LOGS = (2 << 3) | LENGTH;
export const RESOURCE_LOGS_SCHEMA_URL = (3 << 3) | LENGTH;

/**
 * `ResourceLogs.deprecated_instrumentation_library_logs`, which senders from before opentelemetry-proto 0.15 have in the
 * place of scope logs. Its messages have the same fields.
 */
export const RESOURCE_LOGS_LIBRARY_LOGS = (1000 << 3) | LENGTH;

export const SCOPE_LOGS_SCOPE = (1 << 3) | LENGTH;
export const SCOPE_LOGS_RECORDS = (2 << 3) | LENGTH;
export const SCOPE_LOGS_SCHEMA_URL = (3 << 3) | LENGTH;

export const RESOURCE_ATTRIBUTES = (1 << 3) | LENGTH;
export const RESOURCE_DROPPED_ATTRIBUTES = (2 << 3) | VARINT;

export const SCOPE_NAME = (1 << 3) | LENGTH;
export const SCOPE_VERSION = (2 << 3) | LENGTH;
export const SCOPE_ATTRIBUTES = (3 << 3) | LENGTH;
export const SCOPE_DROPPED_ATTRIBUTES = (4 << 3) | VARINT;

export const RECORD_TIME = (1 << 3) | FIXED64;
export const RECORD_SEVERITY_NUMBER = (2 << 3) | VARINT;
export const RECORD_SEVERITY_TEXT = (3 << 3) | LENGTH;
export const RECORD_BODY = (5 << 3) | LENGTH;
export const RECORD_ATTRIBUTES = (6 << 3) | LENGTH;
export const RECORD_DROPPED_ATTRIBUTES = (7 << 3) | VARINT;
export const RECORD_FLAGS = (8 << 3) | FIXED32;
export const RECORD_TRACE_ID = (9 << 3) | LENGTH;
export const RECORD_SPAN_ID = (10 << 3) | LENGTH;
export const RECORD_OBSERVED_TIME = (11 << 3) | FIXED64;
export const RECORD_EVENT_NAME = (12 << 3) | LENGTH;

export const KEY_VALUE_KEY = (1 << 3) | LENGTH;
export const KEY_VALUE_VALUE = (2 << 3) | LENGTH;

export const VALUE_STRING = (1 << 3) | LENGTH;
export const VALUE_BOOL = (2 << 3) | VARINT;
export const VALUE_INT = (3 << 3) | VARINT;
export const VALUE_DOUBLE = (4 << 3) | FIXED64;
export const VALUE_ARRAY = (5 << 3) | LENGTH;
export const VALUE_KEY_VALUES = (6 << 3) | LENGTH;
export const VALUE_BYTES = (7 << 3) | LENGTH;

/** `ArrayValue.values` and `KeyValueList.values` */
export const LIST_VALUES = (1 << 3) | LENGTH;

/** For each message the numbers of the fields above, as bits: such a field with another wire type is an error. */
export const REQUEST_FIELDS = numbersOf(REQUEST_RESOURCE_LOGS);
export const RESOURCE_LOGS_FIELDS = numbersOf(RESOURCE_LOGS_RESOURCE, RESOURCE_LOGS_SCOPE_LOGS);
export const SCOPE_LOGS_FIELDS = numbersOf(SCOPE_LOGS_SCOPE, SCOPE_LOGS_RECORDS);
export const RESOURCE_FIELDS = numbersOf(RESOURCE_ATTRIBUTES);
export const SCOPE_FIELDS = numbersOf(SCOPE_NAME, SCOPE_VERSION, SCOPE_ATTRIBUTES);
export const RECORD_FIELDS = numbersOf(
  RECORD_TIME,
  RECORD_SEVERITY_NUMBER,
  RECORD_SEVERITY_TEXT,
  RECORD_BODY,
  RECORD_ATTRIBUTES,
  RECORD_FLAGS,
  RECORD_TRACE_ID,
  RECORD_SPAN_ID,
  RECORD_OBSERVED_TIME,
  RECORD_EVENT_NAME,
);
export const KEY_VALUE_FIELDS = numbersOf(KEY_VALUE_KEY, KEY_VALUE_VALUE);
export const VALUE_FIELDS = numbersOf(
  VALUE_STRING,
  VALUE_BOOL,
  VALUE_INT,
  VALUE_DOUBLE,
  VALUE_ARRAY,
  VALUE_KEY_VALUES,
  VALUE_BYTES,
);
export const LIST_FIELDS = numbersOf(LIST_VALUES);

function numbersOf(...tags: readonly number[]): number {
  return tags.reduce((bits, tag) => bits | (1 << (tag >>> 3)), 0);
}
