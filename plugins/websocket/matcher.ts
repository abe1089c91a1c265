import {
  BatchMatch,
  type Batch,
  type BatchFilter,
  type Filter,
  type HostJournal,
} from "tailgate/plugin";
import { SharedFrames } from "./shared-frames.ts";

/** Selects records: a filter, possibly with a start time. */
export interface Selector extends BatchFilter, Pick<Filter, "key"> {}

export interface MatchWaiter {
  /** False if the result is no longer needed. */
  readonly isOpen: boolean;
  /**
   * Called when the match is done; requesting the same match again within the call returns its result. `matched` is
   * undefined if no waiter needed it any longer.
   */
  ready(shared: SharedFrames, matched: Batch | undefined): void;
}

/** The time budget for matching in one turn of the event loop: once for arriving records, and once for deferred matches. */
const TURN_MS = 4;

/** The part of it that one filter may use at once. */
const FILTER_MS = 2;

/**
 * Matches records for all clients within a time budget per turn of the event loop. Matches that exceed the budget are
 * deferred to later turns, in which the filters are served round-robin. Clients with the same filter share its matches.
 * An expensive filter thus delays its own clients, but not the event loop.
 */
export class Matcher {
  readonly #journal: HostJournal;
  readonly #countMs: (ms: number) => void;
  /** By filter key, in the order in which they are served. */
  readonly #deferred = new Map<string, DeferredMatches>();
  /** The match whose waiters are being called. */
  #done: { readonly id: string; readonly matched: Batch } | undefined;
  #spentMs = 0;
  #isScheduled = false;
  #isWorking = false;

  constructor(journal: HostJournal, countMs: (ms: number) => void) {
    this.#journal = journal;
    this.#countMs = countMs;
  }

  /** Returns the records that match; undefined if matching them would exceed the budget. */
  matchNow(records: Batch, selector: Selector): Batch | undefined {
    const match = new BatchMatch(records, selector);
    this.#advanceNow(match);
    return match.matched;
  }

  /** Returns the records that match; undefined if the match is deferred: the waiter is then called when it is done. */
  match(records: Batch, selector: Selector, waiter: MatchWaiter): Batch | undefined {
    const { key } = selector;
    if (key === "") return records;
    const id = matchId(records, selector);
    if (this.#done?.id === id) return this.#done.matched;
    let deferred = this.#deferred.get(key);
    let job = deferred?.jobs.get(id);
    if (job === undefined) {
      job = { match: new BatchMatch(records, selector), waiters: [] };
      if (!this.#isWorking) this.#advanceNow(job.match);
      if (job.match.matched) return job.match.matched;
      if (deferred === undefined) this.#deferred.set(key, (deferred = new DeferredMatches()));
      deferred.jobs.set(id, job);
      this.#schedule();
    }
    job.waiters.push(waiter);
    return undefined;
  }

  /** Resolves with the records that match, or with undefined after `isOpen` has become false. */
  async matched(
    records: Batch,
    selector: Selector,
    isOpen: () => boolean,
  ): Promise<Batch | undefined> {
    const { promise, resolve } = Promise.withResolvers<Batch | undefined>();
    const waiter: MatchWaiter = {
      get isOpen() {
        return isOpen();
      },
      ready: (_, matched) => resolve(matched),
    };
    return this.match(records, selector, waiter) ?? promise;
  }

  /** Describes how long the filter's deferred matches have taken so far. */
  costText({ key }: Selector): string {
    const { ms, records } = this.#deferred.get(key) ?? new DeferredMatches();
    const perThousand = records === 0 ? ms : (1000 * ms) / records;
    return `${perThousand.toFixed(perThousand < 10 ? 1 : 0)} ms for 1000 records`;
  }

  #advanceNow(match: BatchMatch): void {
    const leftMs = Math.min(FILTER_MS, TURN_MS - this.#spentMs);
    if (leftMs <= 0) return;
    if (this.#spentMs === 0) setImmediate(() => (this.#spentMs = 0));
    const ms = match.advance(leftMs);
    this.#spentMs += ms;
    this.#countMs(ms);
  }

  #schedule(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    setImmediate(() => this.#advanceDeferred());
  }

  #advanceDeferred(): void {
    this.#isScheduled = false;
    this.#isWorking = true;
    const endMs = performance.now() + TURN_MS;
    const shared = new SharedFrames(this.#journal, this);
    let leftMs = TURN_MS;
    while (leftMs > 0 && this.#deferred.size > 0) {
      const [key, deferred] = firstEntry(this.#deferred);
      this.#deferred.delete(key);
      this.#deferred.set(key, deferred);
      this.#advanceFirst(deferred, Math.min(FILTER_MS, leftMs), shared);
      if (deferred.jobs.size === 0) this.#deferred.delete(key);
      leftMs = endMs - performance.now();
    }
    this.#isWorking = false;
    if (this.#deferred.size > 0) this.#schedule();
  }

  #advanceFirst(deferred: DeferredMatches, budgetMs: number, shared: SharedFrames): void {
    const [id, job] = firstEntry(deferred.jobs);
    if (job.waiters.some(({ isOpen }) => isOpen)) {
      const ms = job.match.advance(budgetMs);
      deferred.ms += ms;
      this.#countMs(ms);
      if (!job.match.matched) return;
      deferred.records += job.match.records.length;
    }
    deferred.jobs.delete(id);
    const { matched } = job.match;
    this.#done = matched && { id, matched };
    for (const waiter of job.waiters) waiter.ready(shared, matched);
    this.#done = undefined;
  }
}

/** Returns the first entry of a map that is not empty. */
function firstEntry<Key, Value>(map: ReadonlyMap<Key, Value>): [Key, Value] {
  return map.entries().next().value!;
}

/** The deferred matches of one filter; time and records are counted from when it first had to defer one. */
class DeferredMatches {
  readonly jobs = new Map<string, MatchJob>();
  ms = 0;
  records = 0;
}

/** Equal for the same records and filter: these bounds and this length identify a selection of the journal. */
function matchId(records: Batch, { key }: Selector): string {
  const { length } = records;
  return `${records.sequence(0)} ${records.sequence(length - 1)} ${length} ${key}`;
}

/** The match of one batch, and who waits for it. */
interface MatchJob {
  readonly match: BatchMatch;
  readonly waiters: MatchWaiter[];
}
