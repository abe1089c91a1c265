/** Streams whose WebSockets are blocked while plain requests work. */

import { expect, onTestFinished, test, vi } from "vitest";
import { LogHistory, type FilterQuery, type LogStreamOptions } from "tailgate/client";
import type { LoggingManager } from "tailgate";
import { Proxy } from "./proxy.ts";
import { follow, startGateway } from "../harness/gateway.ts";
import type { StreamLog } from "./stream-log.ts";

/** A gateway behind a proxy that rejects WebSockets, and a stream that has started to poll. */
async function polling(
  options: Partial<LogStreamOptions> = {},
  rejected?: FilterQuery,
): Promise<{ gateway: LoggingManager; proxy: Proxy; log: StreamLog }> {
  const gateway = await startGateway();
  for (const message of ["one", "two", "three"]) gateway.getLogger("a").info(message);
  await vi.waitFor(async () =>
    expect(await new LogHistory(gateway).newest()).toMatchObject({ sequence: 3 }),
  );
  const proxy = await Proxy.start(Number(new URL(gateway.url).port));
  onTestFinished(() => proxy[Symbol.asyncDispose]());
  proxy.blocksWebSockets = true;
  const log = follow({
    url: proxy.url,
    ...(rejected && { filter: rejected }),
    ...options,
  }).impatient;
  await log.until(rejected ? "refused" : "caught_up");
  return { gateway, proxy, log };
}

test("polls, reports that with the reason, and switches to a WebSocket as soon as one opens", async () => {
  const { gateway, proxy, log } = await polling({ start: { since: 0 } });
  expect(log.messages).toEqual(["one", "two", "three"]);
  expect(proxy.handshakes).toBeGreaterThanOrEqual(3);
  expect(log.stream.status).toMatchObject({
    state: "polling",
    transport: "polling",
    reason:
      "The gateway answers, but WebSocket connections to it fail: a proxy, a firewall or a browser extension may block them.",
  });
  gateway.getLogger("a").info("four");
  await log.at(4);
  proxy.blocksWebSockets = false;
  log.stream.retry();
  await log.is("live");
  gateway.getLogger("a").info("five");
  await log.at(5);
  expect(log.messages).toEqual(["one", "two", "three", "four", "five"]);
  expect(log.faults).toEqual([]);
  expect(log.gaps).toEqual([]);
  const before = log.all("status").length;
  proxy.cut();
  await vi.waitFor(() => expect(log.all("status").length).toBeGreaterThan(before));
  const { status } = log.all("status")[before]!;
  expect(status).toMatchObject({ state: "waiting", transport: "tailgate.v1" });
});

test.each([
  [{}, []],
  [{ replay: 2 }, ["two", "three"]],
  [{ replay: 10 }, ["one", "two", "three"]],
])("starts where start %j says", async (start, expected) => {
  const { log, gateway } = await polling({ start });
  gateway.getLogger("a").info("four");
  await log.at(4);
  expect(log.messages).toEqual([...expected, "four"]);
});

test("filters apply while polling, can change, and can be rejected", async () => {
  const { gateway, log } = await polling({ filter: { level: "ERROR" }, start: { since: 0 } });
  const bad = log.stream.setFilter({ q: "level:LOUD" });
  await log.until("refused", (event) => event.version === bad);
  gateway.getLogger("a").info("dull");
  gateway.getLogger("a").error("bad");
  await log.at(5);
  const version = log.stream.setFilter({ q: "wanted" });
  await log.until("filter", (event) => event.version === version);
  gateway.getLogger("a").error("worse");
  gateway.getLogger("a").info("wanted");
  await log.at(7);
  expect(log.messages).toEqual(["bad", "wanted"]);
});

