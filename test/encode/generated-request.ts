import fc from "fast-check";
import { Type } from "protobufjs";
import { LogsRequest } from "../bench/otlp-schema.ts";

/**
 * An ExportLogsServiceRequest in OTLP's JSON form: 64-bit integers as strings, ids as hex, bytes as
 * base64.
 */
export interface JsonRequest {
  resourceLogs: JsonResourceLogs[];
}

interface JsonResourceLogs {
  resource?: { attributes: JsonKeyValue[]; droppedAttributesCount?: number };
  scopeLogs: {
    scope?: {
      name?: string;
      version?: string;
      attributes: JsonKeyValue[];
      droppedAttributesCount?: number;
    };
    logRecords: JsonLogRecord[];
    schemaUrl?: string;
  }[];
  schemaUrl?: string;
}

interface JsonLogRecord {
  traceId?: string;
  spanId?: string;
  [field: string]: unknown;
}

interface JsonKeyValue {
  key: string;
  value?: object;
}

const text = fc.oneof(
  fc.string({ maxLength: 12 }),
  fc.string({ unit: "grapheme", maxLength: 8 }),
  fc.string({ minLength: 60, maxLength: 200 }),
);

/** Names that are special to the gateway, and a few others, so that they collide. */
const key = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.constantFrom(
      ...["level", "message", "id", "type", "extra_level", "extra_id", "timestamp", "event_type"],
      ...["trace_id", "span_id", "service", "logger", "name", "label", "a", "b", "é", "__proto__"],
      ...["extra_extra_level", "event_name", "event.name", "severity_text", "logger.name", "err"],
      ...["exception.message", "err", "extra_logger", "ingested_by", "extra_ingested_by"],
    ),
  },
  { weight: 1, arbitrary: fc.string({ maxLength: 9 }) },
  { weight: 1, arbitrary: fc.string({ unit: "grapheme", maxLength: 9 }) },
);

const integer = fc
  .oneof(fc.integer(), fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }))
  .map(String);

const double = fc
  .oneof(fc.double(), fc.constantFrom(0, -0, 0.5, 1, 1e21, 2 ** 53))
  .map((value) => (Number.isFinite(value) ? value : String(value)));

const { value } = fc.letrec<{ value: object; member: JsonKeyValue }>((tie) => ({
  value: fc.oneof(
    { depthSize: "small" },
    text.map((stringValue) => ({ stringValue })),
    integer.map((intValue) => ({ intValue })),
    fc.boolean().map((boolValue) => ({ boolValue })),
    double.map((doubleValue) => ({ doubleValue })),
    fc
      .uint8Array({ maxLength: 9 })
      .map((bytes) => ({ bytesValue: Buffer.from(bytes).toString("base64") })),
    fc.constant({}),
    fc.array(tie("value"), { maxLength: 4 }).map((values) => ({ arrayValue: { values } })),
    fc.array(tie("member"), { maxLength: 4 }).map((values) => ({ kvlistValue: { values } })),
  ),
  member: fc.record({ key, value: tie("value") }, { requiredKeys: ["key"] }),
}));

const attribute = fc.record({ key, value }, { requiredKeys: ["key"] });

/** An error as pino sends it, or almost. */
const errorAttribute = fc
  .subarray(["type", "message", "stack", "code"])
  .chain((names) => fc.tuple(...names.map((name) => fc.tuple(fc.constant(name), value))))
  .map((members) => ({
    key: "err",
    value: {
      kvlistValue: {
        values: members.map(([name, given]) => ({
          key: name,
          value: name === "code" ? given : { stringValue: name },
        })),
      },
    },
  }));

/** Attributes that name a logger or an event. */
const nameAttribute = fc
  .tuple(
    fc.constantFrom("logger", "logger.name", "name", "label", "event.name", "event_type"),
    fc.constantFrom("orchestrator.audit", "orchestrator.x", "", "unknown"),
  )
  .map(([name, stringValue]) => ({ key: name, value: { stringValue } }));

const codeAttribute = fc.oneof(
  fc
    .tuple(
      fc.constantFrom(
        ...["code.file.path", "code.filepath", "code.function.name", "code.function"],
        ...["code.namespace", "code.stacktrace", "code."],
      ),
      fc.oneof(
        fc
          .constantFrom(
            "/app/server.py",
            "C:\\app\\main.go",
            ".env",
            "a.b.c",
            "x::y::run",
            ":::",
            "",
          )
          .map((stringValue) => ({ stringValue })),
        value,
      ),
    )
    .map(([name, given]) => ({ key: name, value: given })),
  fc
    .tuple(
      fc.constantFrom("code.line.number", "code.lineno"),
      fc.oneof(
        fc.integer({ min: -3, max: 1000 }).map((line) => ({ intValue: String(line) })),
        fc.constant({ stringValue: "142" }),
        value,
      ),
    )
    .map(([name, given]) => ({ key: name, value: given })),
);

