import type { Duplex } from "node:stream";
import { STATUS_CODES } from "../runtime/node-http.ts";

type Observer = (status: number, text: string) => void;

const observers = new WeakMap<Duplex, Observer>();

/** Calls `observe` when a request for an upgrade on the socket was refused, and its client was told so. */
export function observeRefusal(socket: Duplex, observe: Observer): void {
  observers.set(socket, observe);
}

/** Answers a request for an upgrade with an error and a text, and ends the connection. */
export function refuseUpgrade(
  socket: Duplex,
  status: number,
  text: string,
  headers: Readonly<Record<string, string>> = {},
): void {
  // A peer that is gone already needs no answer.
  socket.on("error", () => socket.destroy());
  socket.once("finish", () => {
    observers.get(socket)?.(status, text);
    socket.destroy();
  });
  const body = `${text}\n`;
  const head = [
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}`,
    "Connection: close",
    "Content-Type: text/plain; charset=utf-8",
    "X-Content-Type-Options: nosniff",
    `Content-Length: ${Buffer.byteLength(body)}`,
    ...Object.entries(headers).map(([name, value]) => `${name}: ${value}`),
  ];
  socket.end(`${head.join("\r\n")}\r\n\r\n${body}`);
}
