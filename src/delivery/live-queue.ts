import { LEVELS, type EnvelopeType, type Level } from "../wire/envelope.ts";
import type { Batch, Exporter } from "../plugin/index.ts";
import { CompositeBatch } from "../batch/composite.ts";
import type { BatchMatch } from "../plugin/batch-match.ts";
import { Counters } from "../plugin/metrics.ts";
import { nextTurn } from "../runtime/timers.ts";
import { Delivery, type DeliveryOptions, type DeliverySource, type Remainder } from "./delivery.ts";
import { RecordSelector, type RecordSelection } from "./selection.ts";

export interface LiveDeliveryOptions extends DeliveryOptions, RecordSelection {
  /**
   * Capacity of the queue in bytes, for system logs and audit events each. What the filter has not matched yet has a queue of
   * the same capacity, so that records that it filters displace no others.
   */
  readonly queueBytesMax: number;
}

export interface LiveDelivery {
  readonly delivery: Delivery;
  /** Enqueues a batch. Never throws, never blocks. */
  offer(batch: Batch): void;
}

/** Creates a delivery of batches as they arrive. Records that exceed the queue's capacity are dropped. */
export function createLiveDelivery(exporter: Exporter, options: LiveDeliveryOptions): LiveDelivery {
  const counters = new Counters();
  const source = new LiveSource(options, counters);
  const delivery = new Delivery(exporter, source, counters, options);
  return {
    delivery,
    offer(batch) {
      source.offer(batch);
      delivery.wake();
    },
  };
}

class LiveSource implements DeliverySource {
  readonly #options: LiveDeliveryOptions;
  readonly #counters: Counters;
  readonly #selector: RecordSelector;
  readonly #queue: DeliveryQueue;
  /** What the filter has not matched yet. */
  readonly #unmatched: DeliveryQueue;
  /** The match of the first unmatched batch. */
  #match: BatchMatch | undefined;
  #isClosed = false;

  constructor(options: LiveDeliveryOptions, counters: Counters) {
    this.#options = options;
    this.#counters = counters;
    this.#selector = new RecordSelector(options);
    this.#queue = new DeliveryQueue(options.queueBytesMax);
    this.#unmatched = new DeliveryQueue(options.queueBytesMax);
  }

  get bytes(): number {
    return this.#queue.bytes + this.#unmatched.bytes;
  }

  get records(): number {
    return this.#queue.records + this.#unmatched.records;
  }

