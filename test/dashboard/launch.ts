import { execFileSync } from "node:child_process";
import { launch, type Browser, type LaunchOptions } from "puppeteer-core";

export type BrowserName = "chrome" | "firefox";

const PROGRAMS = {
  chrome: { variable: "CHROMIUM", names: ["chromium", "chromium-browser", "google-chrome"] },
  firefox: { variable: "FIREFOX", names: ["firefox-esr", "firefox"] },
} as const;

/** Starts an installed browser headless. `endWithout` throws if there is none, and so does this. */
export function launchBrowser(
  name: BrowserName,
  endWithout: (text: string) => never,
  { args: added = [], ...options }: LaunchOptions = {},
): Promise<Browser> {
  // Chromium's sandbox does not work for root; the pages are ours.
  const args = name === "chrome" && process.getuid?.() === 0 ? ["--no-sandbox"] : [];
  // `--js-flags` lets tests collect garbage before they measure.
  const flags = name === "chrome" ? ["--js-flags=--expose-gc"] : [];
  return launch({
    ...options,
    browser: name,
    executablePath: programOf(name) ?? endWithout(adviceOn(name)),
    args: [...args, ...flags, ...added],
  });
}

/** Undefined if it is not installed. */
function programOf(name: BrowserName): string | undefined {
  const { variable, names } = PROGRAMS[name];
  const given = process.env[variable];
  if (given) return given;
  for (const program of names) {
    try {
      return execFileSync("sh", ["-c", `command -v ${program}`], { encoding: "utf8" }).trim();
    } catch {
      // Try the next one.
    }
  }
  return undefined;
}

function adviceOn(name: BrowserName): string {
  const { variable, names } = PROGRAMS[name];
  const text = `No ${names[0]} is here, in which the page is tested. As root on Debian: npm run setup:browsers.`;
  return `${text} Or set ${variable} to its path.`;
}
