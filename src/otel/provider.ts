import {
  context,
  createNoopLogger,
  isSpanContextValid,
  trace,
  type Context,
  type HrTime,
  type Logger,
  type LoggerOptions,
  type LoggerProvider,
  type LogRecord,
  type SeverityNumber,
  type SpanContext,
} from "@opentelemetry/api";
import { cleanSimpleAttributes, timeInputToHrTime } from "@opentelemetry/core";
import type { Resource } from "@opentelemetry/resources";
import {
  LoggerProvider as SdkLoggerProvider,
  type ReadableLogRecord,
} from "@opentelemetry/sdk-logs";
import { CallerAttributes, withAdded, type NamedValues } from "./attributes.ts";
import type { CallSiteAttributes } from "./call-site.ts";
import { exceptionColumns } from "./exception.ts";
import { plainValue } from "./plain-value.ts";
import type { EmittedRecordSink, TailgateLogRecordProcessor } from "./processor.ts";

type InstrumentationScope = ReadableLogRecord["instrumentationScope"];

/**
 * The SDK's LoggerProvider in front of one processor. Its loggers are {@link SafeLogger}s: they never throw, and they
 * deliver values that the SDK would drop.
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

/** The SDK's default limits, as they apply to the attributes of a scope. */
const SCOPE_LIMITS = { attributeCountLimit: 128, attributeValueLengthLimit: Infinity };

/**
 * A LoggerProvider that bypasses the SDK's record, which costs more than everything that Tailgate does with it. Its
 * records are the same as those of {@link TailgateLoggerProvider}, byte for byte.
 */
export class DirectLoggerProvider<Result = unknown> implements LoggerProvider {
  readonly #processor: EmittedRecordSink<Result>;
  readonly #resource: Resource;
  #shutdown: Promise<void> | undefined;

  constructor(processor: EmittedRecordSink<Result>, resource: Resource) {
    this.#processor = processor;
    this.#resource = resource;
  }

  getLogger(name: string, version?: string, options?: LoggerOptions): SafeLogger {
    if (this.#shutdown !== undefined) return new SafeLogger(createNoopLogger());
    const scope: InstrumentationScope = {
      name: name || "unknown", // as in the SDK
      ...(version === undefined ? {} : { version }),
      ...(options?.schemaUrl === undefined ? {} : { schemaUrl: options.schemaUrl }),
      ...cleanSimpleAttributes(options?.attributes, SCOPE_LIMITS),
    };
    return new SafeLogger({
      enabled: () => this.#shutdown === undefined,
      emit: (record, attributes) => {
        if (this.#shutdown === undefined) this.#emit(scope, record, attributes, false);
      },
    });
  }

  /** Returns a logger whose `emit` returns what became of the record, for its receipt. */
  getAuditLogger(name: string): SafeLogger<Result> {
    const scope: InstrumentationScope = { name };
    return new SafeLogger({
      enabled: () => true,
      emit: (record, attributes) => this.#emit(scope, record, attributes, true),
    });
  }

  #emit(
    scope: InstrumentationScope,
    record: LogRecord,
    attributes: NamedValues,
    wantsReceipt: boolean,
  ): Result {
    const { timestamp, observedTimestamp, severityNumber, severityText, body, eventName } = record;
    const now = hrTimeNow();
    const emitted = {
      hrTime: timestamp === undefined ? now : timeInputToHrTime(timestamp),
      hrTimeObserved: observedTimestamp === undefined ? now : timeInputToHrTime(observedTimestamp),
      spanContext: readSpanContext(record.context ?? context.active()),
      severityNumber,
      severityText,
      body,
      eventName,
      droppedAttributesCount: 0,
      resource: this.#resource,
      instrumentationScope: scope,
    };
    return this.#processor.accept(emitted, attributes, wantsReceipt);
  }

  forceFlush(): Promise<void> {
    return this.#shutdown ?? this.#processor.forceFlush();
  }

  shutdown(): Promise<void> {
    return (this.#shutdown ??= this.#processor.shutdown());
  }
}

function hrTimeNow(): HrTime {
  const now = Date.now();
  const millis = now % 1000;
  return [(now - millis) / 1000, millis * 1_000_000];
}

function readSpanContext(current: Context): SpanContext | undefined {
  const spanContext = trace.getSpanContext(current);
  return spanContext !== undefined && isSpanContextValid(spanContext) ? spanContext : undefined;
}

/** Where a {@link SafeLogger} sends its records: they are readable, and their attributes are separate. */
export interface LoggerSink<Result> extends Pick<Logger, "enabled"> {
  emit(record: LogRecord, attributes: NamedValues): Result;
}

const NO_COLUMNS: NamedValues = { keys: [], values: [] };

/** A logger that accepts whatever a caller passes: it never throws, and delivers values that the SDK would drop. */
export class SafeLogger<Result = void> implements Logger {
  readonly #sink: LoggerSink<Result>;
  readonly #attributes = new CallerAttributes();

  constructor(sink: LoggerSink<Result>) {
    this.#sink = sink;
  }

  enabled(options?: Parameters<Logger["enabled"]>[0]): boolean {
    return this.#sink.enabled(options);
  }

  /** `site` is the call site; the record's own `code.*` attributes take precedence. */
  emit(record: LogRecord, site?: CallSiteAttributes): Result {
    let columns = NO_COLUMNS;
    try {
      columns = this.#attributes.columns(record.attributes, site);
      const { exception } = record;
      if (exception !== undefined && exception !== null) {
        columns = withAdded(columns, exceptionColumns(exception));
      }
      return this.#sink.emit(sanitizeRecord(record), columns);
    } catch {
      return this.#sink.emit({ body: "[a log record that cannot be read]" }, columns);
    }
  }
}

/** Returns the record without attributes, exception, and anything that the SDK would throw on. */
function sanitizeRecord(record: LogRecord): LogRecord {
  const { timestamp, observedTimestamp, severityNumber, severityText, eventName, body } = record;
  const sanitized: LogRecord = { context: record.context ?? context.active() };
  sanitized.body = typeof body === "string" ? body : plainValue(body);
  if (isTime(timestamp)) sanitized.timestamp = timestamp;
  if (isTime(observedTimestamp)) sanitized.observedTimestamp = observedTimestamp;
  if (isSeverity(severityNumber)) sanitized.severityNumber = severityNumber;
  if (typeof severityText === "string") sanitized.severityText = severityText;
  if (typeof eventName === "string") sanitized.eventName = eventName;
  return sanitized;
}

/** The SDK silently drops a record whose severity number is negative. */
function isSeverity(severity: unknown): severity is SeverityNumber {
  return typeof severity === "number" && severity >= 0;
}

function isTime(time: unknown): time is NonNullable<LogRecord["timestamp"]> {
  if (typeof time === "number") return Number.isFinite(time);
  if (time instanceof Date) return Number.isFinite(time.getTime());
  return Array.isArray(time) && time.length === 2 && time.every(Number.isFinite);
}
