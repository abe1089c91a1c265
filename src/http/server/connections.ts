import type { IncomingMessage, ServerResponse } from "node:http";
import type { Server, Socket } from "node:net";
import type { Duplex } from "node:stream";
import type { TLSSocket } from "node:tls";
import { maxHeaderSize, refuseUpgrade } from "../../plugin/http.ts";
import type { AddressedRequest, HostLogger } from "../../plugin/index.ts";
import { clearInterval, clearTimeout, setInterval, setTimeout } from "../../runtime/timers.ts";
import { counter, gauge, type Metric } from "../metrics/metric.ts";
import type { Rejections } from "./rejections.ts";
import {
  goAway,
  handshakeFailure,
  isHttp2,
  isTlsHandshake,
  PLAIN_TEXT_REASON,
  whenFirstBytes,
} from "./tls-handshake.ts";

/** How many times per write timeout the connections are checked. */
const CHECKS_PER_TIMEOUT = 4;

/** How long a rejected connection stays open for its client to read the reason. */
const REJECTION_MS = 1_000;

const RETRY_AFTER_SECONDS = 1;

/** Longer than a handshake takes on the slowest connection, and as long as the headers of a request may take. */
const HANDSHAKE_TIMEOUT_MS = 10_000;

export interface ConnectionLimits {
  /** Open connections to one server, without WebSockets. */
  readonly connectionsMax: number;
  readonly connectionsPerAddressMax: number;
  /** How long a client may read nothing while data is being sent to it. */
  readonly writeTimeoutMs: number;
  /** How long a client may take from its connection to the end of the TLS handshake. Default: 10 s. */
  readonly handshakeTimeoutMs?: number;
}

/** The open connections of one server. */
interface OpenConnections {
  readonly server: Server;
  readonly protocol: "http" | "grpc";
  readonly isTls: boolean;
  readonly sockets: Map<Socket, OpenConnection>;
  readonly byAddress: Map<string, number>;
  /** The sockets of TLS handshakes by their remote address and port. */
  readonly handshakes: Map<string, Socket>;
}

/** How many bytes a client has received, and since when it has received no more. */
interface OpenConnection {
  /** What is written to: the socket, or TLS on top of it. */
  stream: Socket;
  /** Called when the TLS handshake is over. */
  secured?: () => void;
  sentBytes: number;
  sinceMs: number;
}

/** A server of node:http or node:https, which have no class in common; one of node:http2 has the method without an effect. */
type Http1Server = Server & { closeIdleConnections(): void };

