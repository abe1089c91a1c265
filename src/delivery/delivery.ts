import { setTimeout as wait } from "node:timers/promises";
import { PermanentError, RetryLaterError, TailgateError, textOf } from "../wire/errors.ts";
import type { Batch, Exporter, HostClock, HostLogger, Written } from "../plugin/index.ts";
import type { Counters } from "../plugin/metrics.ts";
import { clearTimeout, setTimeout, whenAborted } from "../runtime/timers.ts";
import { backoffMs } from "./backoff.ts";

export interface DeliveryOptions {
  /** The time limit of one write, after which its signal aborts. */
  readonly timeoutMs: number;
  readonly log: HostLogger;
  /** The clock that stamps batches; by default the system clock. */
  readonly clock?: Pick<HostClock, "now">;
}

/** Where a delivery gets its batches from, in sequence order. */
export interface DeliverySource {
  /** The size of the records that are held in memory for this exporter. */
  readonly bytes: number;
  /** How many records are waiting. */
  readonly records: number;
  /**
   * Returns the next batch to write; undefined if nothing is waiting. Waiting batches are joined up to `bytesMax`. The
   * result stays the same until `shift` or `splitHead` is called.
   */
  head(bytesMax: number): Batch | undefined | Promise<Batch | undefined>;
  /** Like `head`, but blocks while reading. Throws if that takes longer than `timeoutMs`. */
  headSync(bytesMax: number, timeoutMs: number): Batch | undefined;
  /** Splits the head into the batches that it was joined from, and returns their number. */
  splitHead(): number;
  /** Removes the head, which was written or dropped. */
  shift(): void;
  /** Discards everything that is waiting and stays empty from then on. */
  abandon(): Remainder;
  /**
   * Stays empty from then on, and returns what another source has to get in place of this one. What the other one reads from
   * the journal itself is not among it.
   */
  handOver(): readonly Batch[];
  /** Returns the current end of the source, for `hasReached`. */
  end(): number;
  /** Returns whether everything up to that end was written or dropped. */
  hasReached(end: number): boolean;
  /** Stops accepting batches. */
  close?(): void;
}

/** The numbers of records that were still waiting when their delivery ended. */
export interface Remainder {
  readonly lost: number;
  /** Records that the journal retains for the next start. */
  readonly retained: number;
}

/** `done`: written or dropped; `split`: to be written in parts; `failed`: to be retried. */
type WriteOutcome = "done" | "split" | "failed";

/** Waiting batches are joined up to this size, so that a slow exporter catches up in few writes. */
const WRITE_BYTES_MAX = 8 << 20;

/**
 * Delivers batches to one exporter, in order, one write at a time. A failed write is retried with the same batch until
 * it succeeds, is rejected for good, or the delivery is closed. A write that exceeds its time limit is aborted, but its
 * end is still awaited: an exporter never has two writes in progress, and a slow success causes no duplicates.
 */
export class Delivery {
  readonly counters: Counters;
  readonly #exporter: Exporter;
  readonly #source: DeliverySource;
  readonly #options: DeliveryOptions;
  readonly #closing = new AbortController();
  /** Aborts the wait for the next attempt. */
  #waiting = new AbortController();
  /** Aborts the write in progress, if there is one. */
  #writing: AbortController | undefined;
  #isSuspended = false;
  #running: Promise<void> | undefined;
  /** Whether `wake` was called since the source was last asked, whose answer may be out of date. */
  #isWoken = false;
  /** Why the last write failed; undefined if it succeeded. */
  lastError: string | undefined;
  /** The number of consecutive failed attempts. */
  retries = 0;
  /** When the journal accepted the batch that is being written; undefined when idle. */
  #headAtMs: number | undefined;
  /** The delay that the destination requested in response to the last write. */
  #retryAfterMs = 0;
  /** How many of the next batches must be written individually. */
  #unjoined = 0;
  /** Whether the rest was counted already; the outcome of a write that is still hanging is ignored. */
  #isAbandoned = false;
  /** Resolved at the end of the current write; set only while someone waits for it. */
  #writeEnd: PromiseWithResolvers<void> | undefined;

  /** `counters`: shared with the source. */
  constructor(
    exporter: Exporter,
    source: DeliverySource,
    counters: Counters,
    options: DeliveryOptions,
  ) {
    this.#exporter = exporter;
    this.#source = source;
    this.counters = counters;
    this.#options = options;
  }

