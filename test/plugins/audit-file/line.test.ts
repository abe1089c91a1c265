/** The contents of a line in the audit file. */

import { readFileSync } from "node:fs";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { LogRecord, Value } from "tailgate/plugin";
import {
  AUDIT,
  auditBatch,
  event,
  nameOf,
  NEVER,
  NOON_MS,
  openAudit,
  read,
} from "../../harness/log-exporters.ts";

/** Returns the line for one record. */
async function lineOf(record: Partial<LogRecord>): Promise<string> {
  const { exporter, at } = await openAudit();
  await exporter.write(auditBatch([record]), NEVER);
  return read(at(nameOf(NOON_MS)));
}

const HEAD =
  '{"timestamp":"2025-10-13T09:27:24.339163Z","level":"INFO","event":"hello","logger":"orchestrator.audit"';

describe("a line", () => {
  test.each(goldenCases())("has the fields of the original system: $case", async (golden) => {
    const line = await lineOf(golden.record);
    expect(Object.entries(JSON.parse(line) as object)).toEqual(Object.entries(golden.expected));
  });

  test("without action and metadata has only the four fields", async () => {
    expect(await lineOf({})).toBe(`${HEAD}}\n`);
  });

  test("does not let metadata replace the gateway's fields", async () => {
    const names = ["timestamp", "level", "event", "logger", "seq", "hash", "message", "event_type"];
    const attributes = new Map<string, Value>(names.map((name) => [name, `my ${name}`]));
    expect(await lineOf({ attributes })).toBe(
      `${HEAD},"event_type":"my event_type","extra_timestamp":"my timestamp",` +
        '"extra_level":"my level","extra_event":"my event","extra_logger":"my logger",' +
        '"extra_seq":"my seq","extra_hash":"my hash","message":"my message"}\n',
    );
  });

  test("keeps metadata with colliding names apart", async () => {
    const named = (...names: string[]): Map<string, Value> =>
      new Map(names.map((name, index) => [name, index]));
    expect(await lineOf({ attributes: named("seq", "extra_seq", "other") })).toBe(
      `${HEAD},"extra_extra_seq":0,"extra_seq":1,"other":2}\n`,
    );
    expect(await lineOf({ attributes: named("extra_seq", "extra_extra_seq", "seq", "hash") })).toBe(
      `${HEAD},"extra_seq":0,"extra_extra_seq":1,"extra_extra_extra_seq":2,"extra_hash":3}\n`,
    );
  });

  test("preserves the order and the exact digits of the metadata", async () => {
    const attributes = new Map<string, Value>([
      ["10", 1e21],
      ["2", 0.1],
      [
        "details",
        new Map<string, Value>([
          ["9", [1, "}", "\\"]],
          ["1", 12_345_678_901_234_567_890n],
        ]),
      ],
      ["__proto__", null],
      ['"', 'a"b\\'],
      ["", true],
    ]);
    expect(await lineOf({ attributes })).toBe(
      `${HEAD},"10":1e+21,"2":0.1,"details":{"9":[1,"}","\\\\"],"1":"12345678901234567890"},` +
        '"__proto__":null,"\\"":"a\\"b\\\\","":true}\n',
    );
  });

  test("has everything that was sent, in order", async () => {
    const { exporter, at } = await openAudit();
    const path = at(nameOf(NOON_MS));
    await exporter.write(event("first"), NEVER);
    const { value } = fc.letrec<{ value: Value }>((tie) => ({
      value: fc.oneof(
        { maxDepth: 4 },
        fc.string({ unit: "binary" }),
        fc.integer(),
        fc.double({ min: -1e6, max: 1e6, noNaN: true }),
        fc.constantFrom(true, false, null),
        fc.array(tie("value"), { maxLength: 4 }),
        fc
          .array(fc.tuple(fc.string(), tie("value")), { maxLength: 4 })
          .map((pairs) => new Map(pairs)),
      ),
    }));
    const names = ["timestamp", "level", "event", "logger", "seq", "hash", "event_type", "message"];
    const key = fc.oneof(
      fc.constantFrom(
        ...names,
        ...names.map((name) => `extra_${name}`),
        "extra_extra_seq",
        "10",
        "2",
        "\n",
        '"',
      ),
      fc.string({ unit: "binary" }),
    );
    const attributes = fc.array(fc.tuple(key, value), { maxLength: 12 });
    const record = fc.record({ body: fc.string({ unit: "binary" }), attributes });
    await fc.assert(
      fc.asyncProperty(fc.array(record, { minLength: 1, maxLength: 5 }), async (given) => {
        const before = read(path).length;
        const records = given.map(({ body, attributes: pairs }) => ({
          body,
          attributes: new Map(pairs),
        }));
        await exporter.write(auditBatch(records), NEVER);
        expect(read(path).slice(before)).toBe(records.map(expectedLine).join(""));
      }),
      { numRuns: 300 },
    );
  });
});

