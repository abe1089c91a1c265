import type { AddressedRequest, HostLogger, Rejection } from "../../plugin/index.ts";
import { counterMetric } from "../../plugin/metrics.ts";
import { quotedExcerpt } from "../../wire/printable.ts";
import type { Metric } from "../metrics/metric.ts";
import { forwardedOf } from "../../auth/proxies/public-base.ts";
import { withoutTokens } from "../../auth/tokens/url-tokens.ts";
import { pathOf } from "./guard.ts";

/** Thrown by an endpoint that cannot answer as requested; the body is `{"error":{"code","message"}}`. */
export class HttpError extends Error {
  readonly status: number;
  /** Stable, in capitals. */
  readonly code: string;
  /** When the same request may succeed; undefined if a retry cannot help. */
  readonly retryAfterSeconds: number | undefined;

  constructor(status: number, code: string, message: string, retryAfterSeconds?: number) {
    super(message);
    this.name = "HttpError";
    this.status = status;
    this.code = code;
    this.retryAfterSeconds = retryAfterSeconds;
  }
}

/** How many different lines a minute are logged for each status, so that strangers cannot fill the log. */
const LINES_MAX = 20;
const WINDOW_MS = 60_000;

/** A reason may quote what the sender sent. */
const REASON_CHARACTERS_MAX = 1000;

/** How many pairs of protocol and status are distinguished; plugins choose them. */
const STATUSES_MAX = 200;

/** These statuses are in /metrics from the start. */
const INITIAL_STATUSES: Readonly<Record<Rejection["protocol"], readonly (number | string)[]>> = {
  http: [
    400,
    401,
    403,
    404,
    405,
    408,
    413,
    415,
    417,
    426,
    429,
    431,
    503,
    "connection_refused",
    "tls_handshake",
  ],
  grpc: [
    "INVALID_ARGUMENT",
    "UNIMPLEMENTED",
    "UNAUTHENTICATED",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "UNAVAILABLE",
    "DEADLINE_EXCEEDED",
    "405",
    "415",
    "protocol_error",
    "connection_refused",
    "tls_handshake",
  ],
  websocket: [400, 403, 404, 503],
};

/**
 * Counts rejected requests by status, and logs each with its sender and the reason. Equal lines are logged once a minute.
 */
export class Rejections {
  readonly #counter = counterMetric(
    "",
    "tailgate_requests_rejected",
    "Rejected requests, by protocol and status.",
  );
  readonly metric: Metric = this.#counter.metric;
  readonly #log: HostLogger;
  readonly #counted = new WeakSet<AddressedRequest>();
  readonly #logged = new WeakSet<AddressedRequest>();
  readonly #statuses = new Set<string>();
  readonly #lines = new Map<string, Set<string>>();
  #linesSinceMs = performance.now();

  constructor(log: HostLogger) {
    this.#log = log;
    for (const [protocol, statuses] of Object.entries(INITIAL_STATUSES)) {
      for (const status of statuses) this.#countBy(protocol, String(status), 0);
    }
  }

  /** Counts and logs a request, once. Pass `socket` for a request that has ended, which no longer has its own. */
  add(request: AddressedRequest, rejection: Rejection, socket = request.socket): void {
    this.count(request, rejection);
    this.log(request, rejection, socket);
  }

  /** Counts a request without logging it. */
  count(request: AddressedRequest, { protocol, status }: Omit<Rejection, "reason">): void {
    if (this.#counted.has(request)) return;
    this.#counted.add(request);
    this.#countBy(protocol, String(status), 1);
  }

  isCounted(request: AddressedRequest): boolean {
    return this.#counted.has(request);
  }

  /** Logs a request without counting it. */
  log(
    request: AddressedRequest,
    { status, reason }: Omit<Rejection, "protocol">,
    socket = request.socket,
  ): void {
    if (this.#logged.has(request)) return;
    this.#logged.add(request);
    this.#write(String(status), reason, `Rejected with ${status}: ${senderOf(request, socket)}.`);
  }

  /** The log groups lines by their first part, the reason. */
  #write(status: string, reason: string, detail: string): void {
    const nowMs = performance.now();
    if (nowMs - this.#linesSinceMs >= WINDOW_MS) {
      this.#lines.clear();
      this.#linesSinceMs = nowMs;
    }
    const lines = this.#lines.get(status) ?? new Set();
    const sentence = withoutTokens(sentenceOf(reason));
    const line = withoutTokens(`${sentence} ${detail}`);
    if (lines.size >= LINES_MAX || lines.has(line)) return;
    this.#lines.set(status, lines.add(line));
    this.#log.warning(sentence, withoutTokens(detail));
  }

  #countBy(protocol: string, status: string, count: number): void {
    const key = `${protocol} ${status}`;
    if (this.#statuses.size < STATUSES_MAX) this.#statuses.add(key);
    const isKnown = this.#statuses.has(key);
    this.#counter.add(count, { protocol, status: isKnown ? status : "other" });
  }
}

function sentenceOf(reason: string): string {
  if (reason.length > REASON_CHARACTERS_MAX) {
    return `${reason.slice(0, REASON_CHARACTERS_MAX).toWellFormed()}... (truncated)`;
  }
  return reason.endsWith(".") ? reason : `${reason}.`;
}

/** Describes a sender, without the query, which may hold secrets. Quoted, so that it cannot imitate the gateway's text. */
function senderOf(request: AddressedRequest, socket: AddressedRequest["socket"] | null): string {
  const { method, url, headers } = request;
  const { "user-agent": userAgent } = headers;
  const target = url === undefined ? "" : `${quotedExcerpt(`${method} ${pathOf(url)}`)} `;
  const agent =
    userAgent === undefined ? "no user agent" : `user agent ${quotedExcerpt(userAgent)}`;
  return `${target}from ${addressOf(request, socket)}, ${agent}`;
}

function addressOf(request: AddressedRequest, socket: AddressedRequest["socket"] | null): string {
  const peer = socket?.remoteAddress;
  const client = forwardedOf(request)?.address;
  if (client === undefined || client === peer) return peer ?? "an unknown address";
  return peer === undefined ? client : `${client} through ${peer}`;
}
