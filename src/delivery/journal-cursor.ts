import type { Journal } from "../journal/journal.ts";
import type { Batch, Exporter, Gap, JournalPage } from "../plugin/index.ts";
import { CompositeBatch } from "../batch/composite.ts";
import { Counters } from "../plugin/metrics.ts";
import type { BatchMatch } from "../plugin/batch-match.ts";
import { nextTurn } from "../runtime/timers.ts";
import { Delivery, type DeliveryOptions, type DeliverySource, type Remainder } from "./delivery.ts";
import { RecordSelector, type RecordSelection } from "./selection.ts";

export interface JournalDeliveryOptions extends DeliveryOptions, RecordSelection {
  readonly journal: Journal;
  /** The name under which the journal stores the exporter's cursor. */
  readonly consumer: string;
}

/**
 * Creates a delivery of every durable record, which resumes where it stopped the last time. `wake` it when more records
 * are durable.
 */
export function createJournalDelivery(
  exporter: Exporter,
  options: JournalDeliveryOptions,
): Delivery {
  const counters = new Counters();
  const cursor = new JournalCursor(options, exporter.resumeAfter, counters);
  return new Delivery(exporter, cursor, counters, options);
}

interface PendingBatch {
  readonly batch: Batch;
  /** The sequence that is settled with the batch. Records between its last one and this one are not selected. */
  readonly to: number;
}

/** A batch that the exporter's filter has not matched completely. */
interface UnmatchedBatch extends Pick<PendingBatch, "to"> {
  readonly match: BatchMatch;
}

/**
 * A cursor over the durable part of the journal. Records that the exporter is not ready for stay there, in memory or on
 * disk. Only records that the journal itself no longer has are lost.
 */
class JournalCursor implements DeliverySource {
  readonly #options: JournalDeliveryOptions;
  readonly #counters: Counters;
  readonly #selector: RecordSelector;
  /** The sequence up to which everything is settled: written, dropped or not selected. */
  #settled: number;
  /** The sequence up to which records were read and counted as received. */
  #received: number;
  /** The first one is being written; the others are the rest of a batch that was split. */
  #heads: PendingBatch[] = [];
  /** What follows the last settled sequence; only while there is no head. */
  #unmatched: UnmatchedBatch | undefined;
  #isAbandoned = false;

  constructor(
    options: JournalDeliveryOptions,
    resumeAfter: number | undefined,
    counters: Counters,
  ) {
    this.#options = options;
    this.#counters = counters;
    this.#selector = new RecordSelector(options);
    const { journal, consumer } = options;
    // A new consumer starts at the head of the journal, and so does one that is ahead of it.
    const start = resumeAfter ?? journal.cursor(consumer) ?? journal.durable;
    this.#settled = Math.min(start, journal.durable);
    this.#received = this.#settled;
    journal.saveCursor(consumer, this.#settled);
  }

  get bytes(): number {
    return this.#heads.reduce((sum, { batch }) => sum + batch.byteLength, 0);
  }

  get records(): number {
    return Math.max(0, this.#options.journal.durable - this.#settled);
  }

  head(bytesMax: number): Batch | undefined | Promise<Batch | undefined> {
    return this.#headInMemory(bytesMax) ?? (this.#isAtEnd ? undefined : this.#laterHead(bytesMax));
  }

  headSync(bytesMax: number, timeoutMs: number): Batch | undefined {
    const { journal, type } = this.#options;
    const endMs = performance.now() + timeoutMs;
    for (;;) {
      const head = this.#headInMemory(bytesMax, endMs);
      if (head !== undefined || this.#isAtEnd) return head;
      const leftMs = endMs - performance.now();
      if (leftMs <= 0) throw new Error("the filter takes too long to match");
      const from = this.#settled + 1;
      const page = fullPage(journal.readSync({ from, type }, leftMs), () =>
        journal.readSync({ from }, leftMs),
      );
      if (page.to < page.from) return undefined;
      this.#acceptPage(page);
    }
  }

  /**
   * Undefined at the end, if the next record is not in memory, and if the time for matching the filter is over: that of this
   * turn, or until `endMs`.
   */
  #headInMemory(bytesMax: number, endMs?: number): Batch | undefined {
    if (this.#isAbandoned) return undefined;
    while (this.#heads.length === 0 && !this.#isAtEnd) {
      if (this.#unmatched !== undefined) {
        if (!this.#advance(this.#unmatched, endMs)) return undefined;
        continue;
      }
      const run = this.#runFrom(this.#settled + 1);
      if (run === undefined) return undefined;
      const batch = this.#joinRuns(run, bytesMax);
      this.#accept(batch, lastSequence(batch));
    }
    return this.#heads[0]?.batch;
  }

  get #isAtEnd(): boolean {
    return this.#isAbandoned || this.#settled >= this.#options.journal.durable;
  }

  async #laterHead(bytesMax: number): Promise<Batch | undefined> {
    if (this.#unmatched === undefined) {
      const { journal, type } = this.#options;
      const from = this.#settled + 1;
      const page = await fullPage(await journal.read({ from, type }), () => journal.read({ from }));
      if (page.to < page.from || this.#isAbandoned) return undefined;
      this.#acceptPage(page);
    } else {
      await nextTurn();
    }
    return this.head(bytesMax);
  }

  #acceptPage({ to, records, gaps }: JournalPage): void {
    const { durable } = this.#options.journal;
    const batch = records && recordsUpTo(records, durable);
    this.#countLost(gaps, batch);
    this.#accept(batch, Math.min(to, durable));
  }

  /** Returns the durable records in memory that start with `sequence`; undefined if there are none. */
  #runFrom(sequence: number): Batch | undefined {
    const { journal } = this.#options;
    if (sequence > journal.durable) return undefined;
    const run = journal.readFrom(sequence);
    return run && recordsUpTo(run, journal.durable);
  }

  /** Joins a run with those that follow it, up to `bytesMax` in total. */
  #joinRuns(run: Batch, bytesMax: number): Batch {
    const runs = [run];
    let bytes = run.byteLength;
    for (let last = run; bytes < bytesMax;) {
      const next = this.#runFrom(lastSequence(last) + 1);
      if (next === undefined) break;
      bytes += next.byteLength;
      if (bytes > bytesMax) break;
      runs.push(next);
      last = next;
    }
    return runs.length === 1 ? run : new CompositeBatch(runs);
  }

