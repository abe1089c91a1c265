import { setTimeout as wait } from "node:timers/promises";
import { PermanentError, RetryLaterError, TailgateError, textOf } from "../wire/errors.ts";
import type { Batch, Exporter, HostClock, HostLogger, Written } from "../plugin/index.ts";
import { aborted } from "../runtime/timers.ts";
import { clearTimeout, setTimeout } from "../runtime/timers.ts";
import { backoffMs } from "./backoff.ts";
import type { Counters } from "./counters.ts";
import type { Left, Source } from "./source.ts";

export interface DeliveryOptions {
  /** How long one write may take before its signal aborts. */
  readonly timeoutMs: number;
  readonly log: HostLogger;
  /** The clock by which batches are stamped; the system clock if absent. */
  readonly clock?: Pick<HostClock, "now">;
}

/** `done`: written or dropped; `parted`: to be written in parts; `failed`: to be written again. */
type Outcome = "done" | "parted" | "failed";

/** What waits is written in pieces of up to this size, so that a slow exporter catches up in few writes. */
const WRITE_BYTES_MAX = 8 << 20;

/**
 * Carries batches to one exporter, in order, one write at a time. A write that fails is repeated with the same batch
 * until it succeeds, is refused for good, or the delivery is closed. A write that outlasts its time is told so, and
 * its end is awaited all the same: the exporter never has two writes at once, and nothing is written twice because of
 * a slow success.
 */
export class Delivery {
  readonly counters: Counters;
  readonly #exporter: Exporter;
  readonly #source: Source;
  readonly #options: DeliveryOptions;
  readonly #closing = new AbortController();
  #running: Promise<void> | undefined;
  /** Woken since the source was asked last: what it has then may have come behind its answer. */
  #isWoken = false;
  #trouble: string | undefined;
  #retries = 0;
  /** When the journal took what is being written; undefined where nothing is. */
  #headAtMs: number | undefined;
  /** What the other side has asked for in answer to the last write. */
  #retryAfterMs = 0;
  /** How many of the next batches are written each for itself. */
  #alone = 0;
  /** After closing: what a write that hung comes to later has been counted as dropped. */
  #isGivenUp = false;
  /** Resolved at the end of the write under way, where somebody waits for it. */
  #end: PromiseWithResolvers<void> | undefined;

