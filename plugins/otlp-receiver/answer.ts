import type { ServerResponse } from "node:http";
import type { Ingested } from "tailgate/plugin";
import { RPC_CODES, type Refusal } from "./refusal.ts";

/** The media types of OTLP/HTTP; an answer has that of its request. */
export const PROTOBUF = "application/x-protobuf";
export const JSON_TYPE = "application/json";

export type OtlpType = typeof PROTOBUF | typeof JSON_TYPE;

/** What JavaScript's SDK waits at most before it gives a batch up (otel.md): clients must come back well before. */
const RETRY_AFTER_SECONDS = 1;

/** Answers 200 with an ExportLogsServiceResponse. Its partial success is unset where all was taken. */
export function answerSuccess(response: ServerResponse, type: OtlpType, ingested: Ingested): void {
  const { rejected, reason } = ingested;
  const body =
    type === JSON_TYPE ? successJson(rejected, reason) : successProtobuf(rejected, reason);
  response.writeHead(200, { "Content-Type": type, "Content-Length": body.length });
  response.end(body);
}

function successJson(rejected: number, reason: string): Buffer {
  const partialSuccess = { rejectedLogRecords: String(rejected), errorMessage: reason };
  return Buffer.from(JSON.stringify(rejected === 0 ? {} : { partialSuccess }));
}

/** opentelemetry/proto/collector/logs/v1: partial_success = 1 { rejected_log_records = 1, error_message = 2 }. */
function successProtobuf(rejected: number, reason: string): Buffer {
  if (rejected === 0) return Buffer.alloc(0);
  return bytesField(
    1,
    Buffer.concat([varintField(1, rejected), bytesField(2, Buffer.from(reason))]),
  );
}

/** Answers with a google.rpc.Status (code = 1, message = 2); as plain text where the request's type is not OTLP's. */
export function answerRefusal(
  response: ServerResponse,
  type: OtlpType | undefined,
  { status, message }: Refusal,
): void {
  const body = statusBody(type, RPC_CODES[status], message);
  response.writeHead(status, {
    "Content-Type": type ?? "text/plain; charset=utf-8",
    "Content-Length": body.length,
    "X-Content-Type-Options": "nosniff",
    ...(status === 405 && { Allow: "POST" }),
    ...((status === 429 || status === 503) && { "Retry-After": RETRY_AFTER_SECONDS }),
  });
  response.end(body);
}

function statusBody(type: OtlpType | undefined, code: number, message: string): Buffer {
  if (type === JSON_TYPE) return Buffer.from(JSON.stringify({ code, message }));
  if (type === undefined) return Buffer.from(`${message}\n`);
  return Buffer.concat([varintField(1, code), bytesField(2, Buffer.from(message))]);
}

/** Field numbers here are below 16, so that a tag is one byte: the number and the wire type. */
function varintField(field: number, value: number): Buffer {
  return Buffer.from([field << 3, ...varint(value)]);
}

function bytesField(field: number, bytes: Buffer): Buffer {
  return Buffer.concat([Buffer.from([(field << 3) | 2, ...varint(bytes.length)]), bytes]);
}

function varint(value: number): number[] {
  const bytes: number[] = [];
  let rest = value;
  for (; rest > 127; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 128);
  return [...bytes, rest];
}
