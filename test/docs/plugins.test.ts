/** The code that the pages about plugins show stands in the example projects. */

import { readFile } from "node:fs/promises";
import { expect, test } from "vitest";
import { builtInNames, SECTIONS } from "../../src/config/built-ins.ts";
import { GENERIC_SCHEMAS } from "../../src/config/settings.ts";
import { Document, repositoryPath } from "./document.ts";
import { tableAfter } from "./table.ts";

const JAVASCRIPT = "examples/plugins";
const TYPESCRIPT = "examples/tailgate-plugin-json-lines";

test.each([
  ["exporter", "json-lines.js", `${JAVASCRIPT}/json-lines.js`],
  ["processor", "mask.js", `${JAVASCRIPT}/mask.js`],
  ["receiver", "lines.js", `${JAVASCRIPT}/lines.js`],
  ["testing", "json-lines.test.js", `${JAVASCRIPT}/json-lines.test.js`],
  ["testing", "mask.test.js", `${JAVASCRIPT}/mask.test.js`],
  ["testing", "lines.test.js", `${JAVASCRIPT}/lines.test.js`],
  ["publishing", "json-lines-package.json", `${TYPESCRIPT}/package.json`],
  ["typescript", "json-lines.ts", `${TYPESCRIPT}/src/index.ts`],
  ["typescript", "json-lines-tsconfig.json", `${TYPESCRIPT}/tsconfig.json`],
  ["typescript", "json-lines.test.ts", `${TYPESCRIPT}/test/json-lines.test.ts`],
])("docs/plugins/%s.md shows %s", async (page, name, path) => {
  const document = await Document.read(`docs/plugins/${page}.md`);
  expect(document.example(name)).toBe(await readFile(repositoryPath(path), "utf8"));
});

const overview = await Document.read("docs/plugins/README.md");

test("the overview lists the built-in plugins of each kind", () => {
  const listed = tableAfter(overview, "Plugins").map(([kind, , names]) => [kind, names]);
  const builtIn = SECTIONS.toReversed().map((section) => [
    section.replace(/s$/, ""),
    builtInNames(section)
      .map((name) => `\`${name}\``)
      .join(", ") || "none",
  ]);
  expect(listed).toEqual(builtIn);
});

test("the overview lists the keys that belong to the gateway, with their defaults", () => {
  const listed = tableAfter(overview, "Configuration").map(([key, , value]) => [key, value]);
  const { exporters } = GENERIC_SCHEMAS;
  const keys = [
    ...new Set(Object.values(GENERIC_SCHEMAS).flatMap(({ shape }) => Object.keys(shape))),
  ];
  expect(listed.map(([key]) => key!.replaceAll("`", "")).toSorted()).toEqual(keys.toSorted());
  const defaults = exporters.parse({});
  expect(listed).toContainEqual(["`timeout_seconds`", String(defaults.timeout_seconds)]);
  expect(listed).toContainEqual(["`queue_bytes`", `${defaults.queue_bytes / 2 ** 20} MiB`]);
});

test("the processor's page lists the values of on_error", async () => {
  const page = await Document.read("docs/plugins/processor.md");
  const listed = tableAfter(page, "Errors").map(([value]) => /^`(\w+)`/.exec(value!)![1]);
  expect(listed).toEqual(GENERIC_SCHEMAS.processors.shape.on_error.unwrap().options);
});
