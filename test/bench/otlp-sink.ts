/** Receives OTLP and counts its records, in a process of its own. */

import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { answerQuestions } from "./helper-process.ts";
import { ONCE_IN_EACH } from "./typical-record.ts";

export type SinkQuestion =
  /** Answered with a port that it listens on. */
  | { readonly verb: "listen" }
  /** Answered when this many records have arrived on that port. */
  | { readonly verb: "receive"; readonly port: number; readonly records: number };

/** One port and its received records. */
class Sink {
  readonly #pattern = Buffer.from(ONCE_IN_EACH);
  #received = 0;
  #wanted = Infinity;
  #all = Promise.withResolvers<void>();

  async listen(): Promise<number> {
    const server = createServer((request, response) => void this.#take(request, response));
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    return (server.address() as AddressInfo).port;
  }

  async #take(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const body = Buffer.concat(chunks);
    for (let at = body.indexOf(this.#pattern); at >= 0; at = body.indexOf(this.#pattern, at + 1)) {
      this.#received++;
    }
    response.writeHead(200, { "Content-Type": "application/x-protobuf", "Content-Length": 0 });
    response.end();
    if (this.#received >= this.#wanted) this.#all.resolve();
  }

  async receive(records: number): Promise<void> {
    this.#wanted = records;
    this.#all = Promise.withResolvers();
    if (this.#received < records) await this.#all.promise;
    if (this.#received > records) throw new Error(`${this.#received} came instead of ${records}.`);
  }
}

const sinks = new Map<number, Sink>();

answerQuestions(async (question: SinkQuestion): Promise<number | void> => {
  if (question.verb === "receive") return sinks.get(question.port)!.receive(question.records);
  const sink = new Sink();
  const port = await sink.listen();
  sinks.set(port, sink);
  return port;
});