  offer(batch: Batch): void {
    const counters = this.#counters;
    counters.received += batch.length;
    const selected = this.#selector.select(batch);
    counters.filtered += batch.length - selected.length;
    if (selected.length === 0) return;
    if (this.#isClosed) return counters.drop("stopped", selected.length);
    if (this.#options.filter === undefined) return this.#push(selected, this.#queue);
    this.#push(selected, this.#unmatched);
    // Also while a write takes long: what the filter lets through is then all that waits.
    this.#matchUnmatched();
  }

  #push(batch: Batch, queue: DeliveryQueue): void {
    queue.push(batch);
    const { system_log: system, audit_log: audit } = queue.dropOverflow();
    this.#counters.drop("queue_full", system + audit);
    if (audit > 0) {
      this.#options.log.error(`${audit} audit events were dropped because the queue is full.`);
    }
  }

  /** Matches as many records as this turn of the event loop allows, or until `endMs`. */
  #matchUnmatched(endMs?: number): void {
    for (let batch; (batch = this.#unmatched.head(0)) !== undefined;) {
      this.#match ??= this.#selector.match(batch);
      const matched = this.#selector.advance(this.#match!, endMs);
      if (matched === undefined) return;
      this.#match = undefined;
      this.#unmatched.shift();
      this.#counters.filtered += batch.length - matched.length;
      if (matched.length > 0) this.#push(matched, this.#queue);
    }
  }

  head(bytesMax: number): Batch | undefined | Promise<Batch | undefined> {
    this.#matchUnmatched();
    const head = this.#queue.head(bytesMax);
    if (head !== undefined || this.#unmatched.records === 0) return head;
    return nextTurn().then(() => this.head(bytesMax));
  }

  headSync(bytesMax: number, timeoutMs: number): Batch | undefined {
    this.#matchUnmatched(performance.now() + timeoutMs);
    return this.#queue.head(bytesMax);
  }

  splitHead(): number {
    return this.#queue.splitHead();
  }

  shift(): void {
    this.#queue.shift();
  }

  close(): void {
    this.#isClosed = true;
  }

  abandon(): Remainder {
    this.#match = undefined;
    return { lost: this.#queue.clear() + this.#unmatched.clear(), retained: 0 };
  }

  handOver(): readonly Batch[] {
    this.#isClosed = true;
    return this.#queue.takeAll();
  }

  end(): number {
    return this.#counters.received;
  }

  hasReached(end: number): boolean {
    const { filtered, sent, droppedSum } = this.#counters;
    return filtered + sent + droppedSum >= end;
  }
}

type BytesByType = Record<EnvelopeType, number>;

interface QueueEntry {
  readonly batch: Batch;
  readonly bytes: BytesByType;
}

/** On overflow the queue is reduced to this share of its capacity, so that not every batch that follows overflows it. */
const RETAINED_SHARE = 7 / 8;

/**
 * The batches that wait for one exporter. Each type of record has a capacity of its own, so that system logs cannot
 * displace audit events. When system logs overflow, the least severe ones are dropped first.
 */
export class DeliveryQueue {
  readonly #bytesMax: number;
  #entries: QueueEntry[] = [];
  readonly #bytes: BytesByType = { system_log: 0, audit_log: 0 };
  records = 0;
  /** Whether the head was handed out and must stay as it is. */
  #isHeadFixed = false;

  /** `bytesMax`: the capacity for each type. */
  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  get bytes(): number {
    return sumOf(this.#bytes);
  }

  /**
   * Returns the oldest batches, joined up to `bytesMax`, but at least one of them. The result stays the same until
   * `shift` or `splitHead` is called.
   */
  head(bytesMax: number): Batch | undefined {
    if (!this.#isHeadFixed) this.#joinHead(bytesMax);
    this.#isHeadFixed = true;
    return this.#entries[0]?.batch;
  }

  #joinHead(bytesMax: number): void {
    let bytes = 0;
    const next = this.#entries.findIndex((entry) => (bytes += sumOf(entry.bytes)) > bytesMax);
    const count = next < 0 ? this.#entries.length : next;
    if (count > 1) this.#entries.splice(0, count, joinEntries(this.#entries.slice(0, count)));
  }

  /** Splits the head into the batches that it was joined from, and returns their number. */
  splitHead(): number {
    const head = this.#entries[0]?.batch;
    if (!(head instanceof CompositeBatch)) return 1;
    this.#isHeadFixed = false;
    this.#entries = [...head.parts.map(toEntry), ...this.#entries.slice(1)];
    return head.parts.length;
  }

  push(batch: Batch): void {
    const entry = toEntry(batch);
    this.#entries.push(entry);
    this.#add(entry.bytes, batch.length);
  }

  shift(): void {
    this.#isHeadFixed = false;
    const entry = this.#entries.shift();
    if (entry) this.#add(negative(entry.bytes), -entry.batch.length);
  }

  /**
   * Drops records beyond the capacity, but none of the head, which may be being written. Returns the number of dropped
   * records of each type.
   */
  dropOverflow(): Record<EnvelopeType, number> {
    const dropped = { system_log: 0, audit_log: 0 };
    if (this.#bytes.system_log > this.#bytesMax) {
      for (const level of LEVELS) dropped.system_log += this.#drop("system_log", [level]);
    }
    if (this.#bytes.audit_log > this.#bytesMax) dropped.audit_log = this.#drop("audit_log", LEVELS);
    return dropped;
  }

  /** Empties the queue and returns its batches. */
  takeAll(): readonly Batch[] {
    const batches = this.#entries.map(({ batch }) => batch);
    this.clear();
    return batches;
  }

  /** Empties the queue and returns the number of records that it held. */
  clear(): number {
    const records = this.records;
    this.#entries = [];
    this.#add(negative(this.#bytes), -records);
    return records;
  }

  #add(bytes: BytesByType, records: number): void {
    this.#bytes.system_log += bytes.system_log;
    this.#bytes.audit_log += bytes.audit_log;
    this.records += records;
  }

  /** Drops the oldest records of that type and those levels until the retained share is reached. */
  #drop(type: EnvelopeType, levels: readonly Level[]): number {
    let excess = this.#bytes[type] - RETAINED_SHARE * this.#bytesMax;
    if (excess <= 0) return 0;
    const before = this.records;
    const [head, ...waiting] = this.#entries;
    this.clear();
    if (head) this.push(head.batch);
    for (const { batch } of waiting) {
      const retained = batch.select((index) => {
        const isDropped =
          excess > 0 && batch.type(index) === type && levels.includes(batch.level(index));
        if (isDropped) excess -= batch.size(index);
        return !isDropped;
      });
      if (retained.length > 0) this.push(retained);
    }
    return before - this.records;
  }
}

function toEntry(batch: Batch): QueueEntry {
  const bytes = { system_log: 0, audit_log: 0 };
  for (let index = 0; index < batch.length; index++) {
    bytes[batch.type(index)] += batch.size(index);
  }
  return { batch, bytes };
}

function joinEntries(entries: readonly QueueEntry[]): QueueEntry {
  const bytes = { system_log: 0, audit_log: 0 };
  for (const entry of entries) {
    bytes.system_log += entry.bytes.system_log;
    bytes.audit_log += entry.bytes.audit_log;
  }
  return { batch: new CompositeBatch(entries.map(({ batch }) => batch)), bytes };
}

function sumOf(bytes: BytesByType): number {
  return bytes.system_log + bytes.audit_log;
}

function negative({ system_log: system, audit_log: audit }: BytesByType): BytesByType {
  return { system_log: -system, audit_log: -audit };
}
