import { once } from "node:events";
import {
  connect,
  type ClientHttp2Session,
  type ClientHttp2Stream,
  type IncomingHttpHeaders,
} from "node:http2";
import type { Socket } from "node:net";
import { onTestFinished } from "vitest";

export const METHOD = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";

export interface RawAnswer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  /** Undefined if absent. */
  readonly grpcStatus: number | undefined;
  readonly message: string;
  /** The trailers, which are the headers of a trailers-only response. */
  readonly trailers: IncomingHttpHeaders;
  readonly body: Buffer;
}

/** A message with its prefix. */
export function frame(message: Uint8Array, flag = 0, length = message.length): Buffer {
  const prefix = Buffer.from([flag, 0, 0, 0, 0]);
  prefix.writeUInt32BE(length, 1);
  return Buffer.concat([prefix, message]);
}

/** A RST_STREAM frame as bytes: Node's own client ends the request before it. */
export function resetFrame(streamId: number, code: number): Buffer {
  const bytes = Buffer.from([0, 0, 4, 3, 0, 0, 0, 0, 0, 0, 0, 0, code]);
  bytes.writeUInt32BE(streamId, 5);
  return bytes;
}

export function session(url: string, socket?: Socket): ClientHttp2Session {
  const client = connect(url, socket && { createConnection: () => socket });
  client.on("error", () => {});
  onTestFinished(() => client.destroy());
  return client;
}

export function begin(
  client: ClientHttp2Session,
  headers: Record<string, string> = {},
): ClientHttp2Stream {
  const stream = client.request({
    ":method": "POST",
    ":path": METHOD,
    "content-type": "application/grpc",
    te: "trailers",
    ...headers,
  });
  stream.on("error", () => {});
  return stream;
}

export async function answerOf(stream: ClientHttp2Stream): Promise<RawAnswer> {
  const chunks: Buffer[] = [];
  let trailers: IncomingHttpHeaders | undefined;
  stream.on("data", (chunk: Buffer) => chunks.push(chunk));
  stream.on("trailers", (given) => (trailers = given));
  const closed = once(stream, "close");
  const [headers] = (await once(stream, "response")) as [IncomingHttpHeaders];
  await closed;
  trailers ??= headers;
  const status = trailers["grpc-status"] as string | undefined;
  return {
    status: Number(headers[":status"]),
    headers,
    grpcStatus: status === undefined ? undefined : Number(status),
    message: decodeURIComponent((trailers["grpc-message"] as string | undefined) ?? ""),
    trailers,
    body: Buffer.concat(chunks),
  };
}

/** Sends a whole body in one call. */
export function send(
  url: string,
  body: Uint8Array,
  headers: Record<string, string> = {},
): Promise<RawAnswer> {
  const stream = begin(session(url), headers);
  stream.end(body);
  return answerOf(stream);
}
