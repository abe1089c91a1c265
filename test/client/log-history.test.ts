import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { expect, onTestFinished, test, vi } from "vitest";
import { HistoryError, LogHistory, type HistoryPage } from "tailgate/client";
import { HttpHarness } from "../harness/http-server.ts";
import { startGateway } from "../harness/gateway.ts";

/** Creates a history of five records, `1` to `5`; every other one is an error. */
async function historyOfFive(): Promise<{ url: string; history: LogHistory }> {
  const gateway = await startGateway();
  const logger = gateway.getLogger("a");
  for (const message of ["1", "2", "3", "4", "5"]) {
    if (Number(message) % 2) logger.error(message);
    else logger.info(message);
  }
  const history = new LogHistory({ url: gateway.url });
  await vi.waitFor(async () => expect(await history.newest()).toMatchObject({ sequence: 5 }));
  return { url: gateway.url, history };
}

function messages({ entries }: HistoryPage): string[] {
  return entries.map(({ envelope }) => envelope.data.message);
}

test("a page starts with the newest record, the oldest, or the one at a position", async () => {
  const { history } = await historyOfFive();
  expect(messages(await history.page())).toEqual(["5", "4", "3", "2", "1"]);
  expect(messages(await history.page({ order: "asc", limit: 2 }))).toEqual(["1", "2"]);
  expect(messages(await history.page({ from: 3 }))).toEqual(["3", "2", "1"]);
  const { epoch } = await history.newest();
  expect(messages(await history.page({ from: 4, epoch, order: "asc" }))).toEqual(["4", "5"]);
  expect(messages(await history.page({ filter: { level: "ERROR" } }))).toEqual(["5", "3", "1"]);
  expect(messages(await history.page({ until: "2020-01-01" }))).toEqual([]);
  expect(messages(await history.page({ since: 0, limit: 1 }))).toEqual(["5"]);
});

test("an entry has its sequence and its envelope", async () => {
  const { history } = await historyOfFive();
  const { entries, gaps, epoch } = await history.page({ limit: 1 });
  expect(entries).toMatchObject([
    { sequence: 5, envelope: { type: "system_log", data: { logger: "a", level: "ERROR" } } },
  ]);
  expect(Object.keys(entries[0]!.envelope)).toEqual(["type", "data"]);
  expect(gaps).toEqual([]);
  expect(epoch).toMatch(/^[\w-]+$/);
});

test("the cursor iterates over all pages", async () => {
  const { history } = await historyOfFive();
  const seen: string[] = [];
  let cursor: string | undefined;
  do {
    const page = await history.page({ limit: 2, cursor });
    seen.push(...messages(page));
    cursor = page.nextCursor ?? undefined;
  } while (cursor !== undefined);
  expect(seen).toEqual(["5", "4", "3", "2", "1"]);
});

test("an ascending page waits for new records, and always has a cursor", async () => {
  const gateway = await startGateway();
  const history = new LogHistory({ url: gateway.url });
  const waiting = { order: "asc", waitSeconds: 30 } as const;
  const coming = history.page(waiting);
  gateway.getLogger("a").info("one");
  const { nextCursor: cursor, ...page } = await coming;
  expect(messages({ ...page, nextCursor: null })).toEqual(["one"]);
  const next = history.page({ ...waiting, cursor: cursor! });
  gateway.getLogger("a").info("two");
  expect(messages(await next)).toEqual(["two"]);
  const nothing = await history.page({ ...waiting, waitSeconds: 0.01, filter: { q: "nothing" } });
  expect(nothing).toMatchObject({ entries: [], nextCursor: `${nothing.epoch}:3` });
});

test("the newest position counts even if its record was deleted", async () => {
  const gaps = [{ from: 1, to: 7, type: "system_log", lane: "system_log", reason: "retention" }];
  const fetcher: typeof fetch = async () =>
    Response.json({ epoch: "e", records: [], gaps, next_cursor: null });
  const history = new LogHistory({ url: "http://127.0.0.1:1", fetch: fetcher });
  expect(await history.newest()).toEqual({ epoch: "e", sequence: 7 });
});

test("reports rejections of the gateway as errors with its code and text", async () => {
  const { history } = await historyOfFive();
  await expect(history.page({ filter: { q: "level:LOUD" } })).rejects.toMatchObject({
    name: "HistoryError",
    status: 400,
    code: "FILTER_INVALID",
    message: expect.stringContaining("level:LOUD"),
  });
  await expect(history.page({ cursor: "of-another-journal:3" })).rejects.toMatchObject({
    status: 410,
    code: "CURSOR_GONE",
  });
});

