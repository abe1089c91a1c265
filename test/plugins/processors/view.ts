import { originOfRecords } from "../../../src/batch/origin.ts";
import { DEFAULT_LOGGER_NAMES } from "../../../src/envelope/prefix.ts";
import { RequestView } from "../../../src/intake/record-view.ts";
import { RequestIndex } from "../../../src/otlp/request-index.ts";
import type { LogRecord, Processor, RecordView } from "tailgate/plugin";

/** Returns the view of a record that a processor gets. */
export function viewOf(record: LogRecord): RecordView {
  const { request } = originOfRecords([record]);
  return new RequestView(RequestIndex.of(request, { isExact: true }), DEFAULT_LOGGER_NAMES).select(
    0,
  );
}

/** Returns what a processor makes of a record: undefined if it drops it. */
export function processed(processor: Processor, record: LogRecord): LogRecord | undefined {
  const view = viewOf(record);
  switch (processor.inspect?.(view)) {
    case "pass":
      return record;
    case "drop":
      return undefined;
    default:
      return processor.process!(view.record());
  }
}
