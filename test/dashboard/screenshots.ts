/**
 * `npm run screenshots`: takes the pictures of the documentation, of the dashboard with the demo's records at fixed times.
 * The recording needs img2webp (Debian: `apt-get install webp`).
 */

import { execFile } from "node:child_process";
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { fileURLToPath } from "node:url";
import type { LoggingManager } from "tailgate";
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

const FOLDER = fileURLToPath(new URL("../../docs/images/", import.meta.url));

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
    const story = new Story(logging);
    await story.playUntil(STORY_MS);
    for (const shot of SHOTS) await take(browser, logging.url, shot);
    await record(browser, logging.url, story);
  } finally {
    await browser.close();
    await close();
  }
}

/** The demo's records, logged as far as the pictures need them. */
class Story {
  readonly #logging: LoggingManager;
  readonly #events = orchestrator(SEED);
  #next = this.#events.next();

  constructor(logging: LoggingManager) {
    this.#logging = logging;
  }

  async playUntil(endMs: number): Promise<void> {
    for (; !this.#next.done && this.#next.value.atMs <= endMs; this.#next = this.#events.next()) {
      logEvent(this.#logging, this.#next.value, BEGINNING_MS + this.#next.value.atMs);
    }
    await this.#logging.flush();
  }
}

async function take(browser: Browser, url: string, shot: Shot): Promise<void> {
  const { name, prepare } = shot;
  const page = await openPage(browser, url, shot);
  await prepare?.(page);
  await page.mouse.move(0, 0);
  await page.screenshot({ path: `${FOLDER}${name}.webp`, type: "webp", quality: 60 });
  await page.browserContext().close();
}

type View = Pick<Shot, "width" | "height" | "scheme">;

async function openPage(
  browser: Browser,
  url: string,
  { width, height, scheme }: View,
): Promise<Page> {
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
  return page;
}

/** What happens in the recording: some live records, a filter typed letter by letter, and an error's details. */
const FRAME_MS = 200;
const LIVE_FRAMES = 25;
const TYPED = "level:WARNING ";
const HOLD_FRAMES = 12;

/** Records `demo.webp`: one picture for each step, with the story continuing in between. */
async function record(browser: Browser, url: string, story: Story): Promise<void> {
  const page = await openPage(browser, url, { width: 1200, height: 675, scheme: "dark" });
  const frames = await mkdtemp(join(tmpdir(), "tailgate-frames-"));
  const paths: string[] = [];
  const shoot = async (count: number, change?: (index: number) => Promise<void>): Promise<void> => {
    for (let index = 0; index < count; index++) {
      await story.playUntil(STORY_MS + (paths.length + 1) * FRAME_MS);
      await change?.(index);
      const path = join(frames, `${String(paths.length).padStart(3, "0")}.png`);
      await page.screenshot({ path, type: "png" });
      paths.push(path);
    }
  };
  try {
    await shoot(LIVE_FRAMES);
    await page.focus("[role=combobox]");
    await shoot(TYPED.length, (index) => page.keyboard.type(TYPED[index]!));
    await page.keyboard.press("Enter");
    await shoot(HOLD_FRAMES);
    // The newest one; the oldest belong to no instance.
    await (await page.$$("[data-type=audit_log] .row:has([data-level=ERROR])")).at(-1)!.click();
    await page.waitForSelector(".related button");
    await shoot(HOLD_FRAMES);
    await page.locator(".related button").click();
    await page.waitForSelector(".correlation-bar");
    await page.waitForNetworkIdle();
    await shoot(2 * HOLD_FRAMES);
    const options = ["-loop", "0", "-min_size", "-lossy", "-q", "40", "-m", "4"];
    await promisify(execFile)("img2webp", [
      ...options,
      ...["-d", `${FRAME_MS}`],
      ...paths,
      ...["-o", `${FOLDER}demo.webp`],
    ]);
  } finally {
    await rm(frames, { recursive: true, force: true });
    await page.browserContext().close();
  }
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