  get queueBytes(): number {
    return this.#source.bytes;
  }

  get queueRecords(): number {
    return this.#source.records;
  }

  /** How long ago the journal accepted the batch that is being written; 0 when idle. */
  get lagMs(): number {
    const { clock = Date } = this.#options;
    return this.#headAtMs === undefined ? 0 : Math.max(0, clock.now() - this.#headAtMs);
  }

  /** Starts delivering if idle. To be called when the source may have new records. Never throws, never blocks. */
  wake(): void {
    if (this.#closing.signal.aborted || this.#isSuspended) return;
    this.#isWoken = true;
    this.#running ??= this.#run();
  }

  async #run(): Promise<void> {
    while (!this.#isSuspended) {
      this.#isWoken = false;
      const batch = await this.#head();
      if (this.#isSuspended) break;
      if (batch === undefined) {
        if (this.#isWoken) continue;
        break;
      }
      const outcome = batch === "unreadable" ? "failed" : await this.#write(batch);
      this.#writeEnd?.resolve();
      this.#writeEnd = undefined;
      if (outcome === "done") {
        this.#source.shift();
        this.#unjoined = Math.max(0, this.#unjoined - 1);
      }
      const { signal } = this.#closing;
      if (outcome !== "failed") this.retries = 0;
      else if (signal.aborted) break;
      else {
        // No longer than until the delivery is closed, when one attempt is left.
        const delayMs = backoffMs(this.retries++, this.#retryAfterMs);
        const { signal: ending } = this.#waiting;
        await wait(delayMs, undefined, { signal: ending, ref: false }).catch(() => {});
      }
    }
    this.#headAtMs = undefined;
    this.#running = undefined;
  }

  async #head(): Promise<Batch | undefined | "unreadable"> {
    try {
      return await this.#source.head(this.#unjoined > 0 ? 0 : WRITE_BYTES_MAX);
    } catch (error) {
      this.#failed(error);
      return "unreadable";
    }
  }

  async #write(batch: Batch): Promise<WriteOutcome> {
    this.#headAtMs = batch.appendedAtMs;
    this.#retryAfterMs = 0;
    try {
      const written = await this.#writeInTime(batch);
      if (this.#isAbandoned) return "done";
      this.#countWritten(batch, written);
      this.#recovered();
      return "done";
    } catch (error) {
      if (this.#isAbandoned) return "done";
      this.counters.failed += batch.length;
      return PermanentError.is(error) ? this.#rejected(batch, error) : this.#failed(error);
    }
  }

  #countWritten({ length }: Batch, written: Written | void): void {
    let dropped = 0;
    for (const [reason, count] of Object.entries(written?.dropped ?? {})) {
      this.counters.drop(reason, count);
      dropped += count;
    }
    this.counters.sent += length - dropped;
  }

  async #writeInTime(batch: Batch): Promise<Written | void> {
    const timeout = new AbortController();
    this.#writing = timeout;
    const writing = this.#exporter.write(batch, timeout.signal);
    if (!(writing instanceof Object) || "dropped" in writing) return writing;
    const { timeoutMs, log } = this.#options;
    const timer = setTimeout(() => {
      const error = new TailgateError(
        "DELIVERY_TIMEOUT",
        `A write did not complete within ${timeoutMs} ms.`,
      );
      if (this.lastError === undefined) log.warning(error.message);
      this.lastError = error.message;
      timeout.abort(error);
    }, timeoutMs);
    try {
      return await writing;
    } finally {
      clearTimeout(timer);
    }
  }

  #recovered(): void {
    if (this.lastError !== undefined) this.#options.log.info("Writing works again.");
    this.lastError = undefined;
  }

