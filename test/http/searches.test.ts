/** Limits on concurrent and queued searches of the journal, and who is told to retry. */

import { connect, type Socket } from "node:net";
import { expect, onTestFinished, test, vi } from "vitest";
import { MemoryJournal } from "../../src/journal/memory.ts";
import type { JournalPage, JournalQuery } from "tailgate/plugin";
import { ask, HttpHarness } from "../harness/http-server.ts";

const SEARCH = "/api/logs?q=nothing-like-it";

/** A journal whose reads wait until they are released. */
class BlockedJournal extends MemoryJournal {
  readonly reads: number[] = [];
  #held: PromiseWithResolvers<void> | undefined = Promise.withResolvers();

  override async read(query: JournalQuery): Promise<JournalPage> {
    this.reads.push(query.from);
    await this.#held?.promise;
    return super.read(query);
  }

  letGo(): void {
    this.#held?.resolve();
    this.#held = undefined;
  }
}

async function open(searchesMax: number, queuedSearchesMax: number) {
  const journal = new BlockedJournal();
  const harness = await new HttpHarness({
    journal,
    limits: { searchesMax, queuedSearchesMax },
  }).open();
  await harness.log({});
  return { journal, harness };
}

async function metricOf(harness: HttpHarness, name: string): Promise<number> {
  const { body } = await ask(`${harness.url}/metrics`);
  return Number(new RegExp(`^tailgate_http_${name} (\\d+)$`, "m").exec(body)![1]);
}

/** Resolves when this many searches run and wait. */
async function searches(harness: HttpHarness, running: number, queued: number): Promise<void> {
  await vi.waitFor(async () => {
    const now = [await metricOf(harness, "searches"), await metricOf(harness, "searches_queued")];
    expect(now).toEqual([running, queued]);
  }, 10_000);
}

/** A connection that pipelines requests for these paths, and the bytes it has received. */
class Client {
  readonly socket: Socket;
  text = "";

  constructor(harness: HttpHarness, paths: readonly string[]) {
    this.socket = connect({ port: harness.port, host: "127.0.0.1" });
    this.socket.on("data", (chunk: Buffer) => (this.text += chunk.toString()));
    this.socket.on("error", () => {});
    for (const path of paths) this.socket.write(`GET ${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`);
    onTestFinished(() => void this.socket.destroy());
  }

  get statuses(): number[] {
    return Array.from(this.text.matchAll(/HTTP\/1.1 (\d+) /g), ([, status]) => Number(status));
  }
}

/** Resolves with the statuses of the first `count` responses. */
async function answersOf(client: Client, count: number): Promise<number[]> {
  await vi.waitFor(() => expect(client.statuses.length).toBe(count), 10_000);
  return client.statuses;
}

test("limits running and waiting searches; further ones are answered 503 at once, and health is not delayed", async () => {
  const { journal, harness } = await open(2, 3);
  const first = Array.from({ length: 5 }, () => new Client(harness, [SEARCH]));
  await searches(harness, 2, 3);
  for (const path of [SEARCH, "/api/counts"]) {
    const { status, headers, body } = await ask(harness.url + path);
    expect(status).toBe(503);
    expect(headers["retry-after"]).toBe("1");
    expect(JSON.parse(body)).toEqual({
      error: {
        code: "SEARCHES_BUSY",
        message: "2 searches of the journal are running and 3 are waiting. Retry in 1 s.",
      },
    });
  }
  for (const path of ["/healthz", "/readyz", "/metrics", "/"]) {
    expect((await ask(harness.url + path)).status).toBe(200);
  }
  expect(await metricOf(harness, "searches_refused_total")).toBe(2);
  expect(journal.reads).toHaveLength(2);
  journal.letGo();
  for (const client of first) expect(await answersOf(client, 1)).toEqual([200]);
  await searches(harness, 0, 0);
});

test("connections take turns, and the one with the most requests loses its last one", async () => {
  const { journal, harness } = await open(1, 3);
  const running = new Client(harness, [SEARCH]);
  await searches(harness, 1, 0);
  const greedy = new Client(harness, [SEARCH, "/api/counts", "/api/logs?limit=1"]);
  await searches(harness, 1, 3);
  const modest = new Client(harness, [SEARCH]);
  await vi.waitFor(async () => expect(await metricOf(harness, "searches_refused_total")).toBe(1));
  const other = new Client(harness, [SEARCH]);
  await vi.waitFor(async () => expect(await metricOf(harness, "searches_refused_total")).toBe(2));
  // All have one now: a new client cannot displace any.
  expect((await ask(harness.url + SEARCH)).status).toBe(503);
  journal.letGo();
  expect(await answersOf(running, 1)).toEqual([200]);
  expect(await answersOf(greedy, 3)).toEqual([200, 503, 503]);
  expect(await answersOf(modest, 1)).toEqual([200]);
  expect(await answersOf(other, 1)).toEqual([200]);
});

test("a client that disconnects frees its slot at once, whether its search waits or runs", async () => {
  const { journal, harness } = await open(1, 3);
  const pages = Array.from({ length: 20 }, () => ({}));
  for (const record of pages) await harness.log(record);
  const running = new Client(harness, [SEARCH]);
  await searches(harness, 1, 0);
  const queued = new Client(harness, [SEARCH, SEARCH, SEARCH]);
  await searches(harness, 1, 3);
  queued.socket.destroy();
  await searches(harness, 1, 0);
  running.socket.resetAndDestroy();
  await vi.waitFor(async () => expect(await metricOf(harness, "connections")).toBe(1));
  expect(journal.reads).toHaveLength(1);
  journal.letGo();
  await searches(harness, 0, 0);
  expect(journal.reads).toHaveLength(1);
});

test("requests that wait for records hold no slot, and are not rejected when they resume", async () => {
  const { journal, harness } = await open(1, 0);
  journal.letGo();
  const waiting: Client[] = [];
  for (let count = 1; count <= 5; count++) {
    waiting.push(new Client(harness, ["/api/logs?order=asc&wait=30&q=wanted"]));
    await vi.waitFor(async () => expect(await metricOf(harness, "waiting")).toBe(count));
  }
  expect((await ask(harness.url + SEARCH)).status).toBe(200);
  await harness.log({ body: "wanted" });
  for (const client of waiting) expect(await answersOf(client, 1)).toEqual([200]);
});
