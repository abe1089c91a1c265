import { context, type HrTime } from "@opentelemetry/api";
import { ExportResultCode, suppressTracing, type ExportResult } from "@opentelemetry/core";
import { OTLPExporterError } from "@opentelemetry/otlp-exporter-base";
import type { OTLPLogExporter } from "@opentelemetry/exporter-logs-otlp-http";
import {
  BatchLogRecordProcessor,
  type ReadableLogRecord,
  type ReadWriteLogRecord,
} from "@opentelemetry/sdk-logs";
import { backoffMs } from "../delivery/backoff.ts";
import type { Value } from "../plugin/index.ts";
import { clearTimeout, setTimeout, whenAborted } from "../runtime/timers.ts";
import { textOf } from "../wire/errors.ts";
import type { NamedValues } from "../otel/attributes.ts";
import { plainValue } from "../otel/plain-value.ts";
import type { EmittedRecord, EmittedRecordSink } from "../otel/processor.ts";

/**
 * Why records were dropped. `queue_full`: the queue was at its capacity; `rejected`: the gateway answered that a retry
 * cannot help; `not_readable`: the record's values could not be read; `stopped`: logged after `stop`, or not acknowledged
 * when its time limit expired.
 */
const DROP_REASONS = ["queue_full", "rejected", "not_readable", "stopped"] as const;

export type QueueDropReason = (typeof DROP_REASONS)[number];

export interface LogQueueOptions {
  /** Records that wait or are in flight; further ones are dropped. */
  readonly capacity: number;
  /** Records of one request. */
  readonly batchSize: number;
  /** How long a record waits for others before its batch is sent. */
  readonly delayMs: number;
  /** Called for records that are dropped. */
  readonly dropped: (reason: QueueDropReason, count: number) => void;
  /** Called when the destination rejects the credentials, once until it accepts a request. */
  readonly unauthorized: (reason: string) => void;
}

/**
 * A bounded queue in front of an OTLP exporter. OpenTelemetry's BatchLogRecordProcessor forms the batches; this queue
 * sends them in order, and retries each until the destination accepts or permanently rejects it, while the processor
 * would drop a batch after its first failed export. Its timers do not keep the process alive; a request does.
 */
export class OtlpLogQueue implements EmittedRecordSink<void> {
  readonly #exporter: OTLPLogExporter;
  readonly #options: LogQueueOptions;
  readonly #processor: BatchLogRecordProcessor;
  readonly #batches: ReadableLogRecord[][] = [];
  readonly #drops = new Map<QueueDropReason, number>(DROP_REASONS.map((reason) => [reason, 0]));
  #isSending = false;
  #isStopped = false;
  /** Records that the destination has not acknowledged yet. */
  pending = 0;
  /** Records that the destination acknowledged. */
  sent = 0;
  /** Why the last request failed; undefined after a success. */
  lastError: string | undefined;
  #isUnauthorized = false;
  /** Ends the current backoff. */
  #retryNow: (() => void) | undefined;
  #idle: PromiseWithResolvers<void> | undefined;

