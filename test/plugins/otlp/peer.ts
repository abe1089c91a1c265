import { once } from "node:events";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { createServer as createTlsServer, type ServerOptions } from "node:https";
import type { AddressInfo } from "node:net";
import { buffer } from "node:stream/consumers";
import { gunzipSync } from "node:zlib";
import { decodeOtlpJson, decodeOtlpProtobuf } from "../../../src/otlp/decode.ts";
import type { LogRecord } from "tailgate/plugin";

/** A request received, read to its end. */
export interface Received {
  readonly url: string | undefined;
  readonly headers: IncomingMessage["headers"];
  readonly body: Buffer;
  readonly records: readonly LogRecord[];
}

/** Responds to a request; returns whether its records were accepted. */
export type Behaviour = (response: ServerResponse, received: Received) => boolean;

const PROTOBUF = { "Content-Type": "application/x-protobuf" };

export const take: Behaviour = (response) => {
  response.writeHead(200, PROTOBUF).end();
  return true;
};

/** Responds with a status and accepts nothing. */
export function answer(
  status: number,
  headers: Readonly<Record<string, string>> = {},
  body = "",
): Behaviour {
  return (response) => {
    response.writeHead(status, headers).end(body);
    return false;
  };
}

/** The exporter's destination: a real server with scripted behavior. */
export class Peer implements AsyncDisposable {
  readonly received: Received[] = [];
  /** The accepted records, in order of arrival. */
  readonly records: LogRecord[] = [];
  /** The responses to the next requests, one each; after them `behaviour` applies. */
  readonly next: Behaviour[] = [];
  behaviour: Behaviour = take;
  /** A larger request is answered 413 from its headers alone. */
  bytesMax = Infinity;
  readonly #server: Server;
  readonly #scheme: string;
  #port = 0;

  private constructor(tls: ServerOptions | undefined) {
    const listener = (request: IncomingMessage, response: ServerResponse): void =>
      void this.#serve(request, response);
    this.#server = tls === undefined ? createServer(listener) : createTlsServer(tls, listener);
    this.#scheme = tls === undefined ? "http" : "https";
  }

  static async open({ tls, port = 0 }: { tls?: ServerOptions; port?: number } = {}): Promise<Peer> {
    const peer = new Peer(tls);
    peer.#server.listen(port, "127.0.0.1");
    await once(peer.#server, "listening");
    peer.#port = (peer.#server.address() as AddressInfo).port;
    return peer;
  }

  get port(): number {
    return this.#port;
  }

  get url(): string {
    return `${this.#scheme}://127.0.0.1:${this.#port}`;
  }

  get messages(): unknown[] {
    return this.records.map(({ body }) => body);
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { url, headers } = request;
    if (Number(headers["content-length"]) > this.bytesMax) {
      // Like Go's servers: the body is not read, and the connection is closed after the response.
      response.writeHead(413, { Connection: "close" }).end();
      return;
    }
    const sent = await buffer(request).catch(() => undefined);
    if (sent === undefined) return;
    const body = headers["content-encoding"] === "gzip" ? gunzipSync(sent) : sent;
    const isJson = headers["content-type"] === "application/json";
    const records = isJson ? decodeOtlpJson(body) : decodeOtlpProtobuf(body);
    const received = { url, headers, body, records };
    this.received.push(received);
    const isTaken = (this.next.shift() ?? this.behaviour)(response, received);
    if (isTaken) this.records.push(...records);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    if (this.#server.listening) await once(this.#server, "close");
  }
}
