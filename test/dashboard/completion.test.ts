import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { completeQuery, searchedTexts, segmentsOf } from "../../src/dashboard/search/query.ts";
import { formatTerm } from "../../src/wire/query/format.ts";
import type { Envelope } from "tailgate";
import { parseFilter } from "tailgate/plugin";

const VALUES: Readonly<Record<string, readonly string[]>> = {
  logger: ["orchestrator.server", "a b", 'quo"te'],
  role: ["worker", "big boss"],
  "two words": ["x"],
};

function toSuggestion(text: string): { text: string } {
  return { text };
}

const KNOWN = {
  fields: ["level", "logger", "action", "instance_id", "role", "two words"].map(toSuggestion),
  values: (field: string) => (VALUES[field] ?? []).map(toSuggestion),
};

/** A vertical bar marks the caret. */
function complete(marked: string): string[] {
  const caret = marked.indexOf("|");
  return completeQuery(marked.replace("|", ""), caret, KNOWN).map(
    ({ text, caret: at }) => `${text.slice(0, at)}|${text.slice(at)}`,
  );
}

describe("completion", () => {
  test.each([
    ["l|", ["level:|", "logger:|", "role:|"]],
    ["timeout -ac|", ["timeout -action:|"]],
    ["level:war|", ["level:WARNING |", "level:=WARNING |"]],
    ["type:|", ["type:system |", "type:audit |"]],
    ["logger:|", ["logger:orchestrator.server |", 'logger:"a b" |', 'logger:"quo\\"te" |']],
    ['logger:"a| timeout', ['logger:"a b" |', "logger:orchestrator.server |"]],
    ["-logger:server| timeout", ["-logger:orchestrator.server |timeout"]],
    ["two|", ['"two words":|']],
    ['"two words":|', ['"two words":"x" |']],
    ["role:w|", ['role:"worker" |']],
    ["role:(wor|", ["role:(worker|"]],
    ["role:(worker OR b|) x", ['role:(worker OR "big boss"|) x']],
    ["(role:(worker OR -b|", ['(role:(worker OR -"big boss"|']],
    ["(a OR lo|", ["(a OR logger:|"]],
    ["level:>=war|", ["level:>=WARNING |"]],
    ["level:(war|", ["level:(WARNING|"]],
    ["role:=w|", ['role:="worker" |']],
    ["NOT logger:server|", ["NOT logger:orchestrator.server |"]],
    ['"in a phr|', []],
    ["nothing-like-it|", []],
    ["http://10.0.0.5|", []],
    ["C:\\te|", []],
  ])("of %s", (marked, expected) => {
    expect(complete(marked)).toEqual(expected);
  });

  test("the term built from a field's value matches that value, for any value", () => {
    fc.assert(
      fc.property(fc.string({ unit: "grapheme" }), (value) => {
        const filter = parseFilter({ q: formatTerm("field", value) });
        expect(filter.matches(recordOf({ field: value }), 0)).toBe(true);
        expect(filter.matches(recordOf({ field: `${value}.` }), 0)).toBe(false);
      }),
    );
  });
});

describe("search terms", () => {
  test("are colored without changing the text, for any text", () => {
    const units = fc.constantFrom("a", " ", '"', "\\", ":", "-", "(", ")", "/", "*", "OR ", ">");
    const property = fc.property(
      fc.string({ unit: units }),
      fc.nat(9),
      fc.nat(9),
      (text, from, to) => {
        const wrong = to <= text.length && from < to ? { from, to } : undefined;
        const segments = segmentsOf(text, wrong);
        expect(segments.map((segment) => segment.text).join("")).toBe(text);
        const marked = segments.filter(({ isWrong }) => isWrong);
        expect(marked.map((segment) => segment.text).join("")).toBe(
          wrong ? text.slice(wrong.from, wrong.to) : "",
        );
        const plain = segments.filter(({ kind }) => kind === undefined);
        expect(
          plain
            .map((segment) => segment.text)
            .join("")
            .trim(),
        ).toBe("");
      },
    );
    fc.assert(property);
  });

  test("that are searched for include those that may be a field or text", () => {
    const pasted =
      'http://10.0.0.5:8080/X file.py:42 C:\\temp "D:\\temp" -> --flag f:"v" -a:b action:x';
    expect(searchedTexts(pasted)).toEqual([
      ...["http://10.0.0.5:8080/x", "file.py:42", "c:\\temp", "d:\\temp", "->", "--flag"],
    ]);
    expect(searchedTexts("text level:")).toEqual([]);
  });

  test("that are searched for are the text terms alone", () => {
    expect(searchedTexts('Time "A \\"b" -not -"not either" level:INFO "c:d"')).toEqual([
      "time",
      'a "b',
      "c:d",
    ]);
  });
});

test.each([
  ["level:=WARNING", ["WARNING"]],
  ["-level:=warning", ["INFO", "ERROR"]],
  ["level:WARNING", ["WARNING", "ERROR"]],
])("%s matches %j", (q, expected) => {
  const levels = ["INFO", "WARNING", "ERROR"] as const;
  const filter = parseFilter({ q });
  const found = levels.filter((level) => filter.matches(recordOf({}, level), 0));
  expect(found).toEqual(expected);
});

function recordOf(fields: Record<string, string>, level: Envelope["data"]["level"] = "INFO") {
  const place = { logger: "a", message: "m", module: "", function: "", line: 0 };
  const data = { timestamp: "2025-10-13T09:27:24.339163Z", level, ...place, ...fields };
  const envelope: Envelope = { type: "system_log", data };
  return {
    type: () => envelope.type,
    level: () => level,
    logger: () => "a",
    envelope: () => envelope,
  };
}
