import { once } from "node:events";
import { createServer, get } from "node:http";
import type { AddressInfo } from "node:net";
import { expect, onTestFinished, test, vi } from "vitest";
import { JournalCounts } from "../../src/dashboard/session/journal-counts.ts";
import { HttpHarness } from "../harness/http-server.ts";

const WAIT = { timeout: 15_000, interval: 20 };

/** More records than one request scans. */
const RECORDS = 45_000;

test("a journal that is too long is counted from its newest records back, then with new records", async () => {
  const harness = await new HttpHarness({ tailBytesMax: 1e9 }).open();
  const batch = Array.from({ length: 1000 }, () => ({ body: "x", severityText: "ERROR" }));
  for (let sent = 0; sent < RECORDS; sent += batch.length) await harness.log(...batch);
  const scope = { filter: { q: "level:ERROR" }, range: {} };
  const received = (): number => harness.journal.newest;
  let isHidden = false;
  const options = { scope, received, url: harness.url, isHidden: () => isHidden };
  const all = new JournalCounts(options);
  const part = new JournalCounts({ ...options, requestsMax: 1 });
  onTestFinished(() => {
    all.close();
    part.close();
  });
  const errorsOf = (counts: JournalCounts): number => counts.current()?.times.sums[3] ?? 0;
  await vi.waitFor(() => expect(all.current()?.extent).toBe("complete"), WAIT);
  expect(errorsOf(all)).toBe(RECORDS);
  await vi.waitFor(() => expect(part.current()?.extent).toBe("partial"), WAIT);
  const { scanned } = part.current()!;
  expect(scanned).toBeLessThan(RECORDS);
  expect(errorsOf(part)).toBe(scanned);

  await harness.log(...batch.slice(0, 5), { body: "quiet" });
  await vi.waitFor(() => expect(errorsOf(all)).toBe(RECORDS + 5), WAIT);
  await vi.waitFor(() => expect(errorsOf(part)).toBe(scanned + 5), WAIT);
  expect(part.current()).toMatchObject({ extent: "partial", scanned: scanned + 6 });

  isHidden = true;
  await harness.log(...batch.slice(0, 5));
  all.show({ ...scope, filter: { q: "quiet" } });
  expect(all.current()).toBeUndefined();
  await vi.waitFor(() => expect(all.current()?.times.sums).toEqual([0, 1, 0, 0, 0]), WAIT);
  expect(errorsOf(part)).toBe(scanned + 5);
});

test("a sliding range is recounted, including facets, which cannot be subtracted", async () => {
  vi.useFakeTimers({ toFake: ["Date", "performance"] });
  onTestFinished(() => void vi.useRealTimers());
  const harness = await new HttpHarness().open();
  const minuteMs = 60_000;
  const recordOf = (name: string, ageMs: number) => ({
    timestamp: BigInt(Date.now() - ageMs) * 1_000_000n,
    scope: { name, version: "", attributes: new Map() },
  });
  await harness.log(recordOf("old", 4 * minuteMs), recordOf("new", minuteMs));
  const counts = new JournalCounts({
    scope: { filter: {}, range: { lastMinutes: 5 } },
    received: () => harness.journal.newest,
    isHidden: () => false,
    url: harness.url,
  });
  onTestFinished(() => counts.close());
  counts.setFacets(true);
  const loggers = () => Object.fromEntries(counts.current()?.facets.get("logger") ?? []);
  await vi.waitFor(() => expect(loggers()).toEqual({ old: 1, new: 1 }), WAIT);
  vi.advanceTimersByTime(2 * minuteMs);
  await vi.waitFor(() => expect(loggers()).toEqual({ new: 1 }), WAIT);
  expect(counts.current()?.times.sums).toEqual([0, 1, 0, 0, 0]);
});

test("a later outlier does not set the range either, in any order", async () => {
  const nowMs = Date.now();
  const at = (timeMs: number) => ({ timestamp: BigInt(timeMs) * 1_000_000n });
  const old = at(nowMs - 5 * 365 * 86_400_000);
  const harness = await new HttpHarness().open();
  await harness.log(old);
  const counts = new JournalCounts({
    scope: { filter: {}, range: {} },
    received: () => harness.journal.newest,
    isHidden: () => false,
    url: harness.url,
  });
  onTestFinished(() => counts.close());
  await vi.waitFor(() => expect(counts.current()?.times.count).toBe(1), WAIT);
  await harness.log(at(nowMs), at(nowMs - 1000));
  await vi.waitFor(() => expect(counts.current()?.scanned).toBe(3), WAIT);
  const isNarrow = () => expect(counts.current()!.times.widthMs).toBeLessThan(1000);
  expect(counts.current()).toMatchObject({ outliers: { before: 1, after: 0 } });
  isNarrow();
  await harness.log(old);
  await vi.waitFor(() => expect(counts.current()?.scanned).toBe(4), WAIT);
  expect(counts.current()).toMatchObject({ outliers: { before: 2, levels: [0, 2, 0, 0, 0] } });
  isNarrow();
});

test("a gateway with another journal is recounted, even if it has as many records", async () => {
  const first = await new HttpHarness().open();
  await first.log({ severityText: "ERROR" }, {}, {});
  const second = await new HttpHarness().open();
  let served = first;
  let followed = 0;
  const proxy = createServer((request, response) => {
    if (request.url!.includes("order=asc")) response.on("finish", () => followed++);
    get(served.url + request.url!, (answer) => {
      response.writeHead(answer.statusCode!, answer.headers);
      answer.pipe(response);
    });
  });
  await once(proxy.listen(0, "127.0.0.1"), "listening");
  const counts = new JournalCounts({
    scope: { filter: {}, range: {} },
    received: () => 3,
    epoch: () => served.journal.epoch,
    isHidden: () => false,
    url: `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`,
  });
  onTestFinished(() => {
    counts.close();
    proxy.close();
    proxy.closeAllConnections();
  });
  const levels = () => counts.current()?.times.sums;
  await vi.waitFor(() => expect(levels()).toEqual([0, 2, 0, 1, 0]), WAIT);
  // From then on, nothing is requested before the number of received records changes.
  await vi.waitFor(() => expect(followed).toBe(1), WAIT);
  await second.log({ severityText: "WARN" }, {}, {});
  served = second;
  await vi.waitFor(() => expect(levels()).toEqual([0, 2, 1, 0, 0]), WAIT);
});

test("retries the same part while the gateway is busy, and retains previous counts", async () => {
  const harness = await new HttpHarness().open();
  await harness.log({}, {}, {});
  let asked = 0;
  const proxy = createServer((request, response) => {
    if (asked++ < 3) {
      response.writeHead(503, { "Retry-After": "0" }).end();
      return;
    }
    get(harness.url + request.url!, (answer) => void answer.pipe(response));
  });
  proxy.listen(0, "127.0.0.1");
  await once(proxy, "listening");
  const { port } = proxy.address() as AddressInfo;
  const counts = new JournalCounts({
    scope: { filter: {}, range: {} },
    received: () => harness.journal.newest,
    isHidden: () => false,
    url: `http://127.0.0.1:${port}`,
  });
  const published: unknown[] = [];
  counts.subscribe(() => published.push(counts.current()));
  onTestFinished(() => {
    counts.close();
    proxy.close();
    proxy.closeAllConnections();
  });
  await vi.waitFor(() => expect(counts.current()?.extent).toBe("complete"), WAIT);
  expect(counts.current()!.scanned).toBe(3);
  expect(asked).toBeGreaterThan(3);
  expect(published).not.toContain(undefined);
});
