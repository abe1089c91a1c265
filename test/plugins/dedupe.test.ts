import { readFile } from "node:fs/promises";
import { isDeepStrictEqual } from "node:util";
import fc from "fast-check";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { Workspace } from "../harness/workspace.ts";
import {
  ProcessingGateway,
  textRecord,
  type OtlpRecord,
  type OtlpValue,
} from "./processors/processing-gateway.ts";

/** Longer than the tests run. */
const FOREVER = 3600;

let workspace: Workspace;
let gateway: ProcessingGateway;

beforeAll(async () => {
  workspace = await Workspace.create();
  gateway = await ProcessingGateway.start(
    {
      dedupe: { filter: "logger:all", interval_seconds: FOREVER },
      "dedupe/excluding": {
        filter: "logger:excluding",
        interval_seconds: FOREVER,
        exclude_fields: ["attributes.request_id", "attributes.größe"],
        log_count_attribute: "times",
      },
      "dedupe/including": {
        filter: "logger:including",
        interval_seconds: FOREVER,
        include_fields: ["attributes.instance_id"],
      },
      "dedupe/few": { filter: "logger:few", interval_seconds: FOREVER, max_keys: 1 },
      "dedupe/short": { filter: "logger:short", interval_seconds: 0.1 },
    },
    { logDir: workspace.path("logs"), exporters: { file: {} } },
  );
});

afterAll(async () => {
  await gateway[Symbol.asyncDispose]();
  await workspace[Symbol.asyncDispose]();
});

/** Returns message and count of what is stored of a logger. */
async function counted(logger: string, attribute = "log_count"): Promise<[string, unknown][]> {
  const stored = await gateway.stored(`logger:${logger}`);
  return stored.map(({ data }) => [data.message, data[attribute]]);
}

function log(logger: string, ...messages: string[]): void {
  for (const message of messages) gateway.logging.getLogger(logger).info(message, { key: "value" });
}

test("the first of equal records passes at once, and their count precedes the next different one", async () => {
  log("all.order", "a", "a", "a", "a");
  expect(await counted("all.order")).toEqual([["a", undefined]]);
  log("all.order", "b", "a", "a", "c");
  expect(await counted("all.order")).toEqual([
    ["a", undefined],
    ["a", 3],
    ["b", undefined],
    ["a", undefined],
    ["a", 1],
    ["c", undefined],
  ]);
});

test("a count has the times of the records that it stands for", async () => {
  const at = (second: number): OtlpRecord => ({
    ...textRecord("same", { color: "red" }),
    timeUnixNano: `176034764${second}339163000`,
    traceId: `${second}af7651916cd43dd8448eb211c80319c`,
  });
  const records = [1, 2, 3, 4].map(at);
  await gateway.send({ logger: "all.times", records });
  await gateway.send({ logger: "all.times", records: [textRecord("other")] });
  const [, repeated] = await gateway.stored("logger:all.times");
  expect(repeated!.data).toMatchObject({
    message: "same",
    color: "red",
    timestamp: "2025-10-13T09:27:24.339163Z",
    log_count: 3,
    first_timestamp: "2025-10-13T09:27:22.339163Z",
    last_timestamp: "2025-10-13T09:27:24.339163Z",
  });
});

test("records of other loggers and other processes do not end a run", async () => {
  const from = (service: string): Promise<number> =>
    gateway.send({
      logger: "all.processes",
      records: [textRecord("beat")],
      resource: [{ key: "service.name", value: { stringValue: service } }],
    });
  for (const service of ["one", "two", "one", "two"]) {
    await from(service);
    log(`all.${service}`, service);
  }
  expect(await counted("all.processes")).toEqual([
    ["beat", undefined],
    ["beat", undefined],
  ]);
});

test("audit events are never collapsed", async () => {
  const before = (await gateway.stored("type:audit")).length;
  await gateway.send({
    logger: "orchestrator.audit",
    records: [1, 2, 3].map(() => textRecord("e")),
  });
  expect(await gateway.stored("type:audit")).toHaveLength(before + 3);
});

test("exclude_fields may differ, and everything else may not", async () => {
  const records = ["1", "2", "3"].map((id) =>
    textRecord("m", { user: "u", request_id: id, größe: id }),
  );
  await gateway.send({ logger: "excluding", records });
  await gateway.send({ logger: "excluding", records: [textRecord("m", { user: "other" })] });
  expect(await counted("excluding", "times")).toEqual([
    ["m", undefined],
    ["m", 2],
    ["m", undefined],
  ]);
});

