import { LogsRequest } from "./otlp-schema.ts";
import {
  LOGGER_NAME,
  SEVERITY_NUMBER,
  SEVERITY_TEXT,
  typicalAttributes,
  typicalBody,
} from "./typical-record.ts";

/** Records per request of an SDK's batch processor (SDK specification, maxExportBatchSize). */
export const REQUEST_RECORDS = 512;

/** 2025-10-13T09:27:24Z; records are a microsecond apart. */
const FIRST_SECOND = 1_760_347_644;

const TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN_ID = "00f067aa0ba902b7";
const IDS = { traceId: TRACE_ID, spanId: SPAN_ID };

interface RequestForms {
  readonly protobuf: Buffer;
  readonly json: Buffer;
}

/** Creates an ExportLogsServiceRequest with typical records of one logger and one trace, in both encodings. */
export function otlpRequest(records = REQUEST_RECORDS): RequestForms {
  return bothForms(Array.from({ length: records }, (_, index) => recordOf(index, IDS)));
}

/** The same with records that share no attributes or ids with the previous one. */
export function variedRequest(records = REQUEST_RECORDS): RequestForms {
  return bothForms(Array.from({ length: records }, (_, index) => variedRecord(index)));
}

function variedRecord(index: number): object {
  const { usage, ...rest } = typicalAttributes();
  const unlike = {
    ...rest,
    instance_id: `inst-${(0x700000 + index).toString(16)}`,
    attempt: 1 + (index % 9),
    usage: { ...usage, input_tokens: usage.input_tokens + index },
  };
  const digits = String(1000 + index);
  return {
    ...recordOf(index, {
      traceId: TRACE_ID.slice(digits.length) + digits,
      spanId: SPAN_ID.slice(digits.length) + digits,
    }),
    attributes: attributesOf(unlike),
  };
}

/** Ids are bytes in protobuf, hex in JSON; the rest is equal (OTLP specification, "JSON Protobuf Encoding"). */
function bothForms(records: readonly object[]): RequestForms {
  const inBytes = (records as readonly (object & typeof IDS)[]).map((record) => ({
    ...record,
    traceId: Buffer.from(record.traceId, "hex"),
    spanId: Buffer.from(record.spanId, "hex"),
  }));
  const message = LogsRequest.fromObject(requestWith(inBytes));
  return {
    protobuf: Buffer.from(LogsRequest.encode(message).finish()),
    json: Buffer.from(JSON.stringify(requestWith(records))),
  };
}

/** Creates a request with one current record with that text. */
export function textRequest(text: string): Buffer {
  const timeUnixNano = `${Date.now()}000000`;
  return bothForms([{ ...recordOf(0, IDS), timeUnixNano, body: { stringValue: text } }]).protobuf;
}

function requestWith(logRecords: readonly object[]) {
  const resource = { attributes: [attribute("service.name", "orchestrator")] };
  return {
    resourceLogs: [{ resource, scopeLogs: [{ scope: { name: LOGGER_NAME }, logRecords }] }],
  };
}

function recordOf(index: number, ids: object) {
  const timeUnixNano = `${FIRST_SECOND}${String(index).padStart(6, "0")}000`;
  return {
    timeUnixNano,
    observedTimeUnixNano: timeUnixNano,
    severityNumber: SEVERITY_NUMBER,
    severityText: SEVERITY_TEXT,
    body: { stringValue: typicalBody(index) },
    attributes: attributesOf(typicalAttributes()),
    ...ids,
  };
}

interface Values {
  readonly [key: string]: string | number | Values;
}

function attributesOf(values: Values): object[] {
  return Object.entries(values).map(([key, value]) => attribute(key, value));
}

function attribute(key: string, value: string | number | Values): object {
  if (typeof value === "string") return { key, value: { stringValue: value } };
  if (typeof value === "number") return { key, value: { intValue: String(value) } };
  return { key, value: { kvlistValue: { values: attributesOf(value) } } };
}
