/** `/api/logs?format=ndjson&limit=all`: everything that matches, in one response. */

import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { expect, onTestFinished, test, vi } from "vitest";
import type { LogRecord } from "tailgate/plugin";
import type { JournalPage, JournalQuery } from "tailgate/plugin";
import { MemoryJournal } from "../../src/journal/memory.ts";
import { ask, HttpHarness } from "../harness/http-server.ts";
import { startSecured } from "../harness/secured-gateway.ts";
import { Sessions } from "./history-disk.ts";

const ALL = "/api/logs?format=ndjson&limit=all";

interface Line {
  readonly sequence?: number;
  readonly epoch?: string;
  readonly gaps?: readonly { readonly from: number; readonly to: number }[];
  readonly next_cursor?: string | null;
}

function linesOf(body: string): { records: number[]; end: Line } {
  expect(body.endsWith("\n")).toBe(true);
  const lines = body
    .slice(0, -1)
    .split("\n")
    .map((line) => JSON.parse(line) as Line);
  const end = lines.pop()!;
  return { records: lines.map(({ sequence }) => sequence!), end };
}

function recordsOf(count: number, body = "message"): Partial<LogRecord>[] {
  return Array.from({ length: count }, (_, index) => ({ body: `${body} ${index % 10}` }));
}

function sequences(from: number, to: number): number[] {
  return Array.from({ length: to - from + 1 }, (_, index) => from + index);
}

async function metricOf(harness: HttpHarness, name: string): Promise<number> {
  const { body } = await ask(`${harness.url}/metrics`);
  return Number(new RegExp(`^tailgate_http_${name} (\\d+)$`, "m").exec(body)![1]);
}

test("streams all records that match, in either order, from disk, memory and a cursor", async () => {
  const sessions = await Sessions.of("sqlite");
  const first = await sessions.next();
  for (let batch = 0; batch < 11; batch++) await first.log(...recordsOf(1000));
  const harness = await sessions.next();
  await harness.log(...recordsOf(1000));
  const { headers, body } = await ask(`${harness.url}${ALL}&order=asc`);
  const { epoch } = harness.journal;
  expect(headers).toMatchObject({ "x-epoch": epoch, "content-type": "application/x-ndjson" });
  expect(headers["content-length"]).toBe(undefined);
  const { records, end } = linesOf(body);
  expect(records).toEqual(sequences(1, 12_000));
  expect(end).toEqual({ epoch, gaps: [], next_cursor: null });
  const some = linesOf((await ask(`${harness.url}${ALL}&q="message 3"`)).body);
  expect(some.records).toEqual(records.filter((sequence) => sequence % 10 === 4).toReversed());
  const rest = linesOf((await ask(`${harness.url}${ALL}&order=asc&cursor=${epoch}:11999`)).body);
  expect(rest.records).toEqual([11_999, 12_000]);
  const none = linesOf((await ask(`${harness.url}${ALL}&q=absent`)).body);
  expect(none).toEqual({ records: [], end: { epoch, gaps: [], next_cursor: null } });
  const headless = await ask(`${harness.url}${ALL}&q=absent`, { method: "HEAD" });
  expect([headless.status, headless.body]).toEqual([200, ""]);
  const compressed = await fetch(`${harness.url}${ALL}&q="message 3"`, {
    headers: { "Accept-Encoding": "gzip" },
  });
  expect(compressed.headers.get("content-encoding")).toBe("gzip");
  expect(linesOf(await compressed.text())).toEqual(some);
});

test("the last line has the gaps", async () => {
  const harness = await new HttpHarness({ journal: new MemoryJournal(10_000) }).open();
  for (let batch = 0; batch < 30; batch++) await harness.log(...recordsOf(10));
  const { records, end } = linesOf((await ask(`${harness.url}${ALL}&order=asc`)).body);
  const [gap] = end.gaps!;
  expect(gap).toMatchObject({ from: 1, reason: "retention" });
  expect(records).toEqual(sequences(gap!.to + 1, 300));
});

test("rejects what such a response cannot have", async () => {
  const harness = await new HttpHarness().open();
  for (const [query, message] of [
    [
      "limit=all",
      "The parameter limit=all needs format=ndjson: the response is a stream of lines.",
    ],
    [
      "limit=all&format=json",
      "The parameter limit=all needs format=ndjson: the response is a stream of lines.",
    ],
    [
      "limit=all&format=ndjson&order=asc&wait=1",
      "The parameter wait cannot be used with limit=all: such a response ends.",
    ],
    ["limit=none", 'The parameter limit is "none"; expected 1 to 1000 or all.'],
  ]) {
    const { status, body } = await ask(`${harness.url}/api/logs?${query}`);
    expect([status, JSON.parse(body)]).toEqual([
      400,
      { error: { code: "PARAMETER_INVALID", message } },
    ]);
  }
});

/** Requests a path and reads nothing until `resume`. */
async function requestAndPause(harness: HttpHarness, path: string): Promise<Socket> {
  const socket = connect({ port: harness.port, host: "127.0.0.1" }).pause();
  socket.on("error", () => {});
  onTestFinished(() => void socket.destroy());
  await once(socket, "connect");
  socket.write(`GET ${path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`);
  return socket;
}

