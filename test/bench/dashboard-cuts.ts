import { setTimeout as wait } from "node:timers/promises";
import type { Browser, Page } from "puppeteer-core";
import { Proxy } from "../client/proxy.ts";
import { shownSequences } from "../dashboard/shown-sequences.ts";
import type { DashboardServer } from "./dashboard-server.ts";
import { sendTick, TICK_MS, TICK_RECORDS } from "./dashboard-ticks.ts";
import { printValues } from "./figure.ts";
import type { HelperProcess } from "./helper-process.ts";

const CUTS = 20;

/** Tall, so that many rows are read at once. */
const VIEW = { width: 1440, height: 3000 };

/** The time from a disconnect to the end of its part: a panel holds the records from a second before on. */
const CUT_BEFORE_END_TICKS = 4;
const READ_RECORDS = 8 * TICK_RECORDS;

export interface CutFixture {
  readonly server: DashboardServer;
  readonly senders: HelperProcess;
  readonly browser: Browser;
}

/**
 * Sends 10 000 records per second, and closes all of the page's connections at a random time near the end of each of
 * twenty parts. Then compares the panel's rows around each disconnect with what was sent, one by one. In between,
 * compares the counts in the page's status line. Only system logs are sent.
 */
export async function benchCuts(fixture: CutFixture, seconds: number): Promise<void> {
  const { server, browser } = fixture;
  await using proxy = await Proxy.start(Number(new URL(server.url).port));
  const context = await browser.createBrowserContext();
  try {
    const page = await context.newPage();
    await page.setViewport(VIEW);
    await page.goto(proxy.url);
    const { sent } = server;
    await shows(page, sent);
    const before = await received(page);
    const parts: PartReport[] = [];
    for (let cut = 0; cut < CUTS; cut++) parts.push(await benchPart(fixture, page, proxy, seconds));
    printValues(
      "dashboard.cuts.rate",
      "records/s",
      parts.map(({ rate }) => rate),
    );
    printValues(
      "dashboard.cuts.behind",
      "ms",
      parts.map(({ behindMs }) => behindMs),
    );
    printSum(parts, "compared");
    printSum(parts, "lost", "<= 0");
    printSum(parts, "doubled", "<= 0");
    const miscounted = Math.abs((await received(page)) - before - (server.sent - sent));
    printValues("dashboard.cuts.miscounted", "records", [miscounted], "<= 0");
  } finally {
    await context.close();
  }
}

interface PartReport {
  readonly rate: number;
  /** From the acceptance of the last record until it is shown. */
  readonly behindMs: number;
  readonly compared: number;
  readonly lost: number;
  readonly doubled: number;
}

async function benchPart(
  { server, senders }: CutFixture,
  page: Page,
  proxy: Proxy,
  seconds: number,
): Promise<PartReport> {
  const ticks = Math.max(READ_RECORDS / TICK_RECORDS, (1000 * seconds) / TICK_MS / CUTS);
  const startMs = performance.now();
  const { sent } = server;
  for (let tick = 0; tick < ticks; tick++) {
    await wait(Math.max(0, startMs + tick * TICK_MS - performance.now()));
    if (tick === ticks - CUT_BEFORE_END_TICKS) {
      void wait(TICK_MS * Math.random()).then(() => proxy.cut());
    }
    await sendTick(server, senders);
  }
  const takenMs = performance.now();
  // A network that comes back triggers an online event, so that the page does not wait longer.
  await page.evaluate(() => dispatchEvent(new Event("online")));
  await shows(page, server.sent);
  const behindMs = performance.now() - takenMs;
  const first = server.sent - READ_RECORDS + 1;
  const shown = await shownSequences(page, "system_log", first);
  await page.keyboard.press("G");
  await shows(page, server.sent);
  const rate = (1000 * (server.sent - sent)) / (takenMs - startMs);
  return { rate, behindMs, ...comparison(shown, first, server.sent) };
}

/** Waits until a row with that sequence or a later one is shown. */
async function shows(page: Page, sequence: number): Promise<void> {
  await page.waitForFunction(
    (wanted) =>
      [...document.querySelectorAll<HTMLElement>("[data-type=system_log] .row")].some(
        (row) => Number(row.dataset["sequence"]) >= wanted,
      ),
    { polling: "raf" },
    sequence,
  );
}

/** Returns the number of system logs that the page says it has received. */
async function received(page: Page): Promise<number> {
  const text = await page.$eval(".counts[data-panel=system_log]", (counts) => counts.textContent);
  return Number(/(\S+) received/.exec(text)![1]!.replaceAll(",", ""));
}

function comparison(
  shown: readonly number[],
  first: number,
  last: number,
): Pick<PartReport, "compared" | "lost" | "doubled"> {
  const known = new Set(shown);
  const compared = last - first + 1;
  let lost = 0;
  for (let sequence = first; sequence <= last; sequence++) if (!known.has(sequence)) lost++;
  return { compared, lost, doubled: shown.length - known.size };
}

function printSum(
  parts: readonly PartReport[],
  what: "compared" | "lost" | "doubled",
  target?: "<= 0",
): void {
  const sum = parts.reduce((total, part) => total + part[what], 0);
  printValues(`dashboard.cuts.${what}`, "records", [sum], target);
}
