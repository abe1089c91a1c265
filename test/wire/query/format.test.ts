import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { FilterNode } from "../../../src/wire/query/ast.ts";
import { hasTerm, joinQueries, toggleTerm } from "../../../src/wire/query/edit.ts";
import { fold } from "../../../src/wire/query/fold.ts";
import { formatQuery, formatTerm } from "../../../src/wire/query/format.ts";
import { canonicalKey } from "../../../src/wire/query/nodes.ts";
import { parseQuery, problemOfQuery } from "../../../src/wire/query/parse.ts";

const keyOf = (q: string): string => canonicalKey(parseQuery(q));

const pieces = fc.array(
  fc.constantFrom(
    ...["a", "B", "é", "level:", "logger:", "service:", "f:", '"a b":', "f:(", "(", ")", " ", " "],
    ...[
      "OR ",
      "AND ",
      "-",
      "NOT ",
      "*",
      '"x y"',
      '"',
      "\\",
      "/",
      "/a.b/",
      ">",
      "<=",
      "=",
      "..",
      "5",
    ],
    ...["INFO", "ERROR", ":", "->", "http://h:1/x", "{", '"k": 1', "OR", "12:30"],
  ),
  { maxLength: 12 },
);
const query = pieces.map((parts) => parts.join(""));

const text = fc.string({
  unit: fc.constantFrom(
    "a",
    "B",
    "é",
    " ",
    '"',
    "\\",
    "*",
    ":",
    "/",
    "-",
    "(",
    ")",
    "OR",
    ".",
    "=",
    ">",
  ),
  minLength: 1,
  maxLength: 5,
});
const folded = text.map(fold);
const bounds = <T>(value: fc.Arbitrary<T>) =>
  fc
    .record({
      min: fc.option(fc.record({ value, isInclusive: fc.boolean() }), { nil: undefined }),
      max: fc.option(fc.record({ value, isInclusive: fc.boolean() }), { nil: undefined }),
    })
    .filter(({ min, max }) => min !== undefined || max !== undefined);
const number = fc
  .oneof(fc.integer(), fc.double({ noNaN: true, noDefaultInfinity: true }))
  .map((n) => n + 0);
const regex = fc.constantFrom("a b", "x/y", "(a|b)+", "\\/", '"', "a\\\\").map((source) => ({
  kind: "regex" as const,
  source: source === "\\/" ? "/" : source,
}));
const parts = fc
  .tuple(
    fc.option(folded, { nil: "" }),
    fc.array(folded, { maxLength: 2 }),
    fc.option(folded, { nil: "" }),
  )
  .map(([first, inner, last]) => [first, ...inner, last])
  .filter((all) => all.some((part) => part !== ""));
const node = fc.letrec<{ node: FilterNode }>((tie) => ({
  node: fc.oneof(
    { maxDepth: 3 },
    folded.map((literal): FilterNode => ({
      kind: "text",
      pattern: { kind: "literal", text: literal },
    })),
    fc
      .array(folded, { minLength: 2, maxLength: 3 })
      .map((all): FilterNode => ({ kind: "text", pattern: { kind: "wildcard", parts: all } })),
    regex.map((pattern): FilterNode => ({ kind: "text", pattern })),
    fc.constantFrom<FilterNode>(
      { kind: "type", type: "audit_log" },
      { kind: "level", min: 1, max: 3 },
      { kind: "level", min: 0, max: 4 },
      { kind: "level", min: 2, max: 2 },
      { kind: "all" },
    ),
    text.map((name): FilterNode => ({ kind: "logger", test: { kind: "family", name } })),
    parts.map((all): FilterNode => ({ kind: "logger", test: { kind: "wildcard", parts: all } })),
    fc
      .record({
        name: text,
        test: fc.oneof(
          folded.map((value) => ({ kind: "equals" as const, text: value })),
          text.map((value) => ({ kind: "exact" as const, text: value })),
          parts.map((all) => ({ kind: "wildcard" as const, parts: all })),
          fc.constant({ kind: "exists" as const }),
          regex,
          bounds(number).map((range) => ({ kind: "range" as const, ...range })),
          bounds(text).map((range) => ({ kind: "textRange" as const, ...range })),
        ),
      })
      .map((field) => JSON.parse(JSON.stringify({ kind: "field", ...field })) as FilterNode),
    tie("node").map((inner): FilterNode => ({ kind: "not", node: inner })),
    fc
      .tuple(fc.constantFrom("and", "or"), fc.array(tie("node"), { minLength: 2, maxLength: 3 }))
      .map(([kind, nodes]): FilterNode => ({ kind, nodes })),
  ),
}));

