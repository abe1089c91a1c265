/** Finds the values of a column that pass a test, each distinct value once. */

import type { Column } from "../block-view.ts";
import { RecordSet } from "./record-set.ts";
import type { TextFinder } from "../../filter/text-finder.ts";

/** A test of values that are texts. */
export interface TextTest {
  /** What every match contains, if the block's texts fold in the usual way; undefined to test all values. */
  readonly finder?: TextFinder | undefined;
  /** Decides by bytes alone: a match starts at `found` of the value between `start` and `end`. Undefined if it cannot. */
  readonly isBytesMatch?:
    | ((bytes: Buffer, start: number, end: number, found: number) => boolean)
    | undefined;
  readonly isMatch: (text: string) => boolean;
}

/** Marks the end of each value of a text column. */
const END = 0xff;

const endsOfColumns = new WeakMap<Column, Uint32Array>();

/** Returns the positions at which the values of a text column end. */
function textEnds(column: Column): Uint32Array {
  if (column.textEnds) return column.textEnds;
  let ends = endsOfColumns.get(column);
  if (!ends) {
    ends = new Uint32Array(column.distinct);
    const text = column.text!;
    for (let value = 0, at = -1; value < ends.length; value++) {
      at = text.indexOf(END, at + 1);
      ends[value] = at;
    }
    endsOfColumns.set(column, ends);
  }
  return ends;
}

/** Returns the (distinct) values of a text column. */
export function textsOf(column: Column): string[] {
  const ends = textEnds(column);
  const texts: string[] = [];
  for (let value = 0, start = 0; value < ends.length; value++) {
    texts.push(column.text!.toString("utf8", start, ends[value]));
    start = ends[value]! + 1;
  }
  return texts;
}

/**
 * Adds the records of which a value of a text column passes the test; those that are not in `within` need not be searched.
 * `isUsual`: false if finders may miss matches.
 */
export function searchTexts(
  column: Column,
  test: TextTest,
  isUsual: boolean,
  within: RecordSet,
  records: RecordSet,
): void {
  if (test.finder && isUsual) addFound(column, test, test.finder, records);
  else addTested(column, test, within, records);
}

/** Tests all values that records of `within` have. */
function addTested(column: Column, test: TextTest, within: RecordSet, records: RecordSet): void {
  const ends = textEnds(column);
  const { codes, records: recordOf } = column;
  const wanted = new Uint8Array(ends.length);
  for (let item = 0; item < recordOf.length; item++) {
    if (within.has(recordOf[item]!)) wanted[codes ? codes[item]! : item] = 1;
  }
  for (let value = 0, start = 0; value < ends.length; value++) {
    const end = ends[value]!;
    if (wanted[value] === 1 && !test.isMatch(column.text!.toString("utf8", start, end))) {
      wanted[value] = 0;
    }
    start = end + 1;
  }
  addMatches(column, wanted, records);
}

function addFound(column: Column, test: TextTest, finder: TextFinder, records: RecordSet): void {
  const text = column.text!;
  let found = finder.find(text, 0, text.length);
  if (found < 0) return;
  const ends = textEnds(column);
  const { isBytesMatch } = test;
  const matches = column.codes ? new Uint8Array(column.distinct) : undefined;
  for (let value = 0; found >= 0; value++) {
    if (ends[value]! < found) value = valueAt(ends, found, value);
    const start = value === 0 ? 0 : ends[value - 1]! + 1;
    const end = ends[value]!;
    const isMatch = isBytesMatch
      ? isBytesMatch(text, start, end, found)
      : test.isMatch(text.toString("utf8", start, end));
    if (isMatch) {
      if (matches) matches[value] = 1;
      else records.add(column.records[value]!);
    }
    found = finder.find(text, end + 1, text.length);
  }
  if (matches) addMatches(column, matches, records);
}

/** Returns the value at a position, from `value` on: by steps that double, then by bisection. */
function valueAt(ends: Uint32Array, position: number, value: number): number {
  let low = value;
  let step = 1;
  while (low + step < ends.length && ends[low + step]! < position) {
    low += step;
    step *= 2;
  }
  let high = Math.min(low + step, ends.length - 1);
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (ends[middle]! < position) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Adds the records of the values that match, given by their indexes in the distinct ones. */
function addMatches(
  { codes, records: recordOf }: Column,
  matches: Uint8Array,
  records: RecordSet,
): void {
  if (!codes) {
    for (let value = 0; value < recordOf.length; value++) {
      if (matches[value] === 1) records.add(recordOf[value]!);
    }
    return;
  }
  for (let value = 0; value < codes.length; value++) {
    if (matches[codes[value]!] === 1) records.add(recordOf[value]!);
  }
}