test("reports an unreachable gateway and an invalid response as readable errors", async () => {
  const absent = new LogHistory({ url: "http://127.0.0.1:1" });
  await expect(absent.page()).rejects.toThrow(
    new HistoryError(0, "UNREACHABLE", "No gateway answers at http://127.0.0.1:1."),
  );
  const server = createServer((_, response) => response.end("<html>hello</html>"));
  await once(server.listen(0, "127.0.0.1"), "listening");
  onTestFinished(() => void server.close());
  const { port } = server.address() as AddressInfo;
  const stranger = new LogHistory({ url: `http://127.0.0.1:${port}` });
  await expect(stranger.page()).rejects.toMatchObject({
    code: "NOT_UNDERSTOOD",
    message: expect.stringContaining("is not a gateway"),
  });
});

test("cancels a request that is no longer needed", async () => {
  const { history } = await historyOfFive();
  const reason = new Error("not wanted any more");
  await expect(history.page({ signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
});

test.each([
  ["http://127.0.0.1:8001", "http://127.0.0.1:8001/api/logs"],
  ["ws://127.0.0.1:8001/ws/logs", "http://127.0.0.1:8001/api/logs"],
  ["wss://logs.example.com/tailgate/ws/logs", "https://logs.example.com/tailgate/api/logs"],
  ["https://logs.example.com/tailgate/", "https://logs.example.com/tailgate/api/logs"],
  ["ws://127.0.0.1:8001/live#top", "http://127.0.0.1:8001/api/logs"],
])("%s resolves to the history at %s", async (url, expected) => {
  const asked: string[] = [];
  const fetcher: typeof fetch = async (address) => {
    asked.push(address as string);
    return Response.json({ epoch: "e", records: [], gaps: [], next_cursor: null });
  };
  await new LogHistory({ url, fetch: fetcher }).page();
  expect(asked).toEqual([expected]);
});

/** A server that answers this many requests as busy, then returns an empty page. */
async function busyGateway(
  refusals: number,
  retryAfter: string,
): Promise<{ url: string; asked: () => number }> {
  let asked = 0;
  const server = createServer((_request, response) => {
    response.setHeader("Content-Type", "application/json");
    const isBusy = ++asked <= refusals;
    if (isBusy) response.writeHead(503, { "Retry-After": retryAfter });
    response.end(
      isBusy
        ? '{"error":{"code":"SEARCHES_BUSY","message":"Too many search."}}'
        : '{"epoch":"e","records":[],"gaps":[],"next_cursor":null}',
    );
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => void server.close());
  const { port } = server.address() as AddressInfo;
  return { url: `http://127.0.0.1:${port}`, asked: () => asked };
}

test("retries a busy gateway after the time that it states, up to a limit", async () => {
  const some = await busyGateway(3, "0.01");
  expect(await new LogHistory({ url: some.url }).page()).toMatchObject({ epoch: "e" });
  expect(some.asked()).toBe(4);
  const always = await busyGateway(1000, "0");
  await expect(new LogHistory({ url: always.url }).page()).rejects.toMatchObject({
    status: 503,
    code: "SEARCHES_BUSY",
  });
  expect(always.asked()).toBe(11);
});

test("stops waiting for a busy gateway when the signal aborts", async () => {
  const gateway = await busyGateway(1, "30");
  const stop = new AbortController();
  const page = new LogHistory({ url: gateway.url }).page({ signal: stop.signal });
  await vi.waitFor(() => expect(gateway.asked()).toBe(1));
  stop.abort(new Error("enough"));
  await expect(page).rejects.toThrow("enough");
});

test("reads pages even if searches occupy all slots", async () => {
  const harness = await new HttpHarness({
    limits: { searchesMax: 1, queuedSearchesMax: 0 },
  }).open();
  const batch = Array.from({ length: 1000 }, () => ({ body: "x" }));
  for (let count = 0; count < 5; count++) await harness.log(...batch);
  const history = new LogHistory({ url: harness.url });
  const pages = Array.from({ length: 6 }, () => history.page({ filter: { q: "y" }, limit: 1 }));
  for (const { entries } of await Promise.all(pages)) expect(entries).toEqual([]);
});