function isHttp1(server: Server): server is Http1Server {
  return "keepAliveTimeout" in server;
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
   * Watches a server that is not listening yet. Clients learn why they are rejected only over HTTP/1 without TLS; others are
   * limited, too.
   */
  watch(server: Server): void {
    const open: OpenConnections = {
      server,
      protocol: isHttp1(server) ? "http" : "grpc",
      isTls: "setSecureContext" in server,
      sockets: new Map(),
      byAddress: new Map(),
      handshakes: new Map(),
    };
    this.#servers.push(open);
    server.once("close", () => this.#forget(open));
    const checkMs = this.#limits.writeTimeoutMs / CHECKS_PER_TIMEOUT;
    this.#timer ??= setInterval(() => this.#cutStalled(), checkMs).unref();
    // Precedes the server's own listener, which would start parsing requests on a rejected connection.
    const accept = server.listeners("connection") as ((socket: Socket) => void)[];
    server.removeAllListeners("connection");
    server.on("connection", (socket: Socket) => {
      // Listening sockets keep the process alive, where that is wanted; clients must not.
      socket.unref();
      const address = socket.remoteAddress ?? "";
      if (this.#exceededLimit(open, address) !== undefined) this.#closeIdle(open);
      const reason = this.#exceededLimit(open, address);
      if (reason !== undefined) return this.#reject(socket, reason, open);
      this.#add(open, socket, address);
      const begin = (): void => accept.forEach((listener) => listener.call(server, socket));
      if (open.isTls) this.#awaitHandshake(open, socket, begin);
      else begin();
    });
    if (open.isTls) this.#watchHandshakes(open);
    if (open.protocol === "http") answerProtocolErrors(server, this.#rejections);
  }

  /** A receiver that was opened again has another server. */
  #forget(open: OpenConnections): void {
    const index = this.#servers.indexOf(open);
    if (index >= 0) this.#servers.splice(index, 1);
  }

  /** Begins the handshake with the first bytes, or answers a client that sends something else. */
  #awaitHandshake(open: OpenConnections, socket: Socket, begin: () => void): void {
    const { handshakes } = open;
    const { handshakeTimeoutMs = HANDSHAKE_TIMEOUT_MS } = this.#limits;
    const peer = peerOf(socket);
    const timer = setTimeout(() => {
      // Browsers connect in advance, and load balancers check whether the port is open.
      if (socket.bytesRead > 0) {
        const reason = `A TLS handshake took longer than ${handshakeTimeoutMs / 1000} s.`;
        this.#reportHandshake(open, socket, reason);
      }
      socket.destroy();
    }, handshakeTimeoutMs).unref();
    handshakes.set(peer, socket);
    socket.once("close", () => {
      clearTimeout(timer);
      if (handshakes.get(peer) === socket) handshakes.delete(peer);
    });
    open.sockets.get(socket)!.secured = () => clearTimeout(timer);
    whenFirstBytes(socket, (packet) => {
      if (isTlsHandshake(packet)) begin();
      else this.#answerPlainText(open, socket, packet);
    });
  }

  #answerPlainText({ protocol }: OpenConnections, socket: Socket, packet: Buffer): void {
    const reason = `The client does not speak TLS. ${PLAIN_TEXT_REASON}`;
    const status = protocol === "http" ? 400 : "protocol_error";
    const sender = senderOf(socket, packet);
    this.#rejections.add(sender, { protocol, status, reason }, socket);
    endWith(
      socket,
      isHttp2(packet)
        ? goAway(PLAIN_TEXT_REASON)
        : responseText("400 Bad Request", `${PLAIN_TEXT_REASON}\n`),
    );
  }

  #watchHandshakes(open: OpenConnections): void {
    const { server, handshakes } = open;
    server.prependListener("secureConnection", (stream: TLSSocket) => {
      const peer = peerOf(stream);
      const socket = handshakes.get(peer);
      const connection = socket && open.sockets.get(socket);
      // The client has left.
      if (connection === undefined) return;
      handshakes.delete(peer);
      connection.stream = stream;
      connection.secured?.();
      this.#removals.set(stream, this.#removals.get(socket!)!);
    });
    server.on("tlsClientError", (error: Error, stream: TLSSocket) => {
      const reason = handshakeFailure(error);
      if (reason !== undefined) this.#reportHandshake(open, stream, reason);
    });
  }

  #reportHandshake({ protocol }: OpenConnections, socket: Socket, reason: string): void {
    const rejection = { protocol, status: "tls_handshake", reason };
    this.#rejections.add({ headers: {}, socket }, rejection, socket);
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
  #closeIdle({ server, sockets }: OpenConnections): void {
    if (!isHttp1(server)) return;
    server.closeIdleConnections();
    for (const { stream } of sockets.values()) if (stream.destroyed) this.release(stream);
  }

  #reject(socket: Socket, reason: string, { protocol, isTls }: OpenConnections): void {
    this.#rejected++;
    this.#log.warning(`A connection was rejected. ${reason}`, fromText(socket));
    // A response over TLS would need the handshake, which is what costs the most.
    const isAnswered = protocol === "http" && !isTls;
    const status = isAnswered ? 503 : "connection_refused";
    this.#rejections.count({ headers: {}, socket }, { protocol, status });
    if (!isAnswered) return void socket.destroy();
    const body = `${reason} Retry in ${RETRY_AFTER_SECONDS} s.\n`;
    const retryAfter = `Retry-After: ${RETRY_AFTER_SECONDS}`;
    endWith(socket, responseText("503 Service Unavailable", body, [retryAfter]));
  }

  #add({ sockets, byAddress }: OpenConnections, socket: Socket, address: string): void {
    sockets.set(socket, { stream: socket, sentBytes: 0, sinceMs: 0 });
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
        const { stream } = progress;
        // Written, but not yet accepted by the operating system.
        const unsentBytes = stream.writableLength;
        const sentBytes = stream.bytesWritten - unsentBytes;
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
    // Resets the connection: otherwise the operating system would keep what it has buffered for the client. A Unix socket
    // has no such buffer, and cannot be reset.
    if (socket.remotePort === undefined) socket.destroy();
    else socket.resetAndDestroy();
  }

  /** Closes connections that are not requests yet: their servers do not know them. */
  close(): void {
    clearInterval(this.#timer);
    for (const { handshakes } of this.#servers) {
      for (const socket of handshakes.values()) socket.destroy();
    }
  }
}

function fromText({ remoteAddress = "an unknown address" }: Socket): string {
  return `It came from ${remoteAddress}.`;
}

/** Identifies a connection of a server. */
function peerOf({ remoteAddress, remotePort }: Socket): string {
  return `${remoteAddress} ${remotePort}`;
}

/** Ends a connection with a response, and reads what the client sends: otherwise it would be reset before the client reads. */
function endWith(socket: Socket, response: string | Buffer): void {
  socket.on("error", () => socket.destroy());
  const timer = setTimeout(() => socket.destroy(), REJECTION_MS);
  socket.once("close", () => clearTimeout(timer));
  socket.resume().once("end", () => socket.destroy());
  socket.end(response);
}

function responseText(status: string, body: string, headers: readonly string[] = []): string {
  const head = [
    `HTTP/1.1 ${status}`,
    "Connection: close",
    ...headers,
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
  const sender = request?.complete === false ? request : senderOf(socket, error.rawPacket);
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
  if (isTlsHandshake(packet)) return "The client speaks TLS (https), and this port does not.";
  if (isHttp2(packet)) {
    return "The client speaks HTTP/2, as gRPC does, and this port does not: OTLP/gRPC has its own port (receivers.otlp.grpc_port).";
  }
  return undefined;
}

function senderOf({ remoteAddress }: Socket, packet: Buffer | undefined): AddressedRequest {
  const head = packet?.toString("latin1", 0, HEAD_BYTES_MAX) ?? "";
  const [, userAgent] = /\r?\nuser-agent:[ \t]*([^\r\n]*)/i.exec(head) ?? [];
  return { headers: { "user-agent": userAgent }, socket: { remoteAddress } };
}
