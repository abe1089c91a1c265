import type { ServerResponse } from "node:http";
import {
  TailgateError,
  textOf,
  type Access,
  type HostLogger,
  type Ingested,
  type RouteRefusal,
  type AddressedRequest,
  type HostHttp,
} from "tailgate/plugin";
import type { CollectorResponse } from "./forwarding.ts";
import { INGEST_SCOPES } from "./scopes.ts";

/** Not imported: the ES module would load the classes of `fetch` as well at every start. */
const { STATUS_CODES } = process.getBuiltinModule("node:http");

/** The media types of OTLP/HTTP. A response has the media type of its request. */
export const PROTOBUF = "application/x-protobuf";
export const JSON_TYPE = "application/json";

export type OtlpMediaType = typeof PROTOBUF | typeof JSON_TYPE;

/** Short, because the JavaScript SDK drops a batch if the delay exceeds what is left of its timeout of 10 seconds. */
const RETRY_AFTER_SECONDS = 1;

/** Longer messages are cut in the reason phrase, which is part of the head of a response. */
const REASON_CHARACTERS_MAX = 200;

/** For each HTTP status the code of a google.rpc.Status and its name (google/rpc/code.proto). */
const RPC_CODES = {
  400: [3, "INVALID_ARGUMENT"],
  401: [16, "UNAUTHENTICATED"],
  403: [7, "PERMISSION_DENIED"],
  404: [5, "NOT_FOUND"],
  405: [12, "UNIMPLEMENTED"],
  // Not RESOURCE_EXHAUSTED, which clients may retry.
  413: [3, "INVALID_ARGUMENT"],
  415: [3, "INVALID_ARGUMENT"],
  429: [8, "RESOURCE_EXHAUSTED"],
  500: [13, "INTERNAL"],
  501: [12, "UNIMPLEMENTED"],
  503: [14, "UNAVAILABLE"],
  504: [4, "DEADLINE_EXCEEDED"],
} as const;

/** An HTTP status; gRPC calls are answered with the corresponding RPC code. */
export type RejectionStatus = keyof typeof RPC_CODES;

/** Thrown to reject a whole request. The message is sent to the client. */
export class RequestRejection extends Error {
  readonly status: RejectionStatus;
  /** The accepted content codings, if the request was rejected because of its own. */
  readonly codings: readonly string[] | undefined;
  /** Headers of an HTTP response, such as `WWW-Authenticate`. */
  readonly headers: Readonly<Record<string, string>>;

  constructor(
    status: RejectionStatus,
    message: string,
    { codings, headers = {} }: RejectionOptions = {},
  ) {
    super(message);
    this.name = "RequestRejection";
    this.status = status;
    this.codings = codings;
    this.headers = headers;
  }

  /** Rejects a request as the gateway says. */
  static of({ status, text, headers = {} }: RouteRefusal): RequestRejection {
    return new RequestRejection(status, text, { headers });
  }

  /** True if a retry of the same request may succeed. */
  get isRetryable(): boolean {
    return this.status === 429 || this.status === 503;
  }

  get retryAfterSeconds(): number {
    return Number(this.headers["Retry-After"] ?? RETRY_AFTER_SECONDS);
  }

  /** The code of a google.rpc.Status. */
  get rpcCode(): number {
    return RPC_CODES[this.status][0];
  }

  /** The name of that code. */
  get rpcStatus(): string {
    return RPC_CODES[this.status][1];
  }
}

interface RejectionOptions {
  readonly codings?: readonly string[];
  readonly headers?: Readonly<Record<string, string>>;
}

/**
 * Maps an error to a response. Only permanent errors become a 400 or 403, because clients drop the batch after it.
 * `access`: who sends the request; undefined if that is not known yet.
 */
export function toRejection(
  error: unknown,
  log: HostLogger,
  access: Access | undefined,
): RequestRejection {
  if (error instanceof RequestRejection) return error;
  if (TailgateError.is(error, "FORBIDDEN")) {
    return new RequestRejection(403, error.message, { headers: missingScopes(access) });
  }
  if (TailgateError.is(error, "OTLP_UNDECODABLE")) return new RequestRejection(400, error.message);
  if (TailgateError.is(error, "STOPPED")) return new RequestRejection(503, error.message);
  if (TailgateError.is(error, "OVERLOADED")) return new RequestRejection(429, error.message);
  log.error("A request failed.", error);
  return new RequestRejection(503, `The request failed: ${textOf(error)}`);
}

/** RFC 6750, section 3 */
function missingScopes(access: Access | undefined): Record<string, string> {
  const missing = INGEST_SCOPES.filter((scope) => access?.scopes.has(scope) !== true);
  const challenge = `Bearer realm="tailgate", error="insufficient_scope", scope="${missing.join(" ")}"`;
  return { "WWW-Authenticate": challenge };
}

/** Rejects a request whose token was revoked or expired while its body arrived. */
export function checkNotEnded({ signal }: Access): void {
  if (signal?.aborted !== true) return;
  const headers = { "WWW-Authenticate": 'Bearer realm="tailgate", error="invalid_token"' };
  const text = "The credentials were revoked or expired while the request arrived.";
  throw new RequestRejection(401, text, { headers });
}

