/** One unary gRPC call: its message, its response, and its headers (PROTOCOL-HTTP2 of gRPC). */

import type { OutgoingHttpHeaders, ServerHttp2Stream } from "node:http2";
import { constants } from "node:http2";
import { quotedExcerpt } from "tailgate/plugin";
import { findCoding, GRPC_CODINGS, type ContentCoding } from "./content-coding.ts";
import { decompress, tooLarge, type BodyBudget, type BodyLimits } from "./request-body.ts";
import { ABORTED } from "./server.ts";
import { protobufAny, RequestRejection, retryInfo, rpcStatus } from "./response.ts";

const CONTENT_TYPE = "application/grpc+proto";

/** Clients accept at least 8 KiB of headers, which contain the message twice, once as base64. */
const STATUS_MESSAGE_BYTES_MAX = 1024;

/** A compression flag and the message's length. */
const PREFIX_BYTES = 5;

/** The longest delay of a Node timer. */
const TIMER_MS_MAX = 2 ** 31 - 1;

const TIMEOUT_UNIT_MS: Readonly<Record<string, number>> = {
  H: 3_600_000,
  M: 60_000,
  S: 1000,
  m: 1,
  u: 1e-3,
  n: 1e-6,
};

const HEADERS = {
  ":status": 200,
  "content-type": CONTENT_TYPE,
  "grpc-accept-encoding": ["identity", ...GRPC_CODINGS].join(","),
};

/** Called once with the name of the gRPC status, an HTTP status, or {@link ABORTED}, and the reason of a rejection. */
export type CallEnded = (status: string, reason?: string) => void;

/** The response to a unary call. Only the first one is sent, and only while the client waits for it. */
export class GrpcCall {
  readonly #stream: ServerHttp2Stream;
  readonly #ended: CallEnded;
  #isSettled = false;

  constructor(stream: ServerHttp2Stream, ended: CallEnded) {
    this.#stream = stream;
    this.#ended = ended;
  }

