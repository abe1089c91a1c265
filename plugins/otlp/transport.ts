import { request as requestHttp, type IncomingMessage } from "node:http";
import { request as requestHttps } from "node:https";
import { promisify } from "node:util";
import { gzip } from "node:zlib";
import { ProtobufLogsSerializer } from "@opentelemetry/otlp-transformer";
import { printable, withSignals } from "tailgate/plugin";
import { requestHeaders, type Destination } from "./destination.ts";

/** Longer responses are cut: OTLP's are short. */
const RESPONSE_BYTES_MAX = 64 << 10;

/** Texts of the other side are cut to this length in log lines. */
const TEXT_CHARS_MAX = 300;

const gzipAsync = promisify(gzip);

/** What became of the items of a request. */
export type SendOutcome =
  | {
      readonly kind: "accepted";
      /** The items that the destination dropped nevertheless (partial success). */
      readonly rejected: number;
      readonly message: string;
    }
  /** The request itself is the reason, so that a retry cannot help. */
  | { readonly kind: "rejected"; readonly reason: string }
  | {
      readonly kind: "retry";
      readonly status: number;
      readonly reason: string;
      readonly retryAfterMs: number;
    };

/**
 * Client errors that are about the sender, the address, the encoding or the moment rather than about the items: every
 * other request would get the same. These are retried until somebody fixes the cause.
 */
const RETRYABLE_CLIENT_ERRORS = new Set<number>([
  401, 402, 403, 404, 405, 406, 407, 408, 411, 414, 415, 417, 421, 425, 426, 429, 431,
]);

interface OtlpResponse {
  readonly status: number;
  readonly statusText: string;
  readonly headers: IncomingMessage["headers"];
  /** As far as it arrived, up to {@link RESPONSE_BYTES_MAX}. */
  readonly body: Buffer;
}

/**
 * Sends one request, once, and returns what its response means for the items.
 * @throws Error if there is no response; TokenError if nothing was sent because there is no token.
 */
export async function post(
  destination: Destination,
  body: Uint8Array,
  signal: AbortSignal,
): Promise<SendOutcome> {
  const send = (abort: AbortSignal): Promise<OtlpResponse> => exchange(destination, body, abort);
  return toOutcome(await withSignals([signal], send, destination.timeoutMs));
}

async function exchange(
  destination: Destination,
  body: Uint8Array,
  signal: AbortSignal,
): Promise<OtlpResponse> {
  const { url, agent, isGzipped } = destination;
  const content = isGzipped ? await gzipAsync(body) : body;
  const headers = {
    "User-Agent": "tailgate",
    ...(await requestHeaders(destination)),
    ...(isGzipped && { "Content-Encoding": "gzip" }),
    "Content-Length": content.length,
  };
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
  const request = url.protocol === "http:" ? requestHttp : requestHttps;
  // Node does not abort a request that waits for its tunnel.
  const destroyTunnels = (): void => {
    for (const socket of destination.tunnels) socket.destroy(signal.reason as Error);
  };
  signal.addEventListener("abort", destroyTunnels);
  request(url, { method: "POST", headers, agent, signal })
    .on("response", resolve)
    .on("error", (error) => reject(noResponse(destination, signal.aborted ? signal.reason : error)))
    .end(content);
  try {
    return await readResponse(await promise);
  } finally {
    signal.removeEventListener("abort", destroyTunnels);
  }
}

function noResponse({ name }: Destination, reason: unknown): Error {
  const { message, code } = reason as NodeJS.ErrnoException;
  return new Error(`${name} did not respond: ${message || code}`, { cause: reason });
}

async function readResponse(response: IncomingMessage): Promise<OtlpResponse> {
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

function toOutcome(response: OtlpResponse): SendOutcome {
  const { status, headers } = response;
  if (status >= 200 && status < 300) return { kind: "accepted", ...parsePartialSuccess(response) };
  const reason = formatReason(response);
  if (status >= 400 && status < 500 && !RETRYABLE_CLIENT_ERRORS.has(status)) {
    return { kind: "rejected", reason };
  }
  return { kind: "retry", status, reason, retryAfterMs: parseRetryAfter(headers["retry-after"]) };
}

/** Parses seconds or a date (RFC 9110, section 10.2.3) into milliseconds; 0 without the header. */
function parseRetryAfter(header: string | undefined): number {
  if (header === undefined) return 0;
  if (/^\s*\d+\s*$/.test(header)) return 1000 * Number(header);
  return Math.max(0, Date.parse(header) - Date.now()) || 0;
}

interface JsonResponse {
  readonly partialSuccess?: PartialSuccess;
}

/** In JSON a 64-bit integer is a string. */
interface PartialSuccess {
  readonly rejectedLogRecords?: number | string;
  readonly rejectedSpans?: number | string;
  readonly errorMessage?: unknown;
}

/**
 * Reads the partial success of a response. A body that is not OTLP is ignored: the status says that the items were
 * accepted. In protobuf the responses for logs and for traces have the same encoding.
 */
function parsePartialSuccess(response: OtlpResponse): { rejected: number; message: string } {
  try {
    const { partialSuccess: partial } = (
      isJson(response)
        ? JSON.parse(response.body.toString())
        : ProtobufLogsSerializer.deserializeResponse(response.body)
    ) as JsonResponse;
    const count = partial?.rejectedLogRecords ?? partial?.rejectedSpans ?? 0;
    const rejected = Math.floor(Number(count));
    return {
      rejected: rejected > 0 ? rejected : 0,
      message: toPrintable(stringOr(partial?.errorMessage, "")),
    };
  } catch {
    return { rejected: 0, message: "" };
  }
}

function formatReason(response: OtlpResponse): string {
  const { status, statusText, headers } = response;
  const line = toPrintable(`${status} ${statusText}`.trim());
  if (status >= 300 && status < 400) {
    return `${line}, to ${toPrintable(headers.location ?? "nowhere")}: redirects are not followed`;
  }
  const text = toPrintable(readErrorText(response).trim());
  // Tailgate's reason phrase says the same.
  return text === "" || line.includes(text.replace(/\.$/, "")) ? line : `${line}: ${text}`;
}

/** Returns the message of the google.rpc.Status in an error's body, or the body itself. */
function readErrorText(response: OtlpResponse): string {
  const { body, headers } = response;
  const text = body.toString();
  try {
    if (isJson(response)) {
      return stringOr((JSON.parse(text) as { message?: unknown }).message, text);
    }
    if (headers["content-type"] === "application/x-protobuf") return parseStatusMessage(body);
  } catch {
    // It is not a Status.
  }
  return text;
}

/**
 * Decodes a Status with the decoder of export responses: { code = 1; message = 2 } has the same encoding as a partial
 * success, { rejected = 1; message = 2 }, which is field 1 of a response.
 */
function parseStatusMessage(body: Buffer): string {
  const { length } = body;
  const tag = [0x0a, (length & 0x7f) | 0x80, ((length >> 7) & 0x7f) | 0x80, length >> 14];
  const { partialSuccess: partial } = ProtobufLogsSerializer.deserializeResponse(
    Buffer.concat([Buffer.from(tag), body]),
  );
  return partial?.errorMessage ?? "";
}

function isJson({ headers }: OtlpResponse): boolean {
  return headers["content-type"]?.startsWith("application/json") ?? false;
}

function stringOr(value: unknown, otherwise: string): string {
  return typeof value === "string" ? value : otherwise;
}

function toPrintable(text: string): string {
  return printable(text.slice(0, TEXT_CHARS_MAX));
}