const RESERVED = new Set(["timestamp", "level", "event", "logger", "seq", "hash"]);

/** The expected line, built from the record through maps and strings. */
function expectedLine({
  body,
  attributes,
}: {
  body: string;
  attributes: Map<string, Value>;
}): string {
  const line = new Map<string, Value>([
    ["timestamp", "2025-10-13T09:27:24.339163Z"],
    ["level", "INFO"],
    ["event", body],
    ["logger", "orchestrator.audit"],
  ]);
  const eventType = attributes.get("event_type") ?? null;
  if (eventType !== null) {
    line.set("event_type", typeof eventType === "string" ? eventType : json(eventType));
  }
  for (const [key, value] of attributes) {
    if (key === "event_type") continue;
    let name = key;
    while (RESERVED.has(key) && (name === key || line.has(name) || attributes.has(name))) {
      name = `extra_${name}`;
    }
    line.set(name, value);
  }
  return `${json(line)}\n`;
}

/** Like JSON.stringify, but in the order of a map. */
function json(value: Value): string {
  if (Array.isArray(value)) return `[${value.map(json).join(",")}]`;
  if (!(value instanceof Map)) return JSON.stringify(value);
  const members = Array.from(value, ([key, inner]) => `${JSON.stringify(key)}:${json(inner)}`);
  return `{${members.join(",")}}`;
}

interface GoldenCase {
  readonly case: string;
  readonly record: Partial<LogRecord>;
  readonly expected: object;
}

/** The original system's input, as a record, and its output. */
function goldenCases(): GoldenCase[] {
  const text = readFileSync(new URL("../../golden/vectors.jsonl", import.meta.url), "utf8");
  return text
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as { case: string; audit_jsonl: string; ws: string[] })
    .filter((golden) => golden.audit_jsonl !== "")
    .map((golden) => goldenCase(golden.case, golden.audit_jsonl, golden.ws[0]!));
}

function goldenCase(name: string, line: string, frame: string): GoldenCase {
  const { data } = JSON.parse(frame) as {
    data: {
      timestamp: string;
      level: string;
      logger: string;
      message: string;
      action?: string;
      metadata?: Record<string, Value>;
    };
  };
  const metadata = Object.entries(data.metadata ?? {}).map(([key, value]) => [key, plain(value)]);
  const action = data.action === undefined ? [] : [["event_type", data.action]];
  const timestamp = BigInt(Date.parse(`${data.timestamp.slice(0, 19)}Z`)) * 1_000_000n;
  const micros = BigInt(data.timestamp.slice(20));
  return {
    case: name,
    record: {
      timestamp: timestamp + micros * 1000n,
      severityText: data.level,
      body: data.message,
      scope: { ...AUDIT, name: data.logger },
      attributes: new Map([...action, ...metadata] as [string, Value][]),
    },
    expected: improved(JSON.parse(line) as Record<string, unknown>, data),
  };
}

/** The original lets a caller replace the timestamp, the level, the event and the logger. */
function improved(
  line: Record<string, unknown>,
  data: { timestamp: string; level: string; logger: string; message: string },
): object {
  const { timestamp, level, event: said, logger, ...rest } = line;
  const ours = {
    timestamp: `${data.timestamp}Z`,
    level: data.level,
    event: data.message,
    logger: data.logger,
  };
  const isSpoofed = level !== data.level || said !== data.message;
  const extras = {
    extra_level: level,
    extra_timestamp: timestamp,
    extra_logger: logger,
    extra_event: said,
  };
  return { ...ours, ...rest, ...(isSpoofed ? extras : {}) };
}

/** Converts objects to maps. */
function plain(value: unknown): Value {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return value as Value;
  return new Map(Object.entries(value).map(([key, inner]) => [key, plain(inner)]));
}
