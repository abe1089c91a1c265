/** The fields, values and patterns of records are those of the records, before and after the records are merged. */

import { afterAll, beforeAll, expect, test } from "vitest";
import type { Envelope, JsonValue } from "tailgate";
import type { LogRecord } from "tailgate/plugin";
import { SqliteJournal } from "../../src/journal/sqlite.ts";
import { ask, HttpHarness } from "../harness/http-server.ts";
import { startSecured } from "../harness/secured-gateway.ts";
import { temporaryDirectory } from "../harness/workspace.ts";
import { encodeRecords } from "../harness/records.ts";
import { RETAIN_ALL } from "./history-disk.ts";

const RECORDS = 600;
const START_MS = Date.UTC(2025, 9, 13, 9);

const cleanUps: (() => Promise<unknown> | void)[] = [];
let journal: SqliteJournal;
let http: HttpHarness;

function attributesOf(index: number): LogRecord["attributes"] {
  const attributes: [string, unknown][] = [
    ["role", ["user", "Assistant", "tool"][index % 3]],
    ["usage", new Map([["input_tokens", index % 5]])],
    ["a b", index % 2 === 0],
    ["tags", index % 4 === 0 ? [] : ["x", `y${index % 7}`]],
    ["instance_id", index % 11 === 0 ? index : `worker-${index % 6}`],
  ];
  if (index % 50 === 0) attributes.push([`rare,${index}`, null]);
  return new Map(attributes) as LogRecord["attributes"];
}

function recordOf(index: number): Partial<LogRecord> {
  const isEvent = index % 10 === 0;
  const attributes = attributesOf(index);
  if (isEvent) {
    attributes.set("event_type", `step ${index % 3}`);
    attributes.set("details", new Map([["x", index % 4]]));
  }
  return {
    timestamp: BigInt(START_MS + 1000 * index) * 1_000_000n,
    severityText: isEvent ? "INFO" : ["DEBUG", "INFO", "WARN", "ERROR"][index % 4]!,
    scope: {
      name: isEvent ? "orchestrator.audit" : `logger.${index % 3}`,
      version: "",
      attributes: new Map(),
    },
    body: index % 2 === 0 ? `task ${index} has ended` : `user ${index % 9} has signed in now`,
    attributes,
  };
}

async function open(directory: string): Promise<void> {
  const alarm = (text: string): void => {
    throw new Error(text);
  };
  journal = await SqliteJournal.open({ directory, retention: RETAIN_ALL, alarm });
}

async function append(from: number, to: number): Promise<void> {
  const records = Array.from({ length: to - from }, (_, index) => recordOf(from + index));
  for (const batch of encodeRecords(records)) await journal.append(batch);
}

beforeAll(async () => {
  const directory = await temporaryDirectory(cleanUps);
  await open(directory);
  for (let from = 0; from < RECORDS; from += 100) await append(from, from + 100);
  // Then no record is in memory.
  await journal.close();
  await open(directory);
});

afterAll(async () => {
  await journal.close();
  for (const cleanUp of cleanUps) await cleanUp();
});

type Query = Readonly<Record<string, string>>;

interface Summary {
  readonly counted: { readonly from: number; readonly to: number };
  readonly facets: Readonly<Record<string, Readonly<Record<string, number>>>>;
  readonly fields: readonly {
    readonly name: string;
    readonly types: readonly string[];
    readonly records: number;
  }[];
  readonly values: readonly { readonly value: string; readonly count: number }[];
  readonly patterns: readonly {
    readonly pattern: string;
    readonly count: number;
    readonly example: string;
    readonly sequence: number;
  }[];
  readonly others: number;
  readonly next_cursor: string | null;
}

async function get(path: string, query: Query = {}): Promise<Summary> {
  const { status, body } = await ask(`${http.url}${path}?${new URLSearchParams(query)}`);
  expect({ status, body }).toMatchObject({ status: 200 });
  const summary = JSON.parse(body) as Summary;
  expect(summary.next_cursor).toBe(null);
  return summary;
}

async function envelopesOf(query: Query): Promise<(Envelope & { sequence: number })[]> {
  const { body } = await ask(
    `${http.url}/api/logs?${new URLSearchParams({ ...query, limit: "1000" })}`,
  );
  return JSON.parse(body).records;
}

/** The members of a record that may have a field, the outermost first. */
function objectsOf({ data }: Envelope): Record<string, JsonValue>[] {
  const own = data as unknown as Record<string, JsonValue>;
  const metadata = (own["metadata"] ?? {}) as Record<string, JsonValue>;
  return [own, metadata, (metadata["details"] ?? {}) as Record<string, JsonValue>];
}

function valuesOf(envelope: Envelope, name: string): string[] {
  const at = (value: JsonValue | undefined, path: readonly string[]): JsonValue | undefined =>
    path.reduce<JsonValue | undefined>(
      (inner, key) => (inner as Record<string, JsonValue> | undefined)?.[key],
      value,
    );
  const path = name.split(".");
  const found = objectsOf(envelope).map((object) => at(object, path));
  if (name === "instance_id") return found.filter((value) => typeof value === "string").slice(0, 1);
  return found
    .flat()
    .filter((value) => value !== undefined && value !== null)
    .map(String);
}

function countsOf(envelopes: readonly Envelope[], name: string): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const value of envelopes.flatMap((envelope) => valuesOf(envelope, name))) {
    counts[value] = (counts[value] ?? 0) + 1;
  }
  return counts;
}

