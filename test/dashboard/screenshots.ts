/** `npm run screenshots`: takes the README's screenshots of the page with the demo's records at fixed times. */

import { mkdir } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import type { Browser, Page } from "puppeteer-core";
import { startDemoGateway } from "../demo/gateway.ts";
import { logEvent } from "../demo/log-event.ts";
import { orchestrator } from "../demo/orchestrator.ts";
import { launchBrowser } from "./launch.ts";

interface Shot {
  readonly name: string;
  readonly width: number;
  readonly height: number;
  readonly scheme: "dark" | "light";
  /** The user's actions before the screenshot. */
  prepare?(page: Page): Promise<void>;
}

const FOLDER = fileURLToPath(new URL("screenshots/", import.meta.url));

const BEGINNING_MS = Date.UTC(2026, 0, 15, 9, 30);
const STORY_MS = 3 * 60_000;
const SEED = 2;

const SHOTS: readonly Shot[] = [
  { name: "wide-dark", width: 1440, height: 810, scheme: "dark", prepare: openError },
  { name: "wide-light", width: 1440, height: 810, scheme: "light", prepare: openTogether },
  { name: "narrow-dark", width: 480, height: 810, scheme: "dark" },
  { name: "narrow-light", width: 480, height: 810, scheme: "light", prepare: openError },
];

async function screenshots(): Promise<void> {
  await mkdir(FOLDER, { recursive: true });
  const { logging, close } = await startDemoGateway({ port: 0 });
  const browser = await launchBrowser("chrome", (text) => {
    throw new Error(text);
  });
  try {
    for (const event of orchestrator(SEED)) {
      if (event.atMs > STORY_MS) break;
      logEvent(logging, event, BEGINNING_MS + event.atMs);
    }
    await logging.flush();
    for (const shot of SHOTS) await take(browser, logging.url, shot);
  } finally {
    await browser.close();
    await close();
  }
}

async function take(browser: Browser, url: string, shot: Shot): Promise<void> {
  const { name, width, height, scheme, prepare } = shot;
  const context = await browser.createBrowserContext();
  const page = await context.newPage();
  await page.setViewport({ width, height });
  await page.emulateTimezone("UTC");
  await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
  await page.evaluateOnNewDocument(setClock, BEGINNING_MS + STORY_MS);
  await page.goto(url);
  await page.waitForSelector(".row");
  await page.waitForSelector(".connection[data-state=live]");
  await page.waitForSelector(".audit-chain:not(:empty)");
  await prepare?.(page);
  await page.mouse.move(0, 0);
  await page.screenshot({ path: `${FOLDER}${name}.webp`, type: "webp", quality: 60 });
  await context.close();
}

/** Runs in the page: its clock and its knowledge of the gateway's clock continue from here. */
function setClock(nowMs: number): void {
  const offsetMs = nowMs - Date.now();
  const now = Date.now;
  Date.now = () => now() + offsetMs;
  const { get } = Headers.prototype;
  Headers.prototype.get = function getShifted(name) {
    return name === "Date" ? new Date(Date.now()).toUTCString() : get.call(this, name);
  };
}

/** The system logs of an audit event's instance. */
async function openTogether(page: Page): Promise<void> {
  await page.locator("[data-type=audit_log] .row:has([data-level=ERROR])").click();
  await page.locator(".related button").click();
  await page.waitForSelector(".correlation-bar");
  await page.waitForNetworkIdle();
}

/** The newest error in view. */
async function openError(page: Page): Promise<void> {
  await page.locator("[data-type=system_log] .row:has([data-level=ERROR])").click();
  await page.waitForSelector(".details");
}

await screenshots();
