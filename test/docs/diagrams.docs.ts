/** Renders the diagrams of all pages in Chromium. */

import { access } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import type { Browser, Page } from "puppeteer-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { launchBrowser } from "../dashboard/launch.ts";
import { skipTest } from "../harness/program.ts";
import { Document } from "./document.ts";

const CACHE = process.env["XDG_CACHE_HOME"] ?? join(homedir(), ".cache");
const MERMAID = join(CACHE, "tailgate/mermaid/node_modules/mermaid/dist/mermaid.min.js");

const isInstalled = await access(MERMAID).then(
  () => true,
  () => false,
);

const diagrams = (await Document.all()).flatMap(({ path, codeBlocks }) =>
  codeBlocks.filter(({ lang }) => lang === "mermaid").map(({ text }) => ({ path, text })),
);

let browser: Browser;
let page: Page;

beforeAll(async () => {
  if (!isInstalled) return;
  browser = await launchBrowser("chrome", (text) => {
    throw new Error(text);
  });
  page = await browser.newPage();
  await page.setContent("<body></body>");
  await page.addScriptTag({ path: MERMAID });
});

afterAll(() => browser?.close());

/** Mermaid as its script defines it. */
interface Mermaid {
  initialize(options: { startOnLoad: boolean; suppressErrorRendering: boolean }): void;
  render(id: string, text: string): Promise<{ svg: string }>;
}

test("the pages have diagrams of what the reader has to picture", () => {
  expect(diagrams.map(({ path }) => path)).toEqual(expect.arrayContaining(ILLUSTRATED));
});

/** Data flow, acknowledgement, reconnecting with a gap, audit chain, deployment topologies, plugin lifecycle. */
const ILLUSTRATED = [
  "README.md",
  "docs/architecture.md",
  "docs/guarantees.md",
  "docs/reference/websocket.md",
  "docs/audit-trail.md",
  "docs/deployment/README.md",
  "docs/plugins/README.md",
];

test.each(diagrams)("a diagram of $path renders", async (diagram) => {
  if (!isInstalled) skipTest("Mermaid is missing, which this test needs: npm run setup:docs");
  const svg = await page.evaluate(async (text) => {
    const { mermaid } = globalThis as unknown as { mermaid: Mermaid };
    mermaid.initialize({ startOnLoad: false, suppressErrorRendering: true });
    return (await mermaid.render("diagram", text)).svg;
  }, diagram.text);
  expect(svg).toMatch(/^<svg [^]*<\/svg>$/);
});
