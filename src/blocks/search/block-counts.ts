/** Counts of a block's records: by minute and level, and by the values of fields. */

import { decodeBlocks } from "../../batch/block.ts";
import { LEVELS, type JsonValue } from "../../wire/envelope.ts";
import { FieldPath, fieldValues } from "../../filter/fields.ts";
import type { BlockView } from "../block-view.ts";
import type { MessagePatterns } from "../patterns.ts";
import type { BlockFields } from "./block-fields.ts";
import type { RecordSet } from "./record-set.ts";
import type { ValueList } from "./sources.ts";

export interface BlockCounts {
  readonly matches: number;
  /** Minutes since 1970, or the periods that were asked for, ascending, each followed by the counts by rank. */
  readonly minutes: readonly (readonly number[])[];
  /** By field, the most frequent values with their counts; of a list, each element counts. */
  readonly values: Readonly<Record<string, readonly (readonly [value: string, count: number])[]>>;
}

/** So many envelopes are read at a time. */
const READ_MAX = 512;

/** Counts records by the minutes of their times, or by other periods, and by their levels. */
export function countMinutes(
  { times, ranks }: BlockView,
  records: Uint16Array,
  periodMs = 60_000,
): number[][] {
  const periodMicros = 1000 * periodMs;
  const minutes = new Map<number, number[]>();
  let minute = NaN;
  let counts: number[] = [];
  for (const index of records) {
    const next = Math.floor(times[index]! / periodMicros);
    if (next !== minute) {
      minute = next;
      counts = minutes.get(minute) ?? LEVELS.map(() => 0);
      minutes.set(minute, counts);
    }
    counts[ranks[index]!]!++;
  }
  return [...minutes]
    .toSorted(([one], [other]) => one - other)
    .map(([start, byRank]) => [start, ...byRank]);
}

/** Returns the most frequent values of a field, at most `valuesMax`. Lists and maps in lists and maps do not count. */
export function countValues(
  view: BlockView,
  fields: BlockFields,
  name: string,
  records: RecordSet,
  valuesMax: number,
): [value: string, count: number][] {
  const { sources, unsure, unknown } = fields.field(name);
  const unclear = unknown.copy().union(unsure).intersect(records);
  const clear = records.copy().subtract(unclear);
  const counts = new Map<string, number>();
  const path = new FieldPath(name);
  if (!clear.isEmpty) for (const source of sources) countList(source.list(), clear, counts);
  const unread = unclear.indexes();
  for (let done = 0; done < unread.length; done += READ_MAX) {
    const indexes = unread.subarray(done, done + READ_MAX);
    const batch = decodeBlocks([view.read(indexes)]);
    for (let item = 0; item < indexes.length; item++) {
      for (const value of fieldValues(batch.envelope(item), path)) countJson(value, counts);
    }
  }
  const sorted = [...counts].toSorted(([, one], [, other]) => other - one);
  return sorted.slice(0, valuesMax);
}

/** Adds the messages of records to patterns, each distinct message once. */
export function addMessages(
  view: BlockView,
  fields: BlockFields,
  records: RecordSet,
  patterns: MessagePatterns,
): void {
  const { sources, unknown } = fields.field("message");
  const clear = records.copy().subtract(unknown);
  for (const source of clear.isEmpty ? [] : sources) {
    addListed(source.list(), view.sequences, clear, patterns);
  }
  const unread = unknown.copy().intersect(records).indexes();
  for (let done = 0; done < unread.length; done += READ_MAX) {
    const indexes = unread.subarray(done, done + READ_MAX);
    const batch = decodeBlocks([view.read(indexes)]);
    for (let item = 0; item < indexes.length; item++) {
      patterns.add(batch.envelope(item).data.message, 1, batch.sequence(item));
    }
  }
}

function addListed(
  { values, codes, records: recordOf }: ValueList,
  sequences: Float64Array,
  records: RecordSet,
  patterns: MessagePatterns,
): void {
  const counts = new Uint32Array(values.length);
  const newest = new Float64Array(values.length);
  for (let item = 0; item < (codes?.length ?? values.length); item++) {
    const record = recordOf ? recordOf[item]! : item;
    if (!records.has(record)) continue;
    const value = codes ? codes[item]! : item;
    counts[value]!++;
    newest[value] = Math.max(newest[value]!, sequences[record]!);
  }
  for (const [value, count] of counts.entries()) {
    if (count > 0) patterns.add(String(values[value]), count, newest[value]!);
  }
}

function countList(
  { values, codes, records: recordOf }: ValueList,
  records: RecordSet,
  counts: Map<string, number>,
): void {
  const items = codes?.length ?? values.length;
  const byValue = new Uint32Array(values.length);
  for (let item = 0; item < items; item++) {
    if (records.has(recordOf ? recordOf[item]! : item)) byValue[codes ? codes[item]! : item]!++;
  }
  for (const [value, count] of byValue.entries()) {
    if (count > 0) add(values[value], count, counts);
  }
}

function countJson(value: JsonValue, counts: Map<string, number>): void {
  if (Array.isArray(value)) {
    for (const element of value as readonly JsonValue[]) countJson(element, counts);
  } else if (typeof value !== "object") add(value, 1, counts);
}

function add(
  value: string | number | boolean | null | undefined,
  count: number,
  counts: Map<string, number>,
): void {
  if (value === undefined || value === null) return;
  const text = String(value);
  counts.set(text, (counts.get(text) ?? 0) + count);
}
