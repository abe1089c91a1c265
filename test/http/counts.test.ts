import { describe, expect, test } from "vitest";
import { LEVELS, type Envelope } from "tailgate";
import type { LogRecord } from "tailgate/plugin";
import { TimeBuckets, type BucketsMessage } from "../../src/wire/histogram.ts";
import { Sessions } from "./history-disk.ts";
import { ask, HttpHarness } from "../harness/http-server.ts";

type Query = Record<string, string>;

interface Counts extends BucketsMessage {
  readonly epoch: string;
  readonly counted: { readonly from: number; readonly to: number };
  readonly facets: Readonly<Record<string, Record<string, number>>>;
  readonly next_cursor: string | null;
}

async function read<Answer>(harness: HttpHarness, path: string, query: Query): Promise<Answer> {
  const { status, body } = await ask(`${harness.url}${path}?${new URLSearchParams(query)}`);
  expect({ status, body }).toMatchObject({ status: 200 });
  return JSON.parse(body) as Answer;
}

/** Requests all responses up to the end of the journal. */
async function readAll<Answer extends { readonly next_cursor: string | null }>(
  harness: HttpHarness,
  path: string,
  query: Query,
): Promise<Answer[]> {
  const answers = [await read<Answer>(harness, path, query)];
  for (let cursor; (cursor = answers.at(-1)!.next_cursor);) {
    answers.push(await read<Answer>(harness, path, { ...query, cursor }));
  }
  return answers;
}

function sumOf(answers: readonly Counts[]): TimeBuckets {
  const sum = new TimeBuckets();
  for (const answer of answers) sum.merge(TimeBuckets.fromMessage(answer));
  return sum;
}

const START_MS = Date.UTC(2025, 9, 13, 9);
const SEVERITIES = ["DEBUG", "INFO", "WARN", "ERROR", "FATAL"];

/** One record per second over all levels, three loggers and seven instances; every tenth is an audit event. */
function recordsOf(count: number): Partial<LogRecord>[] {
  return Array.from({ length: count }, (_, index) => {
    const isEvent = index % 10 === 0;
    const attributes = new Map([["instance_id", `worker-${index % 7}`]]);
    if (isEvent) attributes.set("event_type", "step");
    return {
      timestamp: BigInt(START_MS + 1000 * index) * 1_000_000n,
      severityText: SEVERITIES[isEvent ? 1 : index % 5]!,
      scope: {
        name: isEvent ? "orchestrator.audit" : `logger.${index % 3}`,
        version: "",
        attributes: new Map(),
      },
      body: `message ${index}`,
      attributes,
    };
  });
}

function timeOf(second: number): string {
  return new Date(START_MS + 1000 * second).toISOString();
}

describe.for(["memory", "sqlite"] as const)("with the %s engine", (engine) => {
  test("counts exactly what /api/logs finds", async () => {
    const sessions = await Sessions.of(engine);
    const first = await sessions.next();
    for (let from = 0; from < 2000; from += 100) {
      await first.log(...recordsOf(2000).slice(from, from + 100));
    }
    const harness = await sessions.next();
    const queries: Query[] = [
      {},
      { q: "level:WARNING -logger:logger.1" },
      { type: "audit_log" },
      { since: timeOf(100), until: timeOf(1500), q: "instance_id:worker-3" },
      { since: timeOf(5000) },
    ];
    for (const query of queries) {
      const pages = await readAll<{ records: Envelope[]; next_cursor: string | null }>(
        harness,
        "/api/logs",
        { ...query, limit: "1000" },
      );
      const records = pages.flatMap((page) => page.records);
      const wanted = new TimeBuckets();
      const loggers: Record<string, number> = {};
      const instances: Record<string, number> = {};
      for (const { type, data } of records) {
        wanted.add(Date.parse(data.timestamp), LEVELS.indexOf(data.level));
        loggers[data.logger] = (loggers[data.logger] ?? 0) + 1;
        const fields = type === "audit_log" ? data.metadata! : data;
        const instance = fields["instance_id"] as string;
        instances[instance] = (instances[instance] ?? 0) + 1;
      }
      for (const order of ["asc", "desc"]) {
        const facets = "logger,instance_id";
        const answers = await readAll<Counts>(harness, "/api/counts", { ...query, order, facets });
        expect(sumOf(answers).toJSON()).toEqual(wanted.toJSON());
        expect(answers).toHaveLength(1);
        expect(answers[0]!.facets).toEqual({ logger: loggers, instance_id: instances });
      }
    }
  });
});

test("one request scans a bounded, reported part of the journal; new records are counted from there", async () => {
  const harness = await new HttpHarness({ tailBytesMax: 1e9 }).open();
  const some = recordsOf(1000);
  for (let batch = 0; batch < 60; batch++) await harness.log(...some);
  const query = { q: "-nothing" };
  const answers = await readAll<Counts>(harness, "/api/counts", query);
  expect(answers.length).toBeGreaterThan(1);
  const stretches = answers.map(({ counted }) => counted);
  expect(stretches[0]!.to).toBe(60_000);
  for (const [index, { to }] of stretches.slice(1).entries()) {
    expect(to).toBe(stretches[index]!.from - 1);
  }
  expect(stretches.at(-1)!.from).toBe(1);
  expect(sumOf(answers).sums.reduce((sum, count) => sum + count)).toBe(60_000);

  const { epoch } = answers[0]!;
  const cursor = `${epoch}:60001`;
  const none = await read<Counts>(harness, "/api/counts", { ...query, order: "asc", cursor });
  expect(none).toMatchObject({ counted: { from: 60_001, to: 60_000 }, next_cursor: null });
  expect(none).toMatchObject({ first_ms: null, last_ms: null, buckets: [] });
  await harness.log(...recordsOf(3));
  const newer = await read<Counts>(harness, "/api/counts", { ...query, order: "asc", cursor });
  expect(newer.counted).toEqual({ from: 60_001, to: 60_003 });
  expect(TimeBuckets.fromMessage(newer).sums).toEqual([0, 2, 1, 0, 0]);
});

