/** Runs the code of docs/guides/in-process.md and docs/guides/workers.md, with the packages that their reader installs. */

import { readdir, readFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { collect } from "../harness/client.ts";
import { GatewayProcess } from "../harness/gateway.ts";
import { Program } from "../harness/program.ts";
import { TestTokens } from "../harness/tokens.ts";
import type { Workspace } from "../harness/workspace.ts";
import { Document, repositoryPath } from "./document.ts";
import { installedExample } from "./example-packages.ts";

const inProcess = await Document.read("docs/guides/in-process.md");
const workers = await Document.read("docs/guides/workers.md");

/** Any free port for the gateways of the examples. */
const FREE_PORT = { ORCHESTRATOR_PORT: "0" };

const PREAMBLE = `import { LoggingManager } from "tailgate";
const logging = await LoggingManager.start({ logDir: "logs" });
const logger = logging.getLogger("orchestrator.server");
const error = new Error("no slot is free");
`;

/** Writes a program and runs it until it ends; returns what it printed. */
async function run(workspace: Workspace, code: string): Promise<string> {
  await workspace.write("example.mjs", code);
  const { directory: cwd } = workspace;
  return Program.run(process.execPath, ["example.mjs"], { cwd, env: FREE_PORT });
}

type Line = Record<string, unknown>;

async function jsonLines(workspace: Workspace, path: string): Promise<Line[]> {
  const lines = (await readFile(workspace.path(path), "utf8")).split("\n").slice(0, -1);
  return lines.map((line) => JSON.parse(line) as Line);
}

function systemLines(workspace: Workspace): Promise<Line[]> {
  return jsonLines(workspace, "logs/orchestrator.log");
}

async function auditLines(workspace: Workspace): Promise<Line[]> {
  const names = await readdir(workspace.path("logs/audit"));
  const file = names.find((name) => name.startsWith("audit_"));
  const lines = await jsonLines(workspace, `logs/audit/${file}`);
  return lines.filter(({ event_type: type }) => type !== "audit_checkpoint");
}

describe("in process", () => {
  test.each([
    ["in-process", "orchestrator.mjs"],
    ["in-process-cluster", "cluster.mjs"],
  ])("%s is the example %s", async (name, file) => {
    const source = await readFile(repositoryPath(`examples/node/${file}`), "utf8");
    expect(source).toBe(inProcess.example(name));
  });

  test("all that the orchestrator logs is streamed and written", async () => {
    const workspace = await installedExample("node");
    const [, program] = inProcess.example("in-process-run").trim().split(" ");
    await using running = new Program(process.execPath, [program!], {
      cwd: workspace.directory,
      env: FREE_PORT,
    });
    const [, url] = await running.untilStdout(/^Dashboard: (\S+)$/m);
    const client = await collect(`${url!.replace("http", "ws")}/ws/logs?replay=100`);
    const envelopes = await client.receive(4);
    expect(envelopes.map(({ data }) => [data.logger, data.level, data.message])).toEqual([
      ["orchestrator.instance_manager", "INFO", "Instance spawned"],
      ["orchestrator.instance_manager", "WARNING", "High memory usage detected"],
      ["orchestrator.instance_manager", "ERROR", "Spawning failed"],
      ["orchestrator.audit", "INFO", "instance_spawn"],
    ]);
    expect(envelopes[0]!.data).toMatchObject({ module: "", line: 0 });
    expect(envelopes[1]!.data).toMatchObject({ module: "orchestrator", line: 8, memory_mb: 512 });
    await running.untilStdout(/^Stored as 4, [0-9a-f]{64}$/m);
    expect(await running.end()).toBe(0);
    expect(running.stderr).toContain("orchestrator.instance_manager - ERROR - Spawning failed");
    expect(await systemLines(workspace)).toMatchObject([
      { instance_id: "abc-123" },
      { memory_mb: 512 },
      { "exception.message": "no slot is free" },
    ]);
    expect(await auditLines(workspace)).toMatchObject([
      { event: "instance_spawn", instance_id: "abc-123", details: { role: "general" }, seq: 4 },
    ]);
  });

  test("loggers take fields and errors", async () => {
    const workspace = await installedExample("node");
    await run(workspace, PREAMBLE + inProcess.example("in-process-logger"));
    expect(await systemLines(workspace)).toMatchObject([
      { level: "INFO", to: "abc-123", bytes: 2048 },
      { level: "ERROR", "exception.message": "no slot is free" },
      { level: "ERROR", to: "abc-123", "exception.message": "no slot is free" },
    ]);
  });

  test("require works too", async () => {
    const workspace = await installedExample("node");
    const loading = inProcess.command('const { LoggingManager } = require("tailgate")');
    await workspace.write(
      "example.cjs",
      `${loading};
      LoggingManager.start({ logDir: "logs" }).then((logging) => logging.getLogger("a").info("one"));`,
    );
    const { directory: cwd } = workspace;
    await Program.run(process.execPath, ["example.cjs"], { cwd, env: FREE_PORT });
    expect(await systemLines(workspace)).toMatchObject([{ logger: "a", message: "one" }]);
  });

  test.each(["before", "after"])(
    "the OpenTelemetry API works if used %s the start",
    async (when) => {
      const workspace = await installedExample("node");
      const [imports, ...rest] = inProcess.example("in-process-otel").split("\n\n");
      const [getting, emitting] = rest.join("\n\n").split(/(?<=;)\n/);
      const parts = when === "before" ? [getting, PREAMBLE] : [PREAMBLE, getting];
      await run(workspace, [imports, ...parts, emitting].join("\n"));
      expect(await systemLines(workspace)).toMatchObject([
        { logger: "orchestrator.scheduler", message: "Task queued", task: "t-1" },
      ]);
    },
  );

  test("pino logs to the gateway in its process", async () => {
    const workspace = await installedExample("node");
    const [, ...args] = inProcess.example("in-process-run-pino").trim().split(" ");
    const { directory: cwd } = workspace;
    await using running = new Program(process.execPath, args, { cwd, env: FREE_PORT });
    await running.untilStdout(/instance_spawn/);
    expect(await running.end()).toBe(0);
    expect(await systemLines(workspace)).toHaveLength(2);
    expect(await auditLines(workspace)).toHaveLength(1);
  });

  test("beside pino, a program imports the manager for its audit events", async () => {
    const workspace = await installedExample("node");
    const [line] = /(?<=`)import \{ logging \} from "[^`]*/.exec(inProcess.text)!;
    const code = `${line}; const { seq } = await logging.audit({ eventType: "instance_spawn" });
      console.log("Stored as", seq); process.kill(process.pid, "SIGTERM");`;
    await workspace.write("audited.mjs", code);
    const args = ["--import", "./in-process.mjs", "audited.mjs"];
    const { directory: cwd } = workspace;
    expect(await Program.run(process.execPath, args, { cwd, env: FREE_PORT })).toContain(
      "\nStored as 1\n",
    );
    expect(await auditLines(workspace)).toHaveLength(1);
  });

  test("a provider that is registered elsewhere writes to the files", async () => {
    const workspace = await installedExample("node");
    await run(workspace, inProcess.example("in-process-own-provider"));
    expect(await systemLines(workspace)).toMatchObject([
      { logger: "orchestrator.scheduler", message: "Task queued" },
    ]);
  });

  test("an event with a key is stored once", async () => {
    const workspace = await installedExample("node");
    const code = PREAMBLE + inProcess.example("in-process-audit");
    expect(await run(workspace, code)).toBe("true\n");
    expect(await auditLines(workspace)).toMatchObject([{ "log.record.uid": "abc-123/end" }]);
  });

  test("the workers of a cluster log to the gateway of the primary", async () => {
    const workspace = await installedExample("node");
    const { directory: cwd } = workspace;
    await Program.run(process.execPath, ["cluster.mjs"], { cwd, env: FREE_PORT });
    const lines = await systemLines(workspace);
    const started = lines.filter(({ message }) => message === "Worker started");
    const services = started.map(({ service }) => service as string);
    expect(services.toSorted()).toEqual(["worker-a", "worker-b"]);
    expect(lines.filter(({ message }) => message === "Worker exited")).toMatchObject([
      { code: 0 },
      { code: 0 },
    ]);
    expect(await auditLines(workspace)).toHaveLength(2);
  });

  test("a bundle without Tailgate logs", async () => {
    const workspace = await installedExample("node");
    const lines = inProcess.example("in-process-bundle").split(/(?<!\\)\n/);
    const [installing, bundling, starting] = lines;
    const manifest = await readFile(workspace.path("package.json"), "utf8");
    const { devDependencies } = JSON.parse(manifest) as { devDependencies: { esbuild: string } };
    expect(installing).toMatch(new RegExp(` esbuild@${devDependencies.esbuild}$`));
    const { directory: cwd } = workspace;
    await Program.run("sh", ["-c", bundling!], { cwd });
    const [, bundle] = starting!.split(" ");
    await using running = new Program(process.execPath, [bundle!], { cwd, env: FREE_PORT });
    await running.untilStdout(/^Stored as 4/m);
    expect(await running.end()).toBe(0);
  });
});

/** The keys of an object literal, or of a schema, that begins and ends with those lines. */
async function keysIn(path: string, begin: string, end: string): Promise<string[]> {
  const source = await readFile(repositoryPath(path), "utf8");
  const start = source.indexOf(begin);
  const literal = source.slice(start, source.indexOf(end, start));
  return Array.from(literal.matchAll(/^ {2}(\w+):/gm), ([, key]) => key!);
}

/** The first cells of the tables of a page. */
function firstCells({ text }: Document): string[] {
  const rows = Array.from(text.matchAll(/^\| ([^|]+) \|/gm), ([, cell]) => cell!);
  return rows.flatMap((cell) => Array.from(cell.matchAll(/`(\w+)`/g), ([, name]) => name!));
}

describe("the tables list", () => {
  test("all options of LoggingManager.start", async () => {
    const keys = await keysIn("src/logging-manager.ts", "const OPTIONS = {", "}");
    expect(keys).toHaveLength(15);
    expect(keys.filter((key) => !firstCells(inProcess).includes(key))).toEqual([]);
  });

  test("all options of LoggingManager.connect", async () => {
    const keys = await keysIn("src/connect/options.ts", "const connectOptions = ", "\n});");
    expect(keys).toHaveLength(16);
    expect(keys.filter((key) => !firstCells(workers).includes(key))).toEqual([]);
  });

  test("all fields of a connection's status", async () => {
    const connection = await readFile(repositoryPath("src/connect/connection.ts"), "utf8");
    const [type] = /interface ConnectionStatus \{[^}]*\}/.exec(connection)!;
    const fields = Array.from(type.matchAll(/readonly (\w+):/g), ([, name]) => name!);
    expect(fields).toHaveLength(8);
    expect(fields.filter((field) => !firstCells(workers).includes(field))).toEqual([]);
  });
});