test("with include_fields, only these must be equal, and the level", async () => {
  const records = [
    textRecord("1", { instance_id: "i" }),
    textRecord("2", { instance_id: "i", other: "x" }),
    textRecord("3", { instance_id: "i" }, 17),
    textRecord("4", { instance_id: "j" }, 17),
  ];
  // Without times, they would have that of their arrival, which is later than that of the count.
  for (const one of records) await gateway.send({ logger: "including", records: [one] });
  expect(await counted("including")).toEqual([
    ["1", undefined],
    ["2", 1],
    ["3", undefined],
    ["4", undefined],
  ]);
});

test("a count that ends within a request has its place between the records", async () => {
  const timeUnixNano = "1760347644339163000";
  const records = ["a", "a", "b"].map((body) => ({ ...textRecord(body), timeUnixNano }));
  await gateway.send({ logger: "all.within", records });
  expect(await counted("all.within")).toEqual([
    ["a", undefined],
    ["a", 1],
    ["b", undefined],
  ]);
});

test("beyond max_keys the oldest record is forgotten, after its count", async () => {
  log("few.one", "a", "a");
  log("few.two", "b", "b");
  log("few.one", "a");
  expect(await counted("few")).toEqual([
    ["a", undefined],
    ["a", 1],
    ["b", undefined],
    ["b", 1],
    ["a", undefined],
  ]);
  expect(await gateway.metric("tailgate_dedupe_forgotten_records_total", "dedupe/few")).toBe(2);
  expect(await gateway.metric("tailgate_dedupe_repeated_records_total", "dedupe/few")).toBe(2);
  expect(await gateway.metric("tailgate_records_filtered_total", "dedupe/few")).toBe(2);
});

test("a run ends after interval_seconds", async () => {
  log("short", "a", "a", "a");
  await vi.waitFor(async () =>
    expect(await counted("short")).toEqual([
      ["a", undefined],
      ["a", 2],
    ]),
  );
  log("short", "a");
  expect(await counted("short")).toHaveLength(3);
});

test("records of more than 16 KiB always pass", async () => {
  const large = "x".repeat(17 << 10);
  log("all.large", "a", large, large, "a");
  expect(await counted("all.large")).toHaveLength(4);
});

const text = fc.constantFrom("", "a", "b", "ab", "\u0000", "ä");
const { value } = fc.letrec<{ value: OtlpValue }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 2 },
    text.map((stringValue) => ({ stringValue })),
    fc.constantFrom(...["0", "1"].map((intValue) => ({ intValue }))),
    fc.boolean().map((boolValue) => ({ boolValue })),
    fc
      .array(fc.record({ key: text, value: tie("value") }), { maxLength: 2 })
      .map((values) => ({ kvlistValue: { values } })),
  ),
}));
const record: fc.Arbitrary<OtlpRecord> = fc.record({
  body: value,
  severityNumber: fc.constantFrom(9, 10, 17),
  severityText: text,
  attributes: fc.array(fc.record({ key: text, value }), { maxLength: 2 }),
});

let runs = 0;

test("exactly the records are collapsed that are equal to the one before", async () => {
  const records = fc
    .array(record, { minLength: 1, maxLength: 4 })
    .chain((pool) => fc.array(fc.constantFrom(...pool), { minLength: 1, maxLength: 12 }));
  await fc.assert(
    fc.asyncProperty(records, async (sent) => {
      const logger = `all.run${++runs}`;
      await gateway.send({ logger, records: [...sent, textRecord("the end")] });
      let first: OtlpRecord | undefined;
      let expected = 0;
      for (const one of sent) {
        if (!isDeepStrictEqual(one, first)) expected++;
        first = one;
      }
      const stored = (await gateway.stored(`logger:${logger}`)).map(({ data }) => data);
      const counts = stored.map((data) => data["log_count"] as number | undefined);
      expect(counts.filter((count) => count === undefined)).toHaveLength(expected + 1);
      expect(counts.reduce<number>((sum, count = 1) => sum + count, 0)).toBe(sent.length + 1);
    }),
    { numRuns: 60 },
  );
});

test("a stop stores the counts of runs", async () => {
  log("all.stop", "last", "last");
  await gateway.logging.stop();
  const lines = (await readFile(workspace.path("logs/orchestrator.log"), "utf8")).split("\n");
  const stored = lines.filter((line) => line.includes('"all.stop"'));
  expect(stored.map((line) => JSON.parse(line) as object)).toMatchObject([
    { message: "last", key: "value" },
    { message: "last", key: "value", log_count: 1 },
  ]);
});

test("include_fields and exclude_fields cannot be combined", async () => {
  const fields = { include_fields: ["body"], exclude_fields: ["attributes.a"] };
  await expect(ProcessingGateway.start({ dedupe: fields })).rejects.toMatchObject({
    code: "CONFIG_INVALID",
    message: expect.stringContaining("cannot be combined"),
  });
});
