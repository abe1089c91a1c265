import type { Batch, HostLogger } from "../plugin/index.ts";
import type { Counters } from "./counters.ts";
import { DeliveryQueue } from "./delivery-queue.ts";
import { wantedOf, type Left, type Source, type Wish } from "./source.ts";

export interface LiveSourceOptions extends Wish {
  /** What may wait, in bytes, for system logs and audit events each. */
  readonly queueBytesMax: number;
  readonly counters: Counters;
  readonly log: HostLogger;
}

/** Batches as they come, for viewers: what does not fit into the queue is dropped, and nothing is read again. */
export class LiveSource implements Source {
  readonly #options: LiveSourceOptions;
  readonly #queue: DeliveryQueue;
  #isClosed = false;

  constructor(options: LiveSourceOptions) {
    this.#options = options;
    this.#queue = new DeliveryQueue(options.queueBytesMax);
  }

  get bytes(): number {
    return this.#queue.bytes;
  }

  get records(): number {
    return this.#queue.records;
  }

  /** Takes a batch; it never throws and never waits. */
  offer(batch: Batch): void {
    const { counters } = this.#options;
    counters.received += batch.length;
    const wanted = wantedOf(batch, this.#options);
    counters.filtered += batch.length - wanted.length;
    if (wanted.length === 0) return;
    if (this.#isClosed) return counters.drop("stopped", wanted.length);
    this.#queue.push(wanted);
    this.#shed();
  }

  #shed(): void {
    const { system_log: system, audit_log: audit } = this.#queue.shed();
    this.#options.counters.drop("queue_full", system + audit);
    if (audit > 0) {
      this.#options.log.error(
        `${audit} audit events were dropped: they did not fit into the queue.`,
      );
    }
  }

  head(bytesMax: number): Batch | undefined {
    return this.#queue.head(bytesMax);
  }

  headSync(bytesMax: number): Batch | undefined {
    return this.head(bytesMax);
  }

  partHead(): number {
    return this.#queue.partHead();
  }

  shift(): void {
    this.#queue.shift();
  }

  /** What is offered from now on is dropped. */
  close(): void {
    this.#isClosed = true;
  }

  clear(): Left {
    return { lost: this.#queue.clear(), kept: 0 };
  }

  mark(): number {
    return this.#options.counters.received;
  }

  isPast(mark: number): boolean {
    const { filtered, sent, droppedSum } = this.#options.counters;
    return filtered + sent + droppedSum >= mark;
  }
}
