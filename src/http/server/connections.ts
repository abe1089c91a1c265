import type { IncomingMessage, ServerResponse } from "node:http";
import type { Server, Socket } from "node:net";
import type { Duplex } from "node:stream";
import { maxHeaderSize, refuseUpgrade, Server as HttpServer } from "../../plugin/http.ts";
import type { AddressedRequest, HostLogger } from "../../plugin/index.ts";
import { clearInterval, clearTimeout, setInterval, setTimeout } from "../../runtime/timers.ts";
import { counter, gauge, type Metric } from "../metrics/metric.ts";
import type { Rejections } from "./rejections.ts";

/** How many times per write timeout the connections are checked. */
const CHECKS_PER_TIMEOUT = 4;

/** How long a rejected connection stays open for its client to read the reason. */
const REJECTION_MS = 1_000;

const RETRY_AFTER_SECONDS = 1;

export interface ConnectionLimits {
  /** Open connections to one server, without WebSockets. */
  readonly connectionsMax: number;
  readonly connectionsPerAddressMax: number;
  /** How long a client may read nothing while data is being sent to it. */
  readonly writeTimeoutMs: number;
}

/** The open connections of one server. */
interface OpenConnections {
  readonly sockets: Map<Socket, WriteProgress>;
  readonly byAddress: Map<string, number>;
}

/** How many bytes a client has received, and since when it has received no more. */
interface WriteProgress {
  sentBytes: number;
  sinceMs: number;
}

/**
 * Watches the connections of the gateway's servers: limits their number, cuts those whose clients stop reading, and
 * answers the requests that Node rejects before any handler sees them.
 */
export class Connections {
  readonly metrics: readonly Metric[] = [
    gauge("tailgate_http_connections", "Open HTTP connections, without WebSockets.", () =>
      this.#servers.reduce((sum, { sockets }) => sum + sockets.size, 0),
    ),
    counter(
      "tailgate_http_connections_refused",
      "Connections rejected because too many were open.",
      () => this.#rejected,
    ),
    counter(
      "tailgate_http_connections_stalled",
      "Connections closed because the client stopped reading.",
      () => this.#stalled,
    ),
  ];
  readonly #limits: ConnectionLimits;
  readonly #log: HostLogger;
  readonly #rejections: Rejections;
  readonly #servers: OpenConnections[] = [];
  /** Removes a socket from its server's connections. */
  readonly #removals = new WeakMap<Socket, () => void>();
  #timer: NodeJS.Timeout | undefined;
  #rejected = 0;
  #stalled = 0;

  constructor(limits: ConnectionLimits, log: HostLogger, rejections: Rejections) {
    this.#limits = limits;
    this.#log = log;
    this.#rejections = rejections;
  }

  /**
   * Watches a server that is not listening yet. Clients learn why they are rejected only over HTTP/1; other protocols are
   * limited, too.
   */
  watch(server: Server): void {
    const open: OpenConnections = { sockets: new Map(), byAddress: new Map() };
    this.#servers.push(open);
    const checkMs = this.#limits.writeTimeoutMs / CHECKS_PER_TIMEOUT;
    this.#timer ??= setInterval(() => this.#cutStalled(), checkMs).unref();
    // Precedes the server's own listener, which would start parsing requests on a rejected connection.
    const accept = server.listeners("connection") as ((socket: Socket) => void)[];
    server.removeAllListeners("connection");
    server.on("connection", (socket: Socket) => {
      // Listening sockets keep the process alive, where that is wanted; clients must not.
      socket.unref();
      const address = socket.remoteAddress ?? "";
      if (this.#exceededLimit(open, address) !== undefined) this.#closeIdle(open, server);
      const reason = this.#exceededLimit(open, address);
      if (reason !== undefined) return this.#reject(socket, reason, server instanceof HttpServer);
      this.#add(open, socket, address);
      for (const listener of accept) listener.call(server, socket);
    });
    if (server instanceof HttpServer) answerProtocolErrors(server, this.#rejections);
  }

  #exceededLimit({ sockets, byAddress }: OpenConnections, address: string): string | undefined {
    const { connectionsMax, connectionsPerAddressMax } = this.#limits;
    if (sockets.size >= connectionsMax) {
      return `All ${connectionsMax} connections are in use (http.max_connections).`;
    }
    if ((byAddress.get(address) ?? 0) >= connectionsPerAddressMax) {
      return `All ${connectionsPerAddressMax} connections from this address are in use (http.max_connections_per_address).`;
    }
    return undefined;
  }

  /** Closes keep-alive connections without a request to make room for a new one. */
  #closeIdle({ sockets }: OpenConnections, server: Server): void {
    if (!(server instanceof HttpServer)) return;
    server.closeIdleConnections();
    for (const socket of sockets.keys()) if (socket.destroyed) this.release(socket);
  }

