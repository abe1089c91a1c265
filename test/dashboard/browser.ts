import { execFileSync } from "node:child_process";
import { launch, type Browser, type Page } from "puppeteer-core";
import { afterAll } from "vitest";
import { endWithout } from "../support/required-program.ts";

type BrowserName = "chrome" | "firefox";

const PROGRAMS = {
  chrome: { variable: "CHROMIUM", names: ["chromium", "chromium-browser", "google-chrome"] },
  firefox: { variable: "FIREFOX", names: ["firefox-esr", "firefox"] },
} as const;

export interface ViewOptions {
  readonly width?: number;
  readonly height?: number;
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
    browser = start(name);
    running.set(name, browser);
  }
  return browser;
}

function start(name: BrowserName): Promise<Browser> {
  // Chromium's sandbox does not work for root; the pages are ours.
  const args = name === "chrome" && process.getuid?.() === 0 ? ["--no-sandbox"] : [];
  // `--js-flags` lets tests collect garbage before they measure.
  const flags = name === "chrome" ? ["--js-flags=--expose-gc"] : [];
  return launch({ browser: name, executablePath: programOf(name), args: [...args, ...flags] });
}

function programOf(name: BrowserName): string {
  const { variable, names } = PROGRAMS[name];
  const given = process.env[variable];
  if (given) return given;
  for (const program of names) {
    try {
      return execFileSync("sh", ["-c", `command -v ${program}`], { encoding: "utf8" }).trim();
    } catch {
      // The next one, perhaps.
    }
  }
  const text = `No ${names[0]} is here, in which the page is tested. As root on Debian: npm run setup:browsers.`;
  return endWithout(`${text} Or set ${variable} to its path.`);
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
    const { width = 1440, height = 800, scheme = "dark", browser = "chrome" } = options;
    const context = await (await browserOf(browser)).createBrowserContext();
    const page = await context.newPage();
    const view = new View(page, () => context.close());
    await page.setViewport({ width, height });
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
