/** The `otlp` exporter and a real Collector that is away or killed. */

import { once } from "node:events";
import { setTimeout as wait } from "node:timers/promises";
import { expect, onTestFinished, test, vi } from "vitest";
import { WebSocket } from "ws";
import { CrashSite, urlOf } from "../harness/crash-site.ts";
import type { Program } from "../harness/program.ts";
import { CollectorFile, namedOf, type NamedRecord } from "./collector-file.ts";
import { messageOf, numbered, postNumbered } from "./numbered-records.ts";
import { SteadySender } from "./steady-sender.ts";
import { forwardingTo, queueingTo, TestCollector, toFile } from "./test-collector.ts";

const RECORDS = 200_000;
const KILLS = 20;
/** The longest time from one kill to the next. */
const LIFE_MS_MAX = 300;
/** The number of records queued for a Collector that is away. */
const BACKLOG = 50_000;
const PATIENCE_MS = 120_000;
const PATIENCE = { timeout: PATIENCE_MS, interval: 50 };

function exporterTo({ url }: TestCollector): string {
  return `exporters: { otlp: { endpoint: "${url}" } }\n`;
}

function fileOf({ workspace }: TestCollector): CollectorFile<NamedRecord> {
  return new CollectorFile(workspace.path("records.jsonl"), namedOf);
}

test(
  "after an outage of 200 000 records, the Collector gets each in order and once by its id",
  { timeout: 2 * PATIENCE_MS },
  async ({ annotate }) => {
    await using collector = await TestCollector.create(toFile);
    await using site = await CrashSite.create();
    const gateway = await site.start({ config: exporterTo(collector) });
    const url = (await urlOf(gateway))!;
    const startMs = performance.now();
    await postNumbered(url, 0, RECORDS);
    const liveRate = RECORDS / (performance.now() - startMs);
    await gateway.untilStderr(/A write failed and will be retried/);
    await collector.start();
    const file = fileOf(collector);
    await file.until(({ length }) => length > 0, PATIENCE_MS);
    const [first, firstMs] = [file.arrivals.length, performance.now()];
    await file.until(({ length }) => length >= RECORDS, PATIENCE_MS);
    const rate = (RECORDS - first) / (performance.now() - firstMs);
    expect(file.arrivals.map(({ message }) => message)).toEqual(numbered(0, RECORDS));
    expect(new Set(file.arrivals.map(({ uid }) => uid)).size).toBe(RECORDS);
    await annotate(
      `taken at ${Math.round(liveRate)} records/ms, caught up at ${Math.round(rate)} records/ms`,
    );
  },
);

/** Connects a client; returns a function with the messages received so far. */
async function clientOf(url: string): Promise<readonly string[]> {
  const messages: string[] = [];
  const socket = new WebSocket(`${url.replace("http", "ws")}/ws/logs`);
  onTestFinished(() => socket.close());
  socket.addEventListener("message", ({ data }) => {
    messages.push((JSON.parse(data as string) as { data: { message: string } }).data.message);
  });
  await once(socket, "open");
  return messages;
}

async function queuedAt(url: string): Promise<number> {
  const metrics = await (await fetch(`${url}/metrics`)).text();
  return Number(
    /^tailgate_queue_records\{component="otlp",kind="exporter"\} (\d+)$/m.exec(metrics)![1],
  );
}

test(
  "a client gets each new record live while the backlog is exported faster than records arrive",
  { timeout: 2 * PATIENCE_MS },
  async ({ annotate }) => {
    await using collector = await TestCollector.create(toFile);
    await using site = await CrashSite.create();
    const config = `exporters: { websocket: {}, otlp: { endpoint: "${collector.url}" } }\n`;
    const gateway = await site.start({ config });
    const url = (await urlOf(gateway))!;
    await postNumbered(url, 0, BACKLOG);
    expect(await queuedAt(url)).toBe(BACKLOG);
    const seen = await clientOf(url);
    const sender = new SteadySender(() => url, BACKLOG);
    const startMs = performance.now();
    sender.start();
    await collector.start();
    await vi.waitFor(async () => expect(await queuedAt(url)).toBeLessThan(BACKLOG / 100), PATIENCE);
    const tookMs = performance.now() - startMs;
    await sender.stop();
    const all = numbered(BACKLOG, sender.next);
    await vi.waitFor(() => expect(seen.length).toBeGreaterThanOrEqual(all.length), PATIENCE);
    expect(seen).toEqual(all);
    const file = fileOf(collector);
    await file.until(({ length }) => length >= sender.next, PATIENCE_MS);
    expect(file.arrivals.map(({ message }) => message)).toEqual(numbered(0, sender.next));
    const rates = [BACKLOG + all.length, all.length].map((count) => Math.round(count / tookMs));
    await annotate(`${rates[0]} records/ms went out while ${rates[1]} came in`);
  },
);

