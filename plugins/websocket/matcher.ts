import {
  heldRecord,
  type Batch,
  type FilterTerm,
  type HostJournal,
  type RecordFields,
} from "tailgate/plugin";
import { SharedRuns } from "./shared-runs.ts";

/** Which records are wanted; a filter is one. */
export interface Wanted {
  /** The same for what means the same; "" for everything. */
  readonly key: string;
  /** The parts that must all match. */
  readonly terms: readonly FilterTerm[];
  /** Estimates the microseconds that matching a record of this size takes. */
  effort(bytes: number): number;
  matches(records: Batch, index: number): boolean;
}

/** What matching may take of one turn of the event loop: as much when records arrive, and again for deferred matches. */
const TURN_MS = 4;

/** What one filter may take of it at once. */
const FILTER_MS = 2;

/** Reading the clock costs as much as some matches: it is read after this many microseconds of work. */
const EFFORT_BETWEEN_LOOKS = 100;

/** A record whose match takes more is matched term by term. */
const EFFORT_AT_ONCE = 1_000;

/** A client that waits for a deferred match. */
export interface Waiter {
  /** False if the client does not want the result any more. */
  readonly isOpen: boolean;
  /**
   * Called when the match is done. Within the call, asking for the same match again returns its result. `matched` is
   * undefined if no client wanted it any more.
   */
  ready(shared: SharedRuns, matched: Batch | undefined): void;
}

/**
 * Matches records for all clients within a time budget. What exceeds the budget of a turn is deferred to later turns,
 * in which all filters with deferred matches take turns; clients with the same filter share its matches. So an
 * expensive filter delays its own clients, and not the event loop.
 */
export class Matcher {
  readonly #journal: HostJournal;
  readonly #countMs: (ms: number) => void;
  /** By the filter's key; the first one is next. */
  readonly #deferred = new Map<string, Deferred>();
  /** The match whose clients are being told. */
  #done: { readonly id: string; readonly matched: Batch } | undefined;
  /** What was spent in this turn when records arrived. */
  #spentMs = 0;
  #isScheduled = false;
  #isWorking = false;

  constructor(journal: HostJournal, countMs: (ms: number) => void) {
    this.#journal = journal;
    this.#countMs = countMs;
  }

  /** Returns the records that match; undefined if that would exceed the budget. */
  matchNow(records: Batch, wanted: Wanted): Batch | undefined {
    if (wanted.key === "") return records;
    const match = new Match(records, wanted);
    this.#advanceNow(match);
    return match.matched;
  }