/** A fetch that records the wait time of each request for records, and responds as configured. */
class Requests {
  /** In seconds; undefined for requests that do not wait. */
  readonly waits: (number | undefined)[] = [];
  readonly fetch: typeof fetch = async (address, init) => {
    const url = new URL(address as string);
    if (url.pathname !== "/api/logs") return fetch(address, init);
    const wait = url.searchParams.get("wait");
    this.waits.push(wait === null ? undefined : Number(wait));
    return (await this.#instead(url)) ?? fetch(url, init);
  };
  readonly #instead: (url: URL) => Promise<Response> | Response | undefined;

  constructor(instead: (url: URL) => Promise<Response> | Response | undefined = () => undefined) {
    this.#instead = instead;
  }

  /** Resolves once a request with this wait time was made. */
  async has(wait: number): Promise<void> {
    await vi.waitFor(
      () => {
        if (!this.waits.includes(wait)) throw new Error(`Waits: ${this.waits.join()}`);
      },
      { timeout: 20_000, interval: 5 },
    );
  }
}

async function waitingAt({ url }: LoggingManager): Promise<number> {
  const metrics = await (await fetch(`${url}/metrics`)).text();
  return Number(/^tailgate_http_waiting (\d+)/m.exec(metrics)![1]);
}

test("one request waits for new records, and then the next one", async () => {
  const requests = new Requests();
  const { gateway, log } = await polling({ fetch: requests.fetch });
  await requests.has(20);
  const first = requests.waits.length;
  for (const at of [4, 5, 6]) {
    await vi.waitFor(async () => expect(await waitingAt(gateway)).toBe(1));
    gateway.getLogger("a").info(`message ${at}`);
    await log.at(at);
  }
  expect(log.messages).toEqual(["message 4", "message 5", "message 6"]);
  await vi.waitFor(() => expect(requests.waits.slice(first)).toEqual([20, 20, 20]));
  log.stream.close();
  await vi.waitFor(async () => expect(await waitingAt(gateway)).toBe(0));
});

test("a filter change does not wait for the pending request", async () => {
  const requests = new Requests();
  const { gateway, log } = await polling({ fetch: requests.fetch, filter: { q: "nothing" } });
  await requests.has(20);
  const version = log.stream.setFilter({ q: "wanted" });
  await log.until("filter", (event) => event.version === version);
  gateway.getLogger("a").info("wanted");
  await log.at(4);
  expect(log.messages).toEqual(["wanted"]);
  await vi.waitFor(async () => expect(await waitingAt(gateway)).toBe(1));
});

test("accepts the next filter at once after an invalid one", async () => {
  const { gateway, log } = await polling({}, { q: "level:LOUD" });
  await log.until("refused");
  const version = log.stream.setFilter({ level: "ERROR" });
  await log.until("filter", (event) => event.version === version);
  expect(log.all("refused")).toHaveLength(1);
  gateway.getLogger("a").error("bad");
  await log.until("records", ({ entries }) => entries.length > 0);
  expect(log.messages).toEqual(["bad"]);
});

const UNKNOWN = {
  error: { code: "PARAMETER_INVALID", message: 'The parameter "wait" is unknown.' },
};

test.each<[string, (url: URL) => Response | undefined]>([
  ["does not support waiting", () => Response.json(UNKNOWN, { status: 400 })],
  [
    "ignores unknown parameters",
    (url) => {
      url.searchParams.delete("wait");
      return undefined;
    },
  ],
])("polls a gateway that %s at intervals", async (_name, answer) => {
  const requests = new Requests((url) => (url.searchParams.has("wait") ? answer(url) : undefined));
  const { gateway, log } = await polling({ fetch: requests.fetch });
  await requests.has(20);
  gateway.getLogger("a").info("four");
  await log.at(4);
  expect(log.messages).toEqual(["four"]);
  expect(requests.waits.filter(Boolean)).toEqual([20]);
});

test("shortens the wait if something cuts waiting requests, and finally does not wait at all", async () => {
  const requests = new Requests((url) =>
    url.searchParams.has("wait") ? Promise.reject(new TypeError("fetch failed")) : undefined,
  );
  const { gateway, log } = await polling({ fetch: requests.fetch });
  await requests.has(1.25);
  gateway.getLogger("a").info("four");
  await log.at(4);
  expect(requests.waits.filter(Boolean)).toEqual([20, 10, 5, 2.5, 1.25]);
  expect(log.states.slice(log.states.indexOf("polling"))).toEqual(["polling"]);
});

test("a hidden page holds none of the browser's connections for waiting", async () => {
  const document = Object.assign(new EventTarget(), { visibilityState: "hidden" });
  vi.stubGlobal("document", document);
  onTestFinished(() => void vi.unstubAllGlobals());
  const requests = new Requests();
  const { gateway, log } = await polling({ fetch: requests.fetch });
  gateway.getLogger("a").info("four");
  await log.at(4);
  expect(requests.waits.filter(Boolean)).toEqual([]);
  document.visibilityState = "visible";
  document.dispatchEvent(new Event("visibilitychange"));
  await requests.has(20);
});

test("a filter change does not wait for the rest of the history", async () => {
  const change = { filter: (): void => {} };
  const requests = new Requests((url) => {
    if (url.searchParams.get("order") === "asc") change.filter();
    return undefined;
  });
  const gateway = await startGateway();
  for (let number = 1; number <= 3000; number++) gateway.getLogger("a").info(`old ${number}`);
  await vi.waitFor(async () =>
    expect(await new LogHistory(gateway).newest()).toMatchObject({ sequence: 3000 }),
  );
  const proxy = await Proxy.start(Number(new URL(gateway.url).port));
  onTestFinished(() => proxy[Symbol.asyncDispose]());
  proxy.blocksWebSockets = true;
  const log = follow({ url: proxy.url, fetch: requests.fetch, start: { since: 0 } }).impatient;
  change.filter = () => {
    change.filter = () => {};
    log.stream.setFilter({ q: "wanted" });
  };
  await log.until("caught_up");
  expect(log.messages).toEqual(Array.from({ length: 1000 }, (_, index) => `old ${index + 1}`));
});

test("reports the next attempt if the gateway is unreachable", async () => {
  const { gateway, log } = await polling();
  await gateway.stop();
  await log.until("status", ({ status }) => status.reason.startsWith("No gateway answers"));
  const waiting = log.all("status").filter(({ status }) => status.state === "waiting");
  expect(waiting.map(({ status }) => status.retryInMs)).not.toContain(undefined);
});

test("reports another journal at the same URL, and delivers its records from the first one on", async () => {
  const { proxy, log } = await polling({ start: { since: 0 } });
  const other = await startGateway();
  other.getLogger("a").info("of another one");
  await vi.waitFor(async () =>
    expect(await new LogHistory(other).newest()).toMatchObject({ sequence: 1 }),
  );
  proxy.port = Number(new URL(other.url).port);
  proxy.cut();
  await log.until("reset");
  await log.until("records", ({ entries }) => entries.length === 1);
  expect([...log.entries.values()].map(({ envelope }) => envelope.data.message)).toEqual([
    "of another one",
  ]);
  expect(log.all("reset")).toMatchObject([{ from: 1, to: 3 }]);
  expect(log.faults).toEqual([]);
});
