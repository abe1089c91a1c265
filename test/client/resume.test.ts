/** Streams whose connections and gateway fail repeatedly while records arrive. */

import { setTimeout as wait } from "node:timers/promises";
import { expect, onTestFinished, test } from "vitest";
import { LogHistory, type FilterQuery, type LogEntry, type MissingRange } from "tailgate/client";
import { Proxy } from "./proxy.ts";
import { StreamLog } from "./stream-log.ts";
import { GatewayProcess } from "../harness/gateway.ts";
import { feed } from "../harness/otlp.ts";

const CONFIG =
  "allowed_hosts: [127.0.0.1]\nreceivers: { otlp: { port: null } }\nexporters: { websocket: {} }\n";

const CUTS = 50;
const KILLS = 3;
const RECORDS_PER_SECOND = 1_000;
const CONNECTION_MS_MAX = 60;

interface Fixture {
  readonly gateway: GatewayProcess;
  readonly proxy: Proxy;
  stopFeeding(): Promise<void>;
}

async function start(): Promise<Fixture> {
  const gateway = await GatewayProcess.start(CONFIG);
  const proxy = await Proxy.start(gateway.port);
  const feeding = new AbortController();
  const fed = feed(gateway.url, RECORDS_PER_SECOND, feeding.signal);
  const stopFeeding = async (): Promise<void> => {
    feeding.abort();
    await fed;
  };
  onTestFinished(async () => {
    await stopFeeding();
    await proxy[Symbol.asyncDispose]();
    await gateway[Symbol.asyncDispose]();
  });
  return { gateway, proxy, stopFeeding };
}

/** Reads the final content of the journal. */
async function everything(
  url: string,
  filter: FilterQuery,
): Promise<{ entries: LogEntry[]; gaps: MissingRange[] }> {
  const history = new LogHistory({ url });
  const entries: LogEntry[] = [];
  const gaps: MissingRange[] = [];
  let cursor: string | undefined;
  do {
    const page = await history.page({ filter, order: "asc", limit: 1000, cursor });
    entries.push(...page.entries);
    gaps.push(...page.gaps);
    cursor = page.nextCursor ?? undefined;
  } while (cursor !== undefined);
  return { entries, gaps };
}

/** Expects each record of the journal once, and nothing else. */
async function expectWhole(log: StreamLog, url: string, filter: FilterQuery): Promise<void> {
  // After a kill, the stream is past the end of the journal until it has heard of the new epoch.
  await log.is("live");
  const { sequence } = await new LogHistory({ url }).newest();
  await log.at(sequence);
  const { entries, gaps } = await everything(url, filter);
  expect(log.faults).toEqual([]);
  expect(log.gaps).toEqual(gaps);
  expect([...log.entries.values()]).toEqual(entries);
}

test.each<[string, FilterQuery]>([
  ["without a filter", {}],
  ["with a filter", { level: "ERROR" }],
])(
  `a stream %s that is disconnected ${CUTS} times delivers each record once`,
  async (_name, filter) => {
    const { proxy, stopFeeding } = await start();
    using log = new StreamLog({ url: proxy.url, filter, start: { since: 0 } }).impatient;
    for (let cut = 0; cut < CUTS; cut++) {
      await wait(CONNECTION_MS_MAX * Math.random());
      const { handshakes } = proxy;
      proxy.cut();
      await expect
        .poll(() => proxy.handshakes, { timeout: 10_000, interval: 5 })
        .toBeGreaterThan(handshakes);
    }
    await stopFeeding();
    await expectWhole(log, proxy.url, filter);
    expect(log.entries.size).toBeGreaterThan(CUTS / 5);
    expect(log.all("reset")).toEqual([]);
  },
);

test(`the same over ${KILLS} kills of the gateway`, { timeout: 60_000 }, async () => {
  const { gateway, proxy, stopFeeding } = await start();
  using log = new StreamLog({ url: proxy.url, start: { since: 0 } }).impatient;
  for (let kill = 0; kill < KILLS; kill++) {
    await log.is("live");
    await wait(300 * Math.random());
    await gateway.kill();
    await log.is("waiting");
    await gateway.restart();
  }
  await stopFeeding();
  await expectWhole(log, proxy.url, {});
});

test("the same while WebSockets are blocked, over a kill, and after they are unblocked", async () => {
  const { gateway, proxy, stopFeeding } = await start();
  proxy.blocksWebSockets = true;
  using log = new StreamLog({ url: proxy.url, start: { since: 0 } }).impatient;
  await log.is("polling");
  const { sequence = 0 } = log.stream.status;
  await log.at(sequence + 1);
  await gateway.kill();
  await log.is("waiting");
  await gateway.restart();
  await log.is("polling");
  await log.at(log.stream.status.sequence! + 1);
  proxy.blocksWebSockets = false;
  log.stream.retry();
  await log.is("live");
  await stopFeeding();
  await expectWhole(log, proxy.url, {});
});
