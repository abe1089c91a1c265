import type { Counters } from "../delivery/counters.ts";
import { isAuditRecord } from "../encode/envelope-encoder.ts";
import { partsOfRecord } from "../encode/from-record.ts";
import { textOf } from "../errors.ts";
import type { LogRecord, Processor } from "../plugin.ts";

/** A processor at work, with what became of the records that it saw. */
export interface RunningProcessor {
  readonly processor: Processor;
  readonly counters: Counters;
  /** Why it threw last; undefined where it has worked since. */
  trouble: string | undefined;
  /** Told what it threw first. */
  failed(error: unknown): void;
}

/**
 * The record after all processors; undefined where one has dropped it. One that throws is passed over, and so is one
 * that drops an audit event: nothing takes those out of their lane.
 */
export function processed(
  record: LogRecord,
  processors: readonly RunningProcessor[],
): LogRecord | undefined {
  let current = record;
  for (const running of processors) {
    const next = runOne(running, current);
    if (next === undefined) return undefined;
    current = next;
  }
  return current;
}

function runOne(running: RunningProcessor, record: LogRecord): LogRecord | undefined {
  const { processor, counters } = running;
  counters.received++;
  try {
    const next = processor.process(record);
    if (next === undefined && isAuditRecord(partsOfRecord(record))) {
      throw new Error("it has dropped an audit event, which goes on as it was");
    }
    running.trouble = undefined;
    if (next === undefined) counters.filtered++;
    else counters.sent++;
    return next;
  } catch (error) {
    if (counters.failed++ === 0) running.failed(error);
    running.trouble = textOf(error);
    counters.sent++;
    return record;
  }
}
