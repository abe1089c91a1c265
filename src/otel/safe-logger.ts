import { context, type LogRecord, type Logger, type SeverityNumber } from "@opentelemetry/api";
import type { CallSiteAttributes } from "./call-site.ts";
import { CallerAttributes } from "./caller-attributes.ts";
import { withAdded, type Columns } from "./columns.ts";
import { exceptionColumns } from "./exception.ts";
import { plainValue } from "./plain-value.ts";

/** What is behind a logger: takes records that can be read, their attributes apart. */
export interface RecordSink extends Pick<Logger, "enabled"> {
  emit(record: LogRecord, attributes: Columns): void;
}

const NO_COLUMNS: Columns = { keys: [], values: [] };

/** A logger that does not throw, whatever a caller hands to it; values that the SDK would drop arrive. */
export class SafeLogger implements Logger {
  readonly #sink: RecordSink;
  readonly #attributes = new CallerAttributes();

  constructor(sink: RecordSink) {
    this.#sink = sink;
  }

  enabled(options?: Parameters<Logger["enabled"]>[0]): boolean {
    return this.#sink.enabled(options);
  }

  /** `site` is the place of the call; what the record's own attributes say of it wins. */
  emit(record: LogRecord, site?: CallSiteAttributes): void {
    let columns = NO_COLUMNS;
    try {
      columns = this.#attributes.columns(record.attributes, site);
      const { exception } = record;
      if (exception !== undefined && exception !== null) {
        columns = withAdded(columns, exceptionColumns(exception));
      }
      this.#sink.emit(sdkRecordOf(record), columns);
    } catch {
      this.#sink.emit({ body: "[a log record that cannot be read]" }, columns);
    }
  }
}

/** The record without its attributes and its exception, and with nothing that the SDK would throw on. */
function sdkRecordOf(record: LogRecord): LogRecord {
  const { timestamp, observedTimestamp, severityNumber, severityText, eventName, body } = record;
  const sdkRecord: LogRecord = { context: record.context ?? context.active() };
  sdkRecord.body = typeof body === "string" ? body : plainValue(body);
  if (isTime(timestamp)) sdkRecord.timestamp = timestamp;
  if (isTime(observedTimestamp)) sdkRecord.observedTimestamp = observedTimestamp;
  if (isSeverity(severityNumber)) sdkRecord.severityNumber = severityNumber;
  if (typeof severityText === "string") sdkRecord.severityText = severityText;
  if (typeof eventName === "string") sdkRecord.eventName = eventName;
  return sdkRecord;
}

/** The SDK leaves out a record whose number is below 0, and does not say so. */
function isSeverity(severity: unknown): severity is SeverityNumber {
  return typeof severity === "number" && severity >= 0;
}

function isTime(time: unknown): time is NonNullable<LogRecord["timestamp"]> {
  if (typeof time === "number") return Number.isFinite(time);
  if (time instanceof Date) return Number.isFinite(time.getTime());
  return Array.isArray(time) && time.length === 2 && time.every(Number.isFinite);
}
