/** Tests of single values, with what is known of the texts that pass them. */

import { RE2JS } from "re2js";
import type { JsonValue } from "../../wire/envelope.ts";
import type { TextBound, TextPattern, ValueTest } from "../../wire/query/ast.ts";
import { fold } from "../../wire/query/fold.ts";
import { indexOfText } from "../../filter/text-search.ts";
import type { TextTest } from "./column-search.ts";
import { TextFinder } from "./text-finder.ts";

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

/** Kinds of texts that are not stored as texts. */
interface Shapes {
  readonly number: boolean;
  /** The time of an envelope. */
  readonly time: boolean;
  /** An id in lower-case hexadecimal. */
  readonly id: boolean;
  /** A list or a map, as JSON. */
  readonly json: boolean;
}

const ANY_SHAPE: Shapes = { number: true, time: true, id: true, json: true };

/** Returns a test of whether the text of a value contains a match. */
export function textMatcher(pattern: TextPattern): ValueMatcher {
  switch (pattern.kind) {
    case "literal":
      return literalMatcher(pattern.text);
    case "wildcard":
      return wildcardMatcher(pattern.parts);
    default:
      return regexMatcher(pattern.source);
  }
}

function literalMatcher(text: string): ValueMatcher {
  const search = indexOfText(text);
  const finder = finderOf(text);
  return matcherOf((value) => search(fold(value), 0) >= 0, {
    finder,
    isBytesMatch: finder?.isExact === true ? () => true : undefined,
    may: shapesWith([text]),
  });
}

function wildcardMatcher(parts: readonly string[]): ValueMatcher {
  const finders = parts.map((part) => finderOf(part));
  const [first, ...others] = finders;
  const isExact = finders.every((finder) => finder?.isExact === true);
  return matcherOf((value) => indexOfParts(fold(value), parts, 0) >= 0, {
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

/** Returns where the parts end that follow one another in the text from a position on; -1 if they do not. */
function indexOfParts(text: string, parts: readonly string[], from: number): number {
  let position = from;
  for (const part of parts) {
    const found = text.indexOf(part, position);
    if (found < 0) return -1;
    position = found + part.length;
  }
  return position;
}

function regexMatcher(source: string): ValueMatcher {
  const regex = RE2JS.compile(source, RE2JS.CASE_INSENSITIVE);
  return matcherOf((value) => regex.test(value), { may: ANY_SHAPE });
}

/** Returns a test of the values of a field. */
export function fieldMatcher(test: ValueTest): ValueMatcher {
  switch (test.kind) {
    case "equals":
      return equalsMatcher(test.text);
    case "exact":
      return matcherOf((value) => value === test.text, {
        finder: finderOf(fold(test.text)),
        may: shapesOf(fold(test.text)),
      });
    case "wildcard":
      return fieldWildcardMatcher(test.parts);
    case "exists":
      return { ...matcherOf(() => true, { may: ANY_SHAPE }), isExistence: true };
    case "range":
      return rangeMatcher(test);
    case "textRange": {
      const { min, max } = test;
      return matcherOf((value) => isTextWithin(value, min, max), { may: ANY_SHAPE });
    }
    default:
      return regexMatcher(test.source);
  }
}

function rangeMatcher({ min, max }: Extract<ValueTest, { kind: "range" }>): ValueMatcher {
  const isWithin = (value: number): boolean =>
    (min === undefined || value > min.value || (min.isInclusive && value === min.value)) &&
    (max === undefined || value < max.value || (max.isInclusive && value === max.value));
  const isMatch = (text: string): boolean => DECIMAL.test(text) && isWithin(Number(text));
  return {
    ...matcherOf(isMatch, { may: { number: true, time: false, id: true, json: false } }),
    matches: (value) =>
      typeof value === "number" ? isWithin(value) : typeof value === "string" && isMatch(value),
  };
}

/** A text that is a number. */
const DECIMAL = /^[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?$/i;

function isTextWithin(text: string, min?: TextBound, max?: TextBound): boolean {
  const above = min === undefined ? 1 : compareTexts(text, min.value);
  const below = max === undefined ? -1 : compareTexts(text, max.value);
  return (
    (above > 0 || (above === 0 && min!.isInclusive)) &&
    (below < 0 || (below === 0 && max!.isInclusive))
  );
}

/** By code points. */
function compareTexts(one: string, other: string): number {
  return Buffer.compare(Buffer.from(one), Buffer.from(other));
}

function equalsMatcher(text: string): ValueMatcher {
  const finder = finderOf(text);
  return matcherOf((value) => fold(value) === text, {
    finder,
    isBytesMatch:
      finder?.isExact === true
        ? (_bytes, start, end, found) => found === start && end - start === finder.length
        : undefined,
    may: shapesOf(text),
  });
}

function fieldWildcardMatcher(parts: readonly string[]): ValueMatcher {
  const inner = parts.filter((part) => part !== "");
  const longest = inner.toSorted((one, other) => other.length - one.length)[0];
  return matcherOf((value) => isWildcardMatch(fold(value), parts), {
    finder: longest === undefined ? undefined : finderOf(longest),
    may: shapesWith(inner),
  });
}

/** Whether a text is the parts with anything between them. */
export function isWildcardMatch(text: string, parts: readonly string[]): boolean {
  const first = parts[0]!;
  const last = parts.at(-1)!;
  if (!text.startsWith(first)) return false;
  const end = indexOfParts(text, parts.slice(1, -1), first.length);
  return end >= 0 && end + last.length <= text.length && text.endsWith(last);
}

function finderOf(text: string): TextFinder | undefined {
  return text === "" ? undefined : new TextFinder(text);
}

function matcherOf(
  isMatch: (text: string) => boolean,
  rest: Omit<ValueMatcher, "isMatch" | "matches" | "isExistence">,
): ValueMatcher {
  return {
    isMatch,
    matches: (value) => isMatch(typeof value === "string" ? value : String(value)),
    isExistence: false,
    ...rest,
  };
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
    json: true,
  };
}

/** Returns what may be the folded text. */
function shapesOf(text: string): Shapes {
  return { ...shapesWith([text]), json: text.startsWith("{") || text.startsWith("[") };
}

/** Tests a value of an envelope: of a list any element. */
export function matchesJson(matcher: ValueMatcher, value: JsonValue): boolean {
  if (matcher.isExistence) return value !== null;
  if (Array.isArray(value)) {
    return (value as readonly JsonValue[]).some((element) => matchesJson(matcher, element));
  }
  if (typeof value !== "object" || value === null) return matcher.matches(value);
  return matcher.may.json && matcher.isMatch(JSON.stringify(value));
}
