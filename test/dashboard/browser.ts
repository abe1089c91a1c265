import type { Browser, Page } from "puppeteer-core";
import { afterAll } from "vitest";
import { skipTest } from "../harness/program.ts";
import { launchBrowser, type BrowserName } from "./launch.ts";

export interface ViewOptions {
  readonly width?: number;
  readonly height?: number;
  /** The device pixel ratio; for a zoomed page it is the zoom factor. */
  readonly scale?: number;
  readonly scheme?: "dark" | "light";
  readonly browser?: BrowserName;
}

const running = new Map<BrowserName, Promise<Browser>>();

afterAll(async () => {
  const browsers = await Promise.all(running.values());
  running.clear();
  await Promise.all(browsers.map((browser) => browser.close()));
});

/** One browser for all tests of a file, with a fresh window for each view. */
function browserOf(name: BrowserName): Promise<Browser> {
  let browser = running.get(name);
  if (!browser) {
    browser = launchBrowser(name, skipTest);
    running.set(name, browser);
  }
  return browser;
}

/** A page in its own window, which is closed on disposal; the test fails on errors in it. */
export class View implements AsyncDisposable {
  readonly page: Page;
  /** Errors and violations reported by the browser, such as those of the policy. */
  readonly complaints: string[] = [];
  readonly #close: () => Promise<void>;

  private constructor(page: Page, close: () => Promise<void>) {
    this.page = page;
    this.#close = close;
    page.on("pageerror", (error) => this.complaints.push(String(error)));
    page.on("console", (message) => {
      if (message.type() === "error") this.complaints.push(message.text());
    });
  }

  static async open(url: string, options: ViewOptions = {}): Promise<View> {
    const { width = 1440, height = 800, scale = 1 } = options;
    const { scheme = "dark", browser = "chrome" } = options;
    const context = await (await browserOf(browser)).createBrowserContext();
    const page = await context.newPage();
    const view = new View(page, () => context.close());
    await page.setViewport({ width, height, deviceScaleFactor: scale });
    // WebDriver BiDi cannot emulate this.
    if (browser === "chrome") {
      await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
    }
    await page.bringToFront();
    await view.goto(url);
    return view;
  }

  /** Resolves when the dashboard at that address is rendered, or its sign-in page. */
  async goto(url: string): Promise<void> {
    await this.page.goto(url);
    await this.#isRendered();
  }

  /** Resolves when the dashboard is rendered again. */
  async reload(): Promise<void> {
    await this.page.reload();
    await this.#isRendered();
  }

  /** The dashboard renders after it has asked the gateway who the user is, which can be long after the page has loaded. */
  async #isRendered(): Promise<void> {
    await this.page.waitForSelector("#dashboard > *");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#close();
  }
}
