/** What bounds regular expressions. */

import { expect, test } from "vitest";
import { parseAccessFilter, parseFilter } from "../../src/filter/filter.ts";
import type { Envelope } from "../../src/wire/envelope.ts";

function matches(filter: { matches: typeof parsed.matches }, note: string): boolean {
  const data = { timestamp: "", level: "INFO", logger: "a", message: "", note } as const;
  const envelope: Envelope = {
    type: "system_log",
    data: { ...data, module: "", function: "", line: 0 },
  };
  return filter.matches(
    {
      type: () => "system_log",
      level: () => "INFO",
      logger: () => "a",
      envelope: () => envelope,
    },
    0,
  );
}

const parsed = parseFilter({});

test.each([
  ["/a{251}/", "it has 253 instructions, of at most 250"],
  [`/${"a".repeat(1001)}/`, "it has 1001 characters, of at most 1000"],
  ["/(?=a)/", "The syntax is that of RE2, which has no lookaround and no backreferences."],
  ["note:/(a/", "The regular expression "],
])("%s is rejected", (q, reason) => {
  for (const parse of [(text: string) => parseFilter({ q: text }), parseAccessFilter]) {
    expect(() => parse(q)).toThrow(reason);
  }
});

test("only the beginning of a long value is matched", () => {
  const beginning = `SECRET ${"x".repeat(20_000)}`;
  const end = `${"x".repeat(20_000)} SECRET`;
  for (const q of ["/secret/", "note:/secret/"]) {
    expect(matches(parseFilter({ q }), beginning)).toBe(true);
    expect(matches(parseFilter({ q }), end)).toBe(false);
    expect(matches(parseFilter({ q: `-${q}` }), end)).toBe(true);
  }
});

test("a filter that limits what may be read excludes what it cannot match to the end", () => {
  const end = `${"x".repeat(20_000)} secret`;
  for (const q of ["/secret/", "note:/secret/"]) {
    expect(matches(parseAccessFilter(q), end)).toBe(false);
    expect(matches(parseAccessFilter(`-${q}`), end)).toBe(false);
    expect(matches(parseAccessFilter(`-${q}`), "short")).toBe(true);
  }
});

test("case and composition make no difference", () => {
  expect(matches(parseFilter({ q: "/CAFE\u{301}\\d/" }), "caf\u{e9}1")).toBe(true);
  expect(matches(parseFilter({ q: "/k/" }), "\u{212a}")).toBe(true);
});
