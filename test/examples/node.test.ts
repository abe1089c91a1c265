/** Runs the examples for Node as they stand there: each logger, with the gateway in its process and in another. */

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Workspace } from "../harness/workspace.ts";
import { Document } from "../docs/document.ts";
import { collect } from "../harness/client.ts";
import { Program } from "../harness/program.ts";
import { GatewayProcess } from "../harness/gateway.ts";

const EXAMPLES = fileURLToPath(new URL("../../examples/node", import.meta.url));

/** On free ports. */
const CONFIG = `
  receivers: { otlp: { port: 0, grpc_port: 0 } }
  exporters: { websocket: {} }
`;

let gateway: GatewayProcess;

beforeAll(async () => {
  gateway = await GatewayProcess.start(CONFIG);
});

afterAll(() => gateway[Symbol.asyncDispose]());

function start(way: string, program: string, cwd: string, env: Record<string, string>): Program {
  const args = ["--import", join(EXAMPLES, way), join(EXAMPLES, program)];
  return new Program(process.execPath, args, { cwd, env });
}

interface Expected {
  readonly program: string;
  /** The message of the error, with what winston adds to it. */
  readonly failure?: string;
  /** Further fields of the error, and of the audit event. */
  readonly failureExtras?: object;
  readonly metadata?: object;
}

const PROGRAMS: readonly Expected[] = [
  { program: "pino.mjs", metadata: { name: "orchestrator.server" } },
  {
    program: "winston.mjs",
    failure: "Spawning failed no slot is free",
    failureExtras: { stack: expect.any(String) as string },
  },
  { program: "opentelemetry.mjs" },
];

/** All that a program logs, to the last field. */
function envelopes(
  { failure = "Spawning failed", failureExtras, metadata, program }: Expected,
  service: object,
): object[] {
  const system = {
    timestamp: expect.any(String) as string,
    logger: "orchestrator.server",
    module: "",
    function: "",
    line: 0,
    ...service,
  };
  return [
    {
      type: "system_log",
      data: {
        ...system,
        level: "WARNING",
        message: "High memory usage detected",
        memory_mb: 512,
      },
    },
    {
      type: "system_log",
      data: {
        ...system,
        level: "ERROR",
        message: failure,
        ...failureExtras,
        "exception.type": "Error",
        "exception.message": "no slot is free",
        "exception.stacktrace": expect.stringContaining(program) as string,
      },
    },
    {
      type: "audit_log",
      data: {
        timestamp: expect.any(String) as string,
        level: "INFO",
        logger: "orchestrator.audit",
        message: "instance_spawn",
        action: "instance_spawn",
        metadata: {
          ...metadata,
          instance_id: "abc-123",
          details: { role: "general" },
          ...service,
        },
      },
    },
  ];
}

describe.concurrent("the gateway in the program's own process", () => {
  test.each(PROGRAMS)("takes what $program logs", async (expected) => {
    await using workspace = await Workspace.create();
    const env = { ORCHESTRATOR_PORT: "0" };
    await using running = start("in-process.mjs", expected.program, workspace.directory, env);
    const [, url] = await running.untilStdout(/^The logs are shown at (\S+)$/m);
    const client = await collect(`${url!.replace("http", "ws")}/ws/logs?replay=3`);
    expect(await client.receive(3)).toEqual(envelopes(expected, {}));
    expect(await running.end()).toBe(0);
  });
});

describe("a gateway elsewhere", () => {
  test.each(PROGRAMS)(
    "gets what $program logs, and the program ends by itself",
    async (expected) => {
      const client = await gateway.client();
      const env = { OTEL_EXPORTER_OTLP_ENDPOINT: await gateway.endpoint("OTLP/HTTP") };
      await using running = start("over-otlp.mjs", expected.program, EXAMPLES, env);
      expect(await running.ended).toBe(0);
      expect(await client.receive(3)).toEqual(envelopes(expected, { service: "orchestrator" }));
    },
  );
});

test.each(["pino", "winston", "worker"])(
  "what the README shows of %s stands in the example",
  async (name) => {
    const readme = await Document.read("README.md");
    const source = await readFile(join(EXAMPLES, `${name}.mjs`), "utf8");
    expect(source).toContain(readme.example(name));
  },
);

test("a worker without a gateway of its own logs to one elsewhere", async () => {
  const client = await gateway.client();
  const env = { OTEL_EXPORTER_OTLP_ENDPOINT: await gateway.endpoint("OTLP/HTTP") };
  await using running = new Program(process.execPath, ["worker.mjs"], { cwd: EXAMPLES, env });
  await running.untilStdout(/^Stored as [0-9a-f-]{36}$/m);
  expect(await running.ended).toBe(0);
  const received = await client.receive(3);
  const messages = received.map(({ data }) => data.message);
  expect(new Set(messages)).toEqual(
    new Set(["High memory usage detected", "Spawning failed", "instance_spawn"]),
  );
  const warning = received.find(({ data }) => data.level === "WARNING")!;
  expect(warning.data).toMatchObject({ module: "worker", line: 9, service: "worker" });
});
