import type { OnError } from "../config/config.ts";
import type { Counters } from "../plugin/metrics.ts";
import { isAuditRecord } from "../envelope/encoder.ts";
import type { LoggerNames } from "../envelope/prefix.ts";
import { buildRequest, encodeLogRecord, type EncodedRecord } from "../otlp/encode.ts";
import { RequestIndex } from "../otlp/request-index.ts";
import { TailgateError, textOf } from "../wire/errors.ts";
import type { LogRecord, Processor, RecordView } from "../plugin/index.ts";
import { RequestView } from "./record-view.ts";

export interface RunningProcessor {
  readonly id: string;
  readonly processor: Processor;
  /** What happens to a record that it fails on. Default: `fail` for audit events, `keep` for system logs. */
  readonly onError?: OnError | undefined;
  /** Whether nothing may be stored that it did not get to see. */
  readonly failsClosed?: boolean | undefined;
  readonly counters: Counters;
  /** The error of the newest record; undefined if that one was processed. */
  lastError: string | undefined;
  /** Logs an error, if it is the first one or follows a record that was processed. */
  failed(error: unknown): void;
}

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

/** A record as it was before and after the processors, both encoded. */
export interface ProcessedRecord {
  readonly record: LogRecord;
  readonly before: EncodedRecord;
  readonly after: EncodedRecord;
}

/**
 * What the processors made of a record: nothing (`unchanged`), perhaps something else, nothing that is stored (`dropped`),
 * or a rejection.
 */
export type Processed = "unchanged" | "dropped" | ProcessedRecord | ProcessorRejection;

/**
 * Runs a record through the processors. It is decoded when the first of them wants to change it.
 * @throws TailgateError OTLP_UNDECODABLE if the record cannot be read, and what the encoder throws for the result.
 */
export function runProcessors(
  view: RecordView,
  processors: readonly RunningProcessor[],
  loggers: LoggerNames,
): Processed {
  const passing = new PassingRecord(view, loggers);
  for (const running of processors) {
    const end = runProcessor(running, passing);
    if (end !== undefined) return end;
  }
  return passing.result();
}

/** One record on its way through the processors. */
class PassingRecord {
  readonly loggers: LoggerNames;
  readonly #sent: RecordView;
  #record: LogRecord | undefined;
  #before: EncodedRecord | undefined;
  /** Of the record as it is now; undefined after a processor has had it. */
  #view: RecordView | undefined;

  constructor(view: RecordView, loggers: LoggerNames) {
    this.#sent = view;
    this.#view = view;
    this.loggers = loggers;
  }

  get view(): RecordView {
    return (this.#view ??= viewOf(encodeLogRecord(this.#record!), this.loggers));
  }

  get isAudit(): boolean {
    if (this.#record === undefined) return this.#sent.type() === "audit_log";
    return isAuditEvent(this.#record, this.loggers);
  }

  /** The decoded record, for a processor to change. */
  take(): LogRecord {
    if (this.#record === undefined) {
      this.#record = this.#sent.record();
      this.#before = encodeLogRecord(this.#record);
    }
    this.#view = undefined;
    return this.#record;
  }

  replace(record: LogRecord): void {
    this.#record = record;
    this.#view = undefined;
  }

  result(): "unchanged" | ProcessedRecord {
    const record = this.#record;
    if (record === undefined) return "unchanged";
    return { record, before: this.#before!, after: encodeLogRecord(record) };
  }
}

export function viewOf(record: EncodedRecord, loggers: LoggerNames): RequestView {
  const request = buildRequest(1, () => record);
  return new RequestView(RequestIndex.of(request, { isExact: true }), loggers).select(0);
}

/** Returns what becomes of the record if it ends here. */
function runProcessor(
  running: RunningProcessor,
  passing: PassingRecord,
): "dropped" | ProcessorRejection | undefined {
  const { processor, counters } = running;
  counters.received++;
  // A processor that throws may have changed what the type depends on.
  let isAudit: boolean | undefined;
  let original: LogRecord | undefined;
  try {
    const verdict: unknown = processor.inspect?.(passing.view) ?? "process";
    if (verdict === "drop") return dropRecord(running, passing.isAudit);
    if (verdict !== "pass") {
      checkVerdict(verdict, processor);
      isAudit = passing.isAudit;
      const record = passing.take();
      original = { ...record };
      const next: unknown = processor.process!(record);
      if (next === undefined) {
        passing.replace({ ...record, scope: original.scope });
        return dropRecord(running, isAudit);
      }
      checkRecord(next);
      passing.replace(next as LogRecord);
    }
    running.lastError = undefined;
    counters.sent++;
    return undefined;
  } catch (error) {
    if (isUndecodable(error)) throw error;
    noteError(running, error);
    const { reason, isKept, isReported } = afterError(running, (isAudit ??= passing.isAudit));
    if (!isKept) return new ProcessorRejection(reason, isAudit, isReported);
    // An audit event stays one.
    if (original !== undefined) passing.replace({ ...passing.take(), scope: original.scope });
    return undefined;
  }
}

/** The record itself is malformed, which is not the processor's fault. */
function isUndecodable(error: unknown): boolean {
  return TailgateError.is(error) && error.code === "OTLP_UNDECODABLE";
}

/** Returns undefined for an audit event that the processor may not drop: it is retained, and that counts as a failure. */
function dropRecord(running: RunningProcessor, isAudit: boolean): "dropped" | undefined {
  if (isAudit && running.processor.dropsAuditEvents === undefined) {
    noteError(running, new Error("it dropped an audit event, which was stored anyway"));
    running.counters.sent++;
    return undefined;
  }
  running.lastError = undefined;
  running.counters.filtered++;
  return "dropped";
}

/** @throws Error if `inspect` returned something other than a verdict. */
function checkVerdict(verdict: unknown, { process }: Processor): void {
  if (verdict !== "process") {
    throw new Error(`its inspect returned ${JSON.stringify(verdict)} instead of a verdict`);
  }
  if (process === undefined) throw new Error("its inspect returned process, which it has not");
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

function afterError(
  { id, onError, counters, lastError }: RunningProcessor,
  isAudit: boolean,
): { reason: string; isKept: boolean; isReported: boolean } {
  const action = onError ?? (isAudit ? "fail" : "keep");
  if (action === "keep") counters.sent++;
  else counters.drop(PROCESSOR_FAILED, 1);
  const reason = `The processor ${id} failed: ${lastError?.replace(/\.$/, "")}.`;
  return { reason, isKept: action === "keep", isReported: action === "fail" };
}

/** Returns whether a record is an audit event. A processor may have returned anything, so that parts may be missing. */
function isAuditEvent(
  { scope, attributes }: Partial<Pick<LogRecord, "scope" | "attributes">>,
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