const attributes = fc.array(
  fc.oneof(
    { weight: 8, arbitrary: attribute },
    { weight: 2, arbitrary: codeAttribute },
    { weight: 1, arbitrary: errorAttribute },
    { weight: 1, arbitrary: nameAttribute },
  ),
  { maxLength: 6 },
);

const SECOND = 1_760_347_644_000_000_000n;

/**
 * Never 0, so that nothing depends on the current time; mostly close together, so that order
 * matters.
 */
const time = fc
  .oneof(
    fc.bigInt({ min: SECOND, max: SECOND + 2_000_000_000n }),
    fc.bigInt({ min: 1n, max: 2n ** 64n - 1n }),
  )
  .map(String);

const hex = (bytes: number): fc.Arbitrary<string> =>
  fc.oneof(
    fc
      .uint8Array({ minLength: bytes, maxLength: bytes })
      .map((id) => Buffer.from(id).toString("hex")),
    fc.constantFrom("", "00".repeat(bytes), "ab"),
  );

const logRecord = fc.record(
  {
    timeUnixNano: fc.oneof({ weight: 3, arbitrary: time }, fc.constant("0")),
    observedTimeUnixNano: time,
    severityNumber: fc.constantFrom(0, 1, 5, 9, 12, 13, 17, 21, 24, 99),
    severityText: fc.oneof(
      fc.constantFrom("INFO", "info", "WARN", "Fatal", "ERROR+4", "ınfo", "", "CRITICAL"),
      fc.constantFrom("Trace", " err ", "ERROR3", "error5", "Level 35", "50", "3", "W", "emerg"),
      text,
    ),
    body: fc.oneof({ weight: 2, arbitrary: text.map((stringValue) => ({ stringValue })) }, value),
    eventName: fc.constantFrom("", "instance.spawn", "event src/main.rs:78"),
    attributes,
    droppedAttributesCount: fc.nat(3),
    flags: fc.constantFrom(0, 1, 3, 0x101),
    traceId: hex(16),
    spanId: hex(8),
  },
  { requiredKeys: ["observedTimeUnixNano"] },
) as fc.Arbitrary<JsonLogRecord>;

const scope = fc.record(
  {
    name: fc.constantFrom(
      ...["", "orchestrator.server", "orchestrator.audit", "orchestrator.audit.child", "é"],
      ...["@opentelemetry/instrumentation-pino", "@opentelemetry/winston-transport"],
      ...["", "unknown", "app/syslog"],
    ),
    version: text,
    attributes,
    droppedAttributesCount: fc.nat(3),
  },
  { requiredKeys: ["attributes"] },
);

const schemaUrl = fc.constantFrom("", "https://opentelemetry.io/schemas/1.37.0");

const resource = fc.record({
  droppedAttributesCount: fc.nat(3),
  attributes: fc.array(
    fc.oneof(
      attribute,
      fc
        .oneof(fc.constantFrom({ stringValue: "orchestrator" }, { stringValue: "" }), value)
        .map((name) => ({ key: "service.name", value: name })),
    ),
    { maxLength: 3 },
  ),
});

const scopeLogs = fc.record(
  { scope, logRecords: fc.array(logRecord, { maxLength: 4 }), schemaUrl },
  { requiredKeys: ["logRecords"] },
);

/**
 * Requests with any content that both forms can represent: strings are well formed, each record has
 * a time.
 */
export const jsonRequest = fc.record({
  resourceLogs: fc.array(
    fc.record(
      { resource, scopeLogs: fc.array(scopeLogs, { maxLength: 3 }), schemaUrl },
      { requiredKeys: ["scopeLogs"] },
    ),
    { maxLength: 2 },
  ),
}) as fc.Arbitrary<JsonRequest>;

const FIELDS = [
  ...["timeUnixNano", "observedTimeUnixNano", "severityNumber", "severityText", "body"],
  ...["eventName", "attributes", "flags", "traceId", "spanId"],
];

/** For each field of a record, the model it is taken from. */
const choices = fc.array(fc.nat(2), { minLength: FIELDS.length, maxLength: FIELDS.length });

function mixed(models: readonly JsonLogRecord[], chosen: readonly number[]): JsonLogRecord {
  return Object.fromEntries(
    FIELDS.map(
      (field, index) => [field, models[chosen[index]! % models.length]![field]] as const,
    ).filter(([, chosenValue]) => chosenValue !== undefined),
  );
}

/**
 * Requests whose records repeat one another in part: each takes its fields from one of a few
 * models, in changing combinations.
 */
