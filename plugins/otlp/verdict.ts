import { ProtobufLogsSerializer } from "@opentelemetry/otlp-transformer";
import { printable, RetryLaterError } from "tailgate/plugin";
import type { Answer } from "./request.ts";

/** What an answer means for the records of the request. */
export type Verdict =
  | {
      readonly kind: "taken";
      /** So many records or spans of it the other side has not kept, and never will. */
      readonly rejected: number;
      readonly message: string;
    }
  | { readonly kind: "refused"; readonly reason: string }
  | { readonly kind: "later"; readonly reason: string; readonly retryAfterMs: number };

/**
 * Client errors that speak of the sender, the address, the form or the moment, and not of the records: they would be the
 * same for all other ones. Trying again keeps them until somebody has mended that.
 */
const NOT_OF_THE_RECORDS = new Set<number>([
  401, 402, 403, 404, 405, 406, 407, 408, 411, 414, 415, 417, 421, 425, 426, 429, 431,
]);

const TEXT_CHARS_MAX = 300;

export function verdictOf(answer: Answer): Verdict {
  const { status, headers } = answer;
  if (status >= 200 && status < 300) return { kind: "taken", ...partialSuccess(answer) };
  const reason = reasonOf(answer);
  if (status >= 400 && status < 500 && !NOT_OF_THE_RECORDS.has(status)) {
    return { kind: "refused", reason };
  }
  return { kind: "later", reason, retryAfterMs: retryAfterMs(headers["retry-after"]) };
}

export function laterError(
  name: string,
  { reason, retryAfterMs: afterMs }: Verdict & { kind: "later" },
): Error {
  const text = `${name} answered ${reason}`;
  return afterMs > 0 ? new RetryLaterError(text, afterMs) : new Error(text);
}

/** Seconds, or a date (RFC 9110, 10.2.3); 0 where it says nothing. */
function retryAfterMs(header: string | undefined): number {
  if (header === undefined) return 0;
  if (/^\s*\d+\s*$/.test(header)) return 1000 * Number(header);
  return Math.max(0, Date.parse(header) - Date.now()) || 0;
}

/**
 * A body that is no answer of OTLP says nothing: the status has said that the records are there. In protobuf the
 * answers for logs and for traces look the same.
 */
function partialSuccess(answer: Answer): { rejected: number; message: string } {
  try {
    const { partialSuccess: partial } = isJson(answer)
      ? (JSON.parse(answer.body.toString()) as JsonResponse)
      : ProtobufLogsSerializer.deserializeResponse(answer.body);
    const rejected = Math.floor(Number(rejectedOf(partial) ?? 0));
    return {
      rejected: rejected > 0 ? rejected : 0,
      message: shown(stringOr(partial?.errorMessage, "")),
    };
  } catch {
    return { rejected: 0, message: "" };
  }
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

function rejectedOf(partial: PartialSuccess | undefined): number | string | undefined {
  return partial?.rejectedLogRecords ?? partial?.rejectedSpans;
}

function reasonOf(answer: Answer): string {
  const { status, statusText, headers } = answer;
  const head = shown(`${status} ${statusText}`.trim());
  if (status >= 300 && status < 400) {
    return `${head}, to ${shown(headers.location ?? "nowhere")}: redirects are not followed`;
  }
  const text = shown(textOf(answer).trim());
  return text === "" ? head : `${head}: ${text}`;
}

/** The message of the google.rpc.Status that errors have as their body, or the body itself. */
function textOf(answer: Answer): string {
  const { body, headers } = answer;
  const text = body.toString();
  try {
    if (isJson(answer)) return stringOr((JSON.parse(text) as { message?: unknown }).message, text);
    if (headers["content-type"] === "application/x-protobuf") return statusMessage(body);
  } catch {
    // It is no Status.
  }
  return text;
}

/** A Status, { code = 1; message = 2 }, is on the wire what a partial success is, { rejected = 1; message = 2 }. */
function statusMessage(body: Buffer): string {
  const { length } = body;
  const head = [0x0a, (length & 0x7f) | 0x80, ((length >> 7) & 0x7f) | 0x80, length >> 14];
  const { partialSuccess: partial } = ProtobufLogsSerializer.deserializeResponse(
    Buffer.concat([Buffer.from(head), body]),
  );
  return partial?.errorMessage ?? "";
}

function isJson({ headers }: Answer): boolean {
  return headers["content-type"]?.startsWith("application/json") ?? false;
}

function stringOr(value: unknown, otherwise: string): string {
  return typeof value === "string" ? value : otherwise;
}

function shown(text: string): string {
  return printable(text.slice(0, TEXT_CHARS_MAX));
}
