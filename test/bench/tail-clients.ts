/** Clients that record when each message arrives, in a process of their own. */

import { connect, type Socket } from "node:net";
import { answerQuestions } from "./helper-process.ts";
import { PREFIX_BYTES, TIMESTAMP_LENGTH, parseTimestamp, nowMicros } from "./paced.ts";

export type TailQuestion =
  /** Connects this many more clients to that port; only every nth is measured, the others only read. */
  | {
      readonly verb: "connect";
      readonly port: number;
      readonly path: string;
      readonly count: number;
      readonly lookAtEvery: number;
    }
  /** Resets the measurements of the clients of that port. */
  | { readonly verb: "begin"; readonly port: number }
  /** Answered when each measured client has this many records, or after that time. */
  | {
      readonly verb: "end";
      readonly port: number;
      readonly records: number;
      readonly waitMsMax: number;
    };

export interface TailAnswer {
  /** From the scheduled time of a record until a client had it. */
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** The number of records received by all measured clients. */
  readonly arrived: number;
  readonly due: number;
}

const READ_BYTES = 256 << 10;
const END_OF_HEAD = "\r\n\r\n";

/**
 * A pong with a zero mask, and its interval: frames are not parsed here, and a client that does not answer pings is
 * disconnected. Unsolicited pongs are allowed (RFC 6455, 5.5.3).
 */
const PONG = Buffer.from([0x8a, 0x80, 0, 0, 0, 0]);
const PONG_EVERY_MS = 5_000;

class Tail {
  readonly #port: number;
  readonly #sockets: Socket[] = [];
  readonly #waits: number[] = [];
  #looked = 0;
  #wanted = Infinity;
  #arrived = Promise.withResolvers<void>();

  constructor(port: number) {
    this.#port = port;
    setInterval(() => {
      for (const socket of this.#sockets) socket.write(PONG);
    }, PONG_EVERY_MS).unref();
  }

  async connect(path: string, count: number, lookAtEvery: number): Promise<void> {
    for (let index = 0; index < count; index++) {
      const isLookedAt = index % lookAtEvery === 0;
      if (isLookedAt) this.#looked++;
      await this.#connectOne(path, isLookedAt);
    }
  }

  async #connectOne(path: string, isLookedAt: boolean): Promise<void> {
    const upgraded = Promise.withResolvers<void>();
    const search = new TimestampSearch((micros) => this.#note(micros));
    let head = "";
    const onRead = (length: number, buffer: Uint8Array): boolean => {
      const bytes = buffer.subarray(0, length);
      if (head.includes(END_OF_HEAD)) {
        if (isLookedAt) search.read(bytes);
        return true;
      }
      head += Buffer.from(bytes).toString("latin1");
      if (head.includes(END_OF_HEAD)) upgraded.resolve();
      return true;
    };
    const socket = connect({
      port: this.#port,
      host: "127.0.0.1",
      onread: { buffer: readBuffer, callback: onRead },
    });
    socket.on("error", (error) => upgraded.reject(error));
    this.#sockets.push(socket);
    socket.write(handshake(path, this.#port));
    await upgraded.promise;
    if (!head.startsWith("HTTP/1.1 101 ")) throw new Error(`The server refused a client: ${head}`);
  }

  #note(micros: number): void {
    this.#waits.push((nowMicros() - micros) / 1_000);
    if (this.#waits.length >= this.#wanted) this.#arrived.resolve();
  }

  begin(): void {
    this.#waits.length = 0;
    this.#wanted = Infinity;
    this.#arrived = Promise.withResolvers();
  }

  async end(records: number, waitMsMax: number): Promise<TailAnswer> {
    this.#wanted = records * this.#looked;
    if (this.#waits.length >= this.#wanted) this.#arrived.resolve();
    const timer = setTimeout(() => this.#arrived.resolve(), waitMsMax);
    await this.#arrived.promise;
    clearTimeout(timer);
    const sorted = Float64Array.from(this.#waits).toSorted();
    const at = (share: number): number => sorted[Math.floor(share * (sorted.length - 1))] ?? NaN;
    return { p50Ms: at(0.5), p99Ms: at(0.99), arrived: sorted.length, due: this.#wanted };
  }
}

/** Finds timestamps in the bytes of a socket, at any position. */
class TimestampSearch {
  readonly #found: (micros: number) => void;
  /** The last bytes, which may be the start of a timestamp. */
  #rest = Buffer.alloc(0);

  constructor(found: (micros: number) => void) {
    this.#found = found;
  }

  read(bytes: Uint8Array): void {
    const all =
      this.#rest.length > 0
        ? Buffer.concat([this.#rest, bytes])
        : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
    let next = 0;
    for (;;) {
      const start = all.indexOf(PREFIX_BYTES, next);
      if (start < 0 || start + TIMESTAMP_LENGTH > all.length) {
        const from = start < 0 ? all.length - PREFIX_BYTES.length + 1 : start;
        this.#rest = Buffer.from(all.subarray(Math.max(next, from)));
        return;
      }
      const micros = parseTimestamp(all, start);
      next = start + (Number.isNaN(micros) ? 1 : TIMESTAMP_LENGTH);
      if (!Number.isNaN(micros)) this.#found(micros);
    }
  }
}

function handshake(path: string, port: number): string {
  return (
    [
      `GET ${path} HTTP/1.1`,
      `Host: 127.0.0.1:${port}`,
      "Connection: Upgrade",
      "Upgrade: websocket",
      "Sec-WebSocket-Version: 13",
      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ].join("\r\n") + END_OF_HEAD
  );
}

/** All clients read into the same buffer. */
const readBuffer = Buffer.alloc(READ_BYTES);

const tailsByPort = new Map<number, Tail>();

function tailOf(port: number): Tail {
  let tail = tailsByPort.get(port);
  if (!tail) tailsByPort.set(port, (tail = new Tail(port)));
  return tail;
}

answerQuestions(async (question: TailQuestion): Promise<TailAnswer | void> => {
  const tail = tailOf(question.port);
  switch (question.verb) {
    case "connect":
      return tail.connect(question.path, question.count, question.lookAtEvery);
    case "begin":
      return tail.begin();
    case "end":
      return tail.end(question.records, question.waitMsMax);
  }
});
