/** The code that the pages about plugins show stands in the example projects. */

import { readFile } from "node:fs/promises";
import { expect, test } from "vitest";
import { Document, repositoryPath } from "./document.ts";

const JAVASCRIPT = "examples/plugins";
const TYPESCRIPT = "examples/tailgate-plugin-webhook";

test.each([
  ["exporter", "webhook.js", `${JAVASCRIPT}/webhook.js`],
  ["processor", "mask.js", `${JAVASCRIPT}/mask.js`],
  ["receiver", "lines.js", `${JAVASCRIPT}/lines.js`],
  ["testing", "webhook.test.js", `${JAVASCRIPT}/webhook.test.js`],
  ["testing", "mask.test.js", `${JAVASCRIPT}/mask.test.js`],
  ["testing", "lines.test.js", `${JAVASCRIPT}/lines.test.js`],
  ["publishing", "webhook-package.json", `${TYPESCRIPT}/package.json`],
  ["typescript", "webhook.ts", `${TYPESCRIPT}/src/index.ts`],
  ["typescript", "webhook-tsconfig.json", `${TYPESCRIPT}/tsconfig.json`],
  ["typescript", "webhook.test.ts", `${TYPESCRIPT}/test/webhook.test.ts`],
])("docs/plugins/%s.md shows %s", async (page, name, path) => {
  const document = await Document.read(`docs/plugins/${page}.md`);
  expect(document.example(name)).toBe(await readFile(repositoryPath(path), "utf8"));
});
