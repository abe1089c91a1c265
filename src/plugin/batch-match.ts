import type { FilterTerm } from "../filter/filter.ts";
import { heldRecord, type RecordFields } from "../filter/records.ts";
import type { Batch } from "./batch.ts";

/** What {@link BatchMatch} needs of a filter. */
export interface BatchFilter {
  /** The terms, all of which must match. */
  readonly terms: readonly FilterTerm[];
  /** Estimates how long it takes to match a record of this size, in microseconds. */
  effort(bytes: number): number;
  /** Returns whether the record matches. */
  matches(records: Batch, index: number): boolean;
}

/** Reading the clock costs as much as several matches, so it is read after this many microseconds of estimated work. */
const CLOCK_INTERVAL_EFFORT = 100;

/** Records whose match takes longer, in microseconds, are matched term by term. */
const WHOLE_RECORD_EFFORT_MAX = 1_000;

/** Matches the records of a batch against a filter, in several steps, so that large records do not block the event loop. */
export class BatchMatch {
  /** The records that are examined. */
  readonly records: Batch;
  /** The records that match; undefined until all have been examined. */
  matched: Batch | undefined;
  readonly #filter: BatchFilter;
  readonly #matches: number[] = [];
  #next = 0;
  /** The record that is being matched term by term, and its next term. */
  #record: RecordFields | undefined;
  #term = 0;

  /** Examines nothing yet. */
  constructor(records: Batch, filter: BatchFilter) {
    this.records = records;
    this.#filter = filter;
  }

  /** Continues for about that long, in milliseconds; returns the time spent. */
  advance(budgetMs: number): number {
    const startMs = performance.now();
    const { records } = this;
    const filter = this.#filter;
    let effort = 0;
    while (this.#next < records.length) {
      const recordEffort = filter.effort(records.size(this.#next));
      const isMatch =
        recordEffort <= WHOLE_RECORD_EFFORT_MAX
          ? filter.matches(records, this.#next)
          : this.#matchTerms(startMs + budgetMs);
      if (isMatch === undefined) return performance.now() - startMs;
      if (isMatch) this.#matches.push(this.#next);
      this.#next++;
      effort += recordEffort;
      if (effort < CLOCK_INTERVAL_EFFORT) continue;
      effort = 0;
      const ms = performance.now() - startMs;
      if (ms >= budgetMs && this.#next < records.length) return ms;
    }
    this.matched ??= this.#selectMatches();
    return performance.now() - startMs;
  }

  /** Matches the next record; returns undefined if time runs out before its last term. */
  #matchTerms(endMs: number): boolean | undefined {
    const index = this.#next;
    const { terms } = this.#filter;
    this.#record ??= heldRecord(this.records, index);
    let isMatch = true;
    while (isMatch && this.#term < terms.length) {
      isMatch = terms[this.#term++]!.matches(this.#record, index);
      if (isMatch && this.#term < terms.length && performance.now() >= endMs) return undefined;
    }
    this.#record = undefined;
    this.#term = 0;
    return isMatch;
  }

  #selectMatches(): Batch {
    const matches = this.#matches;
    if (matches.length === this.records.length) return this.records;
    let position = 0;
    return this.records.select((index) => {
      if (index !== matches[position]) return false;
      position++;
      return true;
    });
  }
}
