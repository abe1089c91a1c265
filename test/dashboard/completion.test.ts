import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  completeQuery,
  searchedTexts,
  splitWords,
  toggleTerm,
  toTerm,
} from "../../src/dashboard/search/query.ts";
import type { Envelope } from "tailgate";
import { parseFilter } from "tailgate/plugin";

const KNOWN = {
  fields: ["level", "logger", "action", "instance_id", "two words"],
  values: (field: string) => (field === "logger" ? ["orchestrator.server", "a b", 'quo"te'] : []),
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
    ["l|", ["level:|", "logger:|"]],
    ["timeout -ac|", ["timeout -action:|"]],
    ["level:war|", ["level:WARNING |", "level:=WARNING |"]],
    ["type:|", ["type:system |", "type:audit |"]],
    ["logger:|", ["logger:orchestrator.server |", 'logger:"a b" |', 'logger:"quo\\"te" |']],
    ['logger:"a| timeout', ['logger:"a b" |', "logger:orchestrator.server |"]],
    ["-logger:server| timeout", ["-logger:orchestrator.server |timeout"]],
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
        const filter = parseFilter({ q: toTerm("field", value) });
        expect(filter.matches(recordOf({ field: value }), 0)).toBe(true);
        expect(filter.matches(recordOf({ field: `${value}.` }), 0)).toBe(false);
      }),
    );
  });
});

describe("search terms", () => {
  test("cover the whole text except spaces, for any text", () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom("a", " ", '"', "\\", ":", "-") }), (text) => {
        const words = splitWords(text);
        expect(words.map((word) => word.text)).toEqual(
          words.map(({ from, to }) => text.slice(from, to)),
        );
        const length = words.reduce((sum, word) => sum + word.text.replaceAll(" ", "").length, 0);
        expect(length).toBe(text.replaceAll(" ", "").length);
      }),
    );
  });

  test("are inserted, replaced and removed", () => {
    expect(toggleTerm('timeout "a b"', "logger", "logger:x")).toBe('timeout "a b" logger:x');
    expect(toggleTerm('logger:"y z" timeout', "logger", "logger:x")).toBe("timeout logger:x");
    expect(toggleTerm('timeout logger:x "a b"', "logger", "logger:x")).toBe('timeout "a b"');
    expect(toggleTerm("-logger:x", "logger", "logger:x")).toBe("-logger:x logger:x");
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
