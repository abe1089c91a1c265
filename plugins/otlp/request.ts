import { request as requestHttp, type IncomingMessage } from "node:http";
import { request as requestHttps } from "node:https";
import { promisify } from "node:util";
import { gzip } from "node:zlib";
import { withSignals } from "tailgate/plugin";
import type { Destination } from "./destination.ts";

/** What is read of an answer: the answers of OTLP are short. */
const ANSWER_BYTES_MAX = 64 << 10;

const gzipped = promisify(gzip);

/** How the other side has answered. */
export interface Answer {
  readonly status: number;
  readonly statusText: string;
  readonly headers: IncomingMessage["headers"];
  /** As far as it came and is not too long. */
  readonly body: Buffer;
}

/**
 * Sends one request, once. Resolves with any answer, rejects where there is none. OpenTelemetry's transport would
 * repeat it by itself and be deaf to `signal`; repeating is delivery's, with its order and its time limit.
 */
export function post(
  destination: Destination,
  body: Uint8Array,
  signal: AbortSignal,
): Promise<Answer> {
  const send = (limit: AbortSignal): Promise<Answer> => postOnce(destination, body, limit);
  return withSignals([signal], send, destination.timeoutMs);
}

async function postOnce(
  destination: Destination,
  body: Uint8Array,
  signal: AbortSignal,
): Promise<Answer> {
  const { url, agent, isGzipped } = destination;
  const sent = isGzipped ? await gzipped(body) : body;
  const headers = {
    "User-Agent": "tailgate",
    ...destination.headers,
    ...(isGzipped && { "Content-Encoding": "gzip" }),
    "Content-Length": sent.length,
  };
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
  const request = url.protocol === "http:" ? requestHttp : requestHttps;
  // A request that waits for its tunnel is deaf to the signal.
  const cut = (): void => {
    for (const socket of destination.tunnels) socket.destroy(signal.reason as Error);
  };
  signal.addEventListener("abort", cut);
  request(url, { method: "POST", headers, agent, signal })
    .on("response", resolve)
    .on("error", (error) => reject(failure(destination, signal.aborted ? signal.reason : error)))
    .end(sent);
  try {
    return await answerOf(await promise);
  } finally {
    signal.removeEventListener("abort", cut);
  }
}

async function answerOf(response: IncomingMessage): Promise<Answer> {
  const { statusCode: status = 0, statusMessage: statusText = "", headers } = response;
  return { status, statusText, headers, body: await bodyOf(response) };
}

/** The status says what became of the records, however the body ends. */
async function bodyOf(response: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  try {
    for await (const chunk of response as AsyncIterable<Buffer>) {
      bytes += chunk.length;
      if (bytes > ANSWER_BYTES_MAX) break;
      chunks.push(chunk);
    }
  } catch {
    // Cut off, or the time was over.
  }
  return Buffer.concat(chunks);
}

function failure({ name }: Destination, reason: unknown): Error {
  const { message, code } = reason as NodeJS.ErrnoException;
  return new Error(`${name} did not answer: ${message || code}`, { cause: reason });
}
