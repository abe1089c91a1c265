import type { Journal } from "../journal/journal.ts";
import type { Batch, Gap, JournalPage } from "../plugin/index.ts";
import type { Counters } from "./counters.ts";
import { JoinedBatch } from "../batch/composite.ts";
import { isSameDay, wantedOf, type Left, type Source, type Wish } from "./source.ts";

export interface JournalSourceOptions extends Wish {
  readonly journal: Journal;
  /** The name under which the journal keeps its place. */
  readonly consumer: string;
  /** The sequence that the exporter has already, where it knows that better than the journal. */
  readonly resumeAfter: number | undefined;
  readonly counters: Counters;
}

interface Head {
  readonly batch: Batch;
  /** The sequence that is settled with it: records behind it that are not wanted are, too. */
  readonly to: number;
}

/**
 * A cursor over the durable part of the journal: what the exporter is not ready for stays there, in memory or on the
 * disk, and after a restart it goes on where it was. Nothing is dropped but what the journal itself has let go.
 */
export class JournalSource implements Source {
  readonly #options: JournalSourceOptions;
  /** The sequence up to which everything is settled. */
  #cursor: number;
  /** The sequence up to which records have been taken, and counted as received. */
  #taken: number;
  /** The first one is being written; the others are what it was joined with. */
  #heads: Head[] = [];
  #isCleared = false;

  constructor(options: JournalSourceOptions) {
    this.#options = options;
    const { journal, consumer, resumeAfter } = options;
    // Who comes new begins with what comes now; so does who knows more than this journal has.
    const place = resumeAfter ?? journal.cursor(consumer) ?? journal.durable;
    this.#cursor = Math.min(place, journal.durable);
    this.#taken = this.#cursor;
    journal.saveCursor(consumer, this.#cursor);
  }

  get bytes(): number {
    return this.#heads.reduce((sum, { batch }) => sum + batch.byteLength, 0);
  }

  get records(): number {
    return Math.max(0, this.#options.journal.durable - this.#cursor);
  }

  head(bytesMax: number): Batch | undefined | Promise<Batch | undefined> {
    return (
      this.#headInMemory(bytesMax) ?? (this.#isAtEnd ? undefined : this.#headFromDisk(bytesMax))
    );
  }

  headSync(bytesMax: number, timeoutMs: number): Batch | undefined {
    const { journal, type } = this.#options;
    for (;;) {
      const head = this.#headInMemory(bytesMax);
      if (head !== undefined || this.#isAtEnd) return head;
      const from = this.#cursor + 1;
      const page = fullPage(journal.readSync({ from, type }, timeoutMs), () =>
        journal.readSync({ from }, timeoutMs),
      );
      if (page.to < page.from) return undefined;
      this.#takePage(page);
    }
  }

  /** Undefined at the end, and where the next record is not in memory. */
  #headInMemory(bytesMax: number): Batch | undefined {
    if (this.#isCleared) return undefined;
    while (this.#heads.length === 0 && !this.#isAtEnd) {
      const run = this.#runFrom(this.#cursor + 1);
      if (run === undefined) return undefined;
      const batch = this.#joined(run, bytesMax);
      this.#take(batch, lastSequence(batch));
    }
    return this.#heads[0]?.batch;
  }

  get #isAtEnd(): boolean {
    return this.#isCleared || this.#cursor >= this.#options.journal.durable;
  }

  async #headFromDisk(bytesMax: number): Promise<Batch | undefined> {
    const page = await this.#page(this.#cursor + 1);
    if (page.to < page.from || this.#isCleared) return undefined;
    this.#takePage(page);
    return this.head(bytesMax);
  }

  async #page(from: number): Promise<JournalPage> {
    const { journal, type } = this.#options;
    return fullPage(await journal.read({ from, type }), () => journal.read({ from }));
  }

  #takePage({ to, records, gaps }: JournalPage): void {
    const { durable } = this.#options.journal;
    const batch = records && upTo(records, durable);
    this.#countLost(gaps, batch);
    this.#take(batch, Math.min(to, durable));
  }

  /** What memory has from there on, as far as it is durable. */
  #runFrom(sequence: number): Batch | undefined {
    const { journal } = this.#options;
    if (sequence > journal.durable) return undefined;
    const run = journal.readFrom(sequence);
    return run && upTo(run, journal.durable);
  }

  /** The run with those that follow it on the same day, up to `bytesMax` together. */
  #joined(run: Batch, bytesMax: number): Batch {
    const runs = [run];
    let bytes = run.byteLength;
    for (let last = run; bytes < bytesMax;) {
      const next = this.#runFrom(lastSequence(last) + 1);
      if (next === undefined || !isSameDay(run, next)) break;
      bytes += next.byteLength;
      if (bytes > bytesMax) break;
      runs.push(next);
      last = next;
    }
    return runs.length === 1 ? run : new JoinedBatch(runs);
  }

  /** Makes what is wanted of the records up to `to` the head; where that is nothing, goes on behind them. */
  #take(batch: Batch | undefined, to: number): void {
    const { counters } = this.#options;
    this.#taken = to;
    const wanted = batch && wantedOf(batch, this.#options);
    counters.received += batch?.length ?? 0;
    counters.filtered += (batch?.length ?? 0) - (wanted?.length ?? 0);
    if (wanted === undefined || wanted.length === 0) this.#settle(to);
    else this.#heads = [{ batch: wanted, to }];
  }

  /**
   * Of a gap in one lane, those records are lost that the other lane has not. Gaps may overlap, as where both lanes have
   * let go of the past: each sequence is lost once, for the reason of the first.
   */
  #countLost(gaps: readonly Gap[], batch: Batch | undefined): void {
    const { counters, type } = this.#options;
    let next = 0;
    for (const { from, to, type: lane, reason } of gaps) {
      if (lane !== undefined && type !== undefined && lane !== type) continue;
      const first = Math.max(from, next);
      const last = Math.min(to, this.#options.journal.durable);
      if (first > last) continue;
      const lost = last - first + 1 - countWithin(batch, first, last);
      next = last + 1;
      counters.received += lost;
      counters.drop(reason, lost);
    }
  }

  partHead(): number {
    const [head] = this.#heads;
    if (!(head?.batch instanceof JoinedBatch)) return 1;
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
    this.#cursor = sequence;
    this.#options.journal.saveCursor(this.#options.consumer, sequence);
  }

  /** What a journal on a disk has not let go is not lost: it waits there for the next start. */
  clear(): Left {
    const { journal, counters } = this.#options;
    const left = journal.durable - this.#cursor;
    this.#heads = [];
    this.#isCleared = true;
    if (journal.isKept) return { lost: 0, kept: left };
    counters.received += journal.durable - this.#taken;
    return { lost: left, kept: 0 };
  }

  mark(): number {
    return this.#options.journal.durable;
  }

  isPast(mark: number): boolean {
    return this.#cursor >= mark;
  }
}

/** Only what can be wanted was read. If some of it is missing, the other records tell how much that is. */
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

function upTo(batch: Batch, last: number): Batch | undefined {
  if (lastSequence(batch) <= last) return batch;
  const kept = batch.select((index) => batch.sequence(index) <= last);
  return kept.length === 0 ? undefined : kept;
}
