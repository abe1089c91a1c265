/** The clients of the OTLP benchmark, in a process of their own. */

import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { answerQuestions } from "./helper-process.ts";
import { otlpRequest, REQUEST_RECORDS } from "./otlp-request.ts";

/** Sends so many requests to a port, spread over the connections; answered when all were taken. */
export interface SenderQuestion {
  readonly port: number;
  readonly format: "protobuf" | "json";
  readonly requests: number;
  /** In each; as many as an exporter usually sends where absent. */
  readonly records?: number;
}

const CONNECTIONS = 8;

const END_OF_HEAD = "\r\n\r\n";

/** A connection that is kept alive, with one request on it at a time, as an exporter has it. */
class Sender {
  readonly #socket: Socket;
  #answer = "";
  #answered = Promise.withResolvers<void>();

  constructor(port: number) {
    this.#socket = connect(port, "127.0.0.1");
    this.#socket.setNoDelay(true).setEncoding("latin1");
    this.#socket.on("data", (text: string) => this.#read(text));
    this.#socket.on("close", () => this.#answered.reject(new Error("A connection was closed.")));
  }

  async open(): Promise<this> {
    await once(this.#socket, "connect");
    return this;
  }

  async send(request: Uint8Array): Promise<void> {
    this.#answered = Promise.withResolvers();
    this.#socket.write(request);
    await this.#answered.promise;
  }

  #read(text: string): void {
    this.#answer += text;
    const headEnd = this.#answer.indexOf(END_OF_HEAD);
    if (headEnd < 0) return;
    const length = Number(/^content-length: (\d+)/im.exec(this.#answer)?.[1]);
    if (this.#answer.length < headEnd + END_OF_HEAD.length + length) return;
    if (this.#answer.startsWith("HTTP/1.1 200 ")) this.#answered.resolve();
    else this.#answered.reject(new Error(`A request was refused: ${this.#answer}`));
    this.#answer = "";
  }
}

const bodiesByRecords = new Map<number, ReturnType<typeof otlpRequest>>();
const sendersByPort = new Map<number, Promise<Sender[]>>();

answerQuestions(async ({ port, format, requests, records = REQUEST_RECORDS }: SenderQuestion) => {
  const senders = await sendersOf(port);
  const request = requestOf(port, bodiesOf(records)[format], format);
  let left = requests;
  const sendAll = async (sender: Sender): Promise<void> => {
    while (left-- > 0) await sender.send(request);
  };
  await Promise.all(senders.map(sendAll));
});

function sendersOf(port: number): Promise<Sender[]> {
  let senders = sendersByPort.get(port);
  if (!senders) {
    senders = Promise.all(Array.from({ length: CONNECTIONS }, () => new Sender(port).open()));
    sendersByPort.set(port, senders);
  }
  return senders;
}

function bodiesOf(records: number): ReturnType<typeof otlpRequest> {
  const bodies = bodiesByRecords.get(records) ?? otlpRequest(records);
  bodiesByRecords.set(records, bodies);
  return bodies;
}

function requestOf(port: number, body: Buffer, format: SenderQuestion["format"]): Uint8Array {
  const head = [
    "POST /v1/logs HTTP/1.1",
    `Host: 127.0.0.1:${port}`,
    `Content-Type: application/${format === "json" ? "json" : "x-protobuf"}`,
    `Content-Length: ${body.length}`,
  ];
  return Buffer.concat([Buffer.from(head.join("\r\n") + END_OF_HEAD), body]);
}
