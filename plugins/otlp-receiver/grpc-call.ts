import type { OutgoingHttpHeaders, ServerHttp2Stream } from "node:http2";
import { constants } from "node:http2";
import type { Ingested } from "tailgate/plugin";
import { GRPC_CODINGS } from "./content-coding.ts";
import { anyOf, exportResponse, retryInfo, rpcStatus } from "./protobuf.ts";
import { RETRY_AFTER_SECONDS, type Refusal } from "./refusal.ts";
import { ABORTED } from "./request-counts.ts";

const CONTENT_TYPE = "application/grpc+proto";

/** Clients take 8 KiB of headers at least, and a message is in them twice, once as base64. */
const MESSAGE_BYTES_MAX = 1024;

const HEADERS = {
  ":status": 200,
  "content-type": CONTENT_TYPE,
  "grpc-accept-encoding": ["identity", ...GRPC_CODINGS].join(","),
};

/** How a call ended: with the name of gRPC's status, or HTTP's, or {@link ABORTED}; and why if it was refused. */
export type CallEnded = (status: string, reason?: string) => void;

/** A unary call, which gets one answer: the first that is given, if its sender still waits for one. */
export class GrpcCall {
  readonly #stream: ServerHttp2Stream;
  readonly #ended: CallEnded;
  #isSettled = false;

  constructor(stream: ServerHttp2Stream, ended: CallEnded) {
    this.#stream = stream;
    this.#ended = ended;
  }

  succeed(ingested: Ingested): void {
    if (this.#isOver) return this.giveUp();
    const stream = this.#stream;
    const message = exportResponse(ingested);
    const prefix = Buffer.alloc(5);
    prefix.writeUInt32BE(message.length, 1);
    stream.once("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }));
    stream.respond(HEADERS, { waitForTrailers: true });
    stream.end(Buffer.concat([prefix, message]));
    this.#settle("OK");
  }

  /** For a sender that went away. */
  giveUp(): void {
    this.#settle(ABORTED);
  }

  /** Answers in gRPC's terms, with trailers only. */
  refuse(refusal: Refusal): void {
    const headers = { ...HEADERS, ...statusHeaders(refusal) };
    this.#end(headers, refusal.rpcStatus, refusal.message);
  }

  /** For what is not gRPC. */
  refuseAsHttp(status: 405 | 415, reason: string): void {
    const headers = { ":status": status, ...(status === 405 && { allow: "POST" }) };
    this.#end(headers, String(status), reason);
  }

  #end(headers: OutgoingHttpHeaders, status: string, reason: string): void {
    if (this.#isOver) return this.giveUp();
    const stream = this.#stream;
    stream.respond(headers, { endStream: true });
    // Without an error: the answer is complete, and the rest of the request is not wanted (RFC 9113, 8.1).
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

function statusHeaders(refusal: Refusal): OutgoingHttpHeaders {
  const code = refusal.rpcCode;
  const message = Buffer.from(refusal.message).subarray(0, MESSAGE_BYTES_MAX).toString();
  return {
    "grpc-status": String(code),
    "grpc-message": percentEncoded(message),
    ...(refusal.isTemporary && retryHeaders(code, message)),
  };
}

/** When to come back, in a status's details as most clients read it, and by itself as Python's does. */
function retryHeaders(code: number, message: string): OutgoingHttpHeaders {
  const info = retryInfo(RETRY_AFTER_SECONDS);
  const status = rpcStatus(code, message, anyOf("google.rpc.RetryInfo", info));
  return {
    "grpc-status-details-bin": binary(status),
    "google.rpc.retryinfo-bin": binary(info),
  };
}

function binary(value: Buffer): string {
  return value.toString("base64").replace(/=+$/, "");
}

/** As gRPC has it (PROTOCOL-HTTP2, Status-Message): all but printable ASCII, and the percent sign. */
function percentEncoded(text: string): string {
  let encoded = "";
  for (const byte of Buffer.from(text)) {
    const isPlain = byte >= 0x20 && byte <= 0x7e && byte !== 0x25;
    encoded += isPlain
      ? String.fromCharCode(byte)
      : `%${byte.toString(16).toUpperCase().padStart(2, "0")}`;
  }
  return encoded;
}
