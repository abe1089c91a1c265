/**
 * OTLP's messages for logs (opentelemetry-proto 1.10: common/v1, resource/v1, logs/v1 and collector/logs/v1). This is
 * the only statement of their fields: everything that reads or writes OTLP, in protobuf or in JSON, derives from it.
 */

export const VARINT = 0;
export const FIXED64 = 1;
export const LENGTH = 2;
export const FIXED32 = 5;

/** The bits of a tag that hold the wire type; the field's number is above them. */
export const WIRE_TYPE_BITS = 7;

export const TRACE_ID_BYTES = 16;
export const SPAN_ID_BYTES = 8;

/** A field's type in protobuf; `time` is nanoseconds since 1970, and both ids are hex in JSON. */
const WIRE_TYPES = {
  string: LENGTH,
  bytes: LENGTH,
  traceId: LENGTH,
  spanId: LENGTH,
  message: LENGTH,
  bool: VARINT,
  int64: VARINT,
  uint32: VARINT,
  severity: VARINT,
  double: FIXED64,
  time: FIXED64,
  fixed32: FIXED32,
} as const;

export type FieldKind = keyof typeof WIRE_TYPES;

interface FieldSpec {
  readonly number: number;
  readonly kind: FieldKind;
  readonly isRepeated?: boolean;
  /** Its name before opentelemetry-proto 0.15, which JSON from old senders has. */
  readonly legacyName?: string;
  /** The gateway only passes it on: a value of the wrong type is not an error. */
  readonly isLenient?: boolean;
  /** Of kind `message`: its type, which may be defined later in this file. */
  readonly message?: () => Message;
}

export interface Field {
  /** Its name in OTLP's JSON. */
  readonly name: string;
  /** All names that senders use for it in JSON: {@link name}, protobuf's own in snake case, and the legacy ones. */
  readonly jsonNames: readonly string[];
  readonly number: number;
  readonly wireType: number;
  /** Number and wire type, as they are on the wire. */
  readonly tag: number;
  readonly kind: FieldKind;
  readonly isRepeated: boolean;
  readonly isLenient: boolean;
  /** The length of an id in bytes; 0 for other kinds. */
  readonly idBytes: number;
  readonly message: Message | undefined;
}

export interface Message<Name extends string = string> {
  /** In the order in which OpenTelemetry's JavaScript SDK writes them as JSON. */
  readonly fields: readonly Field[];
  readonly byNumber: readonly (Field | undefined)[];
  readonly byJsonName: ReadonlyMap<string, Field>;
  readonly tags: Readonly<Record<Name, number>>;
  /** The numbers of its fields, as bits, without the lenient ones: with another wire type, such a field is an error. */
  readonly strictNumbers: number;
  /** True if it has one of its fields at most. If JSON has several, the first in the order of {@link fields} counts. */
  readonly isOneOf: boolean;
}

/** Resolves the types of embedded messages, which may refer to each other, after all of them are defined. */
const unresolved: (() => void)[] = [];

function message<Name extends string>(
  specs: Readonly<Record<Name, FieldSpec>>,
  isOneOf = false,
): Message<Name> {
  const names = Object.keys(specs) as Name[];
  const fields = names.map((name) => fieldOf(name, specs[name]));
  const byNumber: Field[] = [];
  for (const field of fields) byNumber[field.number] = field;
  return {
    fields,
    byNumber,
    byJsonName: new Map(
      fields.flatMap((field) => field.jsonNames.map((name) => [name, field] as const)),
    ),
    tags: Object.fromEntries(fields.map(({ name, tag }) => [name, tag])) as Record<Name, number>,
    strictNumbers: fields.reduce(
      (bits, { number, isLenient }) => (isLenient || number > 31 ? bits : bits | (1 << number)),
      0,
    ),
    isOneOf,
  };
}

