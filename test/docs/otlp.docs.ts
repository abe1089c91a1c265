/** Runs the examples of the OTLP page, and holds its limits to the code. */

import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { DEPTH_MAX } from "../../src/envelope/json-writer.ts";
import {
  PART_BYTES_MAX,
  PART_VALUES_MAX,
  REQUEST_RECORDS_MAX,
} from "../../src/otlp/request-limits.ts";
import { GatewayProcess } from "../harness/gateway.ts";
import { Program, requirePython } from "../harness/program.ts";
import { Document, repositoryPath } from "./document.ts";
import { installedExample } from "./example-packages.ts";

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

/** Everything that an SDK has to report, on stderr or stdout. */
async function complaintsOf(
  command: readonly [string, ...string[]],
  options: { cwd: string; env: Record<string, string> },
): Promise<string> {
  const [file, ...args] = command;
  await using program = new Program(file, args, options);
  expect(await program.ended).toBe(0);
  return program.stdout + program.stderr;
}

/** Adds up a counter of the receiver over all label sets that contain the text. */
async function total(name: string, labels: string): Promise<number> {
  const text = await (await fetch(`${gateway.url}/metrics`)).text();
  const lines = text.split("\n").filter((line) => line.startsWith(`tailgate_otlp_${name}{`));
  const found = lines.filter((line) => line.includes(labels));
  return found.reduce((sum, line) => sum + Number(line.split(" ").at(-1)), 0);
}

const discarded = (signal: string): Promise<number> =>
  total("requests_discarded_total", `signal="${signal}"`);

/** The environment of an SDK that sends all signals to one endpoint. */
async function environment(protocol: string, service: string): Promise<Record<string, string>> {
  return {
    OTEL_EXPORTER_OTLP_ENDPOINT: await gateway.endpoint(
      protocol === "grpc" ? "OTLP/gRPC" : "OTLP/HTTP",
    ),
    OTEL_EXPORTER_OTLP_PROTOCOL: protocol,
    OTEL_SERVICE_NAME: service,
  };
}

describe("a program that sends all signals to one endpoint has no error to report", () => {
  test.each(["http/protobuf", "http/json", "grpc"])("with Node's SDK over %s", async (protocol) => {
    const { directory: cwd } = await installedExample("node/all-signals");
    const before = [await discarded("traces"), await discarded("metrics")];
    const client = await gateway.client();
    const env = { ...(await environment(protocol, "node")), OTEL_LOG_LEVEL: "info" };
    expect(await complaintsOf(["node", "app.mjs"], { cwd, env })).toBe("");
    const [received] = await client.receive(1);
    expect(received!.data).toMatchObject({ message: "Instance spawned", service: "node" });
    const after = [await discarded("traces"), await discarded("metrics")];
    expect(after).toEqual(before.map((count) => count + 1));
  });

  test.each(["http/protobuf", "grpc"])("with Python's SDK over %s", async (protocol) => {
    const python = await requirePython("opentelemetry.instrumentation.auto_instrumentation");
    const before = [await discarded("traces"), await discarded("metrics")];
    const client = await gateway.client();
    const script = `
import logging
from opentelemetry import metrics, trace
logging.getLogger("opentelemetry").addHandler(logging.StreamHandler())
metrics.get_meter("app").create_counter("spawns").add(1)
with trace.get_tracer("app").start_as_current_span("spawn"):
    logging.getLogger("orchestrator.server").warning("Instance spawned")
`;
    const command = [
      join(dirname(python), "opentelemetry-instrument"),
      ...[python, "-c", script],
    ] as const;
    const env = await environment(protocol, "python");
    expect(await complaintsOf(command, { cwd: repositoryPath("."), env })).toBe("");
    const [received] = await client.receive(1);
    expect(received!.data).toMatchObject({ message: "Instance spawned", service: "python" });
    const after = [await discarded("traces"), await discarded("metrics")];
    expect(after).toEqual(before.map((count) => count + 1));
  });
});

test("the gateway says once for each signal that it discards them", async () => {
  const said = gateway.stderr.match(/(?:Traces|Metrics) arrive and are discarded/g) ?? [];
  expect(said.toSorted()).toEqual([
    "Metrics arrive and are discarded",
    "Traces arrive and are discarded",
  ]);
});

test("the limits are those of the code", () => {
  const row = (what: string): string => page.text.split("\n").find((line) => line.includes(what))!;
  const number = (value: number): string => new Intl.NumberFormat("en").format(value);
  expect(row("Records of a request")).toContain(number(REQUEST_RECORDS_MAX));
  const part = row("A record, a resource or a scope");
  expect(part).toContain(`${PART_BYTES_MAX / 2 ** 20} MiB, and ${number(PART_VALUES_MAX)} values`);
  expect(row("Nesting of lists")).toContain(`${DEPTH_MAX} levels`);
});
