import type { OnError } from "../config/config.ts";
import type { Counters } from "../plugin/metrics.ts";
import { originOfRecords } from "../batch/origin.ts";
import { isAuditRecord } from "../envelope/encoder.ts";
import type { LoggerNames } from "../envelope/prefix.ts";
import { textOf } from "../wire/errors.ts";
import { RequestIndex } from "../otlp/request-index.ts";
import type { LogRecord, Processor } from "../plugin/index.ts";
import { RequestView } from "./record-view.ts";

export interface RunningProcessor {
  readonly id: string;
  readonly processor: Processor;
  /** What happens to a record that it fails on. Default: `fail` for audit events, `keep` for system logs. */
  readonly onError?: OnError | undefined;
  readonly counters: Counters;
  /** The error of the newest record; undefined if that one was processed. */
  lastError: string | undefined;
  /** Logs an error, if it is the first one or follows a record that was processed. */
  failed(error: unknown): void;
}

/** The parts of a record that tell whether it is an audit event. */
type NamedRecord = Pick<LogRecord, "scope" | "attributes">;

/** A record that is rejected because a processor failed on it. */
export class ProcessorRejection {
  readonly reason: string;
  readonly isAudit: boolean;
  /** Whether the sender is told. */
  readonly isReported: boolean;

  constructor(reason: string, isAudit: boolean, isReported: boolean) {
    this.reason = reason;
    this.isAudit = isAudit;
    this.isReported = isReported;
  }
}

/** The reason under which records that a processor failed on are counted as dropped. */
export const PROCESSOR_FAILED = "processor_failed";

/** Runs a record through all processors. Returns undefined if one dropped it; audit events cannot be dropped. */
export function runProcessors(
  record: LogRecord,
  processors: readonly RunningProcessor[],
  loggers: LoggerNames,
): LogRecord | ProcessorRejection | undefined {
  let current = record;
  for (const running of processors) {
    const next = runProcessor(running, current, loggers);
    if (next === undefined || next instanceof ProcessorRejection) return next;
    current = next;
  }
  return current;
}

function runProcessor(
  running: RunningProcessor,
  record: LogRecord,
  loggers: LoggerNames,
): LogRecord | ProcessorRejection | undefined {
  // A processor that throws may have changed them before.
  const original = { scope: record.scope, attributes: record.attributes };
  const { processor, counters } = running;
  counters.received++;
  try {
    const verdict = processor.inspect?.(viewOf(record, loggers)) ?? "process";
    if (verdict === "drop") return dropRecord(running, record, original, loggers);
    const next: unknown = verdict === "pass" ? record : processor.process!(record);
    if (next === undefined) return dropRecord(running, record, original, loggers);
    checkRecord(next);
    running.lastError = undefined;
    counters.sent++;
    return next as LogRecord;
  } catch (error) {
    noteError(running, error);
    return recordAfterError(running, record, original, loggers);
  }
}

function viewOf(record: LogRecord, loggers: LoggerNames): RequestView {
  const { request } = originOfRecords([record]);
  return new RequestView(RequestIndex.of(request, { isExact: true }), loggers).select(0);
}

/** Returns undefined for a system log. An audit event is retained as it is, and the drop counts as a failure. */
function dropRecord(
  running: RunningProcessor,
  record: LogRecord,
  original: NamedRecord,
  loggers: LoggerNames,
): LogRecord | undefined {
  if (isAuditEvent(original, loggers) && running.processor.dropsAuditEvents === undefined) {
    noteError(running, new Error("it dropped an audit event, which was stored anyway"));
    running.counters.sent++;
    return { ...record, scope: original.scope };
  }
  running.lastError = undefined;
  running.counters.filtered++;
  return undefined;
}

/** @throws Error if a processor returned something other than a record. */
function checkRecord(next: unknown): void {
  if (typeof next !== "object" || next === null) {
    throw new Error(
      `it returned ${next === null ? "null" : `a ${typeof next}`} instead of a record`,
    );
  }
  if (!("then" in next)) return;
  // An unhandled rejection would end the process.
  Promise.resolve(next).catch(() => {});
  throw new Error("it returned a promise instead of a record; process is not awaited");
}

function noteError(running: RunningProcessor, error: unknown): void {
  running.counters.failed++;
  if (running.lastError === undefined) running.failed(error);
  running.lastError = textOf(error);
}

function recordAfterError(
  { id, onError, counters, lastError }: RunningProcessor,
  record: LogRecord,
  original: NamedRecord,
  loggers: LoggerNames,
): LogRecord | ProcessorRejection {
  const isAudit = isAuditEvent(original, loggers);
  const action = onError ?? (isAudit ? "fail" : "keep");
  if (action === "keep") {
    counters.sent++;
    // An audit event stays one.
    return { ...record, scope: original.scope };
  }
  counters.drop(PROCESSOR_FAILED, 1);
  const reason = `The processor ${id} failed: ${lastError?.replace(/\.$/, "")}.`;
  return new ProcessorRejection(reason, isAudit, action === "fail");
}

/** Returns whether a record is an audit event. A processor may have returned anything, so that parts may be missing. */
export function isAuditEvent(
  { scope, attributes }: Partial<NamedRecord>,
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
