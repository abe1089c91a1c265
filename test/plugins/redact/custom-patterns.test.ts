import * as fc from "fast-check";
import { expect, test } from "vitest";
import { recordOf } from "tailgate/testing";
import type { Value } from "tailgate/plugin";
import redact, { Redactor } from "../../../plugins/redact.ts";

/** Returns what becomes of a message and of an attribute. */
async function open(options: object): Promise<(given: Value, key?: string) => Value[]> {
  const redactor = await Redactor.open(redact.options.parse(options), () => {});
  return (given, key = "text") => {
    const attributes = new Map<string, Value>([[key, given]]);
    const record = redactor.process(recordOf({ body: given, attributes }));
    return [record.body, ...record.attributes.entries().toArray().flat()];
  };
}

test("patterns find what JavaScript's do, in texts of any length and with any characters", async () => {
  const custom = { word: "[a-z]+[0-9]{3}", mark: "é{2,5}|🚀" };
  const run = await open({ keys: [], patterns: [], custom });
  const part = fc.constantFrom(
    "ab",
    "123",
    "é",
    "🚀",
    "x",
    " ",
    " ".repeat(40_000),
    "[REDACTED:a12]",
  );
  fc.assert(
    fc.property(fc.array(part, { maxLength: 8 }), (parts) => {
      const text = parts.join("");
      const expected = text.replaceAll(
        /\[REDACTED:a12\]|(?<word>[a-z]+[0-9]{3})|(?:é{2,5}|🚀)/gu,
        (match, word?: string) => {
          if (match.startsWith("[")) return match;
          return word === undefined ? "[REDACTED:mark]" : "[REDACTED:word]";
        },
      );
      expect(run(text)[0]).toBe(expected);
    }),
    { numRuns: 60 },
  );
});

test("patterns apply to keys, numbers and JSON, and join what other rules find", async () => {
  const custom = { employee: "E-[0-9]{6}", pin: "^[0-9]{9}$", mail: "to [a-z]+@" };
  const run = await open({ custom, actions: { pin: "remove" }, allow: ["E-000000"] });
  expect(run("E-123456 and E-000000", "E-123456")).toEqual([
    "[REDACTED:employee] and E-000000",
    "[REDACTED:employee]",
    "[REDACTED:employee] and E-000000",
  ]);
  expect(run(123456789)[0]).toBe("");
  expect(run(12345)[0]).toBe(12345);
  expect(run("sent to bob@example.com.")[0]).toBe("sent [REDACTED:mail].");
  expect(run('{"id":"E-123456","n":1}')[0]).toBe('{"id":"[REDACTED:employee]","n":1}');
});

test.each([
  [{ a: "(" }, /^custom\.a: the pattern cannot be used: .*missing closing \)/],
  [{ a: "x*" }, /matches the empty text/],
  [{ a: "(?:(?:a{30}){30}){30}" }, /cannot be used/],
  [{ a: "(?=x)" }, /cannot be used/],
])("the patterns %j are rejected", async (custom, message) => {
  const options = redact.options.parse({ custom });
  await expect(redact.plan!(options)).rejects.toThrow(message);
  await expect(Redactor.open(options, () => {})).rejects.toThrow(message);
});

test("a pattern cannot take the name of a built-in rule, or another form", () => {
  for (const name of ["email", "keys", "A", "a-b"]) {
    expect(redact.options.safeParse({ custom: { [name]: "x" } }).success).toBe(false);
  }
});
