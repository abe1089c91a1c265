/**
 * What a filter finds is the same wherever records are: as they arrive at a subscription, in memory, in the rows of commits and
 * in merged blocks, which are read and searched in four different ways; and it is what the filter's specification says.
 */

import fc from "fast-check";
import { afterEach, expect, test } from "vitest";
import { LoggingManager, type Envelope } from "tailgate";
import { BatchBuilder } from "../../src/batch/batch-builder.ts";
import { encodeOtlpProtobuf } from "../../src/otlp/request-encoder.ts";
import { formatQuery } from "../../src/wire/query/format.ts";
import { canonicalKey } from "../../src/wire/query/nodes.ts";
import { parseQuery, problemOfQuery } from "../../src/wire/query/parse.ts";
import { markedRequest } from "../blocks/marked-request.ts";
import { StreamLog } from "../client/stream-log.ts";
import { alikeRequest, jsonRequest, reordered, toProtobuf } from "../encode/generated-request.ts";
import { filterNode, samplesOf } from "../filter/arbitraries.ts";
import { referenceMatches, type ReferenceRecord } from "../filter/reference.ts";
import { Workspace } from "../harness/workspace.ts";

/** Each makes other records and filters: `SEARCH_SEED=1`. */
const SEED = Number(process.env["SEARCH_SEED"] ?? Date.now() % 1e6);

const MERGED_REQUESTS = 50;
/** After so many commits, what is there is merged. */
const MERGED_COMMITS = 256;
const LATER_REQUESTS = 16;
/** More of them find more: `SEARCH_QUERIES=100`. */
const QUERIES = Number(process.env["SEARCH_QUERIES"] ?? 4);

/** What ends each subscription. */
const LAST = "the-last-record-of-all";

const cleanUps: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).toReversed()) await cleanUp();
});

const anyRequest = fc.oneof(
  fc.oneof(jsonRequest, alikeRequest, markedRequest).map(toProtobuf),
  // Unknown fields, and fields in another order.
  fc.tuple(jsonRequest, fc.nat(12)).map(([json, seed]) => reordered(toProtobuf(json), seed)),
);

function requestWith(text: string): Uint8Array {
  const record = { observedTimeUnixNano: "1760347644000000000", body: { stringValue: text } };
  return toProtobuf({ resourceLogs: [{ scopeLogs: [{ logRecords: [record] }] }] });
}

/** The records of a request, as the gateway's specification says. */
function recordsOf(request: Uint8Array): ReferenceRecord[] {
  const builder = new BatchBuilder();
  encodeOtlpProtobuf(request, builder, 0);
  return builder.take().flatMap((batch) =>
    Array.from({ length: batch.length }, (_, index) => ({
      envelope: batch.envelope(index),
      logger: batch.logger(index),
      resource: batch.resourceAttributes(index),
      scope: batch.scopeAttributes(index),
    })),
  );
}

async function start(workspace: Workspace): Promise<LoggingManager> {
  const gateway = await LoggingManager.start({
    port: 0,
    logDir: workspace.path("logs"),
    logLevel: "DEBUG",
    receivers: { otlp: { port: null } },
    exporters: { websocket: {} },
    registerGlobally: false,
    write: () => {},
  });
  cleanUps.push(() => gateway.stop());
  return gateway;
}

async function send(gateway: LoggingManager, body: Uint8Array): Promise<void> {
  const headers = { "Content-Type": "application/x-protobuf" };
  const response = await fetch(`${gateway.url}/v1/logs`, {
    method: "POST",
    headers,
    body: Buffer.from(body),
  });
  expect(response.status).toBe(200);
}

type Found = Envelope & { readonly sequence: number };

interface Page {
  readonly records: readonly Found[];
  readonly gaps: readonly unknown[];
  readonly next_cursor: string | null;
  readonly levels: readonly number[];
}

async function pagesOf(gateway: LoggingManager, path: string): Promise<Page[]> {
  const pages: Page[] = [];
  for (let cursor: string | null = ""; cursor !== null;) {
    const response = await fetch(`${gateway.url}${path}${cursor && `&cursor=${cursor}`}`);
    const page = (await response.json()) as Page;
    expect([path, response.status, page.gaps ?? []]).toEqual([path, 200, []]);
    pages.push(page);
    cursor = page.next_cursor;
  }
  return pages;
}

async function searched(gateway: LoggingManager, q: string, order: string): Promise<Found[]> {
  const path = `/api/logs?q=${encodeURIComponent(q)}&order=${order}&limit=1000`;
  const records = (await pagesOf(gateway, path)).flatMap((page) => page.records);
  return order === "asc" ? records : records.toReversed();
}

async function streamed(gateway: LoggingManager, q: string): Promise<Found[]> {
  const path = `/api/logs?q=${encodeURIComponent(q)}&order=asc&limit=all&format=ndjson`;
  const response = await fetch(gateway.url + path);
  const lines = (await response.text()).trim().split("\n");
  return lines
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as Found)
    .filter((record) => record.sequence !== undefined);
}

async function counted(gateway: LoggingManager, q: string): Promise<number> {
  const pages = await pagesOf(gateway, `/api/counts?q=${encodeURIComponent(q)}`);
  return pages.flatMap(({ levels }) => levels).reduce((sum, count) => sum + count, 0);
}