export const alikeRequest = fc
  .record({
    models: fc.array(logRecord, { minLength: 1, maxLength: 3 }),
    resourceLogs: fc.array(
      fc.record({
        resource,
        scopeLogs: fc.array(fc.record({ scope, records: fc.array(choices, { maxLength: 8 }) }), {
          maxLength: 2,
        }),
      }),
      { maxLength: 3 },
    ),
  })
  .map(({ models, resourceLogs }) => ({
    resourceLogs: resourceLogs.map(({ resource: one, scopeLogs: ones }) => ({
      resource: one,
      scopeLogs: ones.map(({ scope: two, records }) => ({
        scope: two,
        logRecords: records.map((chosen) => mixed(models, chosen)),
      })),
    })),
  })) as fc.Arbitrary<JsonRequest>;

export function toJson(request: object): Buffer {
  return Buffer.from(JSON.stringify(request));
}

/** Encodes the request with protobufjs. */
export function toProtobuf(request: JsonRequest): Uint8Array {
  const message = LogsRequest.fromObject({
    resourceLogs: request.resourceLogs.map((resourceLogs) => ({
      ...resourceLogs,
      scopeLogs: resourceLogs.scopeLogs.map((one) => ({
        ...one,
        logRecords: one.logRecords.map(withBinaryIds),
      })),
    })),
  });
  return LogsRequest.encode(message).finish();
}

function withBinaryIds(record: JsonLogRecord): object {
  const { traceId, spanId, ...rest } = record;
  return {
    ...rest,
    ...(traceId !== undefined && { traceId: Buffer.from(traceId, "hex") }),
    ...(spanId !== undefined && { spanId: Buffer.from(spanId, "hex") }),
  };
}

/** Unknown fields of all wire types: numbers 100 to 103. */
const UNKNOWN_FIELDS = [
  Buffer.from([0xa0, 0x06, 0xff, 0x01]),
  Buffer.from([0xa9, 0x06, 1, 2, 3, 4, 5, 6, 7, 8]),
  Buffer.from([0xb2, 0x06, 3, 1, 2, 3]),
  Buffer.from([0xbd, 0x06, 1, 2, 3, 4]),
];

/**
 * The same message with the fields of each message in another order, repeated ones still in theirs,
 * and with unknown fields in between.
 */
export function reordered(bytes: Uint8Array, seed: number, type: Type = LogsRequest): Uint8Array {
  const fields = fieldsOf(bytes).map(({ number, head, payload, isMessage }) => {
    const inner = type.fieldsById[number]?.resolve().resolvedType;
    const nested = isMessage && inner instanceof Type ? reordered(payload, seed, inner) : payload;
    return {
      number,
      bytes: isMessage ? lengthDelimited(number, nested) : Buffer.concat([head, nested]),
    };
  });
  const place = (number: number): number => (number * 7919 + seed) % 13;
  const sorted = fields.toSorted((one, other) => place(one.number) - place(other.number));
  const unknown = UNKNOWN_FIELDS[seed % UNKNOWN_FIELDS.length]!;
  const between = seed % 2 === 0 ? [unknown] : [];
  return Buffer.concat([...sorted.flatMap((field) => [...between, field.bytes]), ...between]);
}

interface Field {
  readonly number: number;
  readonly head: Uint8Array;
  readonly payload: Uint8Array;
  readonly isMessage: boolean;
}

function fieldsOf(bytes: Uint8Array): Field[] {
  const fields: Field[] = [];
  for (let position = 0; position < bytes.length;) {
    const start = position;
    const tag = bytes[position++]!;
    const wireType = tag & 7;
    let length = wireType === 1 ? 8 : wireType === 5 ? 4 : 0;
    let varintEnd = position;
    if (wireType === 0 || wireType === 2) {
      while (bytes[varintEnd]! >= 0x80) varintEnd++;
      varintEnd++;
    }
    if (wireType === 2) {
      for (let index = varintEnd - 1; index >= position; index--) {
        length = length * 128 + (bytes[index]! & 0x7f);
      }
    }
    fields.push({
      number: tag >>> 3,
      head: bytes.subarray(start, varintEnd),
      payload: bytes.subarray(varintEnd, varintEnd + length),
      isMessage: wireType === 2,
    });
    position = varintEnd + length;
  }
  return fields;
}

/** A field of OTLP, whose numbers are below 16. */
export function lengthDelimited(number: number, payload: Uint8Array): Buffer {
  const length: number[] = [];
  let rest = payload.length;
  for (; rest > 127; rest >>>= 7) length.push((rest & 127) | 128);
  return Buffer.concat([Buffer.from([(number << 3) | 2, ...length, rest]), payload]);
}