describe("a worker process", () => {
  let gateway: GatewayProcess;

  beforeAll(async () => {
    const config = "receivers: { otlp: { port: 0 } }\nexporters: { websocket: {} }\n";
    gateway = await GatewayProcess.start(config);
  });

  afterAll(() => gateway[Symbol.asyncDispose]());

  test("logs to a gateway elsewhere", async () => {
    const workspace = await installedExample("node");
    const source = await readFile(workspace.path("worker.mjs"), "utf8");
    expect(source).toBe(workers.example("worker"));
    const client = await gateway.client();
    const [, program] = workers.example("worker-run").trim().split(" ");
    const env = { OTEL_EXPORTER_OTLP_ENDPOINT: await gateway.endpoint("OTLP/HTTP") };
    const shown = await Program.run(process.execPath, [program!], {
      cwd: workspace.directory,
      env,
    });
    const withoutKey = (text: string): string => text.replace(/[0-9a-f]{8}[0-9a-f-]{28}/, "KEY");
    expect(workers.listings.map(withoutKey)).toContain(withoutKey(shown));
    const received = await client.receive(3);
    expect(received.map(({ data }) => data.message).sort()).toEqual([
      "High memory usage detected",
      "Spawning failed",
      "instance_spawn",
    ]);
    const warning = received.find(({ data }) => data.level === "WARNING")!;
    expect(warning.data).toMatchObject({ module: "worker", line: 6, service: "worker" });
  });

  test("sends a token from the environment, or from a function", async () => {
    const workspace = await installedExample("node");
    const tokens = await TestTokens.create(workspace, { worker: { scopes: ["ingest"] } });
    await workspace.write("token", `${tokens.text("worker")}\n`);
    const auth = `auth: { tokens_file: ${tokens.path} }\nexporters: {}\n`;
    await using secured = await GatewayProcess.start(`receivers: { otlp: { port: 0 } }\n${auth}`);
    const env = { OTEL_EXPORTER_OTLP_ENDPOINT: await secured.endpoint("OTLP/HTTP") };
    const { directory: cwd } = workspace;
    const command = workers.example("worker-token-run");
    expect(await Program.run("bash", ["-c", command], { cwd, env })).toMatch(
      /^Stored with the key/,
    );
    await workspace.write("example.mjs", workers.example("worker-token"));
    await using program = new Program(process.execPath, ["example.mjs"], { cwd, env });
    expect([await program.ended, program.stderr]).toEqual([0, ""]);
  });

  test("retries an event whose fate is unknown", async () => {
    const workspace = await installedExample("node");
    const client = await gateway.client();
    await workspace.write("example.mjs", workers.example("worker-retry"));
    const env = { OTEL_EXPORTER_OTLP_ENDPOINT: await gateway.endpoint("OTLP/HTTP") };
    await Program.run(process.execPath, ["example.mjs"], { cwd: workspace.directory, env });
    const [event] = await client.receive(1);
    expect(event).toMatchObject({ data: { action: "instance_terminate" } });
  });

  test("reports drops in the line that the guide shows", async () => {
    const { directory: cwd } = await installedExample("node");
    const code = `import { LoggingManager } from "tailgate";
      const logging = await LoggingManager.connect({ queueCapacity: 1, stopTimeoutMs: 0 });
      for (let i = 0; i <= 17232; i++) logging.getLogger("a").info("one");
      process.exit(0);`;
    const args = ["--input-type=module", "--eval", code];
    const env = { OTEL_EXPORTER_OTLP_ENDPOINT: "http://127.0.0.1:9" };
    await using program = new Program(process.execPath, args, { cwd, env });
    await program.ended;
    const [line] = program.stderr.split("\n");
    const withoutTime = (text: string): string => text.slice("2026-11-30 16:07:10".length);
    expect(workers.listings.map(withoutTime)).toContain(withoutTime(`${line}\n`));
  });

  test("may be a thread, which sends when it ends", async () => {
    const workspace = await installedExample("node");
    await workspace.write(
      "thread.mjs",
      `import { Worker, isMainThread } from "node:worker_threads";
      import { LoggingManager } from "tailgate";
      if (isMainThread) {
        const logging = await LoggingManager.start({ logDir: "logs", receivers: { otlp: { port: null } } });
        const env = { ...process.env, OTEL_EXPORTER_OTLP_ENDPOINT: logging.url };
        const worker = new Worker(new URL(import.meta.url), { env });
        await new Promise((resolve) => worker.once("exit", resolve));
      } else {
        const logging = await LoggingManager.connect({ serviceName: "thread" });
        logging.getLogger("orchestrator.thread").info("Thread started");
      }`,
    );
    const { directory: cwd } = workspace;
    await Program.run(process.execPath, ["thread.mjs"], { cwd, env: FREE_PORT });
    expect(await systemLines(workspace)).toMatchObject([
      { message: "Thread started", service: "thread" },
    ]);
  });
});
