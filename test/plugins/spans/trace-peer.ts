import { once } from "node:events";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { buffer } from "node:stream/consumers";
import { gunzipSync } from "node:zlib";
import { vi } from "vitest";
import { spansOfJson, spansOfProtobuf, type ArrivedSpan } from "./trace-schema.ts";

/** Responds to a request with these spans; returns whether they were accepted. */
export type Behaviour = (response: ServerResponse, spans: readonly ArrivedSpan[]) => boolean;

interface Received {
  readonly url: string | undefined;
  readonly headers: IncomingMessage["headers"];
  readonly spans: readonly ArrivedSpan[];
}

/** A trace store: a real server that decodes requests with protobufjs, with scripted behavior. */
export class TracePeer implements AsyncDisposable {
  readonly received: Received[] = [];
  /** The accepted spans, in order of arrival. */
  readonly spans: ArrivedSpan[] = [];
  /** The responses to the next requests, one each; after them all are accepted. */
  readonly next: Behaviour[] = [];
  behaviour: Behaviour = (response) => {
    response.writeHead(200, { "Content-Type": "application/x-protobuf" }).end();
    return true;
  };
  readonly #server: Server = createServer(
    (request, response) => void this.#serve(request, response),
  );

  static async open({ port = 0 } = {}): Promise<TracePeer> {
    const peer = new TracePeer();
    peer.#server.listen(port, "127.0.0.1");
    await once(peer.#server, "listening");
    return peer;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  named(name: string): readonly ArrivedSpan[] {
    return this.spans.filter((span) => span.name === name);
  }

  /** Resolves with the spans of that name when there are enough. */
  async waitFor(name: string, count = 1): Promise<readonly ArrivedSpan[]> {
    const has = (): boolean => this.named(name).length >= count;
    await vi.waitUntil(has, { timeout: 15_000, interval: 10 });
    return this.named(name);
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { url, headers } = request;
    const sent = await buffer(request).catch(() => undefined);
    if (sent === undefined) return;
    const body = headers["content-encoding"] === "gzip" ? gunzipSync(sent) : sent;
    const isJson = headers["content-type"] === "application/json";
    const spans = isJson ? spansOfJson(body) : spansOfProtobuf(body);
    this.received.push({ url, headers, spans });
    const isTaken = (this.next.shift() ?? this.behaviour)(response, spans);
    if (isTaken) this.spans.push(...spans);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    if (this.#server.listening) await once(this.#server, "close");
  }
}

/** Responds with a status and accepts nothing. */
export function answer(status: number, body = ""): Behaviour {
  return (response) => {
    response.writeHead(status).end(body);
    return false;
  };
}