/**
 * Charges a body to the rate limits of its sender; 0 before the body is read.
 * @throws RequestRejection 429
 */
export function chargeSender(http: HostHttp, request: AddressedRequest, bytes: number): void {
  const refusal = http.charge(request, bytes);
  if (refusal !== undefined) throw RequestRejection.of(refusal);
}

export function stoppingRejection(): RequestRejection {
  return new RequestRejection(503, "The gateway is stopping.");
}

/** Sends 200 with an ExportLogsServiceResponse. `partial_success` is unset if every record was accepted without a warning. */
export function sendSuccess(
  response: ServerResponse,
  type: OtlpMediaType,
  ingested: Ingested,
): void {
  const body = type === JSON_TYPE ? exportResponseJson(ingested) : exportResponse(ingested);
  response.writeHead(200, { "Content-Type": type, "Content-Length": body.length });
  // Even an empty body would cost a second write to the socket.
  if (body.length === 0) response.end();
  else response.end(body);
}

/** Sends the response of a collector. */
export function sendUnchanged(
  response: ServerResponse,
  { status, headers, body }: CollectorResponse,
): void {
  response.writeHead(status, {
    ...headers,
    "Content-Length": body.length,
    "X-Content-Type-Options": "nosniff",
  });
  response.end(body);
}

/**
 * Sends an error status with a google.rpc.Status as its body, as OTLP/HTTP requires (section "Failures"). `type` is the
 * request's media type; without one the body is JSON, which a person can read. The reason phrase says the same, because
 * Python's SDK shows nothing else.
 */
export function sendRejection(
  response: ServerResponse,
  rejection: RequestRejection,
  type: OtlpMediaType = JSON_TYPE,
): void {
  const { status, rpcCode: code, message } = rejection;
  const body =
    type === JSON_TYPE ? Buffer.from(JSON.stringify({ code, message })) : rpcStatus(code, message);
  response.statusMessage = reasonPhrase(status, message);
  response.writeHead(status, {
    ...rejection.headers,
    "Content-Type": type,
    "Content-Length": body.length,
    "X-Content-Type-Options": "nosniff",
    ...(status === 405 && { Allow: "POST" }),
    ...(status === 415 && acceptHeader(rejection)),
    ...(rejection.isRetryable && { "Retry-After": rejection.retryAfterSeconds }),
  });
  response.end(body);
}

/** Returns such as `Unauthorized: The token ci was revoked`, in printable ASCII (RFC 9112, section 4). */
function reasonPhrase(status: number, message: string): string {
  const text = message.replace(/[^\x20-\x7e]/gu, "?").replace(/\.$/, "");
  const isCut = text.length > REASON_CHARACTERS_MAX;
  const reason = isCut ? `${text.slice(0, REASON_CHARACTERS_MAX)}...` : text;
  return `${STATUS_CODES[status]}: ${reason}`;
}

/** Accept-Encoding alone tells the client that the media type is not the reason for the 415 (RFC 7694, section 3). */
function acceptHeader({ codings }: RequestRejection): Record<string, string> {
  if (codings !== undefined) return { "Accept-Encoding": codings.join(", ") };
  return { Accept: `${PROTOBUF}, ${JSON_TYPE}` };
}

function exportResponseJson({ rejected, reason }: Ingested): Buffer {
  const partialSuccess = { rejectedLogRecords: String(rejected), errorMessage: reason };
  const isUnset = rejected === 0 && reason === "";
  return Buffer.from(JSON.stringify(isUnset ? {} : { partialSuccess }));
}

/** opentelemetry/proto/collector/logs/v1: partial_success = 1 { rejected_log_records = 1, error_message = 2 }. */
export function exportResponse({ rejected, reason }: Ingested): Buffer {
  if (rejected === 0 && reason === "") return Buffer.alloc(0);
  // Protobuf omits a 0.
  const count = rejected === 0 ? Buffer.alloc(0) : varintField(1, rejected);
  return bytesField(1, Buffer.concat([count, bytesField(2, Buffer.from(reason))]));
}

/** google.rpc.Status: code = 1, message = 2, details = 3. */
export function rpcStatus(code: number, message: string, ...details: Buffer[]): Buffer {
  return Buffer.concat([
    varintField(1, code),
    bytesField(2, Buffer.from(message)),
    ...details.map((detail) => bytesField(3, detail)),
  ]);
}

/** google.rpc.RetryInfo: retry_delay = 1 { seconds = 1 }. */
export function retryInfo(seconds: number): Buffer {
  return bytesField(1, varintField(1, seconds));
}

/** google.protobuf.Any: type_url = 1, value = 2. */
export function protobufAny(type: string, value: Buffer): Buffer {
  const url = Buffer.from(`type.googleapis.com/${type}`);
  return Buffer.concat([bytesField(1, url), bytesField(2, value)]);
}

/** All field numbers here are below 16, so that a tag is a single byte: the field number and the wire type. */
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
