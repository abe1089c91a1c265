import {
  context,
  type LogRecord,
  type Logger,
  type LoggerOptions,
  type LoggerProvider,
} from "@opentelemetry/api";
import type { Resource } from "@opentelemetry/resources";
import { LoggerProvider as SdkLoggerProvider } from "@opentelemetry/sdk-logs";
import { CODE_PREFIX } from "../encode/code-attributes.ts";
import { textOf } from "../errors.ts";
import type { CallSiteAttributes } from "./call-site.ts";
import { isError, plainValue } from "./plain-value.ts";
import type { TailgateLogRecordProcessor } from "./processor.ts";
import type { Columns } from "./sdk-record.ts";

/**
 * The SDK's LoggerProvider with one processor, made safe: whatever a caller hands to `emit`, it does not throw, and
 * values that the SDK would drop arrive.
 */
export class TailgateLoggerProvider implements LoggerProvider {
  readonly #processor: TailgateLogRecordProcessor;
  readonly #sdk: SdkLoggerProvider;

  constructor(processor: TailgateLogRecordProcessor, resource: Resource) {
    this.#processor = processor;
    this.#sdk = new SdkLoggerProvider({ processors: [processor], resource });
  }

  getLogger(name: string, version?: string, options?: LoggerOptions): SafeLogger {
    return new SafeLogger(this.#sdk.getLogger(name, version, options), this.#processor);
  }

  forceFlush(): Promise<void> {
    return this.#sdk.forceFlush();
  }

  shutdown(): Promise<void> {
    return this.#sdk.shutdown();
  }
}

export class SafeLogger implements Logger {
  readonly #sdk: Logger;
  readonly #processor: TailgateLogRecordProcessor;

  constructor(sdk: Logger, processor: TailgateLogRecordProcessor) {
    this.#sdk = sdk;
    this.#processor = processor;
  }

  enabled(options?: Parameters<Logger["enabled"]>[0]): boolean {
    return this.#sdk.enabled(options);
  }

  /** `site` is the place of the call; what the record's own attributes say of it wins. */
  emit(record: LogRecord, site?: CallSiteAttributes): void {
    let columns: Columns = { keys: [], values: [] };
    try {
      columns = columnsOf(record.attributes, site);
      this.#emit(sdkRecordOf(record), columns);
    } catch {
      this.#emit({ body: "[a log record that cannot be read]" }, columns);
    }
  }

  #emit(record: LogRecord, columns: Columns): void {
    this.#processor.withAttributes(columns, () => this.#sdk.emit(record));
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
  if (typeof severityNumber === "number") sdkRecord.severityNumber = severityNumber;
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

function isTime(time: unknown): time is NonNullable<LogRecord["timestamp"]> {
  if (typeof time === "number") return Number.isFinite(time);
  if (time instanceof Date) return Number.isFinite(time.getTime());
  return Array.isArray(time) && time.length === 2 && time.every(Number.isFinite);
}