test("a client that does not read holds one part in memory and no search; records that come later are not in it", async () => {
  const harness = await new HttpHarness({
    tailBytesMax: 1e9,
    limits: { searchesMax: 1, queuedSearchesMax: 0, answerBytesMax: 4 << 20 },
  }).open();
  for (let batch = 0; batch < 24; batch++) await harness.log(...recordsOf(500, "x".repeat(2000)));
  const socket = await requestAndPause(harness, `${ALL}&order=asc`);
  await vi.waitFor(async () => expect(await metricOf(harness, "answer_bytes")).toBeGreaterThan(0));
  await vi.waitFor(async () => expect(await metricOf(harness, "searches")).toBe(0));
  expect(await metricOf(harness, "answer_bytes")).toBeLessThanOrEqual(4 << 20);
  await harness.log({ body: "later" });
  expect((await ask(`${harness.url}/api/logs?limit=1`)).status).toBe(200);
  let text = "";
  socket.on("data", (chunk: Buffer) => (text += chunk.toString("latin1")));
  socket.resume();
  await once(socket, "close");
  const found = Array.from(text.matchAll(/"sequence":(\d+),/g), ([, sequence]) => Number(sequence));
  expect(found).toEqual(sequences(1, 12_000));
  expect(text).toContain('"gaps":[],"next_cursor":null}');
  await vi.waitFor(async () => expect(await metricOf(harness, "answer_bytes")).toBe(0));
});

/** A journal whose reads fail, or are held, after the first ones. */
class FailingJournal extends MemoryJournal {
  reads = 0;
  failsAt = Infinity;

  override async read(query: JournalQuery): Promise<JournalPage> {
    if (++this.reads >= this.failsAt) throw new Error("The disk cannot be read.");
    return super.read(query);
  }
}

test("a response that cannot be completed is cut, and has no last line", async () => {
  const journal = new FailingJournal(1e9);
  const harness = await new HttpHarness({ journal }).open();
  for (let batch = 0; batch < 30; batch++) await harness.log(...recordsOf(1000));
  journal.failsAt = 15;
  const socket = await requestAndPause(harness, `${ALL}&order=asc`);
  let text = "";
  socket.on("data", (chunk: Buffer) => (text += chunk.toString("latin1")));
  socket.resume();
  await once(socket, "close");
  expect(text).toMatch(/^HTTP\/1.1 200 /);
  expect(text).toContain('"sequence":10,');
  expect(text).not.toContain("next_cursor");
  // The last chunk of a complete response.
  expect(text.endsWith("\r\n0\r\n\r\n")).toBe(false);
  expect(harness.lines).toEqual([expect.stringContaining("GET /api/logs failed.")]);
});

test("a client that leaves ends the search", async () => {
  const journal = new FailingJournal(1e9);
  const harness = await new HttpHarness({ journal }).open();
  for (let batch = 0; batch < 24; batch++) await harness.log(...recordsOf(500, "x".repeat(2000)));
  const socket = await requestAndPause(harness, `${ALL}&order=asc`);
  await vi.waitFor(async () => expect(await metricOf(harness, "answer_bytes")).toBeGreaterThan(0));
  socket.destroy();
  await vi.waitFor(async () => expect(await metricOf(harness, "answer_bytes")).toBe(0));
  await vi.waitFor(async () => expect(await metricOf(harness, "searches")).toBe(0));
  expect(journal.reads).toBeLessThan(24);
});

test("a gateway that stops ends the response with the cursor of the rest", async () => {
  const harness = await new HttpHarness({ tailBytesMax: 1e9 }).open();
  for (let batch = 0; batch < 24; batch++) await harness.log(...recordsOf(500, "x".repeat(2000)));
  const socket = await requestAndPause(harness, `${ALL}&order=asc`);
  await vi.waitFor(async () => expect(await metricOf(harness, "answer_bytes")).toBeGreaterThan(0));
  harness.server.stopAccepting();
  let text = "";
  socket.on("data", (chunk: Buffer) => (text += chunk.toString("latin1")));
  socket.resume();
  await once(socket, "close");
  const found = Array.from(text.matchAll(/"sequence":(\d+),/g), ([, sequence]) => Number(sequence));
  expect(found).toEqual(sequences(1, found.length));
  expect(text).toContain(
    `"next_cursor":"${harness.journal.epoch}:${found.length + 1}"}\n\r\n0\r\n\r\n`,
  );
});

test("the access trail has the export, also of a token that may not read everything", async () => {
  const { url, tokens } = await startSecured({
    all: { scopes: ["read"] },
    some: { scopes: ["read"], filter: "message:*some*" },
  });
  const read = async (name: string, path: string): Promise<string> =>
    (await ask(url + path, { headers: tokens.bearer(name) })).body;
  const { records } = linesOf(await read("some", ALL));
  expect(records).toHaveLength(1);
  await vi.waitFor(async () => {
    const { records: found } = JSON.parse(await read("all", "/api/logs?q=action:logs_exported"));
    expect(found).toMatchObject([
      {
        data: {
          message: "token:some exported logs.",
          metadata: { details: { records: 1, query: "format=ndjson&limit=all" } },
        },
      },
    ]);
  }, 5_000);
});