/** A gateway that exports to that Collector and can be killed and restarted. */
class ExportingGateway implements AsyncDisposable {
  readonly #site: CrashSite;
  readonly #config: string;
  #program: Program | undefined;
  url = "";

  private constructor(site: CrashSite, config: string) {
    this.#site = site;
    this.#config = config;
  }

  static async start(collector: TestCollector): Promise<ExportingGateway> {
    const gateway = new ExportingGateway(await CrashSite.create(), exporterTo(collector));
    await gateway.restart();
    return gateway;
  }

  async restart(): Promise<void> {
    this.#program = await this.#site.start({ config: this.#config });
    this.url = (await urlOf(this.#program))!;
  }

  async kill(): Promise<void> {
    await this.#program?.[Symbol.asyncDispose]();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#site[Symbol.asyncDispose]();
  }
}

/** Kills gateway and Collector alternately while records are sent; returns the stopped sender. */
async function withKills(
  gateway: ExportingGateway,
  collector: TestCollector,
): Promise<SteadySender> {
  const sender = new SteadySender(() => gateway.url);
  sender.start();
  for (let kill = 0; kill < KILLS; kill++) {
    await wait(Math.random() * LIFE_MS_MAX);
    if (kill % 2 === 0) {
      await gateway.kill();
      await gateway.restart();
    } else {
      await collector.kill();
      await collector.start();
    }
  }
  await sender.stop();
  return sender;
}

/** Expects duplicates of a record to have the same id, and different records different ones. */
function expectDuplicatesByIdOnly(arrivals: readonly NamedRecord[]): void {
  const uids = new Map<unknown, unknown>();
  for (const { message, uid } of arrivals) {
    expect(uid).toMatch(/^[0-9a-f-]{36}:\d+$/);
    expect(uids.get(uid) ?? message).toBe(message);
    uids.set(uid, message);
  }
  expect(uids.size).toBe(new Set(uids.values()).size);
}

/** Expects duplicates to arrive after the original, and everything else in the order sent. */
function expectInOrder(arrivals: readonly NamedRecord[]): void {
  const messages = [...new Set(arrivals.map(({ message }) => message!))];
  const numbers = messages.map((message) => Number(message.split(" ")[1]));
  expect(numbers).toEqual(numbers.toSorted((one, other) => one - other));
}

const chains = [
  {
    name: "that passes each request on before it takes it",
    configOf: forwardingTo,
    keepsOrder: true,
  },
  // After a kill it queues interrupted requests behind newer ones.
  { name: "with a queue on its disk", configOf: queueingTo, keepsOrder: false },
];

test.for(chains)(
  "kill -9 of the gateway and of a Collector $name, 20 times: no acknowledged record is missing",
  { timeout: 2 * PATIENCE_MS },
  async ({ configOf, keepsOrder }, { annotate }) => {
    // The store behind it keeps running: the exporter `file` has a buffer.
    await using store = await TestCollector.create(toFile);
    await using collector = await TestCollector.create(configOf(store.url));
    await store.start();
    await collector.start();
    await using gateway = await ExportingGateway.start(collector);
    const { acknowledged } = await withKills(gateway, collector);
    expect(acknowledged.length).toBeGreaterThan(0);
    const file = fileOf(store);
    const isThere = (arrivals: readonly NamedRecord[]): boolean => {
      const messages = new Set(arrivals.map(({ message }) => message));
      return acknowledged.every((number) => messages.has(messageOf(number)));
    };
    await file.until(isThere, PATIENCE_MS);
    expectDuplicatesByIdOnly(file.arrivals);
    if (keepsOrder) expectInOrder(file.arrivals);
    const again = file.arrivals.length - new Set(file.arrivals.map(({ uid }) => uid)).size;
    await annotate(`${acknowledged.length} records were acknowledged, ${again} arrived again`);
  },
);
