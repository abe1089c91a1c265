import { promisify } from "node:util";
import { gzip } from "node:zlib";
import { ProtobufLogsSerializer } from "@opentelemetry/otlp-transformer";
import { withSignals } from "tailgate/plugin";
import {
  exchange,
  refusalOf,
  toPrintable,
  type HttpResponse,
  type Refusal,
} from "../http-client/exchange.ts";
import { requestHeaders, type Destination } from "./destination.ts";

const gzipAsync = promisify(gzip);

/** What became of the items of a request. */
export type SendOutcome =
  | {
      readonly kind: "accepted";
      /** The items that the destination dropped nevertheless (partial success). */
      readonly rejected: number;
      readonly message: string;
    }
  | Refusal;

/**
 * Sends one request, once, and returns what its response means for the items.
 * @throws Error if there is no response; TokenError if nothing was sent because there is no token.
 */
export async function post(
  destination: Destination,
  body: Uint8Array,
  signal: AbortSignal,
): Promise<SendOutcome> {
  const response = await withSignals(
    [signal],
    (abort) => send(destination, body, abort),
    destination.timeoutMs,
  );
  return (
    refusalOf(response, readErrorText) ?? { kind: "accepted", ...parsePartialSuccess(response) }
  );
}

async function send(
  destination: Destination,
  body: Uint8Array,
  signal: AbortSignal,
): Promise<HttpResponse> {
  const { isGzipped } = destination;
  const content = isGzipped ? await gzipAsync(body) : body;
  const headers = {
    ...(await requestHeaders(destination)),
    ...(isGzipped && { "Content-Encoding": "gzip" }),
  };
  return exchange(destination, headers, content, signal);
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
function parsePartialSuccess(response: HttpResponse): { rejected: number; message: string } {
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

/** Returns the message of the google.rpc.Status in an error's body, or the body itself. */
function readErrorText(response: HttpResponse): string {
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

function stringOr(value: unknown, otherwise: string): string {
  return typeof value === "string" ? value : otherwise;
}

function isJson({ headers }: HttpResponse): boolean {
  return headers["content-type"]?.startsWith("application/json") ?? false;
}