  /** Makes the selected records up to `to` the head, if they match the filter. If there are none, they are settled already. */
  #accept(batch: Batch | undefined, to: number): void {
    const counters = this.#counters;
    this.#received = to;
    const selected = batch && this.#selector.select(batch);
    counters.received += batch?.length ?? 0;
    counters.filtered += (batch?.length ?? 0) - (selected?.length ?? 0);
    const match = selected && this.#selector.match(selected);
    if (match === undefined) this.#setHead(selected, to);
    else this.#unmatched = { match, to };
  }

  /** Returns false if time runs out before all records were matched. */
  #advance({ match, to }: UnmatchedBatch, endMs: number | undefined): boolean {
    const matched = this.#selector.advance(match, endMs);
    if (matched === undefined) return false;
    this.#unmatched = undefined;
    this.#counters.filtered += match.records.length - matched.length;
    this.#setHead(matched, to);
    return true;
  }

  #setHead(batch: Batch | undefined, to: number): void {
    if (batch === undefined || batch.length === 0) this.#settle(to);
    else this.#heads = [{ batch, to }];
  }

  /**
   * A gap in one type loses only those of its sequences that the other type does not have. Gaps can overlap, for example
   * when retention has deleted the oldest records of both types: each sequence counts once, with the reason of the first.
   */
  #countLost(gaps: readonly Gap[], batch: Batch | undefined): void {
    const { journal, type } = this.#options;
    let next = 0;
    for (const { from, to, type: gapType, reason } of gaps) {
      if (gapType !== undefined && type !== undefined && gapType !== type) continue;
      const first = Math.max(from, next);
      const last = Math.min(to, journal.durable);
      if (first > last) continue;
      const lost = last - first + 1 - countWithin(batch, first, last);
      next = last + 1;
      this.#counters.received += lost;
      this.#counters.drop(reason, lost);
    }
  }

  splitHead(): number {
    const [head] = this.#heads;
    if (!(head?.batch instanceof CompositeBatch)) return 1;
    const { parts } = head.batch;
    const heads = parts.map((batch, index) => ({
      batch,
      to: index === parts.length - 1 ? head.to : lastSequence(batch),
    }));
    this.#heads = [...heads, ...this.#heads.slice(1)];
    return heads.length;
  }

  shift(): void {
    const head = this.#heads.shift();
    if (head) this.#settle(head.to);
  }

  #settle(sequence: number): void {
    this.#settled = sequence;
    this.#options.journal.saveCursor(this.#options.consumer, sequence);
  }

  /** Records in a persistent journal are not lost: they wait there for the next start. */
  abandon(): Remainder {
    const { journal } = this.#options;
    const left = journal.durable - this.#settled;
    this.#heads = [];
    this.#unmatched = undefined;
    this.#isAbandoned = true;
    if (journal.isPersistent) return { lost: 0, retained: left };
    this.#counters.received += journal.durable - this.#received;
    return { lost: left, retained: 0 };
  }

  /** Another cursor reads what is not settled again. */
  handOver(): readonly Batch[] {
    this.#heads = [];
    this.#isAbandoned = true;
    return [];
  }

  end(): number {
    return this.#options.journal.durable;
  }

  hasReached(end: number): boolean {
    return this.#settled >= end;
  }
}

/**
 * Returns the page, which has only records of the exporter's type. If it has a gap in one type, returns all records
 * instead: those of the other type tell how many sequences of the gap are lost.
 */
function fullPage<Page>(page: JournalPage, readAll: () => Page): JournalPage | Page {
  return page.gaps.some((gap) => gap.type !== undefined) ? readAll() : page;
}

function countWithin(batch: Batch | undefined, first: number, last: number): number {
  let count = 0;
  for (let index = 0; index < (batch?.length ?? 0); index++) {
    const sequence = batch!.sequence(index);
    if (sequence >= first && sequence <= last) count++;
  }
  return count;
}

function lastSequence(batch: Batch): number {
  return batch.sequence(batch.length - 1);
}

function recordsUpTo(batch: Batch, last: number): Batch | undefined {
  if (lastSequence(batch) <= last) return batch;
  const selected = batch.select((index) => batch.sequence(index) <= last);
  return selected.length === 0 ? undefined : selected;
}
