import { BatchBuilder } from "../batch/batch-builder.ts";
import { originOfRecords } from "../batch/origin.ts";
import type { RecordBatch } from "../batch/record-batch.ts";
import type { Counters } from "../plugin/metrics.ts";
import {
  EnvelopeEncoder,
  isAuditRecord,
  partsOfRecord,
  type RecordParts,
} from "../envelope/encoder.ts";
import { type LoggerNames, rankOf } from "../envelope/prefix.ts";
import type { HostLogger, LogRecord } from "../plugin/index.ts";
import { onNextTurn } from "../runtime/timers.ts";
import type { LevelRank } from "../wire/envelope.ts";
import { TailgateError } from "../wire/errors.ts";
import type { AuditEvents, RequestEvents } from "./audit-events.ts";
import { LossAlarm, LossMarker } from "./losses.ts";

/** The share of the capacity that system logs of each level may fill: the least severe are dropped first. */
const CAPACITY_SHARES = [0.6, 0.7, 0.8, 0.9, 1] as const;

export interface JournalFeedOptions {
  /** The capacity in front of the journal, in bytes. Beyond it requests are rejected and system logs dropped. */
  readonly pendingBytesMax: number;
  /** Returns the memory of what the journal has not committed, in bytes. */
  unstoredBytes(): number;
  /** Returns the memory of large requests that are being read, in bytes. */
  requestBytes(): number;
  /** Appends a batch to the journal; resolves when it is durable. */
  append(batch: RecordBatch): Promise<void>;
  readonly events: AuditEvents;
  readonly counters: Counters;
  /** System logs below this level are filtered. */
  readonly lowest: LevelRank;
  readonly loggers: LoggerNames;
  readonly log: HostLogger;
}

/**
 * Collects encoded records in the open batch and appends it to the journal at the end of the event loop's turn. Bounds
 * what waits, and follows each batch until the journal has stored or rejected it.
 */
export class JournalFeed {
  readonly open: BatchBuilder;
  readonly encoder: EnvelopeEncoder;
  readonly marker: LossMarker;
  readonly alarm: LossAlarm;
  readonly #options: JournalFeedOptions;
  /** Audit events for which there is no capacity; they go to the queue. */
  readonly #overflow: BatchBuilder;
  readonly #overflowEncoder: EnvelopeEncoder;
  readonly #queue = new AuditQueue();
  /** Present while a flush is due; resolves when the open batch is durable, whatever waits in the queue. */
  #flushed: PromiseWithResolvers<void> | undefined;
  /** Appends that the journal has not answered. */
  readonly #appending = new Set<Promise<unknown>>();
  #stopped = false;
  /** While the process exits: flushes each record before the call that logged it returns. */
  #flushNow: (() => void) | undefined;
  /** True while only a scheduled flush would keep the process alive. */
  #isHeld = false;

  constructor(options: JournalFeedOptions) {
    const { events, lowest, loggers, log } = options;
    this.#options = options;
    this.open = new BatchBuilder(events);
    this.encoder = new EnvelopeEncoder(this.open, lowest, loggers);
    this.#overflow = new BatchBuilder(events);
    this.#overflowEncoder = new EnvelopeEncoder(this.#overflow, lowest, loggers);
    this.alarm = new LossAlarm(log);
    this.marker = new LossMarker({
      encode: (record) => this.#encodeMarker(record),
      schedule: () => void this.schedule(),
    });
  }

  /** System logs below it are filtered from now on. */
  setLowest(lowest: LevelRank): void {
    this.encoder.lowest = lowest;
    this.#overflowEncoder.lowest = lowest;
  }

  get pendingBytes(): number {
    return (
      this.open.memoryBytes +
      this.#overflow.memoryBytes +
      this.#queue.bytes +
      this.#options.requestBytes() +
      this.#options.unstoredBytes()
    );
  }

  get isFull(): boolean {
    return this.pendingBytes > this.#options.pendingBytesMax;
  }

