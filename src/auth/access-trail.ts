import { createRecord, type LogRecord, type Value } from "../plugin/record.ts";
import { counterMetric, type PluginMetric } from "../plugin/metrics.ts";
import type { HostLogger } from "../plugin/host.ts";
import { clearTimeout, setTimeout } from "../runtime/timers.ts";
import { AUDIT_LOGGER } from "../wire/envelope.ts";
import { withoutTokens } from "./tokens/url-tokens.ts";

/** Events that only someone with access can cause. */
const ACCESS_TYPES = [
  "login",
  "logout",
  "session_revoked",
  "token_created",
  "token_changed",
  "token_revoked",
  "token_expired",
  "token_removed",
  "certificate_renewed",
  "certificate_rejected",
  "logs_exported",
] as const;

/** Events that strangers can cause. */
const FAILURE_TYPES = ["login_failed", "access_denied", "origin_refused"] as const;

const SUMMARY_TYPE = "access_failures";

type FailureType = (typeof FAILURE_TYPES)[number];

/** What happened; `event_type` of the audit event. */
export type AccessEventType = (typeof ACCESS_TYPES)[number] | FailureType;

/** Something that an operator wants to find in the audit trail. No member may hold a secret or a part of one. */
export interface AccessEvent {
  readonly type: AccessEventType;
  /** Who did it, such as `token:ci`; undefined for a stranger. */
  readonly principal?: string | undefined;
  /** Where the request came from; undefined for a Unix socket, and for what the gateway notices itself. */
  readonly address?: string | undefined;
  /** A sentence for failures: why. */
  readonly reason?: string | undefined;
  /** What else there is to know. Undefined members are omitted. */
  readonly details?: Readonly<Record<string, Value | undefined>>;
}

/** Records that one request of `/api/logs` has handed out. */
export interface RecordsRead {
  readonly principal: string;
  readonly address: string | undefined;
  readonly records: number;
  /** True for a request for a file, that is, for NDJSON. */
  readonly isExport: boolean;
  /** The query of the request, which holds the filter and the period. */
  readonly query: string;
}

/** Whoever reads that many records in one {@link WINDOW_MS} exports them. The dashboard shows far fewer. */
const EXPORTED_RECORDS_MIN = 10_000;

/** How long equal failures are one event, and how long the requests of one reader are one export. */
const WINDOW_MS = 10 * 60_000;

/** How many failures of each type are recorded in a window; the others are only counted. */
const FAILURES_MAX = 20;

/** How many readers are followed at a time. */
const READERS_MAX = 1_000;

/** How many events may wait for the disk. */
const PENDING_MAX = 1_000;

/** How long a text of a request may be in an event. */
const TEXT_CHARACTERS_MAX = 500;

export interface AccessTrailOptions {
  /** The loggers of audit events; the trail's own logger is a child of the first one. */
  readonly auditLoggers?: readonly string[] | undefined;
  /** Resolves when the event is durable. */
  readonly store: (event: LogRecord) => Promise<void>;
  readonly log: HostLogger;
  /** Default: ten minutes. */
  readonly windowMs?: number;
}

interface Reader {
  readonly principal: string;
  readonly address: string | undefined;
  readonly sinceMs: number;
  requests: number;
  records: number;
  /** What was read when the first event was recorded; undefined before. */
  reported: number | undefined;
}

/**
 * Records who used or changed the access to the gateway as audit events: logins, failures, changed tokens, exports. Calls
 * never throw, never wait, and cost a stranger more than the gateway: within ten minutes, equal failures are one event,
 * further ones are counted, and one summary says how many there were.
 *
 * Lifecycle: events are recorded from the creation on. `close()` records what was only counted so far; later events are
 * ignored.
 */
export class AccessTrail {
  readonly metrics: readonly PluginMetric[];
  readonly #options: AccessTrailOptions;
  readonly #logger: string;
  readonly #windowMs: number;
  readonly #count: (type: string, outcome: "recorded" | "summarized" | "dropped") => void;
  readonly #pending = new Set<Promise<void>>();
  readonly #readers = new Map<string, Reader>();
  #failures = new FailureWindow();
  #timer: NodeJS.Timeout | undefined;
  #windowSinceMs = 0;
  #isClosed = false;

