/** Values of a block's records: those of a column, or those that the envelope's rules make of something else. */

import type { Column, ColumnInfo } from "../block-view.ts";
import { searchTexts, textsOf } from "./column-search.ts";
import { RecordSet } from "./record-set.ts";
import type { Scalar, ValueMatcher } from "./value-matcher.ts";

/** Values with the records that have them. Undefined stands for no value. */
export interface ValueList {
  readonly values: readonly (Scalar | undefined)[];
  /** For each item the index of its value; undefined if each item has a value of its own. */
  readonly codes: ArrayLike<number> | undefined;
  /** For each item its record; undefined if there is one item for each record. */
  readonly records: ArrayLike<number> | undefined;
}

/** Where values come from. */
export interface Source {
  /** Adds the records with a value that matches. Records that are not in `within` need not be searched. */
  search(matcher: ValueMatcher, within: RecordSet, records: RecordSet): void;
  list(): ValueList;
  /** Adds the records of which a value that may match is not known exactly. */
  addInexact?(matcher: ValueMatcher, records: RecordSet): void;
}

/** Which kind of text values are, if they need not be tested against every matcher. */
type Shape = keyof ValueMatcher["may"];

export function listSource(list: () => ValueList, shape?: Shape): Source {
  return {
    search(matcher, within, records) {
      if (shape !== undefined && !matcher.may[shape]) return;
      searchList(list(), matcher, within, records);
    },
    list,
  };
}

function searchList(
  { values, codes, records: recordOf }: ValueList,
  matcher: ValueMatcher,
  within: RecordSet,
  records: RecordSet,
): void {
  const items = codes?.length ?? values.length;
  if (!codes) {
    for (let item = 0; item < items; item++) {
      const record = recordOf ? recordOf[item]! : item;
      if (within.has(record) && isMatch(values[item], matcher)) records.add(record);
    }
    return;
  }
  const matches = new Uint8Array(values.length);
  for (const [value, text] of values.entries()) if (isMatch(text, matcher)) matches[value] = 1;
  if (!matches.includes(1)) return;
  for (let item = 0; item < items; item++) {
    if (matches[codes[item]!] === 1) records.add(recordOf ? recordOf[item]! : item);
  }
}

function isMatch(value: Scalar | undefined, matcher: ValueMatcher): boolean {
  if (value === undefined) return false;
  return matcher.isExistence ? value !== null : matcher.matches(value);
}

/** Returns the values of a column as they are. `isUsual`: false if the texts of the block have unusual folding. */
export function columnSource({ kind }: ColumnInfo, read: () => Column, isUsual: boolean): Source {
  if (kind !== "text") {
    const isNumeric = kind === "int" || kind === "double";
    return {
      ...listSource(
        () => {
          const column = read();
          const values = scalarsOf(column);
          return listOf(column, kind === "int" ? values.map(exactInteger) : values);
        },
        isNumeric ? "number" : undefined,
      ),
      addInexact(matcher, records) {
        if (kind === "int" && matcher.may.number) addInexact(read(), records);
      },
    };
  }
  return {
    search(matcher, within, records) {
      if (matcher.isExistence) records.addAll(read().records);
      else searchTexts(read(), matcher, isUsual, within, records);
    },
    list: () => listOf(read(), textsOf(read())),
  };
}

/** Returns an integer of a column; undefined if that is not exact: see {@link addInexact}. */
export function exactInteger(value: Scalar): Scalar | undefined {
  return Number.isSafeInteger(value) ? value : undefined;
}

/** Adds the records with integers that a column has not exactly. */
export function addInexact(
  { isExact, numbers, codes, records: recordOf }: Column,
  records: RecordSet,
): void {
  if (isExact) return;
  for (let item = 0; item < recordOf.length; item++) {
    const number = numbers![codes ? codes[item]! : item]!;
    if (!Number.isSafeInteger(number)) records.add(recordOf[item]!);
  }
}

/** Returns what values of a column become. */
export function derivedSource(
  read: () => Column,
  derive: (value: Scalar) => Scalar | undefined,
): Source {
  return listSource(() => derivedList(read(), derive));
}

export function derivedList(
  column: Column,
  derive: (value: Scalar) => Scalar | undefined,
): ValueList {
  return listOf(column, scalarsOf(column).map(derive));
}

/** Returns sources that are made when a value may be found. `values`: all that they may have. */
export function lateSource(
  values: () => readonly (Scalar | undefined)[],
  make: () => readonly Source[],
): Source {
  let sources: readonly Source[] | undefined;
  return {
    search(matcher, within, records) {
      if (!values().some((value) => isMatch(value, matcher))) return;
      for (const source of (sources ??= make())) source.search(matcher, within, records);
    },
    list: () => joined((sources ??= make()).map((source) => source.list())),
  };
}

function joined(lists: readonly ValueList[]): ValueList {
  const values: (Scalar | undefined)[] = [];
  const codes: number[] = [];
  const records: number[] = [];
  for (const list of lists) {
    const items = list.codes?.length ?? list.values.length;
    for (let item = 0; item < items; item++) {
      codes.push(values.length + (list.codes ? list.codes[item]! : item));
      records.push(list.records ? list.records[item]! : item);
    }
    for (const value of list.values) values.push(value);
  }
  return { values, codes, records };
}

/** Returns ids in hexadecimal. An id of zeros is none. */
export function idSource(read: () => Column): Source {
  return listSource(() => listOf(read(), idsOf(read())), "id");
}

/** Returns a source without the values of some records, which are asked for once there are values. */
export function without(hiddenRecords: () => RecordSet, source: Source): Source {
  let hidden: RecordSet | undefined;
  return {
    search(matcher, within, records) {
      const found = RecordSet.none(records.size);
      source.search(matcher, within, found);
      if (!found.isEmpty) records.union(found.subtract((hidden ??= hiddenRecords())));
    },
    list() {
      const list = source.list();
      hidden ??= hiddenRecords();
      if (hidden.isEmpty) return list;
      const { values, codes, records } = list;
      const shown = Uint32Array.from(
        { length: codes?.length ?? values.length },
        (_, item) => item,
      ).filter((item) => !hidden!.has(records ? records[item]! : item));
      return {
        values,
        codes: shown.map((item) => (codes ? codes[item]! : item)),
        records: shown.map((item) => (records ? records[item]! : item)),
      };
    },
  };
}

function listOf(column: Column, values: readonly (Scalar | undefined)[]): ValueList {
  return { values, codes: column.codes, records: column.records };
}

/** Returns the (distinct) values of a column. */
export function scalarsOf(column: Column): Scalar[] {
  switch (column.info.kind) {
    case "text":
      return textsOf(column);
    case "int":
    case "double":
      return Array.from(column.numbers!, (number) =>
        Number.isFinite(number) ? number : String(number),
      );
    case "bool":
      return Array.from(column.numbers!, (number) => number !== 0);
    case "bytes":
      return bytesOf(column).map((bytes) => bytes.toString("base64"));
    default:
      return Array.from({ length: column.distinct }, () => null);
  }
}

const ZEROS = /^0*$/;

function idsOf(column: Column): (string | undefined)[] {
  return bytesOf(column).map((bytes) => {
    const id = bytes.toString("hex");
    return ZEROS.test(id) ? undefined : id;
  });
}

function bytesOf(column: Column): Buffer[] {
  const { data, width = 0, ends } = column.bytes!;
  return Array.from({ length: column.distinct }, (_, value) =>
    ends
      ? data.subarray(value === 0 ? 0 : ends[value - 1], ends[value])
      : data.subarray(width * value, width * (value + 1)),
  );
}