const FACETS = ["role", "usage.input_tokens", "a b", "tags", "instance_id", "details.x", "x"];
const QUERIES: Query[] = [
  {},
  { q: "role:user -level:=DEBUG" },
  { type: "audit_log" },
  { until: new Date(START_MS + 400_000).toISOString() },
];

async function expectAll(): Promise<void> {
  for (const query of QUERIES) {
    const envelopes = await envelopesOf(query);
    expect(envelopes.length).toBeGreaterThan(10);

    const facets = [...FACETS, "level", "type", "absent"].join(",");
    const counted = await get("/api/counts", { ...query, facets });
    for (const name of FACETS) {
      expect([name, counted.facets[name]]).toEqual([name, countsOf(envelopes, name)]);
    }
    expect(counted.facets["absent"]).toEqual({});
    const types = Object.groupBy(envelopes, ({ type }) => type);
    expect(counted.facets["type"]).toEqual(
      Object.fromEntries(Object.entries(types).map(([type, own]) => [type, own.length])),
    );

    const { fields } = await get("/api/fields", query);
    const byName = new Map(fields.map((field) => [field.name, field]));
    const ofTags = envelopes.length;
    expect(byName.get("tags")!.types).toContain("list");
    expect(byName.get("role")).toEqual({ name: "role", types: ["string"], records: ofTags });
    expect(byName.get("a b")).toEqual({ name: "a b", types: ["boolean"], records: ofTags });
    expect(byName.get("usage.input_tokens")!.types).toEqual(["number"]);
    const xs = envelopes.filter((envelope) => valuesOf(envelope, "x").length > 0).length;
    expect(byName.get("x")).toEqual(
      xs === 0 ? undefined : { name: "x", types: ["number"], records: xs },
    );
    expect(fields.map(({ records }) => records)).toEqual(
      fields.map(({ records }) => records).toSorted((one, other) => other - one),
    );

    for (const name of ["role", "usage.input_tokens", "a b"]) {
      const path = `/api/fields/${encodeURIComponent(name)}/values`;
      const { values } = await get(path, query);
      expect(Object.fromEntries(values.map(({ value, count }) => [value, count]))).toEqual(
        countsOf(envelopes, name),
      );
    }

    const { patterns, others } = await get("/api/patterns", query);
    expect(others).toBe(0);
    expect(patterns.reduce((sum, { count }) => sum + count, 0)).toBe(envelopes.length);
    for (const { pattern, count, example, sequence } of patterns) {
      const own = envelopes.find((envelope) => envelope.sequence === sequence)!;
      expect(example).toBe(own.data.message);
      const wording = pattern.split("<_>")[1]!;
      expect(envelopes.filter(({ data }) => data.message.includes(wording))).toHaveLength(count);
    }
  }
}

test("facets, fields, values and patterns are those of the records, merged or not", async () => {
  http = await new HttpHarness({ journal }).open();
  await expectAll();
  await journal.merge();
  expect(journal.mergedUpTo).toBe(RECORDS);
  await expectAll();
  // Some are merged, and some are in memory.
  await append(RECORDS, RECORDS + 100);
  await expectAll();
});

test("values start with a prefix in any case, the most frequent ones first, at most as many as requested", async () => {
  http = await new HttpHarness({ journal }).open();
  const { values } = await get("/api/fields/role/values", { prefix: "ASS" });
  expect(values.map(({ value }) => value)).toEqual(["Assistant"]);
  const some = await get("/api/fields/tags/values", { limit: "2" });
  expect(some.values).toHaveLength(2);
  expect(some.values[0]!.value).toBe("x");
  expect((await get("/api/fields/absent/values")).values).toEqual([]);
  const { patterns, others } = await get("/api/patterns", { limit: "1" });
  expect(patterns).toHaveLength(1);
  expect(others).toBeGreaterThan(100);
  const { facets } = await get("/api/counts", { facets: '"rare,50",role,role' });
  expect(Object.keys(facets)).toEqual(["rare,50", "role"]);
});

test("a token reads only the fields, values and patterns of records that it may read", async () => {
  const secured = await startSecured({
    all: { scopes: ["read"] },
    some: { scopes: ["read"], filter: "message:visible*" },
    sender: { scopes: ["ingest"] },
  });
  const logRecords = ["visible 1", "hidden 2"].map((stringValue) => ({ body: { stringValue } }));
  const sent = await fetch(`${secured.url}/v1/logs`, {
    method: "POST",
    headers: { "Content-Type": "application/json", ...secured.tokens.bearer("sender") },
    body: JSON.stringify({ resourceLogs: [{ scopeLogs: [{ logRecords }] }] }),
  });
  expect(sent.status).toBe(200);
  const read = async (name: string, path: string): Promise<string> => {
    const { status, body } = await ask(secured.url + path, {
      headers: secured.tokens.bearer(name),
    });
    expect(status).toBe(200);
    return body;
  };
  for (const path of ["/api/fields/message/values", "/api/patterns"]) {
    expect(await read("all", path)).toContain("hidden");
    expect(await read("some", path)).toContain("visible");
    expect(await read("some", path)).not.toContain("hidden");
  }
  expect(JSON.parse(await read("some", "/api/fields")).fields).toContainEqual({
    name: "message",
    types: ["string"],
    records: 1,
  });
});