  constructor(options: AccessTrailOptions) {
    this.#options = options;
    this.#logger = `${options.auditLoggers?.[0] ?? AUDIT_LOGGER}.access`;
    this.#windowMs = options.windowMs ?? WINDOW_MS;
    const { metric, add } = counterMetric(
      "",
      "tailgate_access_events",
      "Events for the access trail, by type and by what became of them.",
    );
    this.metrics = [metric];
    this.#count = (event, outcome) => add(1, { event, outcome });
    for (const event of [...ACCESS_TYPES, ...FAILURE_TYPES, SUMMARY_TYPE]) {
      add(0, { event, outcome: "recorded" });
    }
    for (const event of FAILURE_TYPES) add(0, { event, outcome: "summarized" });
  }

  record(event: AccessEvent): void {
    if (this.#isClosed) return;
    if (!isFailure(event))
      return this.#store(event.type, "INFO", sentenceOf(event), detailsOf(event));
    this.#startWindow();
    if (!this.#failures.admits(event)) return this.#count(event.type, "summarized");
    this.#store(event.type, "WARNING", sentenceOf(event), detailsOf(event));
  }

  /** Records an export when a reader asks for a file or has read many records; once more at the end, with the totals. */
  read({ principal, address, records, isExport, query }: RecordsRead): void {
    if (this.#isClosed) return;
    this.#startWindow();
    const key = `${principal} ${address ?? ""}`;
    const reader = this.#readers.get(key) ?? {
      principal,
      address,
      sinceMs: Date.now(),
      requests: 0,
      records: 0,
      reported: undefined,
    };
    if (this.#readers.size < READERS_MAX) this.#readers.set(key, reader);
    reader.requests++;
    reader.records += records;
    if (reader.reported !== undefined) return;
    if (!isExport && reader.records < EXPORTED_RECORDS_MIN) return;
    reader.reported = reader.requests;
    const totals = { requests: reader.requests, records: reader.records };
    const details = { ...totals, query: excerpt(query) || undefined };
    this.record({ type: "logs_exported", principal, address, details });
  }

  /** Records what was only counted so far, and resolves when all events are durable or dropped. */
  async close(): Promise<void> {
    clearTimeout(this.#timer);
    if (this.#timer !== undefined) this.#endWindow();
    this.#isClosed = true;
    await Promise.all(this.#pending);
  }

  /** A window begins with the first failure or read, and ends by itself: an idle gateway has no timer. */
  #startWindow(): void {
    if (this.#timer !== undefined) return;
    this.#windowSinceMs = Date.now();
    this.#timer = setTimeout(() => this.#endWindow(), this.#windowMs).unref();
  }

  #endWindow(): void {
    this.#timer = undefined;
    const summary = this.#failures.summary(this.#windowSinceMs);
    this.#failures = new FailureWindow();
    if (summary !== undefined) {
      this.#store(SUMMARY_TYPE, "WARNING", summary.text, summary.details);
    }
    for (const reader of this.#readers.values()) this.#reportTotals(reader);
    this.#readers.clear();
  }

  #reportTotals({ principal, address, sinceMs, requests, records, reported }: Reader): void {
    if (reported === undefined || reported === requests) return;
    const since = new Date(sinceMs).toISOString();
    this.record({
      type: "logs_exported",
      principal,
      address,
      details: { since, requests, records },
    });
  }

  #store(type: string, level: "INFO" | "WARNING", body: string, details: Map<string, Value>): void {
    if (this.#pending.size >= PENDING_MAX) return this.#count(type, "dropped");
    const attributes = { event_type: type, details };
    const record = createRecord({ logger: this.#logger, level, body, attributes });
    const storing = this.#stored(type, record);
    this.#pending.add(storing);
    void storing.finally(() => this.#pending.delete(storing));
  }

  async #stored(type: string, record: LogRecord): Promise<void> {
    try {
      await this.#options.store(record);
      this.#count(type, "recorded");
    } catch (error) {
      this.#count(type, "dropped");
      this.#options.log.error(`An event of the access trail could not be stored (${type}).`, error);
    }
  }
}

type Failure = AccessEvent & { readonly type: FailureType };

function isFailure(event: AccessEvent): event is Failure {
  return (FAILURE_TYPES as readonly string[]).includes(event.type);
}

/** The failures of one window. */
class FailureWindow {
  readonly #recorded = new Map<FailureType, Set<string>>();
  readonly #counts = new Map<FailureType, number>();
  readonly #addresses = new Set<string>();

  /** Returns whether the failure is an event of its own. Otherwise it is counted. */
  admits({ type, principal, address, reason, details = {} }: Failure): boolean {
    const recorded = this.#recorded.get(type) ?? new Set();
    this.#recorded.set(type, recorded);
    const key = JSON.stringify([principal, address, reason, Object.values(details).map(String)]);
    if (recorded.size < FAILURES_MAX && !recorded.has(key)) {
      recorded.add(key);
      return true;
    }
    this.#counts.set(type, (this.#counts.get(type) ?? 0) + 1);
    if (this.#addresses.size < READERS_MAX) this.#addresses.add(address ?? "");
    return false;
  }

  /** Returns undefined if each failure is an event of its own. */
  summary(sinceMs: number): { text: string; details: Map<string, Value> } | undefined {
    if (this.#counts.size === 0) return undefined;
    let sum = 0;
    for (const count of this.#counts.values()) sum += count;
    const addresses = this.#addresses.size;
    const from = addresses === 1 ? "one address" : `${addresses} addresses`;
    const text = `${sum} further ${sum === 1 ? "failure" : "failures"} from ${from}.`;
    const since = new Date(sinceMs).toISOString();
    return {
      text,
      details: new Map<string, Value>([
        ["since", since],
        ...this.#counts,
        ["addresses", addresses],
      ]),
    };
  }
}

/** What is said of the subject: whoever did it, the token, or the certificate. */
const PREDICATES: Readonly<Record<Exclude<AccessEventType, FailureType>, string>> = {
  login: "logged in",
  logout: "logged out",
  session_revoked: "ended a session",
  token_created: "was created",
  token_changed: "was changed",
  token_revoked: "was revoked",
  token_expired: "has expired",
  token_removed: "was removed from the tokens file",
  certificate_renewed: "was renewed",
  certificate_rejected: "has changed and is not used",
  logs_exported: "exported logs",
};

const FAILURES: Readonly<Record<FailureType, string>> = {
  login_failed: "A login failed",
  access_denied: "Access was denied",
  origin_refused: "A request of another site was refused",
};

function sentenceOf(event: AccessEvent): string {
  const { principal = "someone", reason, details } = event;
  if (isFailure(event)) {
    return `${FAILURES[event.type]}${reason === undefined ? "." : `: ${excerpt(reason)}`}`;
  }
  const token = details?.["token"];
  const subject = typeof token === "string" ? `The token ${token}` : excerpt(principal);
  const isCertificate = event.type.startsWith("certificate_");
  const who = isCertificate ? "The TLS certificate" : subject;
  return `${who} ${PREDICATES[event.type as keyof typeof PREDICATES]}.`;
}

function detailsOf({ principal, address, reason, details }: AccessEvent): Map<string, Value> {
  const all = {
    principal: principal && excerpt(principal),
    address,
    reason: reason && excerpt(reason),
    ...details,
  };
  const given = Object.entries(all).filter(([, value]) => value !== undefined);
  return new Map(given as [string, Value][]);
}

/** A reason may quote what a stranger has sent. */
function excerpt(given: string): string {
  const text = withoutTokens(given);
  if (text.length <= TEXT_CHARACTERS_MAX) return text;
  return `${text.slice(0, TEXT_CHARACTERS_MAX).toWellFormed()}...`;
}