  /** Sends a message, which may be empty. */
  succeed(message: Uint8Array): void {
    if (this.#isOver) return this.abort();
    const stream = this.#stream;
    const prefix = Buffer.alloc(PREFIX_BYTES);
    prefix.writeUInt32BE(message.length, 1);
    stream.once("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }));
    stream.respond(HEADERS, { waitForTrailers: true });
    stream.end(Buffer.concat([prefix, message]));
    this.#settle("OK");
  }

  /** Records that the client disconnected. */
  abort(): void {
    this.#settle(ABORTED);
  }

  /** Sends a gRPC status in trailers only. */
  reject(rejection: RequestRejection): void {
    const headers = { ...HEADERS, ...statusHeaders(rejection) };
    this.#end(headers, rejection.rpcStatus, rejection.message);
  }

  /** Sends an HTTP status, for requests that are not gRPC. */
  rejectAsHttp(status: 405 | 415, reason: string): void {
    const headers = { ":status": status, ...(status === 405 && { allow: "POST" }) };
    this.#end(headers, String(status), reason);
  }

  #end(headers: OutgoingHttpHeaders, status: string, reason: string): void {
    if (this.#isOver) return this.abort();
    const stream = this.#stream;
    stream.respond(headers, { endStream: true });
    // NO_ERROR: the response is complete, and the rest of the request is not needed (RFC 9113, section 8.1).
    if (!stream.readableEnded) stream.close(constants.NGHTTP2_NO_ERROR);
    this.#settle(status, reason);
  }

  #settle(status: string, reason?: string): void {
    if (this.#isSettled) return;
    this.#isSettled = true;
    this.#ended(status, reason);
  }

  get #isOver(): boolean {
    return this.#stream.headersSent || this.#stream.closed || this.#stream.destroyed;
  }
}

function statusHeaders(rejection: RequestRejection): OutgoingHttpHeaders {
  const code = rejection.rpcCode;
  const message = Buffer.from(rejection.message).subarray(0, STATUS_MESSAGE_BYTES_MAX).toString();
  return {
    "grpc-status": String(code),
    "grpc-message": percentEncode(message),
    ...(rejection.isRetryable && retryHeaders(code, message, rejection.retryAfterSeconds)),
  };
}

/** The retry delay: in the status details, where most clients look, and in a header of its own for Python's. */
function retryHeaders(code: number, message: string, seconds: number): OutgoingHttpHeaders {
  const info = retryInfo(seconds);
  const status = rpcStatus(code, message, protobufAny("google.rpc.RetryInfo", info));
  return {
    "grpc-status-details-bin": toBinaryHeader(status),
    "google.rpc.retryinfo-bin": toBinaryHeader(info),
  };
}

function toBinaryHeader(value: Buffer): string {
  return value.toString("base64").replace(/=+$/, "");
}

/** Encodes the percent sign and everything but printable ASCII (PROTOCOL-HTTP2, Status-Message). */
function percentEncode(text: string): string {
  let encoded = "";
  for (const byte of Buffer.from(text)) {
    const isPlain = byte >= 0x20 && byte <= 0x7e && byte !== 0x25;
    encoded += isPlain
      ? String.fromCharCode(byte)
      : `%${byte.toString(16).toUpperCase().padStart(2, "0")}`;
  }
  return encoded;
}

/**
 * Returns the coding that `grpc-encoding` names, or undefined for none.
 * @throws RequestRejection 501
 */
export function readGrpcCoding(name = "identity"): ContentCoding | undefined {
  if (name === "identity") return undefined;
  const coding = GRPC_CODINGS.includes(name) ? findCoding(name) : undefined;
  if (coding !== undefined) return coding;
  const text = `grpc-encoding ${quotedExcerpt(name)} is not supported; use ${GRPC_CODINGS.join(" or ")}.`;
  throw new RequestRejection(501, text);
}

/**
 * Parses `grpc-timeout` into milliseconds; returns undefined without one.
 * @throws RequestRejection 400
 */
export function parseGrpcTimeout(header: string | undefined): number | undefined {
  if (header === undefined) return undefined;
  const [, digits, unit] = /^(\d{1,8})([HMSmun])$/.exec(header) ?? [];
  if (unit === undefined) {
    throw new RequestRejection(400, `grpc-timeout ${JSON.stringify(header)} is not valid.`);
  }
  return Math.min(Math.ceil(Number(digits) * TIMEOUT_UNIT_MS[unit]!), TIMER_MS_MAX);
}

/** The message of a call, as it was sent. */
export interface GrpcMessage {
  readonly content: Buffer;
  /** How the content is compressed; undefined if it is not. */
  readonly coding: ContentCoding | undefined;
}

/**
 * Reads and decompresses the message of a unary call. `coding` is the one that `grpc-encoding` names.
 * @throws RequestRejection 400, 413 or 503; the stream's own error if the client disconnects.
 */
export function readMessage(
  stream: ServerHttp2Stream,
  coding: ContentCoding | undefined,
  limits: BodyLimits,
  budget: BodyBudget,
): Promise<Uint8Array> {
  const options = { coding, bytesMax: limits.bodyBytesMax, budget };
  return withMessage(stream, options, (message): Uint8Array | Promise<Uint8Array> =>
    message.coding === undefined
      ? message.content
      : decompress(message.content, limits.inflatedBytesMax, budget, message.coding),
  );
}

interface MessageOptions {
  /** The coding that `grpc-encoding` names. */
  readonly coding: ContentCoding | undefined;
  readonly bytesMax: number;
  readonly budget: BodyBudget;
}

/**
 * Reads the message of a unary call as it was sent, and charges it to the budget until `use` is done.
 *
 * A rejected call is not drained: HTTP/2 delivers the response to a client that is still sending.
 * @throws RequestRejection 400, 413 or 503; the stream's own error if the client disconnects.
 */
export async function withMessage<Result>(
  stream: ServerHttp2Stream,
  { coding, bytesMax, budget }: MessageOptions,
  use: (message: GrpcMessage) => Result | Promise<Result>,
): Promise<Result> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  try {
    const body = stream.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>;
    for await (const chunk of body) {
      budget.acquire(chunk.length);
      bytes += chunk.length;
      chunks.push(chunk);
      checkLength(chunks, bytes, bytesMax);
    }
    return await use(readContent(Buffer.concat(chunks, bytes), coding));
  } finally {
    budget.release(bytes);
  }
}

/** Rejects a message that is too large, or a second message, as soon as that is known. */
function checkLength(chunks: Buffer[], bytes: number, bytesMax: number): void {
  if (chunks[0]!.length < PREFIX_BYTES) chunks.splice(0, chunks.length, Buffer.concat(chunks));
  if (bytes < PREFIX_BYTES) return;
  const length = chunks[0]!.readUInt32BE(1);
  if (length > bytesMax) throw tooLarge(bytesMax);
  if (bytes > PREFIX_BYTES + length) {
    throw new RequestRejection(400, `The call has data after its message of ${length} bytes.`);
  }
}

function readContent(frame: Buffer, coding: ContentCoding | undefined): GrpcMessage {
  if (frame.length === 0) throw new RequestRejection(400, "The call has no message.");
  if (frame.length < PREFIX_BYTES || frame.length < PREFIX_BYTES + frame.readUInt32BE(1)) {
    const text = `The message is truncated: the call ended after ${frame.length} bytes.`;
    throw new RequestRejection(400, text);
  }
  const flag = frame[0]!;
  const content = frame.subarray(PREFIX_BYTES);
  if (flag === 0) return { content, coding: undefined };
  if (flag !== 1) {
    throw new RequestRejection(400, `The message's compression flag is ${flag}; expected 0 or 1.`);
  }
  if (coding === undefined) {
    throw new RequestRejection(
      400,
      "The message is compressed, but grpc-encoding names no coding.",
    );
  }
  return { content, coding };
}
