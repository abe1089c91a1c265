import { readdirSync, readFileSync } from "node:fs";
import fc from "fast-check";
import { expect, test } from "vitest";
import { LineRecords } from "../../../src/cli/pipe/line-records.ts";
import { lineParser } from "tailgate/plugin";

const INFO = { number: 9, text: "INFO" };

function create(): LineRecords {
  return new LineRecords({
    parser: lineParser({ timeZone: "UTC" }),
    logger: "app",
    severity: INFO,
    attributes: new Map([["environment", "staging"]]),
  });
}

/** `level: message` of each record. */
function summaries(text: string): string[] {
  const lines = create();
  const records = [...lines.push(Buffer.from(text)), ...lines.end()];
  return records.map(({ record }) => `${record.severityText}: ${record.body as string}`);
}

const TRACEBACK = 'Traceback (most recent call last):\n  File "x.py", line 1, in f\n    1 / 0';

test.each([
  ["of Python", `ERROR:app:failed\n${TRACEBACK}\nZeroDivisionError: division by zero`],
  [
    "of exceptions that led to each other",
    `ERROR:app:failed\n${TRACEBACK}\nKeyError: 1\n\nDuring handling of the above exception, another exception occurred:\n\n${TRACEBACK}\nValueError`,
  ],
  [
    "of Java",
    "2025-10-13 09:27:24 ERROR failed\njava.lang.IllegalStateException: oh\n\tat a.B.c(B.java:1)\nCaused by: java.io.IOException: no\n\t... 5 more",
  ],
  ["of JavaScript", "ERROR failed\n    at main (app.js:1:7) {\n  code: 'ENOENT'\n}"],
  ["of Go", "panic: oh\n\ngoroutine 1 [running]:\nmain.main()\n\t/app/main.go:4 +0x18"],
])("a stack trace %s belongs to the text before it", (_, text) => {
  const next = '{"level":"info","msg":"next"}';
  const records = summaries(`${text}\n${next}\n`);
  expect(records).toHaveLength(2);
  expect(records[0]!.split("\n").slice(1)).toEqual(text.split("\n").slice(1));
  expect(records[1]).toBe("info: next");
});

test.each([
  [TRACEBACK, `ERROR: ${TRACEBACK}`],
  [
    "TypeError: x is not a function\n    at f (a.js:1:2)",
    "ERROR: TypeError: x is not a function\n    at f (a.js:1:2)",
  ],
  ['Exception in thread "main" a.B: oh', 'ERROR: Exception in thread "main" a.B: oh'],
])("an exception after a text that is no error is a record of its own", (text, summary) => {
  expect(summaries(`step 3\n${text}\n`)).toEqual(["INFO: step 3", summary]);
});

test("other lines are records of their own, and empty ones are none", () => {
  expect(summaries("one\n\n  \ntwo\nKeyError: 1\n} \n")).toEqual([
    "INFO: one",
    "INFO: two",
    "INFO: KeyError: 1",
    "INFO: } ",
  ]);
});

test("a record ends before it has more than 1000 lines", () => {
  const records = summaries(`start\n${"  more\n".repeat(1500)}`);
  expect(records.map((text) => text.split("\n").length)).toEqual([1000, 501]);
});

test("records get attributes that they lack, and a long line is cut", () => {
  const lines = create();
  const bytes = Buffer.from(`{"msg":"a","environment":"prod"}\n${"x".repeat(2 << 20)}`);
  const [first, second] = [...lines.push(bytes), ...lines.end()];
  expect(first!.record.attributes.get("environment")).toBe("prod");
  expect(second!.record.attributes.get("environment")).toBe("staging");
  expect(second!.record.body).toMatch(/x \[truncated: 1048576 more bytes\]$/);
});

const fixtures = new URL("../../lines/fixtures/", import.meta.url);
const texts = readdirSync(fixtures)
  .filter((name) => !name.endsWith(".md"))
  .map((name) => readFileSync(new URL(name, fixtures)));

test("it does not matter how the bytes of a log arrive", () => {
  const read = (chunks: readonly Buffer[]): unknown[] => {
    const lines = create();
    const found = chunks.flatMap((chunk) => [...lines.push(chunk)]);
    return [...found, ...lines.end()].map(({ record: { body, attributes, severityText } }) => ({
      body,
      attributes,
      severityText,
    }));
  };
  const cuts = fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 8 });
  fc.assert(
    fc.property(fc.constantFrom(...texts), cuts, (text, parts) => {
      const ends = parts.map((part) => Math.floor(part * text.length)).toSorted((a, b) => a - b);
      const chunks = [...ends, text.length].map((end, index) =>
        text.subarray(ends[index - 1] ?? 0, end),
      );
      expect(read(chunks)).toEqual(read([text]));
    }),
  );
});
