/** What is found of the journal is the same before and after its records are merged. */

import { afterAll, beforeAll, expect, test } from "vitest";
import { BatchBuilder } from "../../src/batch/batch-builder.ts";
import { SqliteJournal } from "../../src/journal/sqlite.ts";
import { encodeOtlpProtobuf } from "../../src/otlp/request-encoder.ts";
import { RecordGenerator } from "../bench/search/generator.ts";
import { HttpHarness } from "../harness/http-server.ts";
import { temporaryDirectory } from "../harness/workspace.ts";
import { RETAIN_ALL } from "./history-disk.ts";

const RECORDS = 1_000;

const cleanUps: (() => Promise<unknown> | void)[] = [];
let journal: SqliteJournal;
let http: HttpHarness;
const alarms: string[] = [];

async function open(directory: string): Promise<void> {
  const alarm = (text: string): void => void alarms.push(text);
  journal = await SqliteJournal.open({ directory, retention: RETAIN_ALL, alarm });
}

beforeAll(async () => {
  const directory = await temporaryDirectory(cleanUps);
  await open(directory);
  for (const request of new RecordGenerator(RECORDS).requests([64])) {
    const builder = new BatchBuilder();
    encodeOtlpProtobuf(request, builder, 0);
    for (const batch of builder.take()) await journal.append(batch);
  }
  // Then no record is in memory.
  await journal.close();
  await open(directory);
});

afterAll(async () => {
  await journal.close();
  for (const cleanUp of cleanUps) await cleanUp();
});

const FILTERS = ["", "level=ERROR", "q=-retry"];

interface Page {
  readonly records: readonly object[];
  readonly gaps: readonly object[];
  readonly next_cursor: string | null;
}

async function recordsOf(query: string): Promise<object[]> {
  const records: object[] = [];
  let cursor = "";
  do {
    const response = await fetch(`${http.url}/api/logs?${query}&limit=400${cursor}`);
    const page = (await response.json()) as Page;
    expect(page.gaps).toEqual([]);
    expect(page.records.length).toBeLessThanOrEqual(400);
    records.push(...page.records);
    cursor = page.next_cursor === null ? "" : `&cursor=${page.next_cursor}`;
  } while (cursor !== "");
  return records;
}

interface Counts {
  readonly levels: readonly number[];
  readonly facets: Readonly<Record<string, Readonly<Record<string, number>>>>;
  readonly buckets: readonly (readonly [number: number, counts: readonly number[]])[];
  readonly counted: { readonly from: number; readonly to: number };
  readonly next_cursor: string | null;
}

async function countsOf(query: string): Promise<Counts> {
  const response = await fetch(`${http.url}/api/counts?${query}&facets=logger,service`);
  return (await response.json()) as Counts;
}

test("records and counts are the same before and after the merge", async () => {
  const queries = FILTERS.flatMap((filter) =>
    ["asc", "desc"].map((order) => `${filter}&order=${order}`),
  );
  http = await new HttpHarness({ journal }).open();
  const before = new Map<string, object[]>();
  for (const query of queries) before.set(query, await recordsOf(query));
  const counted = await countsOf("q=-retry");
  await journal.merge();
  expect(journal.mergedUpTo).toBe(RECORDS);
  for (const query of queries) expect(await recordsOf(query)).toEqual(before.get(query));
  const after = await countsOf("q=-retry");
  expect(after.levels).toEqual(counted.levels);
  expect(after.facets).toEqual(counted.facets);
  expect(after.counted).toEqual({ from: 1, to: RECORDS });
  expect(after.next_cursor).toBe(null);
  expect(after.buckets.map(([bucket]) => bucket)).toEqual(
    counted.buckets.map(([bucket]) => bucket),
  );
  expect(alarms).toEqual([]);
});
