import { setTimeout as wait } from "node:timers/promises";
import { gzipSync } from "node:zlib";
import type { Browser, HTTPResponse, Page } from "puppeteer-core";
import { launchBrowser } from "../dashboard/launch.ts";
import { benchCuts } from "./dashboard-cuts.ts";
import { dashboardServer, type DashboardServer } from "./dashboard-server.ts";
import { REQUEST_RECORDS, sendTick, TICK_MS } from "./dashboard-ticks.ts";
import { printValues } from "./figure.ts";
import { FrameWatch } from "./frame-watch.ts";
import { HelperProcess } from "./helper-process.ts";
import type { Scale } from "./rounds.ts";

const VIEW = { width: 1440, height: 900 };

const ROW = "[data-type=system_log] .row";

const SECONDS = 60;

/** Ten of the 64 messages of typical records contain it. */
const FILTER = "inst-101";

/**
 * What the page costs the browser, in Chromium: its first load, and how smoothly it renders while following many
 * records; then whether disconnects lose or duplicate any. Browser, gateway and clients share the machine: if it is
 * busy or has few cores, frames are late for other reasons than the page.
 */
export async function benchDashboard({ rounds, share }: Scale): Promise<void> {
  await using server = await dashboardServer();
  await using senders = await HelperProcess.start(new URL("otlp-http-senders.ts", import.meta.url));
  const browser = await launchBrowser("chrome", fail);
  try {
    const fixture = { server, senders, browser };
    await sendTick(server, senders);
    await benchLoad(fixture, rounds);
    await benchFollowing("dashboard.following", fixture, SECONDS * share, "");
    await benchFollowing("dashboard.filtered", fixture, SECONDS * share, FILTER);
    await benchCuts(fixture, SECONDS * share);
  } finally {
    await browser.close();
  }
}

interface Fixture {
  readonly server: DashboardServer;
  readonly senders: HelperProcess;
  readonly browser: Browser;
}

// The first load

async function benchLoad({ server, browser }: Fixture, rounds: number): Promise<void> {
  const waitsMs: number[] = [];
  let sizes: Sizes = { all: 0, script: 0 };
  for (let round = 0; round < rounds; round++) {
    await using view = await openView(browser);
    const responses: HTTPResponse[] = [];
    view.page.on("response", (response) => responses.push(response));
    await view.page.evaluateOnNewDocument(noteFirstRow, ROW);
    await view.page.goto(server.url);
    const found = await view.page.waitForFunction(() => (globalThis as Noted).firstRowMs);
    waitsMs.push((await found.jsonValue())!);
    sizes = await sizesOf(responses, server.url);
  }
  printValues("dashboard.first_load", "kB", [sizes.all / 1000]);
  printValues("dashboard.first_load_script", "kB", [sizes.script / 1000], "<= 150");
  printValues("dashboard.first_rows", "ms", waitsMs, "<= 1000");
}

type Noted = typeof globalThis & { firstRowMs?: number };

/** Runs in the page from its start: checks in each frame whether a row exists. */
function noteFirstRow(row: string): void {
  const look = (): void => {
    if (document.querySelector(row)) (globalThis as Noted).firstRowMs = performance.now();
    else requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
}

interface Sizes {
  readonly all: number;
  readonly script: number;
}

/** Returns the compressed size in bytes of the page's files, without records. */
async function sizesOf(responses: readonly HTTPResponse[], url: string): Promise<Sizes> {
  const sizes = { all: 0, script: 0 };
  for (const response of responses) {
    const type = response.request().resourceType();
    if (new URL(response.url()).origin !== new URL(url).origin || type === "fetch") continue;
    const bytes = gzipSync(await response.buffer()).length;
    sizes.all += bytes;
    if (type === "script") sizes.script += bytes;
  }
  return sizes;
}

// Following

async function benchFollowing(
  name: string,
  fixture: Fixture,
  seconds: number,
  filter: string,
): Promise<void> {
  const { server, senders } = fixture;
  await using view = await openView(fixture.browser);
  const { page } = view;
  await page.goto(server.url);
  await page.waitForSelector(ROW);
  if (filter !== "") {
    await page.type("[type=search]", filter);
    await page.keyboard.press("Enter");
  }
  await sendTick(server, senders);
  await showsNewest(page, server.sent, filter);
  const ticks = Math.ceil((1000 * seconds) / TICK_MS);
  const { sent } = server;
  const watch = await FrameWatch.start(page);
  const startMs = performance.now();
  for (let tick = 0; tick < ticks; tick++) {
    await wait(Math.max(0, startMs + tick * TICK_MS - performance.now()));
    await sendTick(server, senders);
  }
  const tookMs = performance.now() - startMs;
  const { frames, longestTaskMs, heapBytesMax } = await watch.end();
  const lastMs = performance.now();
  await showsNewest(page, server.sent, filter);
  const isSmooth = frames.filter((frameMs) => frameMs < 20).length;
  printValues(`${name}.rate`, "records/s", [(1000 * (server.sent - sent)) / tookMs]);
  printValues(`${name}.frames_under_20_ms`, "share", [isSmooth / frames.length], ">= 0.95");
  printValues(`${name}.frame`, "ms", frames);
  printValues(`${name}.longest_task`, "ms", [longestTaskMs], "<= 100");
  printValues(`${name}.heap`, "MB", [heapBytesMax / 1e6], "<= 300");
  printValues(`${name}.behind`, "ms", [performance.now() - lastMs]);
}

/** Waits until a row is from the last request and all rows match; each request has records that match. */
async function showsNewest(page: Page, sequence: number, filter: string): Promise<void> {
  await page.waitForFunction(
    (rows, from, text) => {
      const shown = [...document.querySelectorAll<HTMLElement>(rows)];
      return (
        shown.some((row) => Number(row.dataset["sequence"]) > from) &&
        shown.every((row) => row.textContent.includes(text))
      );
    },
    { polling: "raf" },
    ROW,
    sequence - REQUEST_RECORDS,
    filter,
  );
}

/** Opens a new window with an empty cache. */
async function openView(browser: Browser): Promise<AsyncDisposable & { readonly page: Page }> {
  const context = await browser.createBrowserContext();
  const page = await context.newPage();
  await page.setViewport(VIEW);
  await page.bringToFront();
  return { page, [Symbol.asyncDispose]: () => context.close() };
}

function fail(text: string): never {
  throw new Error(text);
}
