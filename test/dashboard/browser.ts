import type { Browser, Page } from "puppeteer-core";
import { afterAll } from "vitest";
import { skipTest } from "../harness/program.ts";
import { launchBrowser, type BrowserName } from "./launch.ts";

export interface ViewOptions {
  readonly width?: number;
  readonly height?: number;
  /** Of the pixels of the screen to those of CSS; where a page is zoomed it is that factor. */
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

/** One browser for all tests of a file; a window of its own, with nothing remembered, for each view. */
function browserOf(name: BrowserName): Promise<Browser> {
  let browser = running.get(name);
  if (!browser) {
    browser = launchBrowser(name, skipTest);
    running.set(name, browser);
  }
  return browser;
}

/** A page in a window of its own that is closed at the end of its scope; the test fails with what goes wrong in it. */
export class View implements AsyncDisposable {
  readonly page: Page;
  /** Errors and refusals of the browser, such as those of the policy. */
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
    // WebDriver BiDi cannot emulate it.
    if (browser === "chrome") {
      await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
    }
    await page.bringToFront();
    await page.goto(url);
    return view;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#close();
  }
}