  #reject(socket: Socket, reason: string, isHttp: boolean): void {
    this.#rejected++;
    this.#log.warning(`A connection was rejected. ${reason}`, fromText(socket));
    const rejection = isHttp
      ? ({ protocol: "http", status: 503, reason } as const)
      : ({ protocol: "grpc", status: "connection_refused", reason } as const);
    this.#rejections.count({ headers: {}, socket }, rejection);
    if (!isHttp) return void socket.destroy();
    socket.on("error", () => socket.destroy());
    const timer = setTimeout(() => socket.destroy(), REJECTION_MS);
    socket.once("close", () => clearTimeout(timer));
    // Reads what the client sends: otherwise the connection would be reset before it sees the response.
    socket.resume().once("end", () => socket.destroy());
    socket.end(rejectionResponse(reason));
  }

  #add({ sockets, byAddress }: OpenConnections, socket: Socket, address: string): void {
    sockets.set(socket, { sentBytes: 0, sinceMs: 0 });
    byAddress.set(address, (byAddress.get(address) ?? 0) + 1);
    const remove = (): void => {
      if (!sockets.delete(socket)) return;
      const left = byAddress.get(address)! - 1;
      if (left > 0) byAddress.set(address, left);
      else byAddress.delete(address);
    };
    this.#removals.set(socket, remove);
    socket.once("close", remove);
  }

  /** Stops watching a socket that is gone or that a plugin has taken over as a WebSocket. */
  release(socket: Socket): void {
    this.#removals.get(socket)?.();
  }

  #cutStalled(): void {
    const nowMs = performance.now();
    for (const { sockets } of this.#servers) {
      for (const [socket, progress] of sockets) {
        // Written, but not yet accepted by the operating system.
        const unsentBytes = socket.writableLength;
        const sentBytes = socket.bytesWritten - unsentBytes;
        if (unsentBytes === 0 || sentBytes !== progress.sentBytes || progress.sinceMs === 0) {
          progress.sentBytes = sentBytes;
          progress.sinceMs = unsentBytes === 0 ? 0 : nowMs;
        } else if (nowMs - progress.sinceMs >= this.#limits.writeTimeoutMs) this.#cut(socket);
      }
    }
  }

  #cut(socket: Socket): void {
    this.#stalled++;
    const seconds = this.#limits.writeTimeoutMs / 1000;
    this.#log.warning(
      `A client was disconnected: it did not read its response for ${seconds} s (http.write_timeout_seconds).`,
      fromText(socket),
    );
    // Resets the connection: otherwise the operating system would keep what it has buffered for the client.
    socket.resetAndDestroy();
  }

  close(): void {
    clearInterval(this.#timer);
  }
}

function fromText({ remoteAddress = "an unknown address" }: Socket): string {
  return `It came from ${remoteAddress}.`;
}

function rejectionResponse(reason: string): string {
  const body = `${reason} Retry in ${RETRY_AFTER_SECONDS} s.\n`;
  const head = [
    "HTTP/1.1 503 Service Unavailable",
    "Connection: close",
    `Retry-After: ${RETRY_AFTER_SECONDS}`,
    "Content-Type: text/plain; charset=utf-8",
    "X-Content-Type-Options: nosniff",
    `Content-Length: ${Buffer.byteLength(body)}`,
  ];
  return `${head.join("\r\n")}\r\n\r\n${body}`;
}

