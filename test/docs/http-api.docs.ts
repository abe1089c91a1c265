/** Runs the examples of the HTTP API page on one gateway, in the order of the page. */

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { HTTP_DEFAULTS } from "../../src/config/config.ts";
import { GatewayProcess } from "../harness/gateway.ts";
import { OpenApiContract } from "../harness/openapi.ts";
import { postMessages } from "../harness/otlp.ts";
import { Program, requirePython } from "../harness/program.ts";
import { temporaryDirectory } from "../harness/workspace.ts";
import { Document } from "./document.ts";
import { tableAfter } from "./table.ts";

const page = await Document.read("docs/reference/http-api.md");

const EPOCH = "6ec76272-41ac-4aeb-a3cd-e3c5a6b87968";

let gateway: GatewayProcess;

beforeAll(async () => {
  gateway = await GatewayProcess.start("receivers: { otlp: { port: 0 } }\n");
});

const cleanUps: (() => Promise<unknown> | void)[] = [];

afterAll(async () => {
  await gateway[Symbol.asyncDispose]();
  for (const cleanUp of cleanUps) await cleanUp();
});

function verbatim(name: string, { url } = gateway): string {
  return page.example(name).replaceAll("http://127.0.0.1:8001", url);
}

function run(name: string): Promise<string> {
  return Program.run("bash", ["-c", verbatim(name)], { cwd: "/" });
}

/** Returns a shown response with the epoch of the real one. */
function shown(name: string, response: string): unknown {
  const { epoch } = JSON.parse(response) as { epoch: string };
  return JSON.parse(page.example(name).replaceAll(EPOCH, epoch));
}

test("the search finds what was sent, as the page shows it", async () => {
  expect(await run("http-api-send")).toBe("{}");
  const response = await run("http-api-search");
  expect(JSON.parse(response)).toEqual(shown("http-api-page", response));
});

test("the counts are those that the page shows", async () => {
  const one = JSON.parse(await run("http-api-record")) as object;
  expect(one).toMatchObject({ sequence: 1, otlp: { resourceLogs: [{}] } });
  const response = await run("http-api-counts");
  expect(JSON.parse(response)).toEqual(shown("http-api-counts-response", response));
});

test("fields, values and patterns are those that the page shows", async () => {
  for (const [request, expected] of [
    ["http-api-fields", "http-api-fields-response"],
    ["http-api-values", "http-api-values-response"],
    ["http-api-patterns", "http-api-patterns-response"],
  ] as const) {
    const response = await run(request);
    expect(JSON.parse(response)).toEqual(shown(expected, response));
  }
});

test("the stream ends with the line that the page shows", async () => {
  const directory = await temporaryDirectory(cleanUps);
  await Program.run("bash", ["-c", verbatim("http-api-stream")], { cwd: directory });
  const lines = await readFile(join(directory, "records.ndjson"), "utf8");
  const [record, end, ...others] = lines.trimEnd().split("\n");
  expect(JSON.parse(record!)).toMatchObject({ sequence: 1 });
  expect(JSON.parse(end!)).toEqual(shown("http-api-stream-end", end!));
  expect(others).toEqual([]);
});

test("the lines have the headers that the page lists", async () => {
  await postMessages(gateway.url, ["second"]);
  const response = await run("http-api-ndjson");
  expect(response).toMatch(/^X-Epoch: [\w-]+\r\nX-Next-Cursor: [\w-]+:2\r$/m);
  expect(response).toMatch(/\r\n\r\n\{"sequence":1,[^\n]*\}\n$/);
});

test("the error is the one that the page shows", async () => {
  expect(page.listings).toContain(`${await run("http-api-error")}\n`);
});

test("the shown gap matches the contract", async () => {
  const api = await OpenApiContract.read();
  const gap = JSON.parse(page.example("http-api-gap")) as unknown;
  api.validate("gap", "#/components/schemas/Gap", gap);
});

test("the table of parameters has those of the contract, and the paths its paths", async () => {
  const api = await OpenApiContract.read();
  const names = (cells: readonly string[]): string[] =>
    cells.flatMap((cell) => Array.from(cell.matchAll(/`([^`]+)`/g), ([, name]) => name!));
  const parameters = names(tableAfter(page, "Search").map(([cell]) => cell!));
  const documented = api.parameters("/api/logs", "get").map(({ name }) => name);
  expect(parameters.toSorted()).toEqual(documented.toSorted());
  const paths = names(tableAfter(page, "Paths").map(([cell]) => cell!));
  const operations = api.operations.map(({ path, method }) => `${method.toUpperCase()} ${path}`);
  const expected = operations.filter((name) => !name.includes("/assets/"));
  expect(paths.toSorted()).toEqual(expected.toSorted());
});

test("the stated limits are the defaults", () => {
  const limits = tableAfter(page, "Limits");
  const valueOf = (key: string): number => {
    const [, text] = limits.find(([, , cell]) => cell!.includes(`\`http.${key}\``))!;
    const [, number, unit] = /^(\d+)(?: (MiB|s))?$/.exec(text!)!;
    return Number(number) * (unit === "MiB" ? 1 << 20 : unit === "s" ? 1000 : 1);
  };
  expect({
    searchesMax: valueOf("max_searches"),
    queuedSearchesMax: valueOf("max_queued_searches"),
    answerBytesMax: valueOf("max_answer_bytes"),
    writeTimeoutMs: valueOf("write_timeout_seconds"),
    connectionsMax: valueOf("max_connections"),
    connectionsPerAddressMax: valueOf("max_connections_per_address"),
  }).toEqual(HTTP_DEFAULTS);
});

test("the script prints the journal, then follows it, also through a restart", async () => {
  const python = await requirePython("urllib.request");
  await using script = new Program(python, ["-c", verbatim("http-api-follow")], { cwd: "/" });
  await script.untilStdout(/^1 High memory usage detected\n2 second\n/);
  await postMessages(gateway.url, ["third"]);
  await script.untilStdout(/^3 third\n/m);
  await gateway.stop();
  await gateway.restart();
  await postMessages(gateway.url, ["fourth"]);
  await script.untilStdout(/^4 fourth\n/m);
  expect(script.stdout.split("\n")).toHaveLength(5);
});

test("the script starts again with a new journal", async () => {
  const python = await requirePython("urllib.request");
  await using volatile = await GatewayProcess.start("journal: { engine: memory }\n", [
    "--otlp-port",
    "0",
  ]);
  await postMessages(volatile.url, ["first"]);
  const source = verbatim("http-api-follow", volatile);
  await using script = new Program(python, ["-c", source], { cwd: "/" });
  await script.untilStdout(/^1 first\n/);
  await volatile.stop();
  await volatile.restart();
  await postMessages(volatile.url, ["other"]);
  await script.untilStdout(/^1 other\n/m);
});
