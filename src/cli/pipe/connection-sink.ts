import {
  ROOT_CONTEXT,
  SeverityNumber,
  trace,
  type LogRecord as EmittedRecord,
} from "@opentelemetry/api";
import { openConnection, type LoggingConnection } from "../../connect/connection.ts";
import type { LogRecord } from "../../plugin/index.ts";
import { setInterval, setTimeout, whenAborted } from "../../runtime/timers.ts";
import { say } from "../output.ts";
import type { LineRecord } from "./line-records.ts";
import type { Delivery, RecordSink } from "./sink.ts";

/** The records that wait or are in flight, and the characters of their lines; when there are more, they are lost. */
const RECORDS_MAX = 32_768;
const CHARS_MAX = 32 << 20;

/** While the gateway acknowledges something at least that often, a full queue makes the reader wait for it. */
const STALL_MS_MAX = 1000;

const POLL_MS = 10;

const WATCH_MS = 250;

/** How long the rest may take at the end. */
const FLUSH_MS_MAX = 5000;

/** A response comes within a few milliseconds; the end must not wait for one that never comes. */
const REQUEST_MS_MAX = 4000;

/** Sends records to a gateway over OTLP/HTTP. */
export class ConnectionSink implements RecordSink {
  readonly #connection: LoggingConnection;
  readonly #loggers = new Map<string, ReturnType<LoggingConnection["provider"]["getLogger"]>>();
  readonly #sizes = new PendingSizes();
  readonly #watch: NodeJS.Timeout;
  #total = 0;
  /** Records that were not added, because the queue was full. */
  #dropped = 0;
  /** The records that the gateway had acknowledged when that was looked at last. */
  #sent = 0;
  /** Whether it did not acknowledge any while the queue was full, and has not since. */
  #isStalled = false;
  #saysFailures = true;
  #isFailing = false;

  private constructor(connection: LoggingConnection) {
    this.#connection = connection;
    this.#watch = setInterval(() => this.#report(), WATCH_MS).unref();
  }

  /** @throws TailgateError CONFIG_INVALID */
  static async open(endpoint: string | undefined, logger: string): Promise<ConnectionSink> {
    const isNamed = namesService(process.env);
    const connection = await openConnection({
      ...(endpoint !== undefined && { endpoint }),
      ...(!isNamed && { serviceName: logger }),
      logLevel: "DEBUG",
      callSiteLevel: "never",
      registerGlobally: false,
      handleSignals: false,
      queueCapacity: RECORDS_MAX,
      requestTimeoutMs: REQUEST_MS_MAX,
      stopTimeoutMs: FLUSH_MS_MAX,
      // This class reports what became of the lines.
      write: () => {},
    });
    return new ConnectionSink(connection);
  }

  async add(records: Iterable<LineRecord>): Promise<void> {
    for (const { record, chars } of records) {
      this.#total++;
      if (this.#sizes.isFull && !(await this.#hasCapacity())) {
        this.#drop();
        continue;
      }
      this.#sizes.add(chars);
      this.#loggerOf(record.scope.name).emit(emittedRecord(record));
    }
  }

  #loggerOf(name: string): ReturnType<LoggingConnection["provider"]["getLogger"]> {
    let logger = this.#loggers.get(name);
    if (logger === undefined) {
      logger = this.#connection.provider.getLogger(name);
      if (this.#loggers.size < LOGGERS_MAX) this.#loggers.set(name, logger);
    }
    return logger;
  }

  /** Waits for a gateway that is slower than the input; false if it has stopped to acknowledge anything. */
  async #hasCapacity(): Promise<boolean> {
    let progressMs = performance.now();
    for (;;) {
      const { sent, pending } = this.#connection.status;
      if (sent !== this.#sent) {
        progressMs = performance.now();
        this.#isStalled = false;
      }
      this.#sent = sent;
      this.#sizes.settle(pending);
      if (!this.#sizes.isFull) return true;
      this.#isStalled ||= performance.now() - progressMs > STALL_MS_MAX;
      if (this.#isStalled) return false;
      await sleep(POLL_MS);
    }
  }

  #drop(): void {
    if (this.#dropped++ > 0) return;
    const { endpoint, lastError = "it does not respond" } = this.#connection.status;
    say(
      `The queue for ${endpoint} is full (${lastError}). Lines are printed, but not sent, until it accepts records again.`,
    );
  }

  /** Says once that the gateway cannot be reached, and once that it can. */
  #report(): void {
    const { endpoint, lastError, sent } = this.#connection.status;
    if (lastError !== undefined && this.#saysFailures) {
      this.#saysFailures = false;
      this.#isFailing = true;
      say(`${endpoint} does not accept records: ${lastError}. They wait in a queue.`);
    }
    if (lastError === undefined && this.#isFailing && sent > 0) {
      this.#isFailing = false;
      say(`${endpoint} accepts records.`);
    }
  }

  async close(signal: AbortSignal): Promise<Delivery> {
    await Promise.race([this.#connection.stop(), whenAborted(signal)]);
    clearInterval(this.#watch);
    const { sent, endpoint, lastError, dropped } = this.#connection.status;
    const rejected = dropped.rejected > 0 ? "it has rejected some of them" : undefined;
    return {
      total: this.#total,
      lost: this.#total - sent,
      destination: endpoint,
      reason: lastError ?? rejected,
    };
  }
}

/** The loggers that are remembered. */
const LOGGERS_MAX = 1000;

/** The sizes of the records in the queue, the oldest first. */
class PendingSizes {
  readonly #sizes: number[] = [];
  /** The index of the oldest one that is still in the queue. */
  #head = 0;
  #chars = 0;

  get isFull(): boolean {
    return this.#count >= RECORDS_MAX || this.#chars >= CHARS_MAX;
  }

  get #count(): number {
    return this.#sizes.length - this.#head;
  }

  add(chars: number): void {
    this.#sizes.push(chars);
    this.#chars += chars;
  }

  /** Removes the oldest ones: that many are still in the queue. */
  settle(pending: number): void {
    while (this.#count > pending) this.#chars -= this.#sizes[this.#head++]!;
    this.#sizes.splice(0, this.#head);
    this.#head = 0;
  }
}

/** By their numbers; 0 is unspecified. */
const SEVERITIES = Object.values(SeverityNumber).filter((value) => typeof value === "number");

const NANOS_PER_SECOND = 1_000_000_000n;

function emittedRecord(record: LogRecord): EmittedRecord {
  const { timestamp, severityNumber, severityText, body, traceId, spanId } = record;
  const attributes = Object.fromEntries(record.attributes);
  // A trace context needs both.
  const isTraced = traceId !== "" && spanId !== "";
  if (traceId !== "" && !isTraced) attributes["trace_id"] = traceId;
  const spanContext = { traceId, spanId, traceFlags: record.flags };
  return {
    timestamp: [Number(timestamp / NANOS_PER_SECOND), Number(timestamp % NANOS_PER_SECOND)],
    severityNumber: SEVERITIES[severityNumber]!,
    severityText,
    body,
    attributes,
    context: isTraced ? trace.setSpanContext(ROOT_CONTEXT, spanContext) : ROOT_CONTEXT,
  };
}

function namesService({ OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES = "" }: NodeJS.ProcessEnv) {
  return Boolean(OTEL_SERVICE_NAME) || /(?:^|,)\s*service\.name\s*=/.test(OTEL_RESOURCE_ATTRIBUTES);
}

function sleep(ms: number): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  setTimeout(resolve, ms);
  return promise;
}