test("rejects invalid query parameters and lists the valid ones", async () => {
  const harness = await new HttpHarness().open();
  const errorOf = async (query: string): Promise<unknown> => {
    const { status, body } = await ask(`${harness.url}/api/counts?${query}`);
    return { status, ...JSON.parse(body).error };
  };
  expect(await errorOf("limit=5")).toMatchObject({
    status: 400,
    code: "PARAMETER_INVALID",
    message:
      'The parameter "limit" is unknown. Known parameters: type, level, logger, q, since, until, order, cursor, facets.',
  });
  const many = Array.from({ length: 17 }, (_, index) => `f${index}`).join(",");
  for (const facets of [many, "logger,,action", '"logger', ",logger"]) {
    expect(await errorOf(`facets=${encodeURIComponent(facets)}`)).toMatchObject({
      status: 400,
      code: "PARAMETER_INVALID",
      message: expect.stringContaining("expected at most 16 names of fields between commas"),
    });
  }
  expect(await errorOf("q=level:LOUD")).toMatchObject({ status: 400, code: "FILTER_INVALID" });
  expect(await errorOf("cursor=other:1")).toMatchObject({ status: 410, code: "CURSOR_GONE" });
});

test("an outlier in time does not set the range: it is counted as before or after", async () => {
  const harness = await new HttpHarness().open();
  const nowMs = Date.now();
  const at = (timeMs: number, severityText = "INFO") => ({
    timestamp: BigInt(timeMs) * 1_000_000n,
    severityText,
  });
  await harness.log(at(nowMs - 10_000), at(nowMs, "ERROR"), at(nowMs - 5000));
  const usual = await read<Counts>(harness, "/api/counts", {});
  expect(usual).toMatchObject({ before: 0, after: 0, levels: [0, 2, 0, 1, 0] });
  // Seconds and milliseconds mistaken for nanoseconds, an unset clock, -1 as an unsigned number, the year 2100.
  await harness.log(
    { timestamp: 1_796_000_000n },
    { timestamp: 1_796_000_000_000n },
    at(Date.UTC(2000, 0, 1), "ERROR"),
    { timestamp: 18_446_744_073_709_551_615n },
    at(Date.UTC(2100, 0, 1)),
  );
  const { first_ms, last_ms, bucket_ms, buckets } = usual;
  for (const order of ["asc", "desc"]) {
    const counts = await read<Counts>(harness, "/api/counts", { order, facets: "logger" });
    expect(counts).toMatchObject({ first_ms, last_ms, bucket_ms, buckets, before: 3, after: 2 });
    expect(counts).toMatchObject({ levels: [0, 6, 0, 2, 0], counted: { from: 1, to: 8 } });
    expect(counts.facets["logger"]).toEqual({ "orchestrator.server": 8 });
  }
  // A few long before all others, as from a device without a clock.
  await harness.log(at(nowMs - 3 * 365 * 86_400_000), at(nowMs - 1000));
  const strayed = await read<Counts>(harness, "/api/counts", {});
  expect(strayed).toMatchObject({ first_ms, last_ms, bucket_ms, before: 4, after: 2 });
  // Records inside the requested range are not outliers.
  const since = new Date(nowMs - 4 * 365 * 86_400_000).toISOString();
  const all = await read<Counts>(harness, "/api/counts", { since });
  expect(all).toMatchObject({ before: 0, after: 2, levels: [0, 6, 0, 1, 0] });
  expect(TimeBuckets.fromMessage(all).sums).toEqual([0, 4, 0, 1, 0]);
  const early = await read<Counts>(harness, "/api/counts", { since: "0", until: "1800000" });
  expect(early).toMatchObject({ before: 0, after: 0, levels: [0, 2, 0, 0, 0] });
  expect(TimeBuckets.fromMessage(early).sums).toEqual([0, 2, 0, 0, 0]);
  const late = await read<Counts>(harness, "/api/counts", { since: `${nowMs - 60_000}` });
  expect(late).toMatchObject({ before: 0, after: 2, bucket_ms });
});

test("a facet is limited to its newest thousand values", async () => {
  const harness = await new HttpHarness().open();
  const scope = (index: number) => ({ name: `l${index}`, version: "", attributes: new Map() });
  await harness.log(...Array.from({ length: 1500 }, (_, index) => ({ scope: scope(index) })));
  const { facets } = await read<Counts>(harness, "/api/counts", { facets: "logger" });
  expect(Object.keys(facets["logger"]!)).toHaveLength(1000);
  expect(facets["logger"]).toMatchObject({ l1499: 1, l500: 1 });
});

test("facet values as long as a record take a bounded part of the response", async () => {
  const harness = await new HttpHarness().open();
  const long = "x".repeat(400_000);
  for (let index = 0; index < 5; index++) {
    await harness.log({ scope: { name: `${index}${long}`, version: "", attributes: new Map() } });
  }
  const short = { scope: { name: "short", version: "", attributes: new Map() } };
  await harness.log(short);
  const answer = await read<Counts>(harness, "/api/counts", { facets: "logger" });
  expect(Object.keys(answer.facets["logger"]!).map((name) => name.length)).toEqual([
    5, 400_001, 400_001,
  ]);
  expect(answer.buckets.flatMap(([, counts]) => counts).reduce((sum, count) => sum + count)).toBe(
    6,
  );
});
