import { stripVTControlCharacters } from "node:util";
import fc from "fast-check";
import { batchOf } from "tailgate/testing";
import { expect, test } from "vitest";
import { consoleLine } from "../../../plugins/console/console-line.ts";
import { ConsoleText } from "../../../plugins/console/console-text.ts";
import { printable, type LogRecord, type Value } from "tailgate/plugin";

const text = fc.string({
  unit: fc.oneof(
    fc.constantFrom("a", " ", '"', "\\", "\n", "\r", "\t", "\b", "\x1b", "\x7f", "\x9b"),
    fc.constantFrom(
      "\u2028",
      "\u200f",
      "…",
      "°",
      "\u061c",
      "\u202e",
      "\u2069",
      "é",
      "ب",
      "’",
      "✓",
      "\ud800",
    ),
    fc.constantFrom("exception.", '","message":"', ',"exception.type":"'),
    fc.string({ unit: "binary", minLength: 1, maxLength: 1 }),
  ),
  maxLength: 30,
});

const value: fc.Arbitrary<Value> = fc.oneof(
  text,
  fc.constantFrom<Value>(null, 1.5, -0, -2, 1e21, 5n, true, ["a\nb"], [1, [true]], "", "5"),
  fc.constantFrom("word", "two words", "a=b", "x".repeat(199), "y".repeat(201), "é".repeat(250)),
  fc.constant(new Map([["a", new Map([["b", new Map([["c", new Map([["d", "e"]])]])]])]])),
  fc.constant(new Map([["exception.type", "nested"]])),
);

const name = fc.oneof(
  fc.constantFrom("exception.type", "exception.message", "exception.stacktrace", "step"),
  fc.constantFrom("7", "0", "exception", "exception.cause", "a.b", "n".repeat(150), "__proto__"),
  text,
);

const word = fc.string({ unit: fc.constantFrom("a", "b", " ", "=", ".", "7"), maxLength: 12 });

const plainValue: fc.Arbitrary<Value> = fc.oneof(
  word,
  fc.constantFrom<Value>(0, 1.5, 42, true, false, null, "x".repeat(200)),
);

/** Records whose attributes are copied from their JSON unless they exceed the limit. */
const plainRecord: fc.Arbitrary<Partial<LogRecord>> = fc.record({
  severityNumber: fc.integer({ min: 0, max: 24 }),
  severityText: fc.constant(""),
  body: word,
  attributes: fc
    .array(
      fc.tuple(
        word.map((given) => `k${given}`),
        fc.oneof(
          plainValue,
          fc
            .array(fc.tuple(word, plainValue), { maxLength: 3 })
            .map((members) => new Map(members) as Value),
        ),
      ),
      { maxLength: 8 },
    )
    .map((members) => new Map(members)),
});

const anyRecord: fc.Arbitrary<Partial<LogRecord>> = fc.record({
  timestamp: fc.bigInt({ min: 1n, max: 4_000_000_000_000_000_000n }),
  severityNumber: fc.integer({ min: 0, max: 24 }),
  severityText: fc.constant(""),
  body: fc.oneof(
    text,
    text.map((given) => given.repeat(40)),
    value,
  ),
  attributes: fc.array(fc.tuple(name, value), { maxLength: 8 }).map((members) => new Map(members)),
  // Audit events do not reach the console.
  scope: text.map((logger) => ({ name: `x${logger}`, version: "", attributes: new Map() })),
});

const record = fc.oneof(anyRecord, plainRecord);

test.each([false, true])(
  "a record is one line, followed by its exception on indented lines, colors: %j",
  (isColored) => {
    fc.assert(
      fc.property(fc.array(record, { minLength: 1, maxLength: 8 }), (given) => {
        const batch = batchOf(given);
        for (let index = 0; index < batch.length; index++) {
          const [line, ...others] = consoleLine(batch.envelope(index), isColored).split("\n");
          expect(line).toMatch(/^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d - /);
          expect(others.pop()).toBe("");
          expect(others.every((other) => other.startsWith("    "))).toBe(true);
          for (const one of [line!, ...others]) {
            // SGR sequences are the only control characters.
            const plain = isColored ? stripVTControlCharacters(one) : one;
            expect(printable(plain)).toBe(plain);
          }
        }
      }),
      { numRuns: 200 },
    );
  },
);

test("every character that needs escaping is escaped", () => {
  const bodies = escapedCharacters().map((character) => `a${character}z`);
  expect(bodies.length).toBeGreaterThan(70);
  const batch = batchOf(bodies.map((body) => ({ body })));
  for (const [index, body] of bodies.entries()) {
    const line = consoleLine(batch.envelope(index), false);
    expect(line).toMatch(/ - a.*z\n$/);
    expect(line.endsWith(` - ${printable(body)}\n`)).toBe(true);
  }
});

/** In the basic multilingual plane, which contains all of them. */
function escapedCharacters(): string[] {
  const characters = Array.from({ length: 0x10000 }, (_, code) => String.fromCharCode(code));
  return characters.filter((one) => one !== printable(one));
}

test.each([false, true])(
  "lines copied from JSON equal those formatted from values, colors: %j",
  (isColored) => {
    const output = new ConsoleText(isColored);
    fc.assert(
      fc.property(fc.array(record, { minLength: 1, maxLength: 8 }), (given) => {
        const batch = batchOf(given);
        const lines = given.map((_, index) => consoleLine(batch.envelope(index), isColored));
        for (let index = 0; index < batch.length; index++) output.add(batch, index);
        expect(Buffer.from(output.bytes).toString()).toBe(lines.join(""));
        output.clear();
      }),
      { numRuns: 300 },
    );
  },
);

test("lines may be larger than the buffer", () => {
  const stacktrace = "\tat com.Foo\x7f\n".repeat(8_000);
  const batch = batchOf([
    { body: "\x7f".repeat(60_000) },
    { body: "x".repeat(60_000) },
    { attributes: new Map([["exception.stacktrace", stacktrace]]) },
  ]);
  const output = new ConsoleText(false);
  for (const index of [0, 1, 2]) output.add(batch, index);
  const lines = [0, 1, 2].map((index) => consoleLine(batch.envelope(index), false));
  expect(Buffer.from(output.bytes).toString()).toBe(lines.join(""));
});
