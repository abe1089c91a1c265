import {
  type LoggerOptions,
  type LoggerProvider,
  context,
  createNoopLogger,
  isSpanContextValid,
  trace,
  type Context,
  type HrTime,
  type LogRecord,
  type SpanContext,
  type Logger,
  type SeverityNumber,
} from "@opentelemetry/api";
import type { Resource } from "@opentelemetry/resources";
import {
  LoggerProvider as SdkLoggerProvider,
  type ReadableLogRecord,
} from "@opentelemetry/sdk-logs";
import type { TailgateLogRecordProcessor } from "./processor.ts";
import { cleanSimpleAttributes, timeInputToHrTime } from "@opentelemetry/core";
import { type Columns, CallerAttributes, withAdded } from "./attributes.ts";
import type { CallSiteAttributes } from "./call-site.ts";
import { exceptionColumns } from "./exception.ts";
import { plainValue } from "./plain-value.ts";

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
    const logger = this.#sdk.getLogger(name, version, options);
    return new SafeLogger({
      enabled: (asked) => logger.enabled(asked),
      emit: (record, attributes) =>
        this.#processor.withAttributes(attributes, () => logger.emit(record)),
    });
  }

  forceFlush(): Promise<void> {
    return this.#sdk.forceFlush();
  }

  shutdown(): Promise<void> {
    return this.#sdk.shutdown();
  }
}

type Scope = ReadableLogRecord["instrumentationScope"];

/** The SDK's defaults, which hold for the attributes of a scope. */
const SCOPE_LIMITS = { attributeCountLimit: 128, attributeValueLengthLimit: Infinity };

/** What the SDK calls a logger without a name. */
const NAMELESS = "unknown";

/**
 * A LoggerProvider that does without the SDK's record, which costs more than all that Tailgate makes of it. What comes
 * of a record is the same as behind {@link TailgateLoggerProvider}, byte for byte.
 */
export class DirectLoggerProvider implements LoggerProvider {
  readonly #processor: TailgateLogRecordProcessor;
  readonly #resource: Resource;
  #shutdown: Promise<void> | undefined;

  constructor(processor: TailgateLogRecordProcessor, resource: Resource) {
    this.#processor = processor;
    this.#resource = resource;
  }

  getLogger(name: string, version?: string, options?: LoggerOptions): SafeLogger {
    if (this.#shutdown !== undefined) return new SafeLogger(createNoopLogger());
    const scope: Scope = {
      name: name || NAMELESS,
      ...(version === undefined ? {} : { version }),
      ...(options?.schemaUrl === undefined ? {} : { schemaUrl: options.schemaUrl }),
      ...cleanSimpleAttributes(options?.attributes, SCOPE_LIMITS),
    };
    return new SafeLogger({
      enabled: () => this.#shutdown === undefined,
      emit: (record, attributes) => {
        if (this.#shutdown === undefined) this.#emit(scope, record, attributes);
      },
    });
  }

  #emit(scope: Scope, record: LogRecord, attributes: Columns): void {
    const { timestamp, observedTimestamp } = record;
    const now = hrTimeNow();
    this.#processor.take(
      {
        hrTime: timestamp === undefined ? now : timeInputToHrTime(timestamp),
        hrTimeObserved:
          observedTimestamp === undefined ? now : timeInputToHrTime(observedTimestamp),
        spanContext: spanContextOf(record.context ?? context.active()),
        severityNumber: record.severityNumber,
        severityText: record.severityText,
        body: record.body,
        eventName: record.eventName,
        droppedAttributesCount: 0,
        resource: this.#resource,
        instrumentationScope: scope,
      },
      attributes,
    );
  }

  /** Resolves when all that was emitted before is safe. */
  forceFlush(): Promise<void> {
    return this.#shutdown ?? this.#processor.forceFlush();
  }

  /** Takes no more records, and flushes. */
  shutdown(): Promise<void> {
    return (this.#shutdown ??= this.#processor.shutdown());
  }
}

function hrTimeNow(): HrTime {
  const now = Date.now();
  const millis = now % 1000;
  return [(now - millis) / 1000, millis * 1_000_000];
}

function spanContextOf(current: Context): SpanContext | undefined {
  const spanContext = trace.getSpanContext(current);
  return spanContext !== undefined && isSpanContextValid(spanContext) ? spanContext : undefined;
}

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
