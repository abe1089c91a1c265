import fc from "fast-check";
import { RE2JS } from "re2js";
import { expect, test } from "vitest";
import { literalsOfRegex, type RequiredTexts } from "../../src/filter/regex-literals.ts";

function isIn(text: string, required: RequiredTexts): boolean {
  switch (required.kind) {
    case "text":
      return text.toLowerCase().includes(required.text.toLowerCase());
    case "and":
      return required.parts.every((part) => isIn(text, part));
    default:
      return required.parts.some((part) => isIn(text, part));
  }
}

const { source } = fc.letrec<{ source: string; sequence: string; item: string }>((tie) => ({
  source: fc.array(tie("sequence"), { minLength: 1, maxLength: 3 }).map((parts) => parts.join("|")),
  sequence: fc
    .array(
      fc.tuple(tie("item"), fc.constantFrom(...["", "", "", "*", "+", "?", "{2}", "{0,2}", "+?"])),
      {
        maxLength: 4,
      },
    )
    .map((items) => items.map((parts) => parts.join("")).join("")),
  item: fc.oneof(
    { depthSize: "small" },
    fc.constantFrom("a", "b", "ab", "ba", "A", "é", "{", "-", "{,2}", ".", "^", "$"),
    fc.constantFrom(
      "\\d",
      "\\x61",
      "\\x{62}",
      "\\141",
      "\\.",
      "\\pL",
      "\\p{Lu}",
      "\\b",
      "\\n",
      "\\Qa\\E",
    ),
    fc.constantFrom("[ab]", "[^a]", "[]a]", "[[:alpha:]b]", "[a\\]b]", "[\\dab]", "(?i)", "(?-i)"),
    tie("source").map((inner) => `(${inner})`),
    tie("source").map((inner) => `(?:${inner})`),
    tie("source").map((inner) => `(?P<x>${inner})`),
    tie("source").map((inner) => `(?s:${inner})`),
  ),
}));

test("every match of an expression contains the texts that it requires", () => {
  const value = fc.string({ unit: fc.constantFrom(..."abABé1.-{}]\n".split("")), maxLength: 8 });
  fc.assert(
    fc.property(source, fc.array(value, { minLength: 10, maxLength: 10 }), (pattern, values) => {
      let regex: RE2JS;
      try {
        regex = RE2JS.compile(pattern, RE2JS.CASE_INSENSITIVE);
      } catch {
        return;
      }
      const required = literalsOfRegex(pattern);
      expect(values.filter((text) => regex.test(text) && !isIn(text, required))).toEqual([]);
    }),
    { numRuns: Number(process.env["SEARCH_RUNS"] ?? 500) },
  );
});

test("finds the texts of usual expressions", () => {
  const and = (...texts: string[]): RequiredTexts => ({
    kind: "and",
    parts: texts.map((text) => ({ kind: "text", text })),
  });
  expect(literalsOfRegex("time ?out after \\d+ms")).toEqual({
    kind: "and",
    parts: [
      { kind: "text", text: "time" },
      { kind: "text", text: "out after " },
      { kind: "and", parts: [] },
      { kind: "text", text: "ms" },
    ],
  });
  expect(literalsOfRegex("refused|timeout")).toEqual({ ...and("refused", "timeout"), kind: "or" });
  expect(literalsOfRegex("a\\.b")).toEqual({ kind: "text", text: "a.b" });
  expect(literalsOfRegex("\\Qa\\E")).toEqual(and());
});
