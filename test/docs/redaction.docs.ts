/** Runs what the page about redaction shows. */

import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { parse } from "yaml";
import redact from "../../plugins/redact.ts";
import { MAIN } from "../harness/program.ts";
import { Workspace } from "../harness/workspace.ts";
import { ProcessingGateway, textRecord } from "../plugins/processors/processing-gateway.ts";
import { Document } from "./document.ts";
import { tableAfter } from "./table.ts";

type Processors = Record<string, Record<string, unknown>>;

const page = await Document.read("docs/guides/redaction.md");
const overview = await Document.read("docs/guides/processors.md");

/** Returns the code in a cell. */
function code(cell = ""): string {
  return /`(.*)`/.exec(cell)?.[1] ?? "";
}

test("the records of the page are redacted as it says", async () => {
  const { processors } = parse(page.example("config-redaction")) as { processors: Processors };
  await using gateway = await ProcessingGateway.start(processors);
  const rows = tableAfter(page, "Turn it on");
  const records = rows.map(([logged]) => textRecord(code(logged)));
  await gateway.send({ logger: "app", records });
  expect(await gateway.messages()).toEqual(rows.map(([, stored]) => code(stored)));
});

test("the configuration of the overview removes keys and keeps what is allowed", async () => {
  const { processors } = parse(overview.example("config-redact")) as { processors: Processors };
  await using gateway = await ProcessingGateway.start(processors);
  const attributes = { "customer.name": "Ada", api_key: "a1b2c3", plan: "basic" };
  await gateway.send({ logger: "app", records: [textRecord("to help@example.com", attributes)] });
  const [record] = await gateway.stored();
  expect(record!.data).toMatchObject({ message: "to help@example.com", plan: "basic" });
  expect(record!.data).not.toHaveProperty(["customer.name"]);
  expect(record!.data).not.toHaveProperty("api_key");
});

test("the command of the page shows what it says", async () => {
  const [output] = page.listings;
  const lines = ["mail from bob@example.com", "ready in 12 ms", '{"level":"info","password":"x"}'];
  await using workspace = await Workspace.create({ "app.log": `${lines.join("\n")}\n` });
  const command = page
    .example("redact-test")
    .replace("npx tailgate", `"${process.execPath}" "${MAIN}"`);
  const shell = `${command.trim()} 2>&1`;
  const { stdout } = await promisify(execFile)("sh", ["-ec", shell], { cwd: workspace.directory });
  expect(stdout).toBe(output);
});

test("the key of the page is one", async () => {
  await using workspace = await Workspace.create();
  const { directory } = workspace;
  await promisify(execFile)("sh", ["-ec", page.example("redact-key")], { cwd: directory });
  const options = { action: "hash", hash_key_file: workspace.path("redact.key") };
  await using gateway = await ProcessingGateway.start({ redact: options });
  await gateway.send({ logger: "app", records: [textRecord("bob@example.com bob@example.com")] });
  const [message] = await gateway.messages();
  expect(message).toMatch(/^(\[HASH:email:[0-9a-f]{4}:[0-9a-f]{16}\]) \1$/);
  expect(redact.failsClosed).toBe(true);
});
