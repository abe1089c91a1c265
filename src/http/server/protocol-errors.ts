import type { Server, Socket } from "node:net";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import { maxHeaderSize, refuseUpgrade, Server as HttpServer } from "../../plugin/http.ts";
import type { AddressedRequest } from "../../plugin/index.ts";
import type { Rejections } from "./rejections.ts";

/** What Node says of a connection, with the bytes that it stumbled over. */
interface ClientError extends Error {
  readonly code?: string;
  readonly reason?: string;
  readonly rawPacket?: Buffer;
}

/** The first byte of a TLS handshake (RFC 8446, 5.1), and what a client begins with that speaks HTTP/2 only. */
const TLS_HANDSHAKE = 0x16;
const HTTP2_PREFACE = "PRI * HTTP/2.0";

/** How much of a broken request is searched for its user agent. */
const HEAD_BYTES_MAX = 16 << 10;

/** Responds to what an HTTP server rejects by itself, without telling the program: malformed, incomplete and odd requests. */
export function watchProtocol(server: Server, rejections: Rejections): void {
  if (!(server instanceof HttpServer)) return;
  server.on("clientError", (error, socket) => answerClientError(error, socket, rejections));
  server.on("connect", (request, socket) => {
    const text = "This is no proxy: there is no CONNECT.";
    rejections.add(request, { protocol: "http", status: 405, reason: text });
    refuseUpgrade(socket, 405, text);
  });
  server.on("checkExpectation", (request: IncomingMessage, response: ServerResponse) => {
    const reason = "The only expectation that is met is 100-continue.";
    rejections.add(request, { protocol: "http", status: 417, reason });
    response.writeHead(417, { Connection: "close" }).end(`${reason}\n`);
  });
}

function answerClientError(error: ClientError, duplex: Duplex, rejections: Rejections): void {
  const socket = duplex as Socket & { _httpMessage?: ServerResponse };
  // Whoever went away is answered nothing, and whoever sends more after the answer nothing more.
  if (socket.writableEnded) return;
  if (!isRefusal(error) || !socket.writable) return void socket.destroy();
  const { status, reason } = refusalOf(error);
  const request = socket._httpMessage?.req;
  // A request that is complete is not the one that is wrong.
  const sender = request?.complete === false ? request : senderOf(socket, error);
  const rejection = { protocol: "http", status, reason } as const;
  // A browser that opens a connection ahead of time has not asked for anything.
  if (socket.bytesRead === 0) rejections.count(sender, rejection);
  else rejections.add(sender, rejection, socket);
  // As Node does it: a second answer must not stand within the first.
  if (socket._httpMessage?.headersSent === true) return void socket.destroy();
  refuseUpgrade(socket, status, reason);
}

/** False for a connection that broke. */
function isRefusal({ code = "" }: ClientError): boolean {
  return code.startsWith("HPE_") || code === "ERR_HTTP_REQUEST_TIMEOUT";
}

function refusalOf({ code, reason, message, rawPacket }: ClientError): {
  status: number;
  reason: string;
} {
  switch (code) {
    case "ERR_HTTP_REQUEST_TIMEOUT":
      return { status: 408, reason: "The request did not arrive in time." };
    case "HPE_HEADER_OVERFLOW":
      return { status: 431, reason: `The headers are larger than ${maxHeaderSize} bytes.` };
    case "HPE_CHUNK_EXTENSIONS_OVERFLOW":
      return { status: 413, reason: "The chunk extensions are too large." };
    case "HPE_INVALID_EOF_STATE":
      return { status: 400, reason: "The connection ended before the request did." };
    default:
      return {
        status: 400,
        reason: malformed(rawPacket) ?? `The request is not valid HTTP: ${reason ?? message}.`,
      };
  }
}

/** What a client speaks that does not speak HTTP/1. */
function malformed(packet: Buffer | undefined): string | undefined {
  if (packet === undefined) return undefined;
  if (packet[0] === TLS_HANDSHAKE) return "The client speaks TLS (https), and this port does not.";
  if (packet.toString("latin1", 0, HTTP2_PREFACE.length) === HTTP2_PREFACE) {
    return "The client speaks HTTP/2, as gRPC does, and this port does not: OTLP/gRPC has a port of its own (receivers.otlp.grpc_port).";
  }
  return undefined;
}

function senderOf({ remoteAddress }: Socket, { rawPacket }: ClientError): AddressedRequest {
  const head = rawPacket?.toString("latin1", 0, HEAD_BYTES_MAX) ?? "";
  const [, userAgent] = /\r?\nuser-agent:[ \t]*([^\r\n]*)/i.exec(head) ?? [];
  return { headers: { "user-agent": userAgent }, socket: { remoteAddress } };
}
