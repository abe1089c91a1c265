import { AUDIT_LOGGER } from "../wire/envelope.ts";
import { textOf } from "../wire/errors.ts";
import type { ClockEvent, TrustedClock } from "../journal/trusted-clock.ts";
import type { HostLogger, LogRecord } from "../plugin/index.ts";
import { createRecord } from "../plugin/record.ts";
import { clearInterval, onNextTurn, setInterval } from "../runtime/timers.ts";

const CHECK_INTERVAL_MS = 1_000;

/** The minimum time between two reports of a clock that jumps repeatedly. */
const REPORT_INTERVAL_MS = 60_000;

const EVENT_TYPE = "clock_jump";

const UNITS = [
  ["day", 86_400_000],
  ["hour", 3_600_000],
  ["minute", 60_000],
] as const;

export interface ClockWatchOptions {
  readonly clock: TrustedClock;
  readonly log: HostLogger;
  /** Appends an audit event; resolves when it is durable. */
  announce(record: LogRecord): Promise<void>;
}

/** Reports jumps of the system clock to the operator, and jumps ahead also as the audit event `clock_jump`. */
export class ClockWatch {
  readonly #options: ClockWatchOptions;
  #reportedAtMs = -Infinity;
  #timer: NodeJS.Timeout | undefined;
  #unwatch: (() => void) | undefined;

  constructor(options: ClockWatchOptions) {
    this.#options = options;
  }

  begin(): void {
    const { clock } = this.#options;
    // The news come within a reading of the clock, which appends read, too.
    this.#unwatch = clock.watch((news) => onNextTurn(() => this.#report(news)));
    this.#timer = setInterval(() => clock.now(), CHECK_INTERVAL_MS).unref();
  }

  close(): void {
    clearInterval(this.#timer);
    this.#unwatch?.();
  }

  #report(news: ClockEvent): void {
    const { log, announce } = this.#options;
    if (news.kind !== "jumped") return log.info(formatEnd(news));
    const nowMs = performance.now();
    if (nowMs - this.#reportedAtMs < REPORT_INTERVAL_MS) return;
    this.#reportedAtMs = nowMs;
    log.error(formatJump(news));
    if (news.toMs < news.fromMs) return;
    announce(jumpRecord(news)).catch((error: unknown) =>
      log.warning(`The audit event ${EVENT_TYPE} could not be stored: ${textOf(error)}`),
    );
  }
}

function formatJump({ isStart, fromMs, toMs }: ClockEvent): string {
  const by = formatSpan(Math.abs(toMs - fromMs));
  const shown = new Date(toMs).toISOString();
  const what =
    toMs < fromMs
      ? `The system clock jumped back by ${by}, to ${shown}.`
      : isStart
        ? `The system clock shows ${shown}, ${by} after the newest record.`
        : `The system clock jumped ahead by ${by}, to ${shown}.`;
  const from = new Date(fromMs).toISOString();
  return `${what} Until the new time has lasted for ten minutes, records are dated by elapsed time from ${from}. Nothing expires because of the jump. Check the clock and its time source.`;
}

function formatEnd({ kind, fromMs, toMs }: ClockEvent): string {
  if (kind === "returned") return "The system clock is correct again.";
  const by = formatSpan(Math.abs(toMs - fromMs));
  const where = toMs < fromMs ? "behind" : "ahead";
  return `The system clock has stayed ${by} ${where} for ten minutes. From now on, records are dated by it.`;
}

/** Formats a duration, such as `3 days`, in the largest unit of which there are two or more. */
function formatSpan(ms: number): string {
  const [name, unitMs] = UNITS.find(([, size]) => ms >= 2 * size) ?? UNITS[2];
  const count = Math.round(ms / unitMs);
  return `${count} ${name}${count === 1 ? "" : "s"}`;
}

function jumpRecord({ fromMs, toMs }: ClockEvent): LogRecord {
  return createRecord({
    logger: `${AUDIT_LOGGER}.clock`,
    level: "WARNING",
    timeMs: fromMs,
    body: EVENT_TYPE,
    attributes: {
      event_type: EVENT_TYPE,
      from: new Date(fromMs).toISOString(),
      to: new Date(toMs).toISOString(),
      seconds: Math.round((toMs - fromMs) / 1000),
    },
  });
}
