/** Statements of the documentation about the repository that can be checked. */

import { access, readdir, readFile } from "node:fs/promises";
import { expect, test } from "vitest";
import { Document } from "./document.ts";

const ROOT = new URL("../../", import.meta.url);

const PAGES = ["README.md", "CONTRIBUTING.md", "docs/architecture.md", "plugins/README.md"];

/** Folders and files of the repository, as the pages mention them. */
const PATH = /`((?:src|plugins|test|\.ci)\/[\w./-]+)`/g;

const LINK = /\]\((?!https?:|#)([^)]+)\)/g;

/** The entries of the table in errors.ts. */
const ERROR_CODE = /^ {2}([A-Z_]+): \{/gm;

test.each(PAGES)("every file that %s mentions exists", async (path) => {
  const { text } = await Document.read(path);
  const named = Array.from(text.matchAll(PATH), ([, name]) => new URL(name!, ROOT));
  const linked = Array.from(text.matchAll(LINK), ([, name]) => new URL(name!, new URL(path, ROOT)));
  const missing: string[] = [];
  for (const url of [...named, ...linked]) {
    await access(url).catch(() => missing.push(url.href));
  }
  expect(named.length).toBeGreaterThan(0);
  expect(missing).toEqual([]);
});

test("the package contains what the README links to, except its pictures", async () => {
  const { text } = await Document.read("README.md");
  const linked = Array.from(text.matchAll(LINK), ([, name]) => name!);
  const manifest = await readFile(new URL("package.json", ROOT), "utf8");
  const { files } = JSON.parse(manifest) as { files: string[] };
  const isPacked = (name: string): boolean =>
    files.some((file) => name === file || name.startsWith(`${file}/`));
  expect(linked.filter((name) => !isPacked(name) && !name.endsWith(".webp"))).toEqual([]);
});

test("the architecture page mentions every source folder", async () => {
  const { text } = await Document.read("docs/architecture.md");
  const entries = await readdir(new URL("src", ROOT), { withFileTypes: true });
  const folders = entries.filter((entry) => entry.isDirectory());
  expect(folders.filter(({ name }) => !text.includes(`\`src/${name}\``))).toEqual([]);
});

test("the README explains every error code", async () => {
  const { text } = await Document.read("README.md");
  const source = await readFile(new URL("src/wire/errors.ts", ROOT), "utf8");
  const codes = Array.from(source.matchAll(ERROR_CODE), ([, code]) => code!);
  expect(codes).toContain("CONFIG_INVALID");
  const rows = text.split("\n").filter((line) => line.startsWith("| `"));
  expect(codes.filter((code) => !rows.some((row) => row.includes(`\`${code}\``)))).toEqual([]);
});

test.each(["README.md", "CONTRIBUTING.md"])(
  "every npm script that %s mentions exists",
  async (path) => {
    const { text } = await Document.read(path);
    const manifest = await readFile(new URL("package.json", ROOT), "utf8");
    const { scripts } = JSON.parse(manifest) as { scripts: Record<string, string> };
    const named = Array.from(text.matchAll(/npm run ([\w:-]+)/g), ([, name]) => name!);
    expect(named.filter((name) => !(name in scripts))).toEqual([]);
  },
);