  /** Returns undefined for a system log for which there is no capacity. */
  encoderFor(parts: RecordParts): EnvelopeEncoder | undefined {
    const { pendingBytesMax } = this.#options;
    const pending = this.pendingBytes;
    if (pending <= CAPACITY_SHARES[0] * pendingBytesMax && this.#queue.isEmpty) {
      return this.encoder;
    }
    if (isAuditRecord(parts, this.#options.loggers)) {
      const isFull = pending > pendingBytesMax || !this.#queue.isEmpty;
      return isFull ? this.#overflowEncoder : this.encoder;
    }
    const rank = rankOf(parts.severityNumber, parts.severityText);
    // A record below the lowest level is filtered and needs no capacity.
    const hasCapacity =
      pending <= CAPACITY_SHARES[rank] * pendingBytesMax || rank < this.encoder.lowest;
    return hasCapacity ? this.encoder : undefined;
  }

  abandon(): void {
    this.open.abandon();
    this.#overflow.abandon();
  }

  /** Schedules a flush of the open batch; resolves when the batch is durable. */
  schedule(): Promise<void> {
    if (this.#flushed === undefined) {
      this.#flushed = Promise.withResolvers();
      // A failure is counted where it happens; callers need not wait.
      this.#flushed.promise.catch(() => {});
      if (this.#flushNow === undefined && !this.#isHeld) onNextTurn(() => this.#flush());
    }
    const { promise } = this.#flushed;
    this.#flushNow?.();
    return promise;
  }

  #flush(): void {
    const flushed = this.#flushed;
    this.#flushed = undefined;
    if (flushed === undefined) return;
    if (!this.marker.isIdle) {
      this.marker.beforeFlush({
        isFull: () => this.isFull,
        isLast: this.#stopped || this.#flushNow !== undefined,
      });
    }
    const stored = this.open.take().map((batch) => this.follow(batch, this.#options.append(batch)));
    Promise.all(stored).then(() => flushed.resolve(), flushed.reject);
    for (const batch of this.#overflow.take()) {
      // Each event has a receipt of its own.
      this.follow(batch, this.#queue.add(batch)).catch(() => {});
    }
    this.#release();
  }

  /** Counts what becomes of a batch's records and settles their receipts. */
  async follow(
    batch: RecordBatch,
    stored: Promise<void>,
    events: AuditEvents | RequestEvents = this.#options.events,
  ): Promise<void> {
    if (events.hasOpen) events.appended(batch, stored);
    this.#appending.add(stored);
    try {
      await stored;
      this.#options.counters.sent += batch.length;
    } catch (error) {
      this.#lost(batch, error);
      throw error;
    } finally {
      this.#appending.delete(stored);
      if (!this.marker.isIdle) this.marker.settled(batch);
      this.#release();
    }
  }

  #lost(batch: RecordBatch, error: unknown): void {
    const reason = TailgateError.is(error) ? error.code.toLowerCase() : "journal_failed";
    this.#options.counters.drop(reason, batch.length);
    const records = this.marker.failed(batch) ? batch.length - 1 : batch.length;
    let events = 0;
    for (let index = 0; index < records; index++) {
      if (batch.type(index) === "audit_log") events++;
      else this.marker.add(reason, batch.rank(index));
    }
    this.alarm.raise(events, error);
  }

  /** Appends queued audit events if there is capacity again. */
  #release(): void {
    const hasCapacity = (): boolean =>
      this.#stopped || this.#options.unstoredBytes() <= this.#options.pendingBytesMax;
    this.#queue.release(hasCapacity, (batch) => this.#options.append(batch));
  }

  #encodeMarker(record: LogRecord): RecordBatch {
    const encoder = new EnvelopeEncoder(this.open, 0);
    encoder.encode(partsOfRecord(record), originOfRecords([record]), 0);
    this.#options.counters.received++;
    return this.open.last;
  }

  async flush(): Promise<void> {
    this.#flush();
    this.#release();
    await Promise.allSettled(this.#appending);
  }

  /**
   * Stops scheduling flushes until the event loop has work again: nothing else is left to do in the process, and a flush
   * would keep it alive. If the process exits now, `flushSync` takes over.
   */
  hold(): void {
    if (this.#isHeld) return;
    this.#isHeld = true;
    AbortSignal.timeout(1).addEventListener("abort", () => this.resume());
  }

  /** Schedules flushes again after {@link hold}. */
  resume(): void {
    if (!this.#isHeld) return;
    this.#isHeld = false;
    if (this.#flushed !== undefined) onNextTurn(() => this.#flush());
  }

  /**
   * Appends everything that was accepted to the journal, whatever its capacity, because the process exits. `flushNow` is
   * called for each later record, before `accept` returns, and is expected to call this again.
   */
  flushSync(flushNow: () => void): void {
    this.#flushNow = () => {};
    void this.schedule();
    this.#flush();
    this.#queue.release(
      () => true,
      (batch) => this.#options.append(batch),
    );
    this.#flushNow = flushNow;
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.marker.stop();
    void this.schedule();
    await this.flush();
    this.alarm.flush();
  }
}

/** How long an audit event waits for capacity before it is rejected (reliability.md, rule 14). */
const WAIT_MS_MAX = 2_000;

/** The queue's capacity in bytes of memory. */
const QUEUE_BYTES_MAX = 16 << 20;

interface QueuedBatch {
  readonly batch: RecordBatch;
  readonly stored: PromiseWithResolvers<void>;
  readonly timer: NodeJS.Timeout;
}

/** Audit events that wait, in order, for capacity in front of the journal. */
class AuditQueue {
  readonly #queued: QueuedBatch[] = [];
  bytes = 0;

  get isEmpty(): boolean {
    return this.#queued.length === 0;
  }

  /**
   * Resolves when the batch is stored. Rejects with OVERLOADED if the queue is full or the batch has waited too long,
   * else with the journal's error.
   */
  add(batch: RecordBatch): Promise<void> {
    if (this.bytes + batch.memoryBytes > QUEUE_BYTES_MAX) return Promise.reject(overloaded());
    const stored = Promise.withResolvers<void>();
    const timer = setTimeout(() => this.#expire(batch), WAIT_MS_MAX);
    this.#queued.push({ batch, stored, timer });
    this.bytes += batch.memoryBytes;
    return stored.promise;
  }

  #expire(batch: RecordBatch): void {
    const index = this.#queued.findIndex((queued) => queued.batch === batch);
    const [expired] = this.#queued.splice(index, 1);
    this.bytes -= batch.memoryBytes;
    expired!.stored.reject(overloaded());
  }

  /** Appends batches, the oldest first, as long as there is capacity. */
  release(hasCapacity: () => boolean, append: (batch: RecordBatch) => Promise<void>): void {
    while (this.#queued.length > 0 && hasCapacity()) {
      const { batch, stored, timer } = this.#queued.shift()!;
      clearTimeout(timer);
      this.bytes -= batch.memoryBytes;
      append(batch).then(stored.resolve, stored.reject);
    }
  }
}

export function overloaded(): TailgateError {
  return new TailgateError("OVERLOADED", "The queue of the journal is full.");
}