  /** If the batch was joined, perhaps only one of its parts is bad: writes each of them individually then. */
  #rejected(batch: Batch, error: PermanentError): WriteOutcome {
    const parts = this.#source.splitHead();
    if (parts > 1) {
      this.#unjoined = parts;
      return "split";
    }
    this.counters.drop("refused", batch.length);
    this.#options.log.error(
      `${batch.length} records from sequence ${batch.sequence(0)} on were dropped: ${textOf(error)}`,
    );
    return "done";
  }

  #failed(error: unknown): WriteOutcome {
    if (this.lastError === undefined) {
      this.#options.log.warning(
        `A write failed and will be retried; ${this.queueRecords} records are waiting: ${textOf(error)}`,
      );
    }
    this.lastError = textOf(error);
    if (RetryLaterError.is(error)) this.#retryAfterMs = error.retryAfterMs;
    return "failed";
  }

  /** Resolves when everything that is waiting now was written or dropped, or when the signal aborts. */
  async drain(signal: AbortSignal): Promise<void> {
    const end = this.#source.end();
    const timeout = whenAborted(signal);
    while (this.#running && !this.#source.hasReached(end) && !signal.aborted) {
      this.#writeEnd ??= Promise.withResolvers();
      await Promise.race([this.#writeEnd.promise, this.#running, timeout]);
    }
  }

  /** Writes what fits in the time limit, when the process exits and its event loop no longer runs. Never throws. */
  drainSync(timeoutMs: number): void {
    if (this.#isAbandoned || this.#exporter.writeSync === undefined) return;
    const startMs = performance.now();
    try {
      for (let leftMs = timeoutMs; leftMs > 0; leftMs = timeoutMs + startMs - performance.now()) {
        const batch = this.#source.headSync(WRITE_BYTES_MAX, leftMs);
        if (batch === undefined) return;
        this.#exporter.writeSync(batch);
        this.counters.sent += batch.length;
        this.#source.shift();
      }
    } catch (error) {
      this.#options.log.error("The last write before the exit failed.", error);
      this.abandonSync();
    }
  }

  /** Counts and logs what {@link drainSync} has left. Nothing is written after that. */
  abandonSync(): void {
    if (this.#isAbandoned || this.#source.records === 0) return;
    this.#abandon();
  }

  /**
   * Tries to write what is waiting until the signal aborts, counts the records that are lost as dropped, and closes the
   * exporter. An error from the exporter's own `close` is logged.
   */
  async close(signal: AbortSignal): Promise<void> {
    this.#source.close?.();
    this.#closing.abort();
    this.#waiting.abort();
    await this.drain(signal);
    this.#abandon();
    await this.closeExporter(signal);
  }

  /**
   * Stops writing after the write in progress. Resolves with whether that has ended before the signal aborted: only then, or
   * after {@link cut}, may another delivery write to the same destination. {@link resume} undoes it.
   */
  async suspend(signal: AbortSignal): Promise<boolean> {
    this.#isSuspended = true;
    this.#waiting.abort();
    await Promise.race([this.#running, whenAborted(signal)]);
    return this.#running === undefined;
  }

  /** Aborts the write that has not ended in time. Resolves with whether it has ended before the signal aborted. */
  async cut(signal: AbortSignal): Promise<boolean> {
    const reason = new TailgateError("DELIVERY_TIMEOUT", "The exporter is being restarted.");
    this.#writing?.abort(reason);
    await Promise.race([this.#running, whenAborted(signal)]);
    return this.#running === undefined;
  }

  /** Continues after {@link suspend}. */
  resume(): void {
    if (!this.#isSuspended) return;
    this.#isSuspended = false;
    this.#waiting = new AbortController();
    this.wake();
  }

  /**
   * Ends a suspended delivery in favor of another one, and returns what that one has to be given. Nothing counts as lost. The
   * outcome of a write that has not ended is ignored, so that its records are delivered again. {@link closeExporter} is next.
   */
  handOver(): readonly Batch[] {
    this.#closing.abort();
    this.#isAbandoned = true;
    return this.#source.handOver();
  }

  /** Closes the exporter. Its error is logged. */
  async closeExporter(signal: AbortSignal): Promise<void> {
    try {
      await Promise.race([this.#exporter.close?.(signal), whenAborted(signal)]);
    } catch (error) {
      this.#options.log.error("Closing failed.", error);
    }
  }

  #abandon(): void {
    this.#isAbandoned = true;
    const { lost, retained } = this.#source.abandon();
    const { log } = this.#options;
    this.counters.drop("stopped", lost);
    if (lost > 0) {
      log.error(`${lost} records were dropped: they could not be written before the shutdown.`);
    }
    if (retained > 0) {
      log.warning(
        `${retained} records could not be written before the shutdown; the journal retains them for the next start.`,
      );
    }
  }
}
