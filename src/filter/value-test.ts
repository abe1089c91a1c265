/** The tests that filters make of the values of fields. */

import type { JsonValue } from "../wire/envelope.ts";
import type { NumberBound, TextBound, ValueTest } from "../wire/query/ast.ts";
import { fold } from "../wire/query/fold.ts";
import { compileRegex } from "./regex.ts";
import { wildcardTest } from "./text-search.ts";

/** Returns whether a value passes; of a list, whether any element does. */
export type TestValue = (value: JsonValue) => boolean;

/**
 * Compiles a test. The text of a value that is no string is its JSON. A list passes if an element does, which may be a list
 * itself, or if `equals` or `exact` has its JSON.
 * @throws TailgateError FILTER_INVALID if it is a regular expression that is invalid or too large
 */
export function compileValueTest(test: ValueTest): TestValue {
  switch (test.kind) {
    case "equals":
    case "exact": {
      const passes = scalarTest(test);
      // A list of that JSON starts like this.
      return test.text.startsWith("[") ? orList(passes) : anyElement(passes);
    }
    case "exists":
      return (value) => value !== null;
    default:
      return anyElement(scalarTest(test));
  }
}

function scalarTest(test: Exclude<ValueTest, { kind: "exists" }>): TestValue {
  switch (test.kind) {
    case "equals": {
      const isEqual = (text: string): boolean => fold(text) === test.text;
      return (value) => isEqual(textOfValue(value));
    }
    case "exact":
      return (value) => textOfValue(value) === test.text;
    case "wildcard": {
      const isMatch = wildcardTest(test.parts);
      return (value) => isMatch(fold(textOfValue(value)));
    }
    case "range":
      return (value) => isNumberWithin(value, test.min, test.max);
    case "textRange":
      return (value) => typeof value === "string" && isTextWithin(value, test.min, test.max);
    default: {
      const regex = compileRegex(test);
      return (value) => regex.test(textOfValue(value));
    }
  }
}

function anyElement(passes: TestValue): TestValue {
  const test = (value: JsonValue): boolean =>
    Array.isArray(value) ? (value as readonly JsonValue[]).some(test) : passes(value);
  return test;
}

function orList(passes: TestValue): TestValue {
  const test = (value: JsonValue): boolean =>
    passes(value) || (Array.isArray(value) && (value as readonly JsonValue[]).some(test));
  return test;
}

function textOfValue(value: JsonValue): string {
  return typeof value === "string" ? value : JSON.stringify(value);
}

const NUMBER = /^[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?$/i;

/** Returns the number that a value is, or that its text is; undefined if it is none. */
function numberOf(value: JsonValue): number | undefined {
  if (typeof value === "number") return value;
  return typeof value === "string" && NUMBER.test(value) ? Number(value) : undefined;
}

function isNumberWithin(value: JsonValue, min?: NumberBound, max?: NumberBound): boolean {
  const number = numberOf(value);
  return (
    number !== undefined &&
    (min === undefined || number > min.value || (min.isInclusive && number === min.value)) &&
    (max === undefined || number < max.value || (max.isInclusive && number === max.value))
  );
}

function isTextWithin(text: string, min?: TextBound, max?: TextBound): boolean {
  const above = min === undefined ? 1 : compareTexts(text, min.value);
  const below = max === undefined ? -1 : compareTexts(text, max.value);
  return (
    (above > 0 || (above === 0 && min!.isInclusive)) &&
    (below < 0 || (below === 0 && max!.isInclusive))
  );
}

const SURROGATE = /[\ud800-\udfff]/;

/** Returns a negative number, 0 or a positive number: the order of the texts' code points. */
function compareTexts(one: string, other: string): number {
  if (SURROGATE.test(one) || SURROGATE.test(other)) {
    return Buffer.compare(Buffer.from(one), Buffer.from(other));
  }
  if (one === other) return 0;
  return one < other ? -1 : 1;
}