/** An error of node:http about a connection, with the bytes that it could not parse. */
interface ClientError extends Error {
  readonly code?: string;
  readonly reason?: string;
  readonly rawPacket?: Buffer;
}

/** The first byte of a TLS handshake (RFC 8446, 5.1), and the first bytes of a client that speaks only HTTP/2. */
const TLS_HANDSHAKE = 0x16;
const HTTP2_PREFACE = "PRI * HTTP/2.0";

/** How much of an invalid request is searched for its user agent. */
const HEAD_BYTES_MAX = 16 << 10;

/** Answers and counts the requests that node:http rejects by itself: malformed, incomplete and unsupported ones. */
function answerProtocolErrors(server: Server, rejections: Rejections): void {
  server.on("clientError", (error, socket) => answerClientError(error, socket, rejections));
  server.on("connect", (request: IncomingMessage, socket: Duplex) => {
    const reason = "This is not a proxy: CONNECT is not supported.";
    rejections.add(request, { protocol: "http", status: 405, reason });
    refuseUpgrade(socket, 405, reason);
  });
  server.on("checkExpectation", (request: IncomingMessage, response: ServerResponse) => {
    const reason = "The only supported expectation is 100-continue.";
    rejections.add(request, { protocol: "http", status: 417, reason });
    response.writeHead(417, {
      Connection: "close",
      "Content-Type": "text/plain; charset=utf-8",
      "X-Content-Type-Options": "nosniff",
    });
    response.end(`${reason}\n`);
  });
}

function answerClientError(error: ClientError, duplex: Duplex, rejections: Rejections): void {
  const socket = duplex as Socket & { _httpMessage?: ServerResponse };
  // The client has left, or has sent more after the response.
  if (socket.writableEnded) return;
  if (!isInvalidRequest(error) || !socket.writable) return void socket.destroy();
  const { status, reason } = protocolError(error);
  const request = socket._httpMessage?.req;
  // A request that was received completely is not the invalid one.
  const sender = request?.complete === false ? request : senderOf(socket, error);
  const rejection = { protocol: "http", status, reason } as const;
  // A browser that opens a connection in advance has not requested anything.
  if (socket.bytesRead === 0) rejections.count(sender, rejection);
  else rejections.add(sender, rejection, socket);
  // As Node does: a second response must not start within the first.
  if (socket._httpMessage?.headersSent === true) return void socket.destroy();
  refuseUpgrade(socket, status, reason);
}

/** False for a connection that was lost. */
function isInvalidRequest({ code = "" }: ClientError): boolean {
  return code.startsWith("HPE_") || code === "ERR_HTTP_REQUEST_TIMEOUT";
}

function protocolError(error: ClientError): { status: number; reason: string } {
  const { code, reason, message, rawPacket } = error;
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
        reason:
          otherProtocolText(rawPacket) ?? `The request is not valid HTTP: ${reason ?? message}.`,
      };
  }
}

/** Names the protocol of a client that does not speak HTTP/1. */
function otherProtocolText(packet: Buffer | undefined): string | undefined {
  if (packet === undefined) return undefined;
  if (packet[0] === TLS_HANDSHAKE) return "The client speaks TLS (https), and this port does not.";
  if (packet.toString("latin1", 0, HTTP2_PREFACE.length) === HTTP2_PREFACE) {
    return "The client speaks HTTP/2, as gRPC does, and this port does not: OTLP/gRPC has its own port (receivers.otlp.grpc_port).";
  }
  return undefined;
}

function senderOf({ remoteAddress }: Socket, { rawPacket }: ClientError): AddressedRequest {
  const head = rawPacket?.toString("latin1", 0, HEAD_BYTES_MAX) ?? "";
  const [, userAgent] = /\r?\nuser-agent:[ \t]*([^\r\n]*)/i.exec(head) ?? [];
  return { headers: { "user-agent": userAgent }, socket: { remoteAddress } };
}