function fieldOf(name: string, spec: FieldSpec): Field {
  const { number, kind, isRepeated = false, isLenient = false, legacyName } = spec;
  const wireType = WIRE_TYPES[kind];
  const names = legacyName === undefined ? [name] : [name, legacyName];
  const field = {
    name,
    jsonNames: [...new Set(names.flatMap((jsonName) => [jsonName, snakeCase(jsonName)]))],
    number,
    wireType,
    tag: (number << 3) | wireType,
    kind,
    isRepeated,
    isLenient,
    idBytes: kind === "traceId" ? TRACE_ID_BYTES : kind === "spanId" ? SPAN_ID_BYTES : 0,
    message: undefined as Message | undefined,
  };
  unresolved.push(() => (field.message = spec.message?.()));
  return field;
}

function snakeCase(name: string): string {
  return name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

/** In JSON, the order of precedence. */
export const ANY_VALUE: Message<
  | "stringValue"
  | "intValue"
  | "doubleValue"
  | "boolValue"
  | "kvlistValue"
  | "arrayValue"
  | "bytesValue"
> = message(
  {
    stringValue: { number: 1, kind: "string" },
    intValue: { number: 3, kind: "int64" },
    doubleValue: { number: 4, kind: "double" },
    boolValue: { number: 2, kind: "bool" },
    kvlistValue: { number: 6, kind: "message", message: () => KEY_VALUE_LIST },
    arrayValue: { number: 5, kind: "message", message: () => ARRAY_VALUE },
    bytesValue: { number: 7, kind: "bytes" },
  },
  true,
);

export const KEY_VALUE = message({
  key: { number: 1, kind: "string" },
  value: { number: 2, kind: "message", message: () => ANY_VALUE },
});

export const ARRAY_VALUE = message({
  values: { number: 1, kind: "message", message: () => ANY_VALUE, isRepeated: true },
});

const KEY_VALUE_LIST = message({
  values: { number: 1, kind: "message", message: () => KEY_VALUE, isRepeated: true },
});

export const LOG_RECORD = message({
  timeUnixNano: { number: 1, kind: "time" },
  observedTimeUnixNano: { number: 11, kind: "time" },
  severityNumber: { number: 2, kind: "severity" },
  severityText: { number: 3, kind: "string" },
  body: { number: 5, kind: "message", message: () => ANY_VALUE },
  eventName: { number: 12, kind: "string" },
  attributes: { number: 6, kind: "message", message: () => KEY_VALUE, isRepeated: true },
  droppedAttributesCount: { number: 7, kind: "uint32", isLenient: true },
  flags: { number: 8, kind: "fixed32" },
  traceId: { number: 9, kind: "traceId" },
  spanId: { number: 10, kind: "spanId" },
});

export const SCOPE = message({
  name: { number: 1, kind: "string" },
  version: { number: 2, kind: "string" },
  attributes: { number: 3, kind: "message", message: () => KEY_VALUE, isRepeated: true },
  droppedAttributesCount: { number: 4, kind: "uint32", isLenient: true },
});

export const SCOPE_LOGS = message({
  scope: { number: 1, kind: "message", message: () => SCOPE, legacyName: "instrumentationLibrary" },
  logRecords: {
    number: 2,
    kind: "message",
    message: () => LOG_RECORD,
    isRepeated: true,
    legacyName: "logs",
  },
  schemaUrl: { number: 3, kind: "string", isLenient: true },
});

export const RESOURCE = message({
  attributes: { number: 1, kind: "message", message: () => KEY_VALUE, isRepeated: true },
  droppedAttributesCount: { number: 2, kind: "uint32", isLenient: true },
});

export const RESOURCE_LOGS = message({
  resource: { number: 1, kind: "message", message: () => RESOURCE },
  scopeLogs: { number: 2, kind: "message", message: () => SCOPE_LOGS, isRepeated: true },
  schemaUrl: { number: 3, kind: "string", isLenient: true },
  /** Deprecated since opentelemetry-proto 0.15, when it was renamed to scope logs. Its messages have the same fields. */
  instrumentationLibraryLogs: {
    number: 1000,
    kind: "message",
    message: () => SCOPE_LOGS,
    isRepeated: true,
  },
});

/** ExportLogsServiceRequest. */
export const REQUEST = message({
  resourceLogs: { number: 1, kind: "message", message: () => RESOURCE_LOGS, isRepeated: true },
});

for (const resolve of unresolved) resolve();
