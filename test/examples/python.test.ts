/** Runs the examples for Python as they stand there, and the README's, with the real SDK. */

import { cp, readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { Workspace } from "../harness/workspace.ts";
import { Document } from "../docs/document.ts";
import type { Envelope } from "../harness/client.ts";
import { Program, requirePython } from "../harness/program.ts";
import { GatewayProcess } from "../harness/gateway.ts";

const EXAMPLES = fileURLToPath(new URL("../../examples/python", import.meta.url));

const readme = await Document.read("README.md");
const source = await readFile(join(EXAMPLES, "instance_manager.py"), "utf8");

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

interface Run {
  readonly command: readonly string[];
  readonly directory?: string;
  readonly env?: Readonly<Record<string, string>>;
}

/** Runs a program to its end; answers what clients of the gateway got of it. */
async function streamed({ command, directory = EXAMPLES, env }: Run): Promise<readonly Envelope[]> {
  const python = await requirePython("opentelemetry.distro");
  const client = await gateway.client();
  const [program, ...args] = command;
  await Program.run(program === "python3" ? python : program!, args, {
    cwd: directory,
    env: {
      PATH: `${dirname(python)}:${process.env["PATH"]}`,
      PYTHONDONTWRITEBYTECODE: "1",
      OTEL_EXPORTER_OTLP_ENDPOINT: await gateway.endpoint("OTLP/HTTP"),
      ...env,
    },
  });
  return client.receive(5);
}

/** Where the source has the beginning of a call, counted from 1. */
function lineOf(call: string): number {
  const index = source.split("\n").findIndex((line) => line.trim().startsWith(call));
  if (index < 0) throw new Error(`instance_manager.py has no ${call}`);
  return index + 1;
}

const systemLog = (data: object): object => ({
  type: "system_log",
  data: {
    timestamp: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/) as string,
    logger: "orchestrator.instance_manager",
    module: "instance_manager",
    ...data,
    service: "orchestrator",
  },
});

const auditLog = (action: string, metadata: object): object => ({
  type: "audit_log",
  data: {
    timestamp: expect.any(String) as string,
    level: "INFO",
    logger: "orchestrator.audit",
    message: action,
    action,
    metadata: { instance_id: "abc-123", ...metadata, service: "orchestrator" },
  },
});

/** All that instance_manager.py logs, to the last field. */
const EXPECTED = [
  systemLog({
    level: "INFO",
    message: "Instance abc-123 spawned successfully",
    function: "spawn_instance",
    line: lineOf('logger.info("Instance %s'),
    instance_id: "abc-123",
  }),
  auditLog("instance_spawn", { details: { role: "general", model: null, enable_madrox: true } }),
  systemLog({
    level: "WARNING",
    message: "High memory usage detected",
    function: "receive_message",
    line: lineOf('logger.warning("High memory'),
    memory_mb: 512,
  }),
  systemLog({
    level: "ERROR",
    message: "The message is no JSON",
    function: "receive_message",
    line: lineOf('logger.error("The message'),
    instance_id: "abc-123",
    "exception.type": "JSONDecodeError",
    "exception.message": expect.stringMatching(/^Expecting property name/) as string,
    "exception.stacktrace": expect.stringMatching(
      /^Traceback [^]*instance_manager\.py[^]*\njson\.decoder\.JSONDecodeError: .*\n$/,
    ) as string,
  }),
  auditLog("instance_terminate", {
    details: { force: false, total_cost: 0.05 },
    final_state: "terminated",
  }),
];

test("an orchestrator with handlers and filters of its own is streamed with one line more", async () => {
  expect(await streamed({ command: ["python3", "orchestrator.py"] })).toEqual(EXPECTED);
});

test("over gRPC, too", async () => {
  const env = {
    OTEL_EXPORTER_OTLP_PROTOCOL: "grpc",
    OTEL_EXPORTER_OTLP_ENDPOINT: await gateway.endpoint("OTLP/gRPC"),
  };
  expect(await streamed({ command: ["python3", "orchestrator.py"], env })).toEqual(EXPECTED);
});

test("a program whose records reach the root logger is streamed as it is", async () => {
  expect(await streamed({ command: ["sh", "instrumented.sh"] })).toEqual(EXPECTED);
});

test("an audit logger that propagates sends each event once", async () => {
  const code = `
import logging, instance_manager, tailgate_logging
logging.basicConfig(level=logging.DEBUG)
tailgate_logging.stream_to_tailgate("orchestrator", logging.INFO)
instance_manager.work()`;
  expect(await streamed({ command: ["python3", "-c", code] })).toEqual(EXPECTED);
});

test("what the README shows of it works alone, and is what stands there", async () => {
  const shown = readme.example("python-otlp");
  const workspace = await Workspace.create({ "tailgate_logging.py": shown });
  onTestFinished(() => workspace[Symbol.asyncDispose]());
  for (const name of ["instance_manager.py", "orchestrator.py"])
    await cp(join(EXAMPLES, name), workspace.path(name));
  const { directory } = workspace;
  expect(await streamed({ command: ["python3", "orchestrator.py"], directory })).toEqual(EXPECTED);

  const lines = (await readFile(join(EXAMPLES, "tailgate_logging.py"), "utf8")).split("\n");
  for (const line of shown.trimEnd().split("\n")) {
    const index = lines.indexOf(line);
    expect(index, `${line} is not in the file, or not behind the line before`).not.toBe(-1);
    lines.splice(0, index + 1);
  }
  const { text } = readme;
  const orchestrator = await readFile(join(EXAMPLES, "orchestrator.py"), "utf8");
  expect(text).toContain('`stream_to_tailgate("orchestrator")`');
  expect(orchestrator).toContain('\nset_up_logging()\nstream_to_tailgate("orchestrator")');
});

test("the README's variables for opentelemetry-instrument are those of the example", async () => {
  const script = await readFile(join(EXAMPLES, "instrumented.sh"), "utf8");
  const shown = readme.example("python-instrumented").trimEnd();
  expect(script).toContain(shown.split("\n").slice(0, -1).join("\n"));
  expect(shown).toMatch(/\nopentelemetry-instrument python3 plain\.py$/);
});

test("where no gateway answers, the end of the program is held up for no longer than is said", async () => {
  const python = await requirePython("opentelemetry.distro");
  const code = `
import logging, tailgate_logging
logging.basicConfig()
tailgate_logging.AT_EXIT_SECONDS_MAX = 0.1
tailgate_logging.stream_to_tailgate("orchestrator")
logging.getLogger("orchestrator.server").info("Server started")`;
  const env = { PYTHONDONTWRITEBYTECODE: "1", OTEL_EXPORTER_OTLP_ENDPOINT: "http://127.0.0.1:9" };
  await using program = new Program(python, ["-c", code], { cwd: EXAMPLES, env });
  expect(await program.ended).toBe(0);
  expect(program.stderr).toContain("Shutdown in progress, aborting retry.");
});