  constructor(exporter: OTLPLogExporter, options: LogQueueOptions) {
    const { capacity, batchSize, delayMs } = options;
    this.#exporter = exporter;
    this.#options = options;
    this.#processor = new BatchLogRecordProcessor({
      exporter: {
        export: (records, done) => {
          done({ code: ExportResultCode.SUCCESS });
          this.#add(records);
        },
        forceFlush: () => Promise.resolve(),
        shutdown: () => Promise.resolve(),
      },
      // Never reached: `accept` limits the records in the processor and in this queue together.
      maxQueueSize: capacity,
      maxExportBatchSize: Math.min(batchSize, capacity),
      scheduledDelayMillis: delayMs,
    });
  }

  get dropped(): Readonly<Record<QueueDropReason, number>> {
    return Object.fromEntries(this.#drops) as Record<QueueDropReason, number>;
  }

  /** Adds a record, or drops and counts it. Never throws and never blocks. */
  accept(record: EmittedRecord, attributes: NamedValues): void {
    if (this.#isStopped) return this.#drop("stopped", 1);
    if (this.pending >= this.#options.capacity) return this.#drop("queue_full", 1);
    try {
      const readable = toReadableRecord(record, attributes);
      this.pending++;
      // The processor only reads it.
      this.#processor.onEmit(readable as ReadWriteLogRecord);
    } catch {
      this.#drop("not_readable", 1);
    }
  }

  /** Sends what is queued without further delay. Resolves when the queue is empty, or when the signal aborts. */
  async flush(signal: AbortSignal): Promise<void> {
    await this.#processor.forceFlush();
    if (this.pending === 0 || signal.aborted) return;
    this.#retryNow?.();
    this.#idle ??= Promise.withResolvers();
    await Promise.race([this.#idle.promise, whenAborted(signal)]);
  }

  /** Flushes, then drops what is left. */
  async stop(signal: AbortSignal): Promise<void> {
    await this.flush(signal);
    this.#isStopped = true;
    this.#batches.length = 0;
    this.#retryNow?.();
    if (this.pending > 0) this.#drop("stopped", this.pending);
    this.#settle(this.pending);
    // A request in flight ends by its own timeout.
    void this.#processor.shutdown().catch(() => {});
  }

  async forceFlush(): Promise<void> {
    await this.flush(AbortSignal.timeout(FLUSH_MS_MAX));
  }

  /** Flushes. The queue outlives the provider; it is stopped separately. */
  shutdown(): Promise<void> {
    return this.forceFlush();
  }

  #add(records: ReadableLogRecord[]): void {
    this.#batches.push(records);
    if (!this.#isSending) void this.#sendAll();
  }

  async #sendAll(): Promise<void> {
    this.#isSending = true;
    for (let batch = this.#batches[0]; batch !== undefined; batch = this.#batches[0]) {
      await this.#send(batch);
      this.#batches.shift();
    }
    this.#isSending = false;
  }

  /** Sends a batch until it is settled. Bisects a rejected one to isolate the records that the destination rejects. */
  async #send(batch: ReadableLogRecord[]): Promise<void> {
    for (let attempt = 0; !this.#isStopped; attempt++) {
      const { code, error } = await this.#export(batch);
      if (this.#isStopped) return;
      if (code === ExportResultCode.SUCCESS) {
        this.lastError = undefined;
        this.#isUnauthorized = false;
        this.sent += batch.length;
        return this.#settle(batch.length);
      }
      this.lastError = textOf(error);
      if (isRejection(error)) {
        if (batch.length === 1) {
          this.#drop("rejected", 1);
          return this.#settle(1);
        }
        const half = batch.length >> 1;
        await this.#send(batch.slice(0, half));
        return this.#send(batch.slice(half));
      }
      if (isUnauthorized(error) && !this.#isUnauthorized) {
        this.#isUnauthorized = true;
        this.#options.unauthorized(this.lastError);
      }
      await this.#backOff(backoffMs(attempt));
    }
  }

  #export(batch: ReadableLogRecord[]): Promise<ExportResult> {
    const { promise, resolve } = Promise.withResolvers<ExportResult>();
    // Otherwise an instrumented http client would trace the export.
    context.with(suppressTracing(context.active()), () => {
      try {
        this.#exporter.export(batch, resolve);
      } catch (error) {
        // The batch cannot be serialized, so that a retry cannot help.
        resolve({
          code: ExportResultCode.FAILED,
          error: new OTLPExporterError(textOf(error), UNSERIALIZABLE),
        });
      }
    });
    return promise;
  }

  async #backOff(delayMs: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#retryNow = resolve;
    const timer = setTimeout(resolve, delayMs).unref();
    await promise;
    clearTimeout(timer);
    this.#retryNow = undefined;
  }

  #settle(count: number): void {
    this.pending -= count;
    if (this.pending > 0) return;
    this.#idle?.resolve();
    this.#idle = undefined;
  }

  #drop(reason: QueueDropReason, count: number): void {
    this.#drops.set(reason, this.#drops.get(reason)! + count);
    this.#options.dropped(reason, count);
  }
}

/** How long `forceFlush` waits for the destination. */
const FLUSH_MS_MAX = 30_000;

/** Stands for a batch that was never sent, like a response that rejects it. */
const UNSERIALIZABLE = 400;

/** Statuses that are about the records, so that a retry cannot help. Others are retried until somebody fixes the cause. */
const REJECTION_STATUSES = new Set<number | undefined>([400, 413, 422]);

function isRejection(error: Error | undefined): boolean {
  return error instanceof OTLPExporterError && REJECTION_STATUSES.has(error.code);
}

function isUnauthorized(error: Error | undefined): boolean {
  return error instanceof OTLPExporterError && (error.code === 401 || error.code === 403);
}

/** Converts a record to the form that OpenTelemetry's serializers accept. */
export function toReadableRecord(
  record: EmittedRecord,
  { keys, values }: NamedValues,
): ReadableLogRecord {
  const { hrTime, hrTimeObserved, severityNumber, spanContext, severityText, eventName } = record;
  const attributes = keys.map((key, index) => [key, toAnyValue(plainValue(values[index]))]);
  return {
    hrTime: validTime(hrTime),
    hrTimeObserved: validTime(hrTimeObserved),
    resource: record.resource,
    instrumentationScope: record.instrumentationScope,
    droppedAttributesCount: record.droppedAttributesCount,
    body: toAnyValue(plainValue(record.body)),
    attributes: Object.fromEntries(attributes),
    ...(spanContext !== undefined && { spanContext }),
    ...(Number.isInteger(severityNumber) && { severityNumber: severityNumber! }),
    ...(severityText !== undefined && { severityText }),
    ...(eventName !== undefined && { eventName }),
  };
}

/** A gateway rejects a request with a time before 1970. */
function validTime(time: HrTime): HrTime {
  const [seconds, nanos] = time;
  if (seconds >= 0 && nanos >= 0 && nanos < 1e9) return time;
  const nowMs = Date.now();
  return [Math.floor(nowMs / 1000), (nowMs % 1000) * 1_000_000];
}

type AnyValue = ReadableLogRecord["body"];

/**
 * Replaces what OpenTelemetry's JSON serializer would lose: a bigint beyond JavaScript's safe integers, NaN and the
 * infinities become text, as they are in an envelope.
 */
function toAnyValue(value: Value | undefined): AnyValue {
  switch (typeof value) {
    case "bigint":
      return Number.isSafeInteger(Number(value)) ? Number(value) : String(value);
    case "number":
      return Number.isFinite(value) ? value : String(value);
    case "object":
      if (value === null) return undefined;
      if (value instanceof Uint8Array) return value;
      if (Array.isArray(value)) return value.map(toAnyValue);
      return Object.fromEntries(
        Array.from(value, ([key, inner]) => [key, toAnyValue(inner)]),
      ) as AnyValue;
    default:
      return value;
  }
}
