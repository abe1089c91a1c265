import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { FilterNode } from "../../../src/wire/query/ast.ts";
import { canonicalKey } from "../../../src/wire/query/nodes.ts";
import { parseQuery, problemOfQuery } from "../../../src/wire/query/parse.ts";
import { problemOf } from "../../../src/wire/query/problem.ts";
import { TailgateError } from "tailgate";

function text(literal: string): FilterNode {
  return { kind: "text", pattern: { kind: "literal", text: literal } };
}

function equals(name: string, value: string, alsoText?: string): FilterNode {
  const node = { kind: "field", name, test: { kind: "equals", text: value } } as const;
  return alsoText === undefined ? node : { ...node, alsoText };
}

const and = (...nodes: FilterNode[]): FilterNode => ({ kind: "and", nodes });
const or = (...nodes: FilterNode[]): FilterNode => ({ kind: "or", nodes });
const not = (node: FilterNode): FilterNode => ({ kind: "not", node });
const level = (min: 0 | 1 | 2 | 3 | 4, max: 0 | 1 | 2 | 3 | 4): FilterNode => ({
  kind: "level",
  min,
  max,
});

const [a, b, c] = [text("a"), text("b"), text("c")];

describe("operators", () => {
  test.each<[string, FilterNode]>([
    ["", { kind: "all" }],
    ["a b OR c", or(and(a, b), c)],
    ["a OR b c", or(a, and(b, c))],
    ["a AND b", and(a, b)],
    ["a AND b OR c AND a", or(and(a, b), and(c, a))],
    ["(a OR b) c", and(or(a, b), c)],
    ["-(a OR b)", not(or(a, b))],
    ["NOT a", not(a)],
    ["NOT NOT a", a],
    ["NOT -a", a],
    ["NOT(a)", not(a)],
    ["a or b", and(a, text("or"), b)],
    ['a "OR" b', and(a, text("or"), b)],
    ["(func(x) OR b)", or(text("func(x)"), b)],
    ["()", text("()")],
    ["a )", and(a, text(")"))],
    ["foo(a b)", and(text("foo(a"), text("b)"))],
    ["f:(a OR -b)", or(equals("f", "a"), not(equals("f", "b")))],
    ["f:((a b) OR c)", or(and(equals("f", "a"), equals("f", "b")), equals("f", "c"))],
    ["-> --flag - -x", and(text("->"), text("--flag"), text("-"), not(text("x")))],
  ])("%s", (q, node) => expect(parseQuery(q)).toEqual(node));
});

describe("fields", () => {
  test.each<[string, FilterNode]>([
    ["f:Value", equals("f", "value", "f:value")],
    ['f:"Value"', equals("f", "value")],
    ["f:(Value)", equals("f", "value", "f:(value)")],
    ["service:x", equals("service", "x")],
    ['"a b":x', equals("a b", "x", '"a b":x')],
    ['"key": "value"', equals("key", "value", '"key": "value"')],
    ["err:<nil>", equals("err", "<nil>", "err:<nil>")],
    ["level:WARN", level(2, 4)],
    ["-level:INFO", level(0, 0)],
    ["level:=error", level(3, 3)],
    ["level:<ERROR", level(0, 2)],
    ["level:INFO..ERROR", level(1, 3)],
    ["level:..INFO", level(0, 1)],
    ["level:(INFO OR ERROR)", or(level(1, 1), level(3, 3))],
    ["-type:audit", { kind: "type", type: "system_log" }],
  ])("%s", (q, node) => expect(parseQuery(q)).toEqual(node));

  test("never match the text in a filter that limits what may be read, and compare exactly", () => {
    const exact = { kind: "field", name: "f", test: { kind: "exact", text: "Value" } };
    for (const q of ["f:Value", 'f:"Value"', "f:(Value)"]) {
      expect(parseQuery(q, { access: true })).toEqual(exact);
    }
  });
});

test.each<[string, string, string]>([
  ["a OR", "OR", "a term is missing on the right of OR"],
  ["x OR OR y", "OR", "a term is missing on the right of OR"],
  ["AND a", "AND", "a term is missing on the left of AND"],
  ["a (b", "(", "the group that starts there is not closed"],
  ['x "b', '"b', "a quote is not closed"],
  ["x level: y", "level:", "a value is missing after the colon"],
  ["x f:>= y", "f:>=", "a value is missing after >="],
  ["f:500..100", "f:500..100", "no number is in 500..100"],
  ["level:>CRITICAL", "level:>CRITICAL", "no level is above CRITICAL"],
  ["a ( )", "( )", "the group is empty"],
])("%s is invalid at %s: %s", (q, where, reason) => {
  try {
    parseQuery(q);
    expect.unreachable();
  } catch (error) {
    expect(TailgateError.is(error, "FILTER_INVALID")).toBe(true);
    const problem = problemOf(error)!;
    expect(problem.reason).toBe(reason);
    expect(q.slice(problem.from, problem.to)).toBe(where);
    expect((error as Error).message).toContain(`(at character ${problem.from + 1})`);
  }
});

describe("the key", () => {
  test("ignores order and repetition, and nothing else", () => {
    const keyOf = (q: string): string => canonicalKey(parseQuery(q));
    expect(keyOf("a (b OR c) f:x")).toBe(keyOf("f:X (C OR B OR b) A a"));
    expect(keyOf("")).toBe("");
    const different = [
      "a b",
      "a OR b",
      "-a b",
      '"a b"',
      "a*b",
      "f:a",
      'f:"a"',
      "f:=a",
      "/a/",
      "-()",
    ];
    expect(new Set(different.map(keyOf)).size).toBe(different.length);
  });
});

test("half a character is the replacement character, as it is in records", () => {
  expect(parseQuery("\ud800")).toEqual(parseQuery("\ufffd"));
});

test("any text is parsed, or rejected with a position, whatever its nesting", () => {
  const piece = fc.constantFrom(
    "a",
    ":",
    '"',
    "\\",
    "-",
    " ",
    "(",
    ")",
    "/",
    "*",
    "..",
    ">",
    "OR ",
  );
  const q = fc
    .array(piece, { minLength: 1, maxLength: 12 })
    .chain((pieces) =>
      fc.constantFrom(1, 1, 500).map((times) => pieces.join("").repeat(times).slice(0, 4096)),
    );
  const property = fc.property(q, (given) => {
    try {
      canonicalKey(parseQuery(given));
    } catch (error) {
      expect(TailgateError.is(error, "FILTER_INVALID")).toBe(true);
      const problem = problemOf(error);
      if (problem) {
        expect(problem.from).toBeLessThan(problem.to);
        expect(problem.to).toBeLessThanOrEqual(given.length);
      } else {
        expect((error as Error).message).toContain("at most");
      }
    }
  });
  fc.assert(property, { numRuns: 1000 });
});

test.each([
  ["a OR", true],
  ["a OR OR b", false],
  ["NOT ", true],
  ["level:", true],
  ["level: x", false],
  ["f:>", true],
  ["f:> x", false],
  ["(a OR b", true],
  ["f:(", true],
  ['f:"a', true],
  ["OR a", false],
  ["level:LOUD", false],
])("%s can become a filter by typing on: %s", (q, isUnfinished) => {
  expect(problemOfQuery(q)?.isUnfinished).toBe(isUnfinished);
});
