/** The beginning of a connection to a port with TLS: clients without TLS are told, and handshakes that fail are reported. */

import type { Socket } from "node:net";

/** The first byte of a TLS handshake (RFC 8446, 5.1). */
const TLS_HANDSHAKE = 0x16;

/** The first bytes of a client that speaks HTTP/2 without TLS, as gRPC does (RFC 9113, 3.4). */
const HTTP2_PREFACE = "PRI * HTTP/2.0";

export const PLAIN_TEXT_REASON = "This port speaks TLS: use https://.";

export function isTlsHandshake(packet: Buffer): boolean {
  return packet[0] === TLS_HANDSHAKE;
}

export function isHttp2(packet: Buffer): boolean {
  return packet.toString("latin1", 0, HTTP2_PREFACE.length) === HTTP2_PREFACE;
}

/** Calls `receive` with the first bytes that a client sends; they are still to be read then. */
export function whenFirstBytes(socket: Socket, receive: (packet: Buffer) => void): void {
  const end = (): void => void socket.destroy();
  // An error without a listener would end the process.
  socket.on("error", end);
  socket.once("end", end);
  socket.once("data", (packet: Buffer) => {
    socket.off("end", end);
    socket.pause();
    socket.unshift(packet);
    receive(packet);
  });
}

const FRAME_HEAD_BYTES = 9;
const GOAWAY = 7;
const SETTINGS = 4;
const INADEQUATE_SECURITY = 0xc;

/** Returns the answer to a client that speaks HTTP/2 without TLS: its program shows the text of a GOAWAY (RFC 9113, 6.8). */
export function goAway(text: string): Buffer {
  const debugData = Buffer.from(text);
  const payload = Buffer.alloc(8 + debugData.length);
  payload.writeUInt32BE(INADEQUATE_SECURITY, 4);
  debugData.copy(payload, 8);
  return Buffer.concat([frame(SETTINGS, Buffer.alloc(0)), frame(GOAWAY, payload)]);
}

function frame(type: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(FRAME_HEAD_BYTES);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  return Buffer.concat([head, payload]);
}

/** An error of OpenSSL. */
interface HandshakeError extends Error {
  readonly code?: string;
  readonly reason?: string;
}

/** The client has left, or a load balancer has checked whether the port is open. */
const LOST = new Set(["ECONNRESET", "EPIPE", "ERR_SSL_UNEXPECTED_EOF_WHILE_READING"]);

/** What the alerts of clients mean, which OpenSSL names after the number of the alert. */
const EXPLANATIONS: readonly [RegExp, string][] = [
  [
    /ALERT_(UNKNOWN_CA|CERTIFICATE_UNKNOWN|BAD_CERTIFICATE|CERTIFICATE_EXPIRED)/,
    "The client does not trust the gateway's certificate",
  ],
  [
    /UNSUPPORTED_PROTOCOL|VERSION_TOO_LOW|NO_SHARED_CIPHER|NO_SUITABLE/,
    "The client's version of TLS, or its algorithms, are not accepted here (tls.min_version)",
  ],
  [/NO_APPLICATION_PROTOCOL/, "The client does not offer the protocol of this port"],
];

/** Returns why a handshake failed, as a sentence; undefined if the connection was lost. */
export function handshakeFailure({
  code = "",
  reason,
  message,
}: HandshakeError): string | undefined {
  if (LOST.has(code)) return undefined;
  const [, explanation] = EXPLANATIONS.find(([pattern]) => pattern.test(code)) ?? [];
  const detail = (reason ?? message).split("\n", 1)[0]!;
  return explanation === undefined
    ? `A TLS handshake failed: ${detail}.`
    : `A TLS handshake failed. ${explanation}: ${detail}.`;
}
