import { STATUS_CODES } from "../../plugin/http.ts";
import { counterMetric } from "../../plugin/metrics.ts";
import type { AddressedRequest, HostLogger, Rejection } from "../../plugin/index.ts";
import { quotedExcerpt } from "../../wire/printable.ts";
import type { Metric } from "../metrics/metric.ts";
import { pathOf } from "./routes.ts";

/** How many different lines are written in a minute for each status, so that strangers cannot fill the log. */
const LINES_MAX = 20;
const WINDOW_MS = 60_000;

/** A reason may quote what was sent. */
const MESSAGE_CHARACTERS_MAX = 1000;

/** How many pairs of protocol and status are told apart; plugins choose them. */
const STATUSES_MAX = 200;

/** Those that are in /metrics from the start. */
const HTTP_STATUSES = [400, 401, 403, 404, 405, 408, 413, 415, 417, 426, 429, 431, 503];
const GRPC_STATUSES = [
  "INVALID_ARGUMENT",
  "UNIMPLEMENTED",
  "PERMISSION_DENIED",
  "RESOURCE_EXHAUSTED",
  "UNAVAILABLE",
  "DEADLINE_EXCEEDED",
  "405",
  "415",
  "protocol_error",
  "connection_refused",
];
const WEBSOCKET_STATUSES = [400, 403, 404, 503];

const KNOWN: readonly (readonly [Rejection["protocol"], readonly (number | string)[]])[] = [
  ["http", HTTP_STATUSES],
  ["grpc", GRPC_STATUSES],
  ["websocket", WEBSOCKET_STATUSES],
];

interface LogOptions {
  /** What is said in the place of the reason. */
  readonly message?: string;
  readonly socket?: AddressedRequest["socket"];
}

/**
 * Makes requests that are rejected visible: each one is counted by its status, and the log names the sender and the
 * reason. Equal lines are written once a minute.
 */
export class Rejections {
  readonly metric: Metric;
  readonly #log: HostLogger;
  readonly #count: (count: number, labels: { protocol: string; status: string }) => void;
  readonly #counted = new WeakSet<AddressedRequest>();
  readonly #logged = new WeakSet<AddressedRequest>();
  readonly #statuses = new Set<string>();
  readonly #lines = new Map<string, Set<string>>();
  #linesSinceMs = performance.now();

  constructor(log: HostLogger) {
    this.#log = log;
    const { metric, add } = counterMetric(
      "",
      "tailgate_requests_rejected",
      "Requests that were rejected, by protocol and status.",
    );
    this.metric = metric;
    this.#count = add;
    for (const [protocol, statuses] of KNOWN) {
      for (const status of statuses) this.#countBy(protocol, String(status), 0);
    }
  }

  /** Counts the request, and logs it; for the second time it does nothing. A request that is over has lost its socket. */
  add(request: AddressedRequest, rejection: Rejection, socket = request.socket): void {
    this.count(request, rejection);
    this.log(request, rejection, { socket });
  }

  /** Counts the request without a line, as it was logged, or is not worth one. */
  count(request: AddressedRequest, { protocol, status }: Omit<Rejection, "reason">): void {
    if (this.#counted.has(request)) return;
    this.#counted.add(request);
    this.#countBy(protocol, String(status), 1);
  }

  isCounted(request: AddressedRequest): boolean {
    return this.#counted.has(request);
  }

  /** Logs the request without counting it. */
  log(
    request: AddressedRequest,
    { status, reason }: Omit<Rejection, "protocol">,
    { message = reason, socket = request.socket }: LogOptions = {},
  ): void {
    if (this.#logged.has(request)) return;
    this.#logged.add(request);
    this.#write(String(status), message, `Rejected with ${status}: ${senderOf(request, socket)}.`);
  }

  /** What stands first in a line, the reason, tells the log of what kind it is. */
  #write(status: string, message: string, detail: string): void {
    const nowMs = performance.now();
    if (nowMs - this.#linesSinceMs >= WINDOW_MS) {
      this.#lines.clear();
      this.#linesSinceMs = nowMs;
    }
    const lines = this.#lines.get(status) ?? new Set();
    const sentence = sentenceOf(message);
    const line = `${sentence} ${detail}`;
    if (lines.size >= LINES_MAX || lines.has(line)) return;
    this.#lines.set(status, lines.add(line));
    this.#log.warning(sentence, detail);
  }

  #countBy(protocol: string, status: string, count: number): void {
    const known = this.#statuses;
    if (known.size < STATUSES_MAX) known.add(`${protocol} ${status}`);
    const isKnown = known.has(`${protocol} ${status}`);
    this.#count(count, { protocol, status: isKnown ? status : "other" });
  }
}

function sentenceOf(message: string): string {
  if (message.length > MESSAGE_CHARACTERS_MAX) {
    return `${message.slice(0, MESSAGE_CHARACTERS_MAX).toWellFormed()}... (cut)`;
  }
  return message.endsWith(".") ? message : `${message}.`;
}

/** Without the query, which may hold what is nobody's business. Quoted: what a sender chooses looks like nothing else. */
function senderOf(
  { method, url, headers }: AddressedRequest,
  socket: AddressedRequest["socket"] | null,
): string {
  const { "user-agent": userAgent } = headers;
  const target = url === undefined ? "" : `${quotedExcerpt(`${method} ${pathOf(url)}`)} `;
  const agent =
    userAgent === undefined ? "no user agent" : `user agent ${quotedExcerpt(userAgent)}`;
  return `${target}from ${socket?.remoteAddress ?? "an unknown address"}, ${agent}`;
}

/** The reason of an answer that does not say more. */
export function reasonOf(status: number): string {
  return `${STATUS_CODES[status] ?? `Status ${status}`}.`;
}

/** What an endpoint throws where it cannot answer as asked: it becomes `{"error":{"code","message"}}`. */
export class HttpProblem extends Error {
  readonly status: number;
  /** Stable, in capitals. */
  readonly code: string;
  /** When the same request may succeed; undefined if time does not help. */
  readonly retryAfterSeconds: number | undefined;

  constructor(status: number, code: string, message: string, retryAfterSeconds?: number) {
    super(message);
    this.name = "HttpProblem";
    this.status = status;
    this.code = code;
    this.retryAfterSeconds = retryAfterSeconds;
  }
}
