/** Searches blocks by their columns. Envelopes are read only of records that the columns tell too little of. */

import { decodeBlocks } from "../../batch/block.ts";
import type { FilterNode } from "../../wire/query/ast.ts";
import type { BlockView } from "../block-view.ts";
import type { FieldCounts } from "../../filter/field-counts.ts";
import type { MessagePatterns } from "../patterns.ts";
import {
  addFields,
  addMessages,
  countMinutes,
  countValues,
  type BlockCounts,
  type ValueLimits,
} from "./block-counts.ts";
import { findOtherForms, findTexts } from "../../filter/text-hits.ts";
import { exactFilter, type ExactFilter } from "./exact.ts";
import { Matchers, NodeEvaluator } from "./node-evaluator.ts";
import { RecordSet, type Verdict } from "./record-set.ts";

/** Which records of blocks are searched for. */
export interface BlockSearchOptions {
  /** Every record must match all of them; those that limit what the client may read come first. */
  readonly filters: readonly FilterNode[];
  /** Sequences, both inclusive. */
  readonly from: number;
  readonly to: number;
  /** The times of envelopes, in microseconds since 1970; undefined without a bound. */
  readonly sinceMicros: number | undefined;
  /** Exclusive. */
  readonly untilMicros: number | undefined;
}

/** What is counted of the records that match. */
export interface BlockCountOptions extends ValueLimits {
  /** The names of fields whose values are counted. */
  readonly fields: readonly string[];
  /** Records are counted by periods of this length, by default a minute. */
  readonly periodMs?: number;
}

/** So many envelopes are read at a time. */
const READ_MAX = 512;

interface SearchFilter extends ExactFilter {
  readonly node: FilterNode;
}

/** A search of any number of blocks. */
export class BlockSearch {
  readonly #options: BlockSearchOptions;
  readonly #matchers = new Matchers();
  readonly #filters: readonly SearchFilter[];

  constructor(options: BlockSearchOptions) {
    this.#options = options;
    this.#filters = options.filters.map((node) => ({ node, ...exactFilter(node) }));
  }

  /**
   * Returns the indexes of the records that match, ascending: all, or the `limit` newest (`desc`) or oldest (`asc`) ones.
   * A filter is evaluated only on records that match the ones before it.
   */
  find(view: BlockView, order: "asc" | "desc", limit = Infinity): Uint16Array<ArrayBuffer> {
    const evaluator = new NodeEvaluator(view, this.#matchers);
    const indexes = this.#matches(view, evaluator, order, limit).indexes();
    if (indexes.length <= limit) return indexes;
    return order === "asc" ? indexes.slice(0, limit) : indexes.slice(indexes.length - limit);
  }

  /** Counts the records that match, and of each field at most `valuesMax` values. */
  count(view: BlockView, { fields, periodMs, ...limits }: BlockCountOptions): BlockCounts {
    const evaluator = new NodeEvaluator(view, this.#matchers);
    const records = this.#matches(view, evaluator, "asc", Infinity);
    const indexes = records.indexes();
    return {
      matches: indexes.length,
      minutes: countMinutes(view, indexes, periodMs),
      values: Object.fromEntries(
        fields.map((name) => [
          name,
          indexes.length === 0 ? [] : countValues(view, evaluator.fields, name, records, limits),
        ]),
      ),
    };
  }

  /** Adds the messages of the records that match to patterns. Returns how many do. */
  addPatterns(view: BlockView, patterns: MessagePatterns): number {
    const evaluator = new NodeEvaluator(view, this.#matchers);
    const records = this.#matches(view, evaluator, "asc", Infinity);
    if (!records.isEmpty) addMessages(view, evaluator.fields, records, patterns);
    return records.count;
  }

  /** Adds the fields of the records that match. Returns how many do. */
  addFields(view: BlockView, fields: FieldCounts): number {
    const records = this.#matches(view, new NodeEvaluator(view, this.#matchers), "asc", Infinity);
    addFields(view, records, fields);
    return records.count;
  }

  /** Returns the records that match; with a limit, at least as many of one end of the block as there are. */
  #matches(
    view: BlockView,
    evaluator: NodeEvaluator,
    order: "asc" | "desc",
    limit: number,
  ): RecordSet {
    let records = this.#inRange(view);
    for (const filter of this.#filters) {
      if (records.isEmpty) break;
      const verdict = evaluator.evaluate(filter.node, records);
      const isLast = filter === this.#filters.at(-1);
      records = resolve(view, filter, verdict, records, order, isLast ? limit : Infinity);
    }
    return records;
  }

  /** Returns the records within the search's range and times. */
  #inRange(view: BlockView): RecordSet {
    const { sequences, length } = view;
    const { from, to, sinceMicros, untilMicros } = this.#options;
    const isWhole = sequences[0]! >= from && sequences[length - 1]! <= to;
    if (isWhole && sinceMicros === undefined && untilMicros === undefined) {
      return RecordSet.all(length);
    }
    const since = sinceMicros ?? -Infinity;
    const until = untilMicros ?? Infinity;
    const { times } = view;
    const records = RecordSet.none(length);
    for (let index = 0; index < length; index++) {
      const sequence = sequences[index]!;
      const time = times[index]!;
      if (sequence >= from && sequence <= to && time >= since && time < until) records.add(index);
    }
    return records;
  }
}

/** Returns which of some records match a filter; if more than `limit` do, at least as many, from one end of the block. */
function resolve(
  view: BlockView,
  { isMatch, required }: SearchFilter,
  { surely, perhaps }: Verdict,
  within: RecordSet,
  order: "asc" | "desc",
  limit: number,
): RecordSet {
  const candidates = perhaps.copy().intersect(within);
  if (surely === perhaps) return candidates;
  const sure = surely.copy().intersect(candidates);
  const matches = sure.copy();
  const unsure = candidates.subtract(sure);
  if (required) removeWithout(view, required, unsure);
  const unknown = unsure.indexes();
  for (let done = 0; done < unknown.length;) {
    const next =
      order === "asc"
        ? unknown.subarray(done, done + READ_MAX)
        : unknown.subarray(Math.max(0, unknown.length - done - READ_MAX), unknown.length - done);
    // What follows cannot be among the first ones any more.
    if (
      limit !== Infinity &&
      isFull(matches, order === "asc" ? next[0]! : next.at(-1)!, order, limit)
    ) {
      break;
    }
    const batch = decodeBlocks([view.read(next)]);
    for (const [item, index] of next.entries()) if (isMatch(batch, item)) matches.add(index);
    done += next.length;
  }
  return matches;
}

/** Removes the records of which the block has the envelopes, if none of the texts is in them. */
function removeWithout(view: BlockView, texts: readonly string[], records: RecordSet): void {
  const { exceptions } = view;
  if (exceptions.length === 0 || records.isEmpty) return;
  const { envelopes } = view;
  if (envelopes === undefined) return;
  const found = findTexts(envelopes, texts);
  const hasOtherForms = findOtherForms(envelopes);
  const removed = RecordSet.none(records.size);
  for (const [item, record] of exceptions.entries()) {
    if (found[item] === 0 && hasOtherForms?.[item] !== 1) removed.add(record);
  }
  records.subtract(removed);
}

/** Whether at least `limit` matches come before a record. */
function isFull(matches: RecordSet, index: number, order: "asc" | "desc", limit: number): boolean {
  const indexes = matches.indexes();
  const last = order === "asc" ? indexes[limit - 1] : indexes.at(-limit);
  if (last === undefined || indexes.length < limit) return false;
  return order === "asc" ? last < index : last > index;
}
