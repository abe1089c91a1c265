/** The clients of the fan-out benchmark, in a process of their own. */

import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { WebSocket } from "ws";
import { answerQuestions } from "./helper-process.ts";

export type ClientQuestion =
  /** Connects this many more clients, each with the next of the queries; answered when all are connected. */
  | {
      readonly verb: "connect";
      readonly port: number;
      readonly count: number;
      readonly subprotocol: string | undefined;
      readonly queries?: readonly string[];
    }
  /** Answered when each client of that port has received this many bytes since it connected. */
  | { readonly verb: "receive"; readonly port: number; readonly bytes: number }
  /** Connects a client of the ws package; answered when it is connected. */
  | { readonly verb: "watch"; readonly port: number; readonly subprotocol: string | undefined }
  /** Answered with the texts of that client's first messages. */
  | { readonly verb: "watched"; readonly count: number };

const PATH = "/ws/logs";
const READ_BYTES = 256 << 10;

const END_OF_HEAD = "\r\n\r\n";

const SUBSCRIPTION = '{"type":"subscribe"}';
/** The last message before live records. */
const CAUGHT_UP = /"caught_up","sequence":\d+\}/;

/** Clients that count received bytes and do nothing else. */
class Clients {
  readonly #port: number;
  readonly #sockets: Socket[] = [];
  readonly #received: number[] = [];
  #receivedSum = 0;
  #wanted = Promise.withResolvers<void>();
  #wantedSum = 0;

  constructor(port: number) {
    this.#port = port;
  }

  async connect(
    count: number,
    subprotocol: string | undefined,
    queries: readonly string[] = [""],
  ): Promise<void> {
    for (let index = 0; index < count; index++) {
      await this.#connectOne(PATH + queries[index % queries.length]!, subprotocol);
    }
  }

  /** A manual handshake; what the server sends before the benchmark starts is not counted. */
  async #connectOne(path: string, subprotocol: string | undefined): Promise<void> {
    const index = this.#sockets.length;
    const upgraded = Promise.withResolvers<void>();
    let head = "";
    let isIn = false;
    const onRead = (length: number, buffer: Uint8Array): boolean => {
      if (isIn) {
        this.#count(index, length);
        return true;
      }
      const isAnswered = head.includes(END_OF_HEAD);
      head += Buffer.from(buffer.subarray(0, length)).toString("latin1");
      // The server's first messages may arrive together with its handshake response.
      if (subprotocol && !isAnswered && head.includes(END_OF_HEAD)) {
        socket.write(textFrame(SUBSCRIPTION));
      }
      isIn = subprotocol ? CAUGHT_UP.test(head) : head.endsWith(END_OF_HEAD);
      if (isIn) upgraded.resolve();
      return true;
    };
    const socket = connect({
      port: this.#port,
      host: "127.0.0.1",
      onread: { buffer: readBuffer, callback: onRead },
    });
    socket.on("error", (error) => upgraded.reject(error));
    this.#sockets.push(socket);
    this.#received.push(0);
    socket.write(
      [
        `GET ${path} HTTP/1.1`,
        `Host: 127.0.0.1:${this.#port}`,
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Extensions: permessage-deflate",
        ...(subprotocol ? [`Sec-WebSocket-Protocol: ${subprotocol}`] : []),
      ].join("\r\n") + END_OF_HEAD,
    );
    await upgraded.promise;
    if (!head.startsWith("HTTP/1.1 101 ")) throw new Error(`The server refused a client: ${head}`);
  }

  #count(index: number, bytes: number): void {
    this.#received[index]! += bytes;
    this.#receivedSum += bytes;
    if (this.#receivedSum >= this.#wantedSum) this.#wanted.resolve();
  }

  async receive(bytes: number): Promise<void> {
    this.#wanted = Promise.withResolvers();
    this.#wantedSum = bytes * this.#sockets.length;
    if (this.#receivedSum < this.#wantedSum) await this.#wanted.promise;
    const wrong = this.#received.find((received) => received !== bytes);
    if (wrong !== undefined) throw new Error(`A client has ${wrong} bytes instead of ${bytes}.`);
  }
}

/** Encodes a short text as a client frame, with a zero mask (RFC 6455, 5.2). */
function textFrame(text: string): Buffer {
  return Buffer.concat([Buffer.from([0x81, 0x80 | text.length, 0, 0, 0, 0]), Buffer.from(text)]);
}

/** All clients read into the same buffer, since the content does not matter. */
const readBuffer = Buffer.alloc(READ_BYTES);

const clientsByPort = new Map<number, Clients>();
const watchedTexts: string[] = [];
let watcher: WebSocket | undefined;

function clientsOf(port: number): Clients {
  let clients = clientsByPort.get(port);
  if (!clients) clientsByPort.set(port, (clients = new Clients(port)));
  return clients;
}

answerQuestions(async (question: ClientQuestion) => {
  switch (question.verb) {
    case "connect":
      return clientsOf(question.port).connect(
        question.count,
        question.subprotocol,
        question.queries,
      );
    case "receive":
      return clientsOf(question.port).receive(question.bytes);
    case "watch":
      return watch(question.port, question.subprotocol);
    case "watched":
      return watched(question.count);
  }
});

async function watch(port: number, subprotocol: string | undefined): Promise<void> {
  watchedTexts.length = 0;
  watcher = new WebSocket(`ws://127.0.0.1:${port}${PATH}`, subprotocol ? [subprotocol] : []);
  const caughtUp = Promise.withResolvers<void>();
  watcher.on("message", (data: Buffer) => {
    const text = data.toString();
    watchedTexts.push(...envelopeTexts(text));
    if (CAUGHT_UP.test(text)) caughtUp.resolve();
  });
  await once(watcher, "open");
  if (subprotocol === undefined) return;
  watcher.send(SUBSCRIPTION);
  await caughtUp.promise;
}

/** Returns the envelopes of a message, which may be one itself. */
function envelopeTexts(text: string): string[] {
  const message = JSON.parse(text) as { type: string; envelopes?: unknown[] };
  if (message.type.endsWith("_log")) return [text];
  return (message.envelopes ?? []).map((envelope) => JSON.stringify(envelope));
}

async function watched(count: number): Promise<string[]> {
  while (watchedTexts.length < count) await once(watcher!, "message");
  watcher!.close();
  return watchedTexts;
}
