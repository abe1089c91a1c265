import type { ServerResponse } from "node:http";
import type { Ingested } from "tailgate/plugin";
import { exportResponse, rpcStatus } from "./protobuf.ts";
import { RETRY_AFTER_SECONDS, type Refusal } from "./refusal.ts";

/** The media types of OTLP/HTTP; an answer has that of its request. */
export const PROTOBUF = "application/x-protobuf";
export const JSON_TYPE = "application/json";

export type OtlpType = typeof PROTOBUF | typeof JSON_TYPE;

/** Responds with 200 and an ExportLogsServiceResponse. Its partial success is unset if there is nothing to tell. */
export function answerSuccess(response: ServerResponse, type: OtlpType, ingested: Ingested): void {
  const body = type === JSON_TYPE ? successJson(ingested) : exportResponse(ingested);
  response.writeHead(200, { "Content-Type": type, "Content-Length": body.length });
  // Even an empty body would be one more piece to write.
  if (body.length === 0) response.end();
  else response.end(body);
}

function successJson({ rejected, reason }: Ingested): Buffer {
  const partialSuccess = { rejectedLogRecords: String(rejected), errorMessage: reason };
  const isNothing = rejected === 0 && reason === "";
  return Buffer.from(JSON.stringify(isNothing ? {} : { partialSuccess }));
}

/**
 * Answers with a google.rpc.Status (code = 1, message = 2), which every answer of an error has (OTLP/HTTP, Failures);
 * as JSON where the request's type is not OTLP's, so that whoever looks can read it.
 */
export function answerRefusal(
  response: ServerResponse,
  refusal: Refusal,
  type: OtlpType = JSON_TYPE,
): void {
  const { status } = refusal;
  const body = statusBody(type, refusal);
  response.writeHead(status, {
    "Content-Type": type,
    "Content-Length": body.length,
    "X-Content-Type-Options": "nosniff",
    ...(status === 405 && { Allow: "POST" }),
    ...(status === 415 && acceptHeader(refusal)),
    ...(refusal.isTemporary && { "Retry-After": RETRY_AFTER_SECONDS }),
  });
  response.end(body);
}

/** Only one of them: that of codings says that the media type is not the reason (RFC 7694, 3). */
function acceptHeader({ codings }: Refusal): Record<string, string> {
  if (codings !== undefined) return { "Accept-Encoding": codings.join(", ") };
  return { Accept: `${PROTOBUF}, ${JSON_TYPE}` };
}

function statusBody(type: OtlpType, { rpcCode: code, message }: Refusal): Buffer {
  return type === JSON_TYPE
    ? Buffer.from(JSON.stringify({ code, message }))
    : rpcStatus(code, message);
}
