import { setTimeout as wait } from "node:timers/promises";
import { LEVELS, type EnvelopeType, type Level } from "../envelope.ts";
import { PermanentError, TailgateError, textOf } from "../errors.ts";
import type { Batch, Exporter, HostLogger } from "../plugin.ts";
import { backoffMs } from "./backoff.ts";
import { Counters } from "./counters.ts";
import { DeliveryQueue } from "./delivery-queue.ts";

export interface DeliveryOptions {
  /** The one type that the exporter wants; both where absent. */
  readonly type: EnvelopeType | undefined;
  /** The lowest level that it wants; all where absent. */
  readonly level: Level | undefined;
  /** What may wait for it, in bytes, for system logs and audit events each. */
  readonly queueBytesMax: number;
  /** How long one write may take before its signal aborts. */
  readonly timeoutMs: number;
  readonly log: HostLogger;
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
  readonly counters = new Counters();
  readonly #exporter: Exporter;
  readonly #options: DeliveryOptions;
  readonly #queue: DeliveryQueue;
  readonly #closing = new AbortController();
  #running: Promise<void> | undefined;
  #trouble: string | undefined;
  /** How many of the next batches are written each for itself. */
  #alone = 0;
  /** After closing: what a write that hung comes to later has been counted as dropped. */
  #isGivenUp = false;
  /** Resolved at the end of the write under way, where somebody waits for it. */
  #end: PromiseWithResolvers<void> | undefined;

  constructor(exporter: Exporter, options: DeliveryOptions) {
    this.#exporter = exporter;
    this.#options = options;
    this.#queue = new DeliveryQueue(options.queueBytesMax);
  }

  get queueBytes(): number {
    return this.#queue.bytes;
  }

  get queueRecords(): number {
    return this.#queue.records;
  }

  /** Why the last write did not succeed; undefined where it did. */
  get trouble(): string | undefined {
    return this.#trouble;
  }

  /** Takes a batch; it never throws and never waits. */
  offer(batch: Batch): void {
    this.counters.received += batch.length;
    const wanted = this.#wanted(batch);
    this.counters.filtered += batch.length - wanted.length;
    if (wanted.length === 0) return;
    if (this.#closing.signal.aborted) return this.counters.drop("stopped", wanted.length);
    this.#queue.push(wanted);
    this.#shed();
    this.#running ??= this.#run();
  }

  #wanted(batch: Batch): Batch {
    const { type, level } = this.#options;
    if (type === undefined && level === undefined) return batch;
    const lowest = level === undefined ? 0 : LEVELS.indexOf(level);
    return batch.select(
      (index) =>
        (type === undefined || batch.type(index) === type) &&
        LEVELS.indexOf(batch.level(index)) >= lowest,
    );
  }

  #shed(): void {
    const { system_log: system, audit_log: audit } = this.#queue.shed();
    this.counters.drop("queue_full", system + audit);
    if (audit > 0) {
      this.#options.log.error(
        `${audit} audit events were dropped: they did not fit into the queue.`,
      );
    }
  }

  async #run(): Promise<void> {
    let attempt = 0;
    for (let batch = this.#head(); batch; batch = this.#head()) {
      const outcome = await this.#write(batch);
      this.#end?.resolve();
      this.#end = undefined;
      if (outcome === "done") {
        this.#queue.shift();
        this.#alone = Math.max(0, this.#alone - 1);
      }
      if (outcome !== "failed") attempt = 0;
      else if (this.#closing.signal.aborted) break;
      else await this.#pause(backoffMs(attempt++));
    }
    this.#running = undefined;
  }

  #head(): Batch | undefined {
    return this.#queue.head(this.#alone > 0 ? 0 : WRITE_BYTES_MAX);
  }

  /** Waits, but not beyond the moment of closing, when there is one attempt left. */
  async #pause(delayMs: number): Promise<void> {
    await wait(delayMs, undefined, { signal: this.#closing.signal, ref: false }).catch(() => {});
  }

  async #write(batch: Batch): Promise<Outcome> {
    try {
      await this.#writeInTime(batch);
      if (this.#isGivenUp) return "done";
      this.counters.sent += batch.length;
      this.#recovered();
      return "done";
    } catch (error) {
      this.counters.failed += batch.length;
      return PermanentError.is(error) ? this.#refused(batch, error) : this.#failed(error);
    }
  }

  async #writeInTime(batch: Batch): Promise<void> {
    const patience = new AbortController();
    const writing = this.#exporter.write(batch, patience.signal);
    if (!(writing instanceof Object)) return;
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
      await writing;
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
    const parts = this.#queue.partHead();
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
    return "failed";
  }

  /** Resolves when all that was offered so far has been written or dropped, or when the signal aborts. */
  async drain(signal: AbortSignal): Promise<void> {
    const target = this.counters.received;
    while (this.#running && this.#settled < target && !signal.aborted) {
      await Promise.race([this.#nextEnd(), this.#running, aborted(signal)]);
    }
  }

  get #settled(): number {
    return this.counters.filtered + this.counters.sent + this.counters.droppedSum;
  }

  /** Resolves when the write that is under way has ended, one way or the other. */
  #nextEnd(): Promise<void> {
    this.#end ??= Promise.withResolvers<void>();
    return this.#end.promise;
  }

  /**
   * Tries once more what is waiting, within the signal, counts what is left as dropped, and closes the exporter. The
   * exporter's own failure to close is logged.
   */
  async close(signal: AbortSignal): Promise<void> {
    this.#closing.abort();
    await this.drain(signal);
    this.#isGivenUp = true;
    const left = this.#queue.clear();
    this.counters.drop("stopped", left);
    if (left > 0)
      this.#options.log.error(
        `${left} records were dropped: they could not be written before the end.`,
      );
    try {
      await Promise.race([this.#exporter.close?.(signal), aborted(signal)]);
    } catch (error) {
      this.#options.log.error("Closing failed.", error);
    }
  }
}

/** Resolves when the signal aborts. */
function aborted(signal: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  if (signal.aborted) resolve();
  else signal.addEventListener("abort", () => resolve(), { once: true });
  return promise;
}
