/**
 * The history is the part of a journal that is merged: blocks of many records with columns, a directory and a filter, in a
 * database file of its own, history.db. What a commit writes stays in journal.db until a worker has merged it.
 *
 * All records with a sequence up to {@link History.mergedUpTo} are in the history or in a gap, and no others. If both files
 * have a record, after a crash between the two, the history's is the one that counts.
 */

import type { BlockRange } from "./block-range.ts";
import type { EnvelopeType, Gap } from "../plugin/index.ts";
import type { FilterNode } from "../wire/query/ast.ts";
import type { StoredBlock } from "../batch/block.ts";
import type { MessagePattern } from "../blocks/patterns.ts";
import type { FieldCount } from "../filter/field-counts.ts";

/** A page of the history. */
export interface HistoryPage extends BlockRange {
  /** In ascending order; of one type each, in the form that `decodeBlocks` reads. */
  readonly blocks: readonly StoredBlock[];
  /** Retention and damage only; the journal knows the other gaps. */
  readonly gaps: readonly Gap[];
}

export interface HistoryQuery {
  readonly from: number;
  readonly order: "asc" | "desc";
  readonly type: EnvelopeType | undefined;
  readonly sinceMs: number | undefined;
  readonly untilMs: number | undefined;
  /** Leaves out the OTLP requests of blocks, of which envelopes are read alone. */
  readonly isWithoutRequests?: boolean | undefined;
}

/** Which records of the history to search for. */
export interface HistorySearch extends BlockRange {
  readonly order: "asc" | "desc";
  /** Every record must match all of them; those that limit what the client may read come first. */
  readonly filters: readonly FilterNode[];
  /** Undefined for both types. */
  readonly type: EnvelopeType | undefined;
  /** The times of envelopes, in microseconds since 1970; undefined without a bound. */
  readonly sinceMicros: number | undefined;
  /** Exclusive. */
  readonly untilMicros: number | undefined;
}

/** A part of a search's result: what was found in the next blocks, in the order of the search. */
export interface HistoryMatches extends HistoryPage {
  /** How many records of the range matched; `blocks` has no others. */
  readonly matches: number;
}

/** What is counted of the records that match. */
export interface CountOptions {
  /** The names of fields whose values are counted. */
  readonly fields: readonly string[];
  /** How many values of each field are counted; the first that are found. */
  readonly valuesMax: number;
  /** Only values that start with this text, in any case. */
  readonly prefix?: string | undefined;
  /** What is counted instead of the times and the values: the fields that records have, or the patterns of messages. */
  readonly instead?: "fields" | "patterns" | undefined;
}

/** Counts of the records of a range that match. Counts of consecutive ranges can be added up. */
export interface HistoryCounts extends BlockRange {
  readonly gaps: readonly Gap[];
  readonly matches: number;
  /** The starts of periods in milliseconds since 1970, each followed by the counts by rank. */
  readonly times: readonly (readonly number[])[];
  /** By field, the values with their counts. */
  readonly values: Readonly<Record<string, readonly (readonly [value: string, count: number])[]>>;
  /** Empty unless they are counted; the largest patterns only. */
  readonly fields: readonly FieldCount[];
  readonly patterns: readonly MessagePattern[];
}

/** Reads and searches the history in worker threads, never in the caller's. */
export interface History {
  /** The sequence up to which the journal is merged; 0 if nothing is. */
  readonly mergedUpTo: number;
  /** Reads one page. Empty (`to = from - 1`) if `from` is not in the history. */
  read(query: HistoryQuery): Promise<HistoryPage>;
  /**
   * Yields what matches, part by part, each as soon as it and all before it are searched; the ranges of the parts cover the
   * search's range without gaps. Stop iterating to end the search. The part that reaches `limit` matches is the last one; it
   * may have some more.
   */
  find(search: HistorySearch, limit: number, signal: AbortSignal): AsyncIterable<HistoryMatches>;
  /** Yields counts in the same way. */
  count(
    search: HistorySearch,
    options: CountOptions,
    signal: AbortSignal,
  ): AsyncIterable<HistoryCounts>;
}