describe("the text of a filter", () => {
  test("is read back as the same filter, for any query", () => {
    const property = fc.property(query, (q) => {
      if (problemOfQuery(q)) return;
      expect(keyOf(formatQuery(parseQuery(q)))).toBe(keyOf(q));
    });
    fc.assert(property, { numRuns: 3000 });
  });

  test("is read back as the same filter, for any tree", () => {
    const property = fc.property(node.node, (tree) => {
      const q = formatQuery(tree);
      if (problemOfQuery(q)?.reason.includes("at most")) return;
      expect(keyOf(q)).toBe(canonicalKey(tree));
    });
    fc.assert(property, { numRuns: 3000 });
  });

  test("of a field and text that are not one term has both", () => {
    const equals = { kind: "equals", text: "x" } as const;
    const both: FilterNode = { kind: "field", name: "f", test: equals, alsoText: "other" };
    expect(formatQuery({ kind: "and", nodes: [both, { kind: "type", type: "audit_log" }] })).toBe(
      '(f:"x" OR other) type:audit',
    );
  });
});

describe("editing", () => {
  test("keeps what was typed", () => {
    expect(toggleTerm('timeout "a b"', "logger:x")).toBe('timeout "a b" logger:x');
    expect(toggleTerm('logger:"y z" timeout', "logger:x")).toBe("timeout logger:x");
    expect(toggleTerm('timeout logger:x "a b"', "logger:x")).toBe('timeout "a b"');
    expect(toggleTerm("-logger:x", "logger:x")).toBe("-logger:x logger:x");
    expect(toggleTerm('(a OR b) AND role:(x OR "y z") -(c d)', 'role:"q"')).toBe(
      '(a OR b) -(c d) role:"q"',
    );
    expect(toggleTerm("a OR b )", "logger:x")).toBe('(a OR b ")") logger:x');
    expect(toggleTerm("a OR", "logger:x")).toBe("logger:x");
    expect(hasTerm('a service:X "c"', 'service:"x"')).toBe(true);
    expect(hasTerm("a OR service:x", "service:x")).toBe(false);
    expect(hasTerm("(", "service:x")).toBe(false);
  });

  test("joins filters so that records must match all of them", () => {
    expect(joinQueries([" a ", "", "b OR c"])).toBe("a (b OR c)");
    expect(joinQueries(["b OR c"])).toBe("b OR c");
    const property = fc.property(fc.array(query, { maxLength: 3 }), (given) => {
      const valid = given.filter((q) => !problemOfQuery(q) && q.length < 60);
      const nodes = valid.map((q) => parseQuery(q));
      const joined = joinQueries(valid);
      expect(canonicalKey(parseQuery(joined))).toBe(canonicalKey({ kind: "and", nodes }));
    });
    fc.assert(property, { numRuns: 1000 });
  });

  test("adds and removes the term of any field and value", () => {
    const property = fc.property(query, text, text, (q, name, value) => {
      const term = formatTerm(name, value);
      if (problemOfQuery(q) || hasTerm(q, term)) return;
      const added = toggleTerm(q, term);
      expect(hasTerm(added, term)).toBe(true);
      expect(hasTerm(toggleTerm(added, term), term)).toBe(false);
    });
    fc.assert(property, { numRuns: 1000 });
  });
});
