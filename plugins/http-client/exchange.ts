import { request as requestHttp, type IncomingMessage } from "node:http";
import { request as requestHttps } from "node:https";
import { printable } from "tailgate/plugin";
import type { Connection } from "./agent.ts";

/** Longer responses are cut: only their beginning is shown. */
const RESPONSE_BYTES_MAX = 64 << 10;

/** Texts of the other side are cut to this length in log lines. */
const TEXT_CHARS_MAX = 300;

/**
 * Client errors that are about the sender, the address, the encoding or the moment rather than about the items: every
 * other request would get the same. These are retried until somebody fixes the cause.
 */
const RETRYABLE_CLIENT_ERRORS = new Set<number>([
  401, 402, 403, 404, 405, 406, 407, 408, 411, 414, 415, 417, 421, 425, 426, 429, 431,
]);

export interface HttpResponse {
  readonly status: number;
  readonly statusText: string;
  readonly headers: IncomingMessage["headers"];
  /** As far as it arrived, up to {@link RESPONSE_BYTES_MAX}. */
  readonly body: Buffer;
}

/** A response other than 2xx: what it means for the items of the request. */
export type Refusal =
  /** The request itself is the reason, so that a retry cannot help. */
  | { readonly kind: "rejected"; readonly status: number; readonly reason: string }
  | {
      readonly kind: "retry";
      readonly status: number;
      readonly reason: string;
      readonly retryAfterMs: number;
    };

/**
 * Sends one POST request, once. Redirects are not followed.
 * @throws Error if there is no response.
 */
export async function exchange(
  connection: Connection,
  headers: Readonly<Record<string, string>>,
  content: Uint8Array,
  signal: AbortSignal,
): Promise<HttpResponse> {
  const { url, agent } = connection;
  const all = { "User-Agent": "tailgate", ...headers, "Content-Length": content.length };
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
  const request = url.protocol === "http:" ? requestHttp : requestHttps;
  // Node does not abort a request that waits for its tunnel.
  const destroyTunnels = (): void => {
    for (const socket of connection.tunnels) socket.destroy(signal.reason as Error);
  };
  signal.addEventListener("abort", destroyTunnels);
  request(url, { method: "POST", headers: all, agent, signal })
    .on("response", resolve)
    .on("error", (error) => reject(noResponse(connection, signal.aborted ? signal.reason : error)))
    .end(content);
  try {
    return await readResponse(await promise);
  } finally {
    signal.removeEventListener("abort", destroyTunnels);
  }
}

function noResponse({ name }: Connection, reason: unknown): Error {
  const { message, code } = reason as NodeJS.ErrnoException;
  return new Error(`${name} did not respond: ${message || code}`, { cause: reason });
}

async function readResponse(response: IncomingMessage): Promise<HttpResponse> {
  const { statusCode: status = 0, statusMessage: statusText = "", headers } = response;
  return { status, statusText, headers, body: await readBody(response) };
}

/** The status decides what became of the items, so that a truncated body is no error. */
async function readBody(response: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  try {
    for await (const chunk of response as AsyncIterable<Buffer>) {
      bytes += chunk.length;
      if (bytes > RESPONSE_BYTES_MAX) break;
      chunks.push(chunk);
    }
  } catch {
    // The connection broke, or the request timed out.
  }
  return Buffer.concat(chunks);
}

/** Returns what a response means for the items; undefined if they were accepted. `readText` reads the body of an error. */
export function refusalOf(
  response: HttpResponse,
  readText: (response: HttpResponse) => string = ({ body }) => body.toString(),
): Refusal | undefined {
  const { status, headers } = response;
  if (status >= 200 && status < 300) return undefined;
  const reason = formatReason(response, readText);
  if (status >= 400 && status < 500 && !RETRYABLE_CLIENT_ERRORS.has(status)) {
    return { kind: "rejected", status, reason };
  }
  return { kind: "retry", status, reason, retryAfterMs: parseRetryAfter(headers["retry-after"]) };
}

/** Parses seconds or a date (RFC 9110, section 10.2.3) into milliseconds; 0 without the header. */
function parseRetryAfter(header: string | undefined): number {
  if (header === undefined) return 0;
  if (/^\s*\d+\s*$/.test(header)) return 1000 * Number(header);
  return Math.max(0, Date.parse(header) - Date.now()) || 0;
}

function formatReason(
  response: HttpResponse,
  readText: (response: HttpResponse) => string,
): string {
  const { status, statusText, headers } = response;
  const line = toPrintable(`${status} ${statusText}`.trim());
  if (status >= 300 && status < 400) {
    return `${line}, to ${toPrintable(headers.location ?? "nowhere")}: redirects are not followed`;
  }
  const text = toPrintable(readText(response).trim());
  // Tailgate's reason phrase says the same.
  return text === "" || line.includes(text.replace(/\.$/, "")) ? line : `${line}: ${text}`;
}

/** Returns a text of the other side as it can be logged. */
export function toPrintable(text: string): string {
  return printable(text.slice(0, TEXT_CHARS_MAX));
}
