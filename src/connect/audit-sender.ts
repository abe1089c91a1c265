import { TokenError, type Destination } from "../../plugins/otlp/destination.ts";
import { post, type SendOutcome } from "../../plugins/otlp/transport.ts";
import { backoffMs } from "../delivery/backoff.ts";
import { setTimeout } from "../runtime/timers.ts";
import { TailgateError, textOf, type ErrorCode } from "../wire/errors.ts";
import type { ConnectSettings } from "./options.ts";

/** Concurrent `audit` calls; further ones are rejected, so that their memory is bounded. */
const PENDING_AUDIT_EVENTS_MAX = 4096;

/** No retry starts with less time left: aborted halfway, it would leave an event that is known as not stored in doubt. */
const ATTEMPT_MS_MIN = 100;

/** Errors of connections that were not established, so that nothing was sent. */
const UNREACHED = new Set([
  "ECONNREFUSED",
  "ENOTFOUND",
  "EAI_AGAIN",
  "EHOSTUNREACH",
  "ENETUNREACH",
]);

/** Responses that reject the credentials: a retry with the same ones cannot help, and the caller is waiting. */
const ACCESS_CODES: Readonly<Record<number, ErrorCode>> = {
  401: "UNAUTHENTICATED",
  403: "FORBIDDEN",
};

/** Sends audit events, each in a request of its own, one after the other. */
export class AuditSender {
  readonly #destination: Destination;
  readonly #settings: ConnectSettings;
  readonly #sending = new Set<Promise<void>>();
  /** Resolves when the event before has been settled. */
  #previous: Promise<unknown> = Promise.resolve();
  sent = 0;
  lastError: string | undefined;

  constructor(destination: Destination, settings: ConnectSettings) {
    this.#destination = destination;
    this.#settings = settings;
  }

  get pending(): number {
    return this.#sending.size;
  }

  /** Resolves when the destination acknowledged the event; rejects as `LoggingConnection.audit` does. */
  async send(body: Uint8Array, key: string): Promise<void> {
    if (this.#sending.size >= PENDING_AUDIT_EVENTS_MAX) {
      const text = `${this.#sending.size} audit events are already pending.`;
      throw new TailgateError("OVERLOADED", text);
    }
    const deadlineMs = performance.now() + this.#settings.auditTimeoutMs;
    const sending = this.#previous.then(() => this.#send(body, key, deadlineMs));
    this.#previous = sending.catch(() => {});
    this.#sending.add(sending);
    try {
      await sending;
    } finally {
      this.#sending.delete(sending);
    }
  }

  /** Resolves when every event has been acknowledged or has failed. */
  async settled(): Promise<void> {
    await Promise.allSettled(this.#sending);
  }

  async #send(body: Uint8Array, key: string, deadlineMs: number): Promise<void> {
    const { auditTimeoutMs, requestTimeoutMs } = this.#settings;
    const attempts = new AuditAttempts();
    for (let attempt = 0; ; attempt++) {
      const leftMs = deadlineMs - performance.now();
      if (leftMs < (attempt === 0 ? 1 : ATTEMPT_MS_MIN)) {
        const text = `${this.#destination.name} did not confirm the audit event ${key} within ${auditTimeoutMs} ms`;
        throw attempts.toError(text);
      }
      const outcome = await this.#post(body, Math.min(leftMs, requestTimeoutMs), attempts);
      if (outcome.kind === "accepted" && outcome.rejected === 0) {
        this.sent++;
        this.lastError = undefined;
        return;
      }
      if (outcome.kind !== "retry") throw rejectedAudit(this.#destination, outcome);
      this.lastError = outcome.reason;
      const code = ACCESS_CODES[outcome.status];
      if (code !== undefined) {
        throw attempts.toError(`${this.#destination.name} rejected the credentials`, code);
      }
      const delayMs = backoffMs(attempt, outcome.retryAfterMs);
      await sleep(Math.min(delayMs, Math.max(0, deadlineMs - performance.now())));
    }
  }

  /** Posts once; a request without a response is to be retried. */
  async #post(body: Uint8Array, timeoutMs: number, attempts: AuditAttempts): Promise<SendOutcome> {
    try {
      const outcome = await post(
        this.#destination,
        body,
        AbortSignal.timeout(Math.ceil(timeoutMs)),
      );
      if (outcome.kind === "retry") attempts.addResponse(outcome.status, outcome.reason);
      return outcome;
    } catch (error) {
      attempts.addFailure(error);
      return { kind: "retry", status: 0, reason: textOf(error), retryAfterMs: 0 };
    }
  }
}

/** What is known about an event after attempts that did not settle it. */
class AuditAttempts {
  /** True if an attempt may have stored the event. */
  #isUnknown = false;
  #lastStatus = 0;
  #lastReason = "no attempt was made in time, because earlier audit events were being retried";

  /** A client error says that nothing was stored; a server error may come after the event was stored. */
  addResponse(status: number, reason: string): void {
    if (status >= 500) this.#isUnknown = true;
    this.#lastStatus = status;
    this.#lastReason = `it responded with ${reason}`;
  }

  addFailure(error: unknown): void {
    const { code = "" } = ((error as Error).cause ?? error) as NodeJS.ErrnoException;
    if (!UNREACHED.has(code) && !(error instanceof TokenError)) this.#isUnknown = true;
    this.#lastStatus = 0;
    this.#lastReason = textOf(error);
  }

  /** `code`: if the event was not stored. */
  toError(what: string, code?: ErrorCode): TailgateError {
    const text = `${what}: ${this.#lastReason.replace(/\.$/, "")}.`;
    if (this.#isUnknown) return new TailgateError("AUDIT_UNCONFIRMED", text);
    if (code !== undefined) return new TailgateError(code, text);
    if (this.#lastStatus === 429) return new TailgateError("OVERLOADED", text);
    return new TailgateError("GATEWAY_UNREACHABLE", `${text} The event was not stored.`);
  }
}

function rejectedAudit(
  { name }: Destination,
  outcome: Exclude<SendOutcome, { kind: "retry" }>,
): TailgateError {
  const reason = outcome.kind === "accepted" ? outcome.message : outcome.reason;
  return new TailgateError("AUDIT_REFUSED", `${name} rejected the audit event: ${reason}.`);
}

function sleep(ms: number): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  setTimeout(resolve, ms).unref();
  return promise;
}