  /** `counters`: those in which the source counts, too. */
  constructor(exporter: Exporter, source: Source, counters: Counters, options: DeliveryOptions) {
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

  /** How long ago the journal took what is being written; 0 where nothing waits. */
  get lagMs(): number {
    const { clock = Date } = this.#options;
    return this.#headAtMs === undefined ? 0 : Math.max(0, clock.now() - this.#headAtMs);
  }

  /** Why the last write did not succeed; undefined where it did. */
  get trouble(): string | undefined {
    return this.#trouble;
  }

  /** How many attempts in a row have failed; 0 after a success. */
  get retries(): number {
    return this.#retries;
  }

  /** Goes to work where it does not: the source may have something. It never throws and never waits. */
  wake(): void {
    if (this.#closing.signal.aborted) return;
    this.#isWoken = true;
    this.#running ??= this.#run();
  }

  async #run(): Promise<void> {
    for (;;) {
      this.#isWoken = false;
      const batch = await this.#head();
      if (batch === undefined) {
        if (this.#isWoken) continue;
        break;
      }
      const outcome = batch === "unread" ? "failed" : await this.#write(batch);
      this.#end?.resolve();
      this.#end = undefined;
      if (outcome === "done") {
        this.#source.shift();
        this.#alone = Math.max(0, this.#alone - 1);
      }
      if (outcome !== "failed") this.#retries = 0;
      else if (this.#closing.signal.aborted) break;
      else await this.#pause(backoffMs(this.#retries++, this.#retryAfterMs));
    }
    this.#headAtMs = undefined;
    this.#running = undefined;
  }

  async #head(): Promise<Batch | undefined | "unread"> {
    try {
      return await this.#source.head(this.#alone > 0 ? 0 : WRITE_BYTES_MAX);
    } catch (error) {
      this.#failed(error);
      return "unread";
    }
  }

  /** Waits, but not beyond the moment of closing, when there is one attempt left. */
  async #pause(delayMs: number): Promise<void> {
    await wait(delayMs, undefined, { signal: this.#closing.signal, ref: false }).catch(() => {});
  }

  async #write(batch: Batch): Promise<Outcome> {
    this.#headAtMs = batch.appendedAtMs;
    this.#retryAfterMs = 0;
    try {
      const written = await this.#writeInTime(batch);
      if (this.#isGivenUp) return "done";
      this.#countWritten(batch, written);
      this.#recovered();
      return "done";
    } catch (error) {
      this.counters.failed += batch.length;
      return PermanentError.is(error) ? this.#refused(batch, error) : this.#failed(error);
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
    const patience = new AbortController();
    const writing = this.#exporter.write(batch, patience.signal);
    if (!(writing instanceof Object) || "dropped" in writing) return writing;
    const { timeoutMs, log } = this.#options;
    const timer = setTimeout(() => {
      const error = new TailgateError(
        "DELIVERY_TIMEOUT",
        `A write did not end within ${timeoutMs} ms.`,
      );
      if (this.#trouble === undefined) log.warning(error.message);
      this.#trouble = error.message;
      patience.abort(error);
    }, timeoutMs);
    try {
      return await writing;
    } finally {
      clearTimeout(timer);
    }
  }

  #recovered(): void {
    if (this.#trouble !== undefined) this.#options.log.info("Writing works again.");
    this.#trouble = undefined;
  }

  /** Of batches that were written as one, perhaps only one is bad: each is written for itself then. */
  #refused(batch: Batch, error: PermanentError): Outcome {
    const parts = this.#source.partHead();
    if (parts > 1) {
      this.#alone = parts;
      return "parted";
    }
    this.counters.drop("refused", batch.length);
    this.#options.log.error(
      `${batch.length} records from sequence ${batch.sequence(0)} on were dropped: ${textOf(error)}`,
    );
    return "done";
  }

  #failed(error: unknown): Outcome {
    if (this.#trouble === undefined) {
      this.#options.log.warning(
        `A write failed and is tried again; ${this.queueRecords} records wait: ${textOf(error)}`,
      );
    }
    this.#trouble = textOf(error);
    if (RetryLaterError.is(error)) this.#retryAfterMs = error.retryAfterMs;
    return "failed";
  }

  /** Resolves when all that was offered so far has been written or dropped, or when the signal aborts. */
  async drain(signal: AbortSignal): Promise<void> {
    const mark = this.#source.mark();
    const isOver = aborted(signal);
    while (this.#running && !this.#source.isPast(mark) && !signal.aborted) {
      await Promise.race([this.#nextEnd(), this.#running, isOver]);
    }
  }

  /** Writes what is left and what the time allows, in a process that has no further turn of its event loop. Never throws. */
  drainSync(timeoutMs: number): void {
    if (this.#isGivenUp || this.#exporter.writeSync === undefined) return;
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
      this.#options.log.error("Writing failed at the end.", error);
      this.giveUpSync();
    }
  }

  /** Reports what is left after {@link drainSync}: nothing is written any more. */
  giveUpSync(): void {
    if (this.#isGivenUp || this.#source.records === 0) return;
    this.#isGivenUp = true;
    this.#countLeft(this.#source.clear());
  }

  #countLeft({ lost, kept }: Left): void {
    const { log } = this.#options;
    this.counters.drop("stopped", lost);
    if (lost > 0) {
      log.error(`${lost} records were dropped: they could not be written before the end.`);
    }
    if (kept > 0) {
      log.warning(
        `${kept} records could not be written before the end; the journal keeps them for the next start.`,
      );
    }
  }

  /** Resolves when the write that is under way has ended, one way or the other. */
  #nextEnd(): Promise<void> {
    this.#end ??= Promise.withResolvers<void>();
    return this.#end.promise;
  }

  /**
   * Tries once more what is waiting, within the signal, counts what is lost as dropped, and closes the exporter. The
   * exporter's own failure to close is logged.
   */
  async close(signal: AbortSignal): Promise<void> {
    this.#closing.abort();
    await this.drain(signal);
    this.#isGivenUp = true;
    this.#countLeft(this.#source.clear());
    try {
      await Promise.race([this.#exporter.close?.(signal), aborted(signal)]);
    } catch (error) {
      this.#options.log.error("Closing failed.", error);
    }
  }
}
