/** Counts of a block's records: by minute and level, and by the values of fields. */

import { decodeBlocks } from "../../batch/block.ts";
import type { RecordBatch } from "../../batch/record-batch.ts";
import { CountedField } from "../../filter/counted-field.ts";
import type { FieldCounts } from "../../filter/field-counts.ts";
import { LEVELS } from "../../wire/envelope.ts";
import { fold } from "../../wire/query/fold.ts";
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

/** Which values of a field are counted. */
export interface ValueLimits {
  /** How many: the most frequent ones. */
  readonly valuesMax: number;
  /** Only values that start with this text, in any case. */
  readonly prefix?: string | undefined;
}

/** Returns the most frequent values of a field. Lists and maps in lists and maps do not count. */
export function countValues(
  view: BlockView,
  fields: BlockFields,
  name: string,
  records: RecordSet,
  { valuesMax, prefix }: ValueLimits,
): [value: string, count: number][] {
  const counts = new Map<string, number>();
  const field = new CountedField(name);
  const headers = headersOf(view, name);
  if (headers) countList(headers, records, counts);
  else countField(view, fields, field, records, counts);
  const wanted = prefix === undefined ? [...counts] : [...counts].filter(startsWith(prefix));
  return wanted.toSorted(([, one], [, other]) => other - one).slice(0, valuesMax);
}

/** Returns a test of whether a value starts with a text, in any case. */
export function startsWith(
  prefix: string,
): (counted: readonly [value: string, count: number]) => boolean {
  const folded = fold(prefix);
  return ([value]) => fold(value).startsWith(folded);
}

/** Returns what a block tells of all its records, exceptions included. */
function headersOf(
  { type, ranks, loggers, length, directory }: BlockView,
  name: string,
): ValueList | undefined {
  switch (name) {
    case "type":
      return { values: [type], codes: new Uint8Array(length), records: undefined };
    case "level":
      return { values: LEVELS, codes: ranks, records: undefined };
    case "logger":
      return { values: directory.loggers, codes: loggers, records: undefined };
    default:
      return undefined;
  }
}

function countField(
  view: BlockView,
  fields: BlockFields,
  field: CountedField,
  records: RecordSet,
  counts: Map<string, number>,
): void {
  const { sources, unsure, unknown, lists } = fields.field(field.name);
  const unclear = unknown.copy().union(unsure);
  if (field.facet !== undefined) unclear.union(lists);
  // These may have it elsewhere as well.
  const isUnclear = field.isShared || (field.facet !== undefined && hasMetadata(view));
  if (isUnclear) unclear.union(records);
  unclear.intersect(records);
  const clear = records.copy().subtract(unclear);
  const isText = field.facet !== undefined;
  for (const source of clear.isEmpty ? [] : sources)
    countList(source.list(), clear, counts, isText);
  for (const batch of envelopesOf(view, unclear)) {
    for (let item = 0; item < batch.length; item++) {
      for (const value of field.valuesOf(batch, item)) add(value, 1, counts);
    }
  }
}

function hasMetadata({ columns }: BlockView): boolean {
  return columns.some(({ place, path }) => place === "attribute" && path[0] === "metadata");
}

/** Reads records as they are, some at a time. */
function* envelopesOf(view: BlockView, records: RecordSet): Generator<RecordBatch> {
  const unread = records.indexes();
  for (let done = 0; done < unread.length; done += READ_MAX) {
    yield decodeBlocks([view.read(unread.subarray(done, done + READ_MAX))]);
  }
}

/** Adds the fields that records have. */
export function addFields(view: BlockView, records: RecordSet, fields: FieldCounts): void {
  for (const batch of envelopesOf(view, records)) {
    for (let item = 0; item < batch.length; item++) fields.addEnvelope(batch.envelope(item));
  }
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
  for (const batch of envelopesOf(view, unknown.copy().intersect(records))) {
    for (let item = 0; item < batch.length; item++) {
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
  isText = false,
): void {
  const items = codes?.length ?? values.length;
  const byValue = new Uint32Array(values.length);
  for (let item = 0; item < items; item++) {
    if (records.has(recordOf ? recordOf[item]! : item)) byValue[codes ? codes[item]! : item]!++;
  }
  for (const [value, count] of byValue.entries()) {
    if (count === 0 || (isText && typeof values[value] !== "string")) continue;
    add(values[value], count, counts);
  }
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