function subscribe(gateway: LoggingManager, q: string): StreamLog {
  const log = new StreamLog({
    url: gateway.url,
    filter: { q: q === "" ? q : `(${q}) OR ${LAST}` },
    start: { replay: 0 },
  });
  cleanUps.push(() => log.stream.close());
  return log;
}

async function mergedUpTo(gateway: LoggingManager): Promise<number> {
  const response = await fetch(`${gateway.url}/api/stats`);
  const { journal } = (await response.json()) as { journal: { merge: { merged: number } } };
  return journal.merge.merged;
}

/** Filters that the language can say, most of which some records match. */
function queriesFor(records: readonly ReferenceRecord[]): string[] {
  const node = filterNode(samplesOf(records));
  const nodes = fc.sample(node, { seed: SEED, numRuns: 4 * QUERIES });
  const texts = nodes
    .map((one) => ({ one, q: formatQuery(one) }))
    .filter(({ q }) => q.length < 1000 && !problemOfQuery(q))
    .filter(({ one, q }) => canonicalKey(parseQuery(q)) === canonicalKey(one))
    .filter(({ one }) => records.some((record) => referenceMatches(one, record)))
    .map(({ q }) => q);
  return ["", ...texts.slice(0, QUERIES)];
}

test(`subscriptions, memory, commits and merged blocks give the same records (seed ${SEED})`, async () => {
  await using workspace = await Workspace.create();
  let gateway = await start(workspace);
  const requests = fc
    .sample(anyRequest, { seed: SEED, numRuns: 2 * MERGED_REQUESTS })
    .filter((request) => recordsOf(request).length > 0);
  const sent = [...requests.slice(0, MERGED_REQUESTS + LATER_REQUESTS), requestWith(LAST)];
  const records = sent.flatMap(recordsOf);
  const queries = queriesFor(records);
  expect(queries.length).toBeGreaterThan(QUERIES / 2);
  const subscriptions = queries.map((q) => subscribe(gateway, q));
  for (const log of subscriptions) await log.until("caught_up");
  for (const request of sent.slice(0, MERGED_REQUESTS)) await send(gateway, request);
  const filler = requestWith("of no interest");
  for (let commit = MERGED_REQUESTS; commit < MERGED_COMMITS; commit++) await send(gateway, filler);
  await expect.poll(() => mergedUpTo(gateway)).toBeGreaterThan(0);
  for (const request of sent.slice(MERGED_REQUESTS)) await send(gateway, request);
  for (const log of subscriptions) {
    await log.until("records", ({ entries }) =>
      entries.some(({ envelope }) => envelope.data.message === LAST),
    );
    expect(log.faults).toEqual([]);
  }

  // The gateway's own records are in the journal, too.
  const all = await searched(gateway, "", "asc");
  const bySequence = new Map<number, ReferenceRecord>();
  for (const { sequence, type, data } of all) {
    const next = records[bySequence.size];
    if (JSON.stringify(next?.envelope.data) !== JSON.stringify(data)) continue;
    expect(next!.envelope.type).toBe(type);
    bySequence.set(sequence, next!);
  }
  expect(bySequence.size).toBe(records.length);
  const expected = queries.map((q) => {
    const node = parseQuery(q);
    return [...bySequence].filter(([, record]) => referenceMatches(node, record)).map(([at]) => at);
  });
  const sequencesOf = (found: readonly Found[]): number[] =>
    found.map(({ sequence }) => sequence).filter((sequence) => bySequence.has(sequence));

  const isSame = ({ sequence, data }: Found): boolean => {
    const { envelope } = bySequence.get(sequence) ?? { envelope: { data } };
    return JSON.stringify(envelope.data) === JSON.stringify(data);
  };
  const expectAll = async (where: string): Promise<void> => {
    for (const [index, q] of queries.entries()) {
      for (const order of ["asc", "desc"]) {
        const found = await searched(gateway, q, order);
        expect([where, q, sequencesOf(found)]).toEqual([where, q, expected[index]]);
        if (q === "") expect(found.filter((record) => !isSame(record))).toEqual([]);
      }
      const stream = await streamed(gateway, q);
      expect([where, q, sequencesOf(stream)]).toEqual([where, q, expected[index]]);
      expect([where, q, await counted(gateway, q)]).toEqual([where, q, stream.length]);
    }
  };

  for (const [index, q] of queries.entries()) {
    const { entries } = subscriptions[index]!;
    const live = [...entries.keys()].filter((at) => bySequence.has(at));
    const last = Math.max(...bySequence.keys());
    const ends = [...new Set([...expected[index]!, last])];
    expect(["live", q, live.sort((one, other) => one - other)]).toEqual(["live", q, ends]);
  }
  await expectAll("in memory");
  await gateway.stop();
  gateway = await start(workspace);
  const merged = await mergedUpTo(gateway);
  expect([...bySequence.keys()].filter((at) => at <= merged).length).toBeGreaterThan(0);
  expect([...bySequence.keys()].filter((at) => at > merged).length).toBeGreaterThan(0);
  await expectAll("on disk");
}, 120_000);
