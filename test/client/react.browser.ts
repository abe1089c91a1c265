/** The hook in a browser under React's StrictMode, against a gateway. */

import { existsSync } from "node:fs";
import { createServer, type Server } from "node:http";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { fileURLToPath } from "node:url";
import { launch, type Browser, type Page } from "puppeteer-core";
import { afterAll, beforeAll, expect, onTestFinished, test, vi } from "vitest";
import { build } from "vite";
import type { LogStreamView } from "tailgate/react";
import type { LoggingManager } from "tailgate";
import { WebSocketServer } from "ws";
import { skipTest } from "../harness/program.ts";
import { envelope, FaultyGateway } from "./faulty-gateway.ts";
import { startGateway } from "../harness/gateway.ts";

const SOURCES = fileURLToPath(new URL("../../src/client/", import.meta.url));
const MAIN = fileURLToPath(new URL("react-page/main.ts", import.meta.url));

const CHROMIUM = process.env["CHROMIUM"] || "/usr/bin/chromium";

let browser: Browser | undefined;
let server: Server;
let url: string;

beforeAll(async () => {
  const script = await bundle();
  server = createServer((request, response) => {
    if (request.url === "/api/tickets") {
      const isValid = request.headers.authorization === "Bearer valid";
      const body = isValid ? { ticket: "T1" } : { error: { message: "Not valid." } };
      response.setHeader("Content-Type", "application/json");
      response.writeHead(isValid ? 201 : 401).end(JSON.stringify(body));
      return;
    }
    const isScript = request.url === "/main.js";
    response.setHeader("Content-Type", isScript ? "text/javascript" : "text/html");
    response.end(
      isScript
        ? script
        : '<!doctype html><main></main><script type=module src="/main.js"></script>',
    );
  });
  // A gateway that accepts its ticket.
  const sockets = new WebSocketServer({ server, handleProtocols: () => "tailgate.v1" });
  sockets.on("connection", (socket, { headers }) => {
    if (!headers["sec-websocket-protocol"]!.endsWith("tailgate.ticket.T1")) socket.terminate();
    socket.on("message", () => socket.send('{"type":"caught_up","sequence":0}'));
    socket.send('{"type":"hello","epoch":"e","sequence":0,"durable":0,"version":1}');
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  if (!existsSync(CHROMIUM)) return;
  // Chromium's sandbox does not work for root; the page is ours.
  browser = await launch({ executablePath: CHROMIUM, args: ["--no-sandbox"] });
}, 60_000);

afterAll(async () => {
  await browser?.close();
  server.closeAllConnections();
  server.close();
});

async function bundle(): Promise<string> {
  const result = await build({
    configFile: false,
    logLevel: "error",
    mode: "development",
    define: { "process.env.NODE_ENV": '"development"' },
    resolve: { alias: { "tailgate/react": `${SOURCES}react.ts` } },
    build: { write: false, minify: false, rollupOptions: { input: MAIN } },
  });
  const { output } = result as { output: readonly { type: string; code?: string }[] };
  return output.find(({ type }) => type === "chunk")!.code!;
}

interface Fixture {
  readonly gateway: LoggingManager;
  readonly page: Page;
  /** The texts that the page shows. */
  texts(): Promise<string[]>;
  view<T>(read: (view: LogStreamView) => T): Promise<T>;
}

/** A gateway with these records, and a page that follows it. */
async function open(records: readonly string[], options: object = {}): Promise<Fixture> {
  if (!browser) return skipTest(NO_CHROMIUM);
  const gateway = await startGateway({}, { allowedHosts: url });
  for (const record of records) gateway.getLogger("a").info(record);
  const page = await browser.newPage();
  onTestFinished(() => page.close());
  const faults: unknown[] = [];
  page.on("pageerror", (error) => faults.push(error));
  onTestFinished(() => expect(faults).toEqual([]));
  await page.goto(url);
  await page.waitForFunction("window.mount");
  const given = { url: gateway.url, ...options };
  await page.evaluate((wanted) => window.mount(wanted), given);
  return {
    gateway,
    page,
    texts: () => page.$$eval("p", (rows) => rows.map((row) => row.textContent ?? "")),
    view: (read) => page.evaluate(`(${read.toString()})(window.view)`) as never,
  };
}

const NO_CHROMIUM =
  "Chromium is missing. As root on Debian: npm run setup:browsers. Or set CHROMIUM to its path.";

async function shows({ texts }: Fixture, expected: readonly string[]): Promise<void> {
  await vi.waitFor(async () => expect(await texts()).toEqual(expected), { timeout: 20_000 });
}

async function clients({ gateway }: Fixture): Promise<number> {
  const metrics = await (await fetch(`${gateway.url}/metrics`)).text();
  return Number(/^tailgate_websocket_clients(?:\{[^}]*\})? (\d+)/m.exec(metrics)?.[1]);
}

test("shows history and new records, each once, over one connection", async () => {
  const fixture = await open(["one", "two"]);
  await shows(fixture, ["one", "two"]);
  fixture.gateway.getLogger("a").info("three");
  await shows(fixture, ["one", "two", "three"]);
  expect(await fixture.view((view) => view.status)).toMatchObject({ state: "live", reason: "" });
  expect(await clients(fixture)).toBe(1);
});

test("waits for another token when one is rejected, and for retry()", async () => {
  const { page, view } = await open([], { url: "/", token: "wrong" });
  const shown = (): Promise<string> => view(({ status }) => `${status.state} ${status.reason}`);
  await expect.poll(shown, { timeout: 20_000 }).toBe("unauthorized Not valid.");
  await page.evaluate(() => window.mount({ url: "/", token: "valid" }));
  await expect.poll(shown, { timeout: 20_000 }).toBe("live ");
  await page.evaluate(() => window.mount({ url: "./", token: "wrong" }));
  await expect.poll(shown, { timeout: 20_000 }).toBe("unauthorized Not valid.");
  const since = await view(({ status }) => status.since);
  await page.evaluate(() => window.view.retry());
  await expect
    .poll(() => view(({ status }) => status.state === "unauthorized" && status.since), {
      timeout: 20_000,
    })
    .toBeGreaterThan(since);
});

test("retains the newest entries, and renders once per frame however many arrive", async () => {
  const fixture = await open([], { maxEntries: 10 });
  await vi.waitFor(async () =>
    expect(await fixture.view((view) => view.status.state)).toBe("live"),
  );
  for (let index = 0; index < 500; index++) {
    fixture.gateway.getLogger("a").info(String(index));
    if (index % 10 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  await shows(
    fixture,
    Array.from({ length: 10 }, (_, index) => String(490 + index)),
  );
  const { renders, ofFrame } = await fixture.page.evaluate(() => ({
    renders: window.renders,
    ofFrame: window.rendersOfFrame,
  }));
  // StrictMode renders twice.
  expect(ofFrame).toBeLessThanOrEqual(4);
  expect(renders).toBeLessThan(500);
});

test("counts new records while paused, and shows all of them when resumed", async () => {
  const fixture = await open(["one"]);
  await shows(fixture, ["one"]);
  await fixture.view((view) => view.pause());
  fixture.gateway.getLogger("a").info("two");
  await vi.waitFor(async () => expect(await fixture.view((view) => view.waiting)).toBe(1));
  expect(await fixture.texts()).toEqual(["one"]);
  expect(await fixture.view((view) => view.isPaused)).toBe(true);
  await fixture.view((view) => view.resume());
  await shows(fixture, ["one", "two"]);
  await fixture.view((view) => view.clear());
  await shows(fixture, []);
});

test("another filter applies from then on, by the action and by the option", async () => {
  const fixture = await open([]);
  const { gateway, page } = fixture;
  const shownOnly = async (word: string): Promise<void> => {
    await vi.waitFor(async () => {
      gateway.getLogger("a").info(`${word} this`);
      expect(await fixture.texts()).toContain(`${word} this`);
    });
    await fixture.view((view) => view.clear());
    gateway.getLogger("a").info("something else");
    gateway.getLogger("a").info(`${word} last`);
    await shows(fixture, [`${word} last`]);
    await fixture.view((view) => view.clear());
  };
  await vi.waitFor(async () =>
    expect(await fixture.view((view) => view.status.state)).toBe("live"),
  );
  await fixture.view((view) => view.setFilter({ q: "wanted" }));
  await shownOnly("wanted");
  const given = { url: gateway.url, filter: { q: "chosen" } };
  await page.evaluate((options) => window.mount(options), given);
  await shownOnly("chosen");
  expect(await clients(fixture)).toBe(1);
});

test("a rejected filter is reported until another one is accepted; the previous one stays in effect", async () => {
  const fixture = await open([], { filter: { q: "wanted" } });
  const { gateway, page } = fixture;
  const errorIs = (expected: unknown): Promise<void> =>
    vi.waitFor(async () =>
      expect(await fixture.view((view) => view.filterError ?? "none")).toEqual(expected),
    );
  await vi.waitFor(async () =>
    expect(await fixture.view((view) => view.status.state)).toBe("live"),
  );
  await fixture.view((view) => view.setFilter({ q: "level:" }));
  await errorIs(expect.stringContaining('The filter term "level:" is invalid'));
  gateway.getLogger("a").info("something else");
  gateway.getLogger("a").info("wanted still");
  await shows(fixture, ["wanted still"]);
  expect(await fixture.view((view) => view.status.state)).toBe("live");
  await fixture.view((view) => view.setFilter({ q: "level:INFO" }));
  await errorIs("none");

  const mounted = (filter: object): Promise<void> =>
    page.evaluate((options) => window.mount(options), { url: gateway.url, filter });
  await mounted({ level: "LOUD" });
  await errorIs(expect.stringContaining('"level:LOUD"'));
  const other = await startGateway({}, { allowedHosts: url });
  await page.evaluate((options) => window.mount(options), { url: other.url });
  await errorIs("none");
});

test("a rejected first filter is reported, and the next one is used", async () => {
  const fixture = await open(["wanted"], { filter: { q: '"open' } });
  await vi.waitFor(async () =>
    expect(await fixture.view((view) => [view.filterError, view.status.state])).toEqual([
      expect.stringContaining("a quote is not closed"),
      "waiting",
    ]),
  );
  await fixture.view((view) => view.setFilter({ q: "wanted" }));
  await shows(fixture, ["wanted"]);
  expect(await fixture.view((view) => view.filterError ?? "none")).toBe("none");
});

test("another gateway starts empty; unmounting closes the connection", async () => {
  const first = await open(["one"]);
  await shows(first, ["one"]);
  const other = await startGateway({}, { allowedHosts: url });
  other.getLogger("a").info("of the other");
  await first.page.evaluate((options) => window.mount(options), { url: other.url });
  await shows(first, ["of the other"]);
  await vi.waitFor(async () => expect(await clients(first)).toBe(0));
  await first.page.evaluate(() => window.unmount());
  await vi.waitFor(async () => expect(await clients({ ...first, gateway: other })).toBe(0));
});

test("falls back to plain frames for an older gateway, as browsers fail without the subprotocol", async () => {
  await using older = await FaultyGateway.older();
  const fixture = await open([], { url: older.url });
  await vi.waitFor(
    async () =>
      expect(await fixture.view((view) => view.status)).toMatchObject({
        state: "live",
        transport: "plain",
      }),
    { timeout: 20_000 },
  );
  older.say(envelope("plainly"));
  await shows(fixture, ["plainly"]);
});

test("a rejected page learns the reason", async () => {
  const gateway = await startGateway({}, { allowedHosts: "logs.example.com" });
  const fixture = await open([], { url: gateway.url });
  await vi.waitFor(async () =>
    expect(await fixture.view((view) => view.status.reason)).toContain(
      `its origin ${url} may be missing from allowed_hosts`,
    ),
  );
});
