/** Runs the command of the filter page; its cases run in test/filter/cases.test.ts. */

import { LoggingManager } from "tailgate";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Program } from "../harness/program.ts";
import { Workspace } from "../harness/workspace.ts";
import { Document, repositoryPath } from "./document.ts";
import { filterPageRecords } from "./filter-page.ts";

const page = await Document.read("docs/reference/filters.md");

let workspace: Workspace;
let gateway: LoggingManager;

beforeAll(async () => {
  workspace = await Workspace.create();
  gateway = await LoggingManager.start({
    port: 0,
    logDir: workspace.path("logs"),
    receivers: { otlp: { port: null } },
    exporters: { websocket: {} },
    registerGlobally: false,
    write: () => {},
  });
  const response = await fetch(`${gateway.url}/v1/logs`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: filterPageRecords(page),
  });
  if (!response.ok) throw new Error(await response.text());
});

afterAll(async () => {
  await gateway.stop();
  await workspace[Symbol.asyncDispose]();
});

test("the command shows what it says", async () => {
  const main = `"${process.execPath}" "${repositoryPath("dist/cli/main.js")}"`;
  const script = page.example("filters-tail").replace("npx tailgate", main);
  const env = { ORCHESTRATOR_PORT: new URL(gateway.url).port };
  const shown = await Program.run("bash", ["-c", script], { cwd: workspace.directory, env });
  expect(shown.trimEnd().split("\n")).toHaveLength(3);
  expect(shown).toContain("High memory usage detected");
});
