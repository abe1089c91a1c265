import type { OnError } from "../config/config.ts";
import type { Counters } from "../delivery/counters.ts";
import { isAuditRecord } from "../envelope/encoder.ts";
import type { LoggerNames } from "../envelope/logger-names.ts";
import { textOf } from "../wire/errors.ts";
import type { LogRecord, Processor } from "../plugin/index.ts";

/** A processor at work, with what became of the records that it saw. */
export interface RunningProcessor {
  /** The component's key in the configuration. */
  readonly id: string;
  readonly processor: Processor;
  /** What becomes of a record that it fails on. Default: `fail` for audit events, `keep` for system logs. */
  readonly onError?: OnError | undefined;
  readonly counters: Counters;
  /** The error of the newest record; undefined if that was processed. */
  lastError: string | undefined;
  /** Called with the error when it fails on a record for the first time, and again after each record that it processed. */
  failed(error: unknown): void;
}

/** What tells whether a record is an audit event. */
type Naming = Pick<LogRecord, "scope" | "attributes">;

/** A record that is not passed on because a processor failed on it. */
export class Rejection {
  readonly reason: string;
  readonly isAudit: boolean;
  /** Whether its sender is told. */
  readonly isReported: boolean;

  constructor(reason: string, isAudit: boolean, isReported: boolean) {
    this.reason = reason;
    this.isAudit = isAudit;
    this.isReported = isReported;
  }
}

/** The counter's label for records that processors failed on. */
export const PROCESSOR_FAILED = "processor_failed";

/** Runs a record through all processors. Returns undefined if one has dropped it; audit events cannot be dropped. */
export function processed(
  record: LogRecord,
  processors: readonly RunningProcessor[],
  loggers: LoggerNames,
): LogRecord | Rejection | undefined {
  let current = record;
  for (const running of processors) {
    const next = runOne(running, current, loggers);
    if (next === undefined || next instanceof Rejection) return next;
    current = next;
  }
  return current;
}

function runOne(
  running: RunningProcessor,
  record: LogRecord,
  loggers: LoggerNames,
): LogRecord | Rejection | undefined {
  // When a processor throws, it may have changed them.
  const naming = { scope: record.scope, attributes: record.attributes };
  const { processor, counters } = running;
  counters.received++;
  try {
    const next: unknown = processor.process(record);
    if (next === undefined) return dropped(running, record, naming, loggers);
    refuseOther(next);
    running.lastError = undefined;
    counters.sent++;
    return next as LogRecord;
  } catch (error) {
    note(running, error);
    return afterError(running, record, naming, loggers);
  }
}

/** An audit event is kept as it is. */
function dropped(
  running: RunningProcessor,
  record: LogRecord,
  naming: Naming,
  loggers: LoggerNames,
): LogRecord | undefined {
  if (isAuditEvent(naming, loggers)) {
    note(running, new Error("it has dropped an audit event, which goes on as it was"));
    running.counters.sent++;
    return { ...record, scope: naming.scope };
  }
  running.lastError = undefined;
  running.counters.filtered++;
  return undefined;
}

/** @throws Error if a processor returned something else than a record. */
function refuseOther(next: unknown): void {
  if (typeof next !== "object" || next === null) {
    throw new Error(
      `it returned ${next === null ? "null" : `a ${typeof next}`} instead of a record`,
    );
  }
  if (!("then" in next)) return;
  // Its rejection must not end the process.
  Promise.resolve(next).catch(() => {});
  throw new Error("it returned a promise instead of a record; process is not awaited");
}

function note(running: RunningProcessor, error: unknown): void {
  running.counters.failed++;
  if (running.lastError === undefined) running.failed(error);
  running.lastError = textOf(error);
}

function afterError(
  { id, onError, counters, lastError }: RunningProcessor,
  record: LogRecord,
  naming: Naming,
  loggers: LoggerNames,
): LogRecord | Rejection {
  const isAudit = isAuditEvent(naming, loggers);
  const action = onError ?? (isAudit ? "fail" : "keep");
  if (action === "keep") {
    counters.sent++;
    // An audit event is still one.
    return { ...record, scope: naming.scope };
  }
  counters.drop(PROCESSOR_FAILED, 1);
  const why = lastError?.replace(/\.$/, "");
  return new Rejection(`The processor ${id} failed: ${why}.`, isAudit, action === "fail");
}

/** Whether it is an audit event, as far as its parts are there: a processor may have returned anything. */
export function isAuditEvent(
  { scope, attributes }: Partial<Naming>,
  loggers: LoggerNames,
): boolean {
  const entries = attributes instanceof Map ? [...attributes] : [];
  return isAuditRecord(
    {
      loggerName: String(scope?.name),
      keys: entries.map(([key]) => key),
      values: entries.map(([, value]) => value),
    },
    loggers,
  );
}
