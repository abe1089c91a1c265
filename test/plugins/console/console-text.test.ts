import fc from "fast-check";
import { batchOf } from "tailgate/testing";
import { expect, test } from "vitest";
import { consoleLine } from "../../../plugins/console/console-line.ts";
import { ConsoleText } from "../../../plugins/console/console-text.ts";
import { FramedData } from "../../../plugins/system-logs/framed-data.ts";
import { printable, type Batch, type LogRecord, type Value } from "tailgate/plugin";

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

const record: fc.Arbitrary<Partial<LogRecord>> = fc.record({
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

/** What is gathered of the batch. */
function gathered(batch: Batch, gathering: ConsoleText): string {
  const data = new FramedData(batch);
  for (let index = 0; index < batch.length; index++) {
    data.goTo(index);
    gathering.add(data.frames, data.start, data.end, batch.level(index));
  }
  const shown = Buffer.from(gathering.bytes).toString();
  gathering.clear();
  return shown;
}

test.each([false, true])(
  "the lines made of a record's bytes are those made of its values, colours: %j",
  (isColored) => {
    const gathering = new ConsoleText(isColored);
    fc.assert(
      fc.property(fc.array(record, { minLength: 1, maxLength: 8 }), (given) => {
        const batch = batchOf(given);
        const lines = given.map((_, index) => consoleLine(batch.envelope(index), isColored));
        expect(gathered(batch, gathering)).toBe(lines.join(""));
      }),
      { numRuns: 200 },
    );
  },
);

test("no character that has to be shown escaped is shown as it is", () => {
  const bodies = escapedCharacters().map((character) => `a${character}z`);
  expect(bodies.length).toBeGreaterThan(70);
  const batch = batchOf(bodies.map((body) => ({ body })));
  const lines = bodies.map((body) => ` - ${printable(body)}\n`);
  expect(gathered(batch, new ConsoleText(false)).match(/ - a.*z\n/g)).toEqual(lines);
});

/** Of the basic plane, in which Unicode has all of them. */
function escapedCharacters(): string[] {
  const characters = Array.from({ length: 0x10000 }, (_, code) => String.fromCharCode(code));
  return characters.filter((one) => one !== printable(one));
}

test("lines may be larger than all memory that is kept for them", () => {
  const stacktrace = "\tat com.Foo\x7f\n".repeat(8_000);
  const batch = batchOf([
    { body: "\x7f".repeat(60_000) },
    { attributes: new Map([["exception.stacktrace", stacktrace]]) },
  ]);
  const lines = [0, 1].map((index) => consoleLine(batch.envelope(index), false));
  expect(gathered(batch, new ConsoleText(false))).toBe(lines.join(""));
});
