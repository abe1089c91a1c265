import type { Server, Socket } from "node:net";
import { maxHeaderSize, refuseUpgrade, Server as HttpServer } from "../../plugin/http.ts";
import type { AddressedRequest, HostLogger, Rejection } from "../../plugin/index.ts";
import { counter, gauge, type Metric } from "../metrics/metric.ts";
import { clearInterval, clearTimeout, setInterval, setTimeout } from "../../runtime/timers.ts";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import type { Rejections } from "./rejections.ts";

/** How often within the write timeout connections are looked at. */
const CHECKS = 4;

/** How long a connection that is refused has to read why. */
const REFUSAL_MS = 1_000;

const RETRY_AFTER_SECONDS = 1;

export interface ConnectionLimits {
  /** Open connections to one server, those of upgrades aside. */
  readonly connectionsMax: number;
  readonly connectionsPerAddressMax: number;
  /** How long a client may read nothing while something is sent to it. */
  readonly writeTimeoutMs: number;
}

/** What a server has open. */
interface Port {
  readonly sockets: Map<Socket, Progress>;
  readonly byAddress: Map<string, number>;
}

/** What a client has been sent, and since when it has been as much. */
interface Progress {
  sentBytes: number;
  sinceMs: number;
}

/** Bounds the connections to the gateway's servers, and cuts those whose clients read nothing. */
export class Connections {
  readonly metrics: readonly Metric[] = [
    gauge("tailgate_http_connections", "Open connections, without those of WebSockets.", () =>
      this.#ports.reduce((sum, { sockets }) => sum + sockets.size, 0),
    ),
    counter(
      "tailgate_http_connections_refused",
      "Connections that were refused because too many were open.",
      () => this.#refused,
    ),
    counter(
      "tailgate_http_connections_stalled",
      "Connections that were cut because their clients read nothing.",
      () => this.#stalled,
    ),
  ];
  readonly #limits: ConnectionLimits;
  readonly #log: HostLogger;
  readonly #ports: Port[] = [];
  readonly #rejected: (request: AddressedRequest, rejection: Rejection) => void;
  /** How a socket is taken off its port. */
  readonly #forgets = new WeakMap<Socket, () => void>();
  #timer: NodeJS.Timeout | undefined;
  #refused = 0;
  #stalled = 0;

  /** `rejected` counts a connection that is refused. */
  constructor(
    limits: ConnectionLimits,
    log: HostLogger,
    rejected: (request: AddressedRequest, rejection: Rejection) => void,
  ) {
    this.#limits = limits;
    this.#log = log;
    this.#rejected = rejected;
  }

  /** Watches a server that does not listen yet; of HTTP/1, or of any other protocol, in which nothing is said to those refused. */
  watch(server: Server): void {
    const port: Port = { sockets: new Map(), byAddress: new Map() };
    this.#ports.push(port);
    const checkMs = this.#limits.writeTimeoutMs / CHECKS;
    this.#timer ??= setInterval(() => this.#cutStalled(), checkMs).unref();
    // Before the server's own listener, which would begin to parse requests of a connection that is refused.
    const accept = server.listeners("connection") as ((socket: Socket) => void)[];
    server.removeAllListeners("connection");
    server.on("connection", (socket: Socket) => {
      // A client does not keep the process alive; what listens does, where it is to live.
      socket.unref();
      const address = socket.remoteAddress ?? "";
      if (this.#refusal(port, address) !== undefined) this.#makeRoom(port, server);
      const reason = this.#refusal(port, address);
      if (reason !== undefined) return this.#refuse(socket, reason, server instanceof HttpServer);
      this.#keep(port, socket, address);
      for (const listener of accept) listener.call(server, socket);
    });
  }

  #refusal({ sockets, byAddress }: Port, address: string): string | undefined {
    const { connectionsMax, connectionsPerAddressMax } = this.#limits;
    if (sockets.size >= connectionsMax) {
      return `All ${connectionsMax} connections are taken (http.max_connections).`;
    }
    if ((byAddress.get(address) ?? 0) >= connectionsPerAddressMax) {
      return `All ${connectionsPerAddressMax} connections of this address are taken (http.max_connections_per_address).`;
    }
    return undefined;
  }

  /** Connections that are kept for a next request give way. */
  #makeRoom({ sockets }: Port, server: Server): void {
    if (!(server instanceof HttpServer)) return;
    server.closeIdleConnections();
    for (const socket of sockets.keys()) if (socket.destroyed) this.handOver(socket);
  }

  #refuse(socket: Socket, reason: string, isHttp: boolean): void {
    this.#refused++;
    this.#log.warning(`A connection was refused. ${reason}`, fromText(socket));
    const rejection = isHttp
      ? ({ protocol: "http", status: 503, reason } as const)
      : ({ protocol: "grpc", status: "connection_refused", reason } as const);
    this.#rejected({ headers: {}, socket }, rejection);
    if (!isHttp) return void socket.destroy();
    socket.on("error", () => socket.destroy());
    const timer = setTimeout(() => socket.destroy(), REFUSAL_MS);
    socket.once("close", () => clearTimeout(timer));
    // What the client sends is read: it would not see the answer if its connection were reset.
    socket.resume().once("end", () => socket.destroy());
    socket.end(refusalText(reason));
  }

  #keep({ sockets, byAddress }: Port, socket: Socket, address: string): void {
    sockets.set(socket, { sentBytes: 0, sinceMs: 0 });
    byAddress.set(address, (byAddress.get(address) ?? 0) + 1);
    const forget = (): void => {
      if (!sockets.delete(socket)) return;
      const left = byAddress.get(address)! - 1;
      if (left > 0) byAddress.set(address, left);
      else byAddress.delete(address);
    };
    this.#forgets.set(socket, forget);
    socket.once("close", forget);
  }

  /** Counts the socket no more: it is gone, or somebody else's from now on, such as a WebSocket's. */
  handOver(socket: Socket): void {
    this.#forgets.get(socket)?.();
  }

  #cutStalled(): void {
    const nowMs = performance.now();
    for (const { sockets } of this.#ports) {
      for (const [socket, progress] of sockets) {
        // Written, and not yet taken by the system.
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
      `A client was disconnected: it read nothing of its answer for ${seconds} s (http.write_timeout_seconds).`,
      fromText(socket),
    );
    // With a reset: the system would keep what it has taken for the client.
    socket.resetAndDestroy();
  }

  close(): void {
    clearInterval(this.#timer);
  }
}

function fromText({ remoteAddress = "an unknown address" }: Socket): string {
  return `It came from ${remoteAddress}.`;
}

function refusalText(reason: string): string {
  const body = `${reason} Try again in ${RETRY_AFTER_SECONDS} s.\n`;
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
