import { context, type LogRecord, type Logger, type SeverityNumber } from "@opentelemetry/api";
import { CODE_PREFIX } from "../encode/code-attributes.ts";
import { textOf } from "../errors.ts";
import type { CallSiteAttributes } from "./call-site.ts";
import { isError, plainValue } from "./plain-value.ts";
import type { Columns } from "./sdk-record.ts";

/** What is behind a logger: takes records that can be read, their attributes apart. */
export interface RecordSink extends Pick<Logger, "enabled"> {
  emit(record: LogRecord, attributes: Columns): void;
}

/** A logger that does not throw, whatever a caller hands to it; values that the SDK would drop arrive. */
export class SafeLogger implements Logger {
  readonly #sink: RecordSink;

  constructor(sink: RecordSink) {
    this.#sink = sink;
  }

  enabled(options?: Parameters<Logger["enabled"]>[0]): boolean {
    return this.#sink.enabled(options);
  }

  /** `site` is the place of the call; what the record's own attributes say of it wins. */
  emit(record: LogRecord, site?: CallSiteAttributes): void {
    let columns: Columns = { keys: [], values: [] };
    try {
      columns = columnsOf(record.attributes, site);
      this.#sink.emit(sdkRecordOf(record), columns);
    } catch {
      this.#sink.emit({ body: "[a log record that cannot be read]" }, columns);
    }
  }
}

/** A snapshot of the attributes, with an Error under `exception` as the semantic conventions have it. */
function columnsOf(attributes: unknown, site: CallSiteAttributes | undefined): Columns {
  const keys: string[] = [];
  const values: unknown[] = [];
  let mayRepeat = false;
  for (const key of keysOf(attributes)) {
    const value = read(attributes as object, key);
    if (key === "exception" && isError(value)) {
      mayRepeat = true;
      keys.push("exception.type", "exception.message", "exception.stacktrace");
      values.push(
        typeOf(value),
        plainValue(read(value, "message")),
        plainValue(read(value, "stack")),
      );
    } else {
      const plain = typeof value === "string" ? value : plainValue(value);
      // As if it was not there: then what the gateway would say under that name is said.
      if (plain === undefined) continue;
      const isWellFormed = key.isWellFormed();
      mayRepeat ||= !isWellFormed;
      keys.push(isWellFormed ? key : key.toWellFormed());
      values.push(plain);
    }
  }
  if (site !== undefined && !keys.some((key) => key.startsWith(CODE_PREFIX))) {
    keys.push(...Object.keys(site));
    values.push(...Object.values(site));
  }
  return mayRepeat ? withoutRepeats(keys, values) : { keys, values };
}

/** Of a name that is there twice the last value counts, as with what comes over OTLP. */
function withoutRepeats(keys: readonly string[], values: readonly unknown[]): Columns {
  const attributes = new Map(keys.map((key, index) => [key, values[index]]));
  return { keys: [...attributes.keys()], values: [...attributes.values()] };
}

/** The names of the attributes: none where they cannot be listed, which costs the attributes and not the message. */
function keysOf(attributes: unknown): string[] {
  try {
    return typeof attributes === "object" && attributes !== null ? Object.keys(attributes) : [];
  } catch {
    return [];
  }
}

/** What the SDK takes as `exception.type`, too: the error's code where it has one, else its name. */
function typeOf(error: Error): string {
  return textOf(read(error, "code") || read(error, "name"));
}

/** Reads one property; what a getter throws stands for its value. */
function read(holder: object, key: string): unknown {
  try {
    return (holder as Record<string, unknown>)[key];
  } catch (error) {
    return error;
  }
}

/** The record without its attributes, and with nothing that the SDK would throw on. */
function sdkRecordOf(record: LogRecord): LogRecord {
  const { timestamp, observedTimestamp, severityNumber, severityText, eventName, body } = record;
  const sdkRecord: LogRecord = { context: record.context ?? context.active() };
  sdkRecord.body = typeof body === "string" ? body : plainValue(body);
  if (isTime(timestamp)) sdkRecord.timestamp = timestamp;
  if (isTime(observedTimestamp)) sdkRecord.observedTimestamp = observedTimestamp;
  if (isSeverity(severityNumber)) sdkRecord.severityNumber = severityNumber;
  if (typeof severityText === "string") sdkRecord.severityText = severityText;
  if (typeof eventName === "string") sdkRecord.eventName = eventName;
  const { exception } = record;
  if (exception !== undefined && exception !== null)
    sdkRecord.exception = plainException(exception);
  return sdkRecord;
}

/** What the SDK reads of an exception, without getters that may throw. */
function plainException(exception: unknown): string | Record<string, string> {
  if (typeof exception !== "object" || exception === null) return String(exception);
  const fields: Record<string, string> = {};
  for (const key of ["code", "name", "message", "stack"]) {
    const value = read(exception, key);
    if (typeof value === "string" || typeof value === "number") fields[key] = String(value);
  }
  return fields;
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
