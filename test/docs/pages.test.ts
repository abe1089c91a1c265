/** Holds all pages to what can be checked without running them: links, examples, names, and length. */

import { access, readdir, readFile } from "node:fs/promises";
import { expect, test } from "vitest";
import { Document, repositoryPath } from "./document.ts";

const pages = await Document.all();

const LINES_MAX = 400;

/** Folders and files of the repository, as the pages mention them. */
const PATH = /^(?:src|plugins|test|examples|docs|\.ci)\/[\w./-]+$/;

const EXTERNAL = /^(?:https?|mailto):/;

/** Output and diagrams; everything else is an example that tests run. */
const ILLUSTRATIONS = new Set(["text", "mermaid"]);

/** `tailgate validate` runs on examples with such names, in configurations.docs.ts. */
const CONFIGURATION = /^config-/;

test.each(pages)("$path is at most 400 lines long", ({ text }) => {
  expect(text.split("\n").length - 1).toBeLessThanOrEqual(LINES_MAX);
});

test.each(pages)("the links of $path lead to pages, headings and files", async (page) => {
  const broken: string[] = [];
  for (const { target } of page.references) {
    if (EXTERNAL.test(target)) continue;
    if (!(await exists(page, target))) broken.push(target);
  }
  expect(broken).toEqual([]);
});

async function exists({ path }: Document, target: string): Promise<boolean> {
  const { pathname, hash } = new URL(target, `file:///${path}`);
  const file = decodeURIComponent(pathname.slice(1));
  const isReachable = await access(repositoryPath(file)).then(
    () => true,
    () => false,
  );
  if (!isReachable || hash === "") return isReachable;
  const linked = pages.find((page) => page.path === file);
  return linked !== undefined && linked.anchors.includes(decodeURIComponent(hash.slice(1)));
}

test.each(pages)("the files that $path mentions exist", async ({ inlineCode }) => {
  const missing: string[] = [];
  for (const name of inlineCode.filter((code) => PATH.test(code))) {
    await access(repositoryPath(name)).catch(() => missing.push(name));
  }
  expect(missing).toEqual([]);
});

test.each(pages)("the code blocks of $path have names", (page) => {
  const named = new Set(page.exampleNames.map((name) => page.example(name)));
  const unnamed = page.codeBlocks.filter(
    ({ lang = "", text }) => !ILLUSTRATIONS.has(lang) && !named.has(`${text}\n`),
  );
  expect(unnamed.map(({ lang, text }) => `${lang}: ${text.slice(0, 80)}`)).toEqual([]);
});

test("each example has a name of its own, which a test mentions", async () => {
  const names = pages.flatMap((page) => page.exampleNames);
  const repeated = names.filter((name, index) => names.indexOf(name) !== index);
  expect(repeated).toEqual([]);
  const sources = await testSources();
  const untested = names.filter(
    (name) => !CONFIGURATION.test(name) && !sources.includes(`"${name}"`),
  );
  expect(untested).toEqual([]);
});

async function testSources(): Promise<string> {
  const names = await readdir(repositoryPath("test"), { recursive: true });
  const files = names.filter((name) => name.endsWith(".ts"));
  const texts = await Promise.all(
    files.map((name) => readFile(repositoryPath(`test/${name}`), "utf8")),
  );
  return texts.join("\n");
}

test("every page is reachable from the README", () => {
  const reached = new Set(["README.md"]);
  for (const path of reached) {
    const page = pages.find((candidate) => candidate.path === path);
    for (const { target } of page?.references ?? []) {
      if (EXTERNAL.test(target)) continue;
      reached.add(decodeURIComponent(new URL(target, `file:///${path}`).pathname.slice(1)));
    }
  }
  const unreached = pages.map(({ path }) => path).filter((path) => !reached.has(path));
  expect(unreached).toEqual([]);
});

test("the package contains what its pages link to, except pictures", async () => {
  const manifest = await readFile(repositoryPath("package.json"), "utf8");
  const { files } = JSON.parse(manifest) as { files: string[] };
  const isPacked = (name: string): boolean =>
    files.some((file) => name === file || name.startsWith(`${file}/`));
  const linked = pages.flatMap(({ path, references }) =>
    references
      .filter(({ target, isImage }) => !isImage && !EXTERNAL.test(target))
      .map(({ target }) => new URL(target, `file:///${path}`).pathname.slice(1)),
  );
  expect([...new Set(linked)].filter((name) => !isPacked(name))).toEqual([]);
});

test("the architecture page mentions every source folder", async () => {
  const { text } = await Document.read("docs/architecture.md");
  const entries = await readdir(repositoryPath("src"), { withFileTypes: true });
  const folders = entries.filter((entry) => entry.isDirectory());
  expect(folders.filter(({ name }) => !text.includes(`\`src/${name}\``))).toEqual([]);
});

test("every npm script that a page mentions exists", async () => {
  const manifest = await readFile(repositoryPath("package.json"), "utf8");
  const { scripts } = JSON.parse(manifest) as { scripts: Record<string, string> };
  const named = pages.flatMap(({ text }) =>
    Array.from(text.matchAll(/npm run ([\w:-]+)/g), ([, name]) => name!),
  );
  expect(named.filter((name) => !(name in scripts))).toEqual([]);
});
