/** What the intake loses, and how that is reported: in the stream for system logs, to the operator for audit events. */

import { LEVELS, type Level, type LevelRank } from "../wire/envelope.ts";
import type { RecordBatch } from "../batch/record-batch.ts";
import type { HostLogger, LogRecord, Value } from "../plugin/index.ts";
import { createRecord } from "../plugin/record.ts";

/** The minimum time between two markers, so that reporting losses does not add to the overload. */
const MARKER_INTERVAL_MS = 1_000;

const CAPACITY_RETRY_MS = 100;

const STORE_RETRY_MS = 1_000;

/** System logs that were lost and not yet reported. */
interface Tally {
  readonly since: string;
  readonly levels: Partial<Record<Level, number>>;
  readonly reasons: Record<string, number>;
  count: number;
}

export interface LossMarkerOptions {
  /** Encodes a marker into the open batch and returns that batch. */
  encode(record: LogRecord): RecordBatch;
  schedule(): void;
}

/**
 * Counts the system logs that were lost and reports them in the stream, at the position of the loss, with a record that
 * gives the counts by level and reason. The counts of a marker that could not be stored go into the next one.
 */
export class LossMarker {
  readonly #options: LossMarkerOptions;
  /** True if nothing was lost that is not reported. A field, because it is read for each batch. */
  isIdle = true;
  #lost: Tally | undefined;
  /** The marker that the journal has not answered for; it is the last record of its batch. */
  #pending: { readonly batch: RecordBatch; readonly tally: Tally } | undefined;
  #writtenAtMs = -Infinity;
  #timer: NodeJS.Timeout | undefined;
  #isStopped = false;

  constructor(options: LossMarkerOptions) {
    this.#options = options;
  }

  add(reason: string, rank: LevelRank): void {
    this.#lost ??= { since: new Date().toISOString(), levels: {}, reasons: {}, count: 0 };
    const { levels, reasons } = this.#lost;
    const level = LEVELS[rank];
    levels[level] = (levels[level] ?? 0) + 1;
    reasons[reason] = (reasons[reason] ?? 0) + 1;
    this.#lost.count++;
    this.isIdle = false;
  }

  /**
   * Writes a marker into the batch that is about to be flushed, if one is due. If it is too early or there is no
   * capacity, it waits for a later flush, unless this `isLast`.
   */
  beforeFlush({ isFull, isLast }: { isFull: () => boolean; isLast: boolean }): void {
    const lost = this.#lost;
    if (lost === undefined || this.#pending !== undefined) return;
    const dueInMs = this.#writtenAtMs + MARKER_INTERVAL_MS - performance.now();
    if (!isLast && (dueInMs > 0 || isFull())) {
      return this.#scheduleIn(Math.max(dueInMs, CAPACITY_RETRY_MS));
    }
    this.#lost = undefined;
    this.#writtenAtMs = performance.now();
    this.#pending = { batch: this.#options.encode(markerRecord(lost)), tally: lost };
  }

  /** Handles a batch that could not be stored. Returns whether its last record is a marker. */
  failed(batch: RecordBatch): boolean {
    if (this.#pending?.batch !== batch) return false;
    this.#lost = merged(this.#pending.tally, this.#lost);
    return true;
  }

  /** The journal has answered for a batch: what was lost with it is reported soon, even if nobody logs again. */
  settled(batch: RecordBatch): void {
    if (this.#pending?.batch === batch) this.#pending = undefined;
    if (this.#pending !== undefined) return;
    this.isIdle = this.#lost === undefined;
    if (!this.isIdle) this.#scheduleIn(STORE_RETRY_MS);
  }

  /** Schedules no more flushes: the journal may be closed by then. */
  stop(): void {
    this.#isStopped = true;
    clearTimeout(this.#timer);
  }

  #scheduleIn(delayMs: number): void {
    if (this.#isStopped) return;
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.#options.schedule();
    }, delayMs).unref();
  }
}

function merged(older: Tally, newer: Tally | undefined): Tally {
  if (newer === undefined) return older;
  addCounts(older.levels, newer.levels);
  addCounts(older.reasons, newer.reasons);
  older.count += newer.count;
  return older;
}

function addCounts(sums: Record<string, number>, added: Readonly<Record<string, number>>): void {
  for (const [name, count] of Object.entries(added)) sums[name] = (sums[name] ?? 0) + count;
}

function markerRecord({ since, levels, reasons, count }: Tally): LogRecord {
  return createRecord({
    logger: "tailgate.intake",
    level: "WARNING",
    timeMs: Date.now(),
    body: `${count} system ${count === 1 ? "log was" : "logs were"} lost before this line.`,
    attributes: {
      lost: BigInt(count),
      lost_levels: countMap(levels),
      lost_reasons: countMap(reasons),
      lost_since: since,
    },
  });
}

function countMap(counts: Readonly<Record<string, number>>): Map<string, Value> {
  return new Map(Object.entries(counts).map(([name, count]) => [name, BigInt(count)]));
}

const ALARM_INTERVAL_MS = 10_000;

/** Reports lost audit events to the operator: the first at once, then at most one line every ten seconds. */
export class LossAlarm {
  readonly #log: HostLogger;
  #unreported = 0;
  #lastCause: unknown;
  #reportedAtMs = -Infinity;
  #timer: NodeJS.Timeout | undefined;

  constructor(log: HostLogger) {
    this.#log = log;
  }

  raise(events: number, cause: unknown): void {
    if (events === 0) return;
    this.#unreported += events;
    this.#lastCause = cause;
    const delayMs = this.#reportedAtMs + ALARM_INTERVAL_MS - performance.now();
    if (delayMs <= 0) return this.flush();
    this.#timer ??= setTimeout(() => this.flush(), delayMs).unref();
  }

  flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#unreported === 0) return;
    const events =
      this.#unreported === 1 ? "1 audit event was" : `${this.#unreported} audit events were`;
    this.#unreported = 0;
    this.#reportedAtMs = performance.now();
    this.#log.error(`${events} not stored:`, this.#lastCause);
  }
}
