import { describe, expect, test } from "vitest";
import { explainQuery } from "../../../src/wire/query/explain.ts";
import { literalsToHighlight } from "../../../src/wire/query/highlight.ts";
import { hintsOf } from "../../../src/wire/query/hints.ts";
import { parseQuery } from "../../../src/wire/query/parse.ts";

test.each([
  ["", "All records."],
  ["type:audit", "All audit events."],
  ["type:audit type:system", "No record is of both types."],
  ["-level:INFO", "Records with level DEBUG."],
  ["level:<ERROR type:system", "System logs with level WARNING or below."],
  [
    "level:WARNING logger:a.b timeout",
    'Records with level WARNING or above where the logger is a.b or below it and the text contains "timeout".',
  ],
  ["a b c", 'Records where the text contains "a", "b", and "c".'],
  ["a OR b", 'Records where the text contains "a" or "b".'],
  ["level:(INFO OR ERROR)", "Records where the level is INFO or ERROR."],
  [
    "(a OR -b) f:*",
    'Records where (the text contains "a" or the text does not contain "b") and f is there.',
  ],
  ["-(a b)", 'Records where not (the text contains "a" and "b").'],
  ["f:100..500 -g:>=5", "Records where f is from 100 to 500 and g is not at least 5."],
  ["f:(>1 <2.5)", "Records where f is above 1 and below 2.5."],
  ['f:(>="a" <="b")', 'Records where f is from "a" to "b".'],
  ["role:worker", 'Records where role is "worker" (or the text contains "role:worker").'],
  ["-role:worker", 'Records where role is not "worker" (nor the text contains "role:worker").'],
  ['"a b":="X"', 'Records where "a b" is exactly "X".'],
  ["f:a* -f:*b", 'Records where f starts with "a" and f does not end with "b".'],
  [
    "logger:*.db f:*a* time*out",
    'Records where the logger ends with ".db", f contains "a", and the text contains "time", then "out".',
  ],
  ["/a+/ -f:/b+/", "Records where the text matches /a+/ and f does not match /b+/."],
  [
    "-logger:a logger:=b",
    "Records where the logger is neither a nor below it and the logger is exactly b.",
  ],
  ['-""', "Records where nothing matches."],
])("%s: %s", (q, words) => expect(explainQuery(parseQuery(q))).toBe(words));

describe("hints", () => {
  const fields = ["instance_id", "details.role", "http.status_code", "duration_ms"];

  test.each([
    ["a or b", "or", "Write OR in capitals"],
    ["a and b", "and", "Terms side by side must all match"],
    ["not a", "not", "Write NOT in capitals"],
    ["-level:INFO x", "-", "only DEBUG is left. To leave out INFO alone, write -level:=INFO."],
    ["NOT level:error", "NOT", "only DEBUG, INFO and WARNING are left"],
    ["-level:DEBUG", "-", "no level is left"],
    ["/a.b/i", "/a.b/i", "ignore case: /a.b/"],
    ["Level:ERROR", "Level:", "in lower case here: level:"],
    ["instanceId:x", "instanceId:", "Did you mean instance_id?"],
    ["http.status_cod:>5", "http.status_cod:", "Did you mean http.status_code?"],
    ["nothing:>5", "nothing:", "No stored record has the field nothing."],
  ])("%s: at %s, %s", (q, where, text) => {
    const [hint, ...others] = hintsOf(q, fields);
    expect(others).toEqual([]);
    expect(hint?.text).toContain(text);
    expect(q.slice(hint!.from, hint!.to)).toBe(where);
  });

  test.each([
    ...["or", "a", "or b", '"or" b', "-level:=INFO", "level:INFO", "a OR", "/a.b/"],
    ...[
      "instance_id:x",
      "role:x",
      "http:x",
      "resource.host.name:x",
      "http://h:1/",
      "12:30:45",
      "service:x",
    ],
  ])("%s needs none", (q) => expect(hintsOf(q, fields)).toEqual([]));

  test("about fields need the names of fields", () => expect(hintsOf("nothing:>5")).toEqual([]));
});

test("what is searched for in texts is highlighted", () => {
  const q = 'Time OR "A b" -not x*y /re/ f:v g:"w" level:INFO -(c d) TIME';
  const texts = ["time", "a b", "x", "y", "f:v"];
  expect(literalsToHighlight(parseQuery(q))).toEqual(texts);
});
