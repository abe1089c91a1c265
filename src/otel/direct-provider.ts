import {
  context,
  createNoopLogger,
  isSpanContextValid,
  trace,
  type Context,
  type HrTime,
  type LogRecord,
  type LoggerOptions,
  type LoggerProvider,
  type SpanContext,
} from "@opentelemetry/api";
import { cleanSimpleAttributes, timeInputToHrTime } from "@opentelemetry/core";
import type { Resource } from "@opentelemetry/resources";
import type { ReadableLogRecord } from "@opentelemetry/sdk-logs";
import type { Columns } from "./columns.ts";
import type { TailgateLogRecordProcessor } from "./processor.ts";
import { SafeLogger } from "./safe-logger.ts";

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
