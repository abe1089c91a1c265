/** Tests of single values, with what is known of the texts that pass them. */

import { textsOfRegex } from "../../filter/compile.ts";
import { compileRegex } from "../../filter/regex.ts";
import { indexOfText, wildcardSearch } from "../../filter/text-search.ts";
import { compileValueTest } from "../../filter/value-test.ts";
import type { RegexPattern, TextPattern, ValueTest } from "../../wire/query/ast.ts";
import { fold } from "../../wire/query/fold.ts";
import type { TextTest } from "./column-search.ts";
import { TextFinder } from "../../filter/text-finder.ts";

/** A value that is no list and no map. */
export type Scalar = string | number | boolean | null;

/** A test of single values: of all values of a record, or of those of a field. */
export interface ValueMatcher extends TextTest {
  matches(value: Scalar): boolean;
  /** What may match; what does not need not be tested. */
  readonly may: Shapes;
  /** True if any value other than null matches. */
  readonly isExistence: boolean;
}

/** Kinds of values that are not stored as texts. */
interface Shapes {
  readonly number: boolean;
  /** The time of an envelope. */
  readonly time: boolean;
  /** An id in lower-case hexadecimal. */
  readonly id: boolean;
  /** The JSON of a list as a whole. */
  readonly list: boolean;
  /** The JSON of a map. */
  readonly map: boolean;
}

const ANY_SHAPE: Shapes = { number: true, time: true, id: true, list: false, map: true };

/** Returns a test of whether the text of a value contains a match. */
export function textMatcher(pattern: TextPattern): ValueMatcher {
  switch (pattern.kind) {
    case "literal":
      return literalMatcher(pattern.text);
    case "wildcard":
      return wildcardMatcher(pattern.parts);
    default:
      return regexMatcher(pattern);
  }
}

function literalMatcher(text: string): ValueMatcher {
  const search = indexOfText(text);
  const finder = finderOf(text);
  return textual((value) => search(fold(value), 0) >= 0, {
    finder,
    isBytesMatch: finder?.isExact === true ? () => true : undefined,
    may: shapesWith([text]),
  });
}

function wildcardMatcher(parts: readonly string[]): ValueMatcher {
  const isMatch = wildcardSearch(parts);
  const finders = parts.map((part) => finderOf(part));
  const [first, ...others] = finders;
  const isExact = finders.every((finder) => finder?.isExact === true);
  return textual((value) => isMatch(fold(value)), {
    finder: first,
    isBytesMatch: isExact
      ? (bytes, _start, end, found) => areFound(others, bytes, found + first!.length, end)
      : undefined,
    may: shapesWith(parts),
  });
}

/** Whether the texts are between two positions, in this order. */
function areFound(
  finders: readonly (TextFinder | undefined)[],
  bytes: Buffer,
  from: number,
  end: number,
): boolean {
  let position = from;
  for (const finder of finders) {
    const found = finder!.find(bytes, position, end);
    if (found < 0) return false;
    position = found + finder!.length;
  }
  return true;
}

function regexMatcher(pattern: RegexPattern): ValueMatcher {
  const regex = compileRegex(pattern);
  return textual((value) => regex.test(value), regexNeeds(pattern));
}

/** Returns what values with a match have: the longest text that each of them contains is searched for first. */
function regexNeeds(pattern: RegexPattern): Pick<ValueMatcher, "finder" | "may"> {
  const texts = textsOfRegex(pattern);
  const { number, time, id } = shapesWith(texts);
  return { finder: finderOf(longestOf(texts)), may: { ...ANY_SHAPE, number, time, id } };
}

function longestOf(texts: readonly string[]): string {
  return texts.toSorted((one, other) => other.length - one.length)[0] ?? "";
}

/** Returns a test that takes every value as its text. */
function textual(
  isMatch: (text: string) => boolean,
  rest: Omit<ValueMatcher, "isMatch" | "matches" | "isExistence">,
): ValueMatcher {
  return { ...rest, isMatch, matches: (value) => isMatch(String(value)), isExistence: false };
}

/** Returns a test of the values of a field. */
export function fieldMatcher(test: ValueTest): ValueMatcher {
  const matches = compileValueTest(test);
  const common = { isMatch: matches, matches, isExistence: test.kind === "exists" };
  switch (test.kind) {
    case "equals": {
      const finder = finderOf(test.text);
      const isBytesMatch: TextTest["isBytesMatch"] =
        finder?.isExact === true
          ? (_bytes, start, end, found) => found === start && end - start === finder.length
          : undefined;
      return { ...common, finder, isBytesMatch, may: shapesOf(test.text) };
    }
    case "exact": {
      const text = fold(test.text);
      return { ...common, finder: finderOf(text), may: shapesOf(text) };
    }
    case "wildcard": {
      const parts = test.parts.filter((part) => part !== "");
      return { ...common, finder: finderOf(longestOf(parts)), may: shapesWith(parts) };
    }
    case "range":
      return { ...common, may: { ...ANY_SHAPE, time: false, map: false } };
    case "regex":
      return { ...common, ...regexNeeds(test) };
    case "textRange":
      return { ...common, may: { ...ANY_SHAPE, map: false } };
    default:
      return { ...common, may: ANY_SHAPE };
  }
}

function finderOf(text: string): TextFinder | undefined {
  return text === "" ? undefined : new TextFinder(text);
}

const NUMBER = /^[\d.+-]*(?:e[\d.+-]*)?$/;
const HEX = /^[\da-f]*$/;
/** What numbers are that JSON does not have. */
const NOT_FINITE = ["nan", "-infinity"];
const TIME = "0000-00-00t00:00:00.000000z";

/** Returns what may contain each of the folded texts. */
function shapesWith(texts: readonly string[]): Shapes {
  return {
    number: texts.every(
      (text) => NUMBER.test(text) || NOT_FINITE.some((word) => word.includes(text)),
    ),
    time: texts.every((text) => TIME.includes(text.replaceAll(/\d/g, "0"))),
    id: texts.every((text) => HEX.test(text)),
    list: false,
    map: true,
  };
}

/** Returns what may be the folded text. */
function shapesOf(text: string): Shapes {
  return { ...shapesWith([text]), list: text.startsWith("["), map: text.startsWith("{") };
}
