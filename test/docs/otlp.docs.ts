/** Runs the examples of the OTLP page, and holds its limits to the code. */

import { afterAll, beforeAll, expect, test } from "vitest";
import { DEPTH_MAX } from "../../src/envelope/json-writer.ts";
import {
  PART_BYTES_MAX,
  PART_VALUES_MAX,
  REQUEST_RECORDS_MAX,
} from "../../src/otlp/request-limits.ts";
import { GatewayProcess } from "../harness/gateway.ts";
import { Program } from "../harness/program.ts";
import { Document, repositoryPath } from "./document.ts";

const page = await Document.read("docs/reference/otlp.md");

let gateway: GatewayProcess;

beforeAll(async () => {
  gateway = await GatewayProcess.start(`
    receivers: { otlp: { port: 0, grpc_port: 0 } }
    exporters: { websocket: {} }
  `);
});

afterAll(() => gateway[Symbol.asyncDispose]());

async function run(name: string): Promise<string> {
  const endpoint = await gateway.endpoint("OTLP/HTTP");
  const script = page.example(name).replace("http://127.0.0.1:4318", endpoint);
  return Program.run("bash", ["-c", script], { cwd: repositoryPath(".") });
}

test("a compressed request is accepted", async () => {
  expect(await run("otlp-gzip")).toBe("{}");
});

test("a partial success names the rejected record", async () => {
  expect(`${await run("otlp-partial")}\n`).toBe(page.listings[0]);
});

test("the limits are those of the code", () => {
  const row = (what: string): string => page.text.split("\n").find((line) => line.includes(what))!;
  const number = (value: number): string => new Intl.NumberFormat("en").format(value);
  expect(row("Records of a request")).toContain(number(REQUEST_RECORDS_MAX));
  const part = row("A record, a resource or a scope");
  expect(part).toContain(`${PART_BYTES_MAX / 2 ** 20} MiB, and ${number(PART_VALUES_MAX)} values`);
  expect(row("Nesting of lists")).toContain(`${DEPTH_MAX} levels`);
});