  /** Returns the records that match; undefined if that would exceed the budget: the waiter is then told when it is done. */
  match(records: Batch, wanted: Wanted, waiter: Waiter): Batch | undefined {
    const { key } = wanted;
    if (key === "") return records;
    const id = idOf(records, wanted);
    if (this.#done?.id === id) return this.#done.matched;
    let deferred = this.#deferred.get(key);
    let match = deferred?.matches.get(id);
    if (match === undefined) {
      match = new Match(records, wanted);
      if (!this.#isWorking) this.#advanceNow(match);
      if (match.matched) return match.matched;
      if (deferred === undefined) this.#deferred.set(key, (deferred = new Deferred()));
      deferred.matches.set(id, match);
      this.#schedule();
    }
    match.waiters.push(waiter);
    return undefined;
  }

  /** Resolves with the records that match; with undefined if `isOpen` has become false. */
  async matched(records: Batch, wanted: Wanted, isOpen: () => boolean): Promise<Batch | undefined> {
    const { promise, resolve } = Promise.withResolvers<Batch | undefined>();
    const waiter: Waiter = {
      get isOpen() {
        return isOpen();
      },
      ready: (_, matched) => resolve(matched),
    };
    return this.match(records, wanted, waiter) ?? promise;
  }

  /** Says what the filter's deferred matches have taken so far. */
  costOf({ key }: Wanted): string {
    const { ms, records } = this.#deferred.get(key) ?? new Deferred();
    const perThousand = records === 0 ? ms : (1000 * ms) / records;
    return `${perThousand.toFixed(perThousand < 10 ? 1 : 0)} ms for 1000 records`;
  }

  #advanceNow(match: Match): void {
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
    setImmediate(() => this.#work());
  }

  #work(): void {
    this.#isScheduled = false;
    this.#isWorking = true;
    const endMs = performance.now() + TURN_MS;
    const shared = new SharedRuns(this.#journal, this);
    let leftMs = TURN_MS;
    while (leftMs > 0 && this.#deferred.size > 0) {
      const [key, deferred] = firstOf(this.#deferred);
      this.#deferred.delete(key);
      this.#deferred.set(key, deferred);
      this.#advance(deferred, Math.min(FILTER_MS, leftMs), shared);
      if (deferred.matches.size === 0) this.#deferred.delete(key);
      leftMs = endMs - performance.now();
    }
    this.#isWorking = false;
    if (this.#deferred.size > 0) this.#schedule();
  }

  #advance(deferred: Deferred, budgetMs: number, shared: SharedRuns): void {
    const [id, match] = firstOf(deferred.matches);
    if (match.waiters.some(({ isOpen }) => isOpen)) {
      const ms = match.advance(budgetMs);
      deferred.ms += ms;
      this.#countMs(ms);
      if (!match.matched) return;
      deferred.records += match.length;
    }
    deferred.matches.delete(id);
    const { matched } = match;
    this.#done = matched && { id, matched };
    for (const waiter of match.waiters) waiter.ready(shared, matched);
    this.#done = undefined;
  }
}

/** `map` is not empty. */
function firstOf<Key, Value>(map: ReadonlyMap<Key, Value>): [Key, Value] {
  return map.entries().next().value!;
}

/** The deferred matches of one filter, and what they have taken while there was always another one. */
class Deferred {
  readonly matches = new Map<string, Match>();
  ms = 0;
  records = 0;
}

/** The same for the same records and filter: with these bounds and this length there is one selection of the journal at most. */
function idOf(records: Batch, { key }: Wanted): string {
  const { length } = records;
  return `${records.sequence(0)} ${records.sequence(length - 1)} ${length} ${key}`;
}

/** One filter on its way through some records. */
class Match {
  readonly waiters: Waiter[] = [];
  /** What matches of the records; undefined before the last one was looked at. */
  matched: Batch | undefined;
  readonly #records: Batch;
  readonly #wanted: Wanted;
  readonly #kept: number[] = [];
  #next = 0;
  /** The record that is matched term by term, and the term that comes next. */
  #held: RecordFields | undefined;
  #term = 0;

  constructor(records: Batch, wanted: Wanted) {
    this.#records = records;
    this.#wanted = wanted;
  }

  get length(): number {
    return this.#records.length;
  }

  /** Goes on for about that long; returns how long it has taken. */
  advance(budgetMs: number): number {
    const startMs = performance.now();
    const records = this.#records;
    const wanted = this.#wanted;
    let effort = 0;
    while (this.#next < records.length) {
      const recordEffort = wanted.effort(records.size(this.#next));
      const isMatch =
        recordEffort <= EFFORT_AT_ONCE
          ? wanted.matches(records, this.#next)
          : this.#matchTerms(startMs + budgetMs);
      if (isMatch === undefined) return performance.now() - startMs;
      if (isMatch) this.#kept.push(this.#next);
      this.#next++;
      effort += recordEffort;
      if (effort < EFFORT_BETWEEN_LOOKS) continue;
      effort = 0;
      const ms = performance.now() - startMs;
      if (ms >= budgetMs && this.#next < records.length) return ms;
    }
    this.matched = this.#selected();
    return performance.now() - startMs;
  }

  /** Matches the next record; undefined if the time ends before its last term. */
  #matchTerms(endMs: number): boolean | undefined {
    const index = this.#next;
    const { terms } = this.#wanted;
    this.#held ??= heldRecord(this.#records, index);
    let isMatch = true;
    while (isMatch && this.#term < terms.length) {
      isMatch = terms[this.#term++]!.matches(this.#held, index);
      if (isMatch && this.#term < terms.length && performance.now() >= endMs) return undefined;
    }
    this.#held = undefined;
    this.#term = 0;
    return isMatch;
  }

  #selected(): Batch {
    const kept = this.#kept;
    if (kept.length === this.length) return this.#records;
    let place = 0;
    return this.#records.select((index) => {
      if (index !== kept[place]) return false;
      place++;
      return true;
    });
  }
}
