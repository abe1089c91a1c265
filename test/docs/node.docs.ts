/** Runs the examples for Node, each with the packages and the commands that docs/guides/node.md and workers.md tell their reader to use. */

import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { text as textOf } from "node:stream/consumers";
import { build } from "esbuild";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { collect, type Envelope } from "../harness/client.ts";
import { GatewayProcess } from "../harness/gateway.ts";
import { Program, runCli } from "../harness/program.ts";
import type { Workspace } from "../harness/workspace.ts";
import { Document, repositoryPath } from "./document.ts";
import { installedExample, type Manifest } from "./example-packages.ts";

const CONFIG = `
  receivers: { otlp: { port: 0, grpc_port: null } }
  exporters: { websocket: {} }
`;

const guide = await Document.read("docs/guides/node.md");
const workers = await Document.read("docs/guides/workers.md");

let gateway: GatewayProcess;

beforeAll(async () => {
  gateway = await GatewayProcess.start(CONFIG);
});

afterAll(() => gateway[Symbol.asyncDispose]());

interface Run {
  /** Records that clients receive, at least. */
  readonly count?: number;
  readonly env?: Readonly<Record<string, string>>;
}

/** Runs a command until it ends, successfully; returns the records that clients receive. */
async function delivered(
  { directory: cwd }: Workspace,
  command: string,
  { count = 3, env = {} }: Run = {},
): Promise<readonly Envelope[]> {
  const client = await gateway.client();
  const endpoint = await gateway.endpoint("OTLP/HTTP");
  await Program.run("sh", ["-c", command], {
    cwd,
    env: { OTEL_EXPORTER_OTLP_ENDPOINT: endpoint, ...env },
  });
  const received = await client.receive(count);
  return received.toSorted((a, b) => a.data.timestamp.localeCompare(b.data.timestamp));
}

interface Expected {
  readonly program: string;
  /** The message of the error, with what winston adds to it. */
  readonly failure?: string;
  /** Further fields of the error, and of the audit event. */
  readonly failureExtras?: object;
  readonly metadata?: object;
}

const NAMED = { metadata: { name: "orchestrator.server" } };
const WINSTON = {
  program: "winston.mjs",
  failure: "Spawning failed no slot is free",
  failureExtras: { stack: expect.any(String) as string },
};

/** All that an example logs, to the last field. */
function envelopes(
  { failure = "Spawning failed", failureExtras, metadata, program }: Expected,
  resource: object = { service: "server" },
): object[] {
  const system = {
    timestamp: expect.any(String) as string,
    logger: "orchestrator.server",
    module: "",
    function: "",
    line: 0,
    ...resource,
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
          ...resource,
        },
      },
    },
  ];
}

describe("the commands of the guide deliver what an example logs, with", () => {
  test.each<[string, Expected]>([
    ["node-run-pino", { program: "pino.mjs", ...NAMED }],
    ["node-run-pino-cjs", { program: "pino.cjs", ...NAMED }],
    ["node-run-pino-ts", { program: "pino.ts", ...NAMED }],
    ["node-run-winston", WINSTON],
    ["node-run-bunyan", { program: "bunyan.mjs", ...NAMED }],
    ["node-run-otel", { program: "opentelemetry.mjs" }],
  ])("%s", async (name, expected) => {
    const received = await delivered(await installedExample("node"), guide.example(name));
    expect(received).toEqual(envelopes(expected));
  });

  test("Tailgate's queue", async () => {
    const run = guide.example("node-run-pino").replace("telemetry.mjs", "connect.mjs");
    const received = await delivered(await installedExample("node"), run);
    expect(received).toEqual(envelopes({ program: "pino.mjs", ...NAMED }));
  });

  test("node-run-audited, with the key of the receipt", async () => {
    const workspace = await installedExample("node");
    const received = await delivered(workspace, workers.example("node-run-audited"), { count: 2 });
    const key: unknown = received[1]!.data["key"];
    expect(key).toEqual(expect.any(String));
    expect(received).toMatchObject([
      {
        type: "audit_log",
        data: {
          action: "instance_spawn",
          metadata: { instance_id: "abc-123", "log.record.uid": key, service: "server" },
        },
      },
      { type: "system_log", data: { message: "Instance spawned", service: "server" } },
    ]);
  });

  test.each(["module", "commonjs"])("node-run-pino-tsc, to a %s", async (type) => {
    const workspace = await installedExample("node");
    const manifest = JSON.parse(await readFile(workspace.path("package.json"), "utf8")) as object;
    await workspace.write("package.json", JSON.stringify({ ...manifest, type }));
    const [, ...compileAndRun] = guide.example("node-run-pino-tsc").split("\n");
    const received = await delivered(workspace, compileAndRun.join("\n"));
    expect(received).toEqual(envelopes({ program: "pino.js", ...NAMED }));
  });

  test("node-run-pino-transport", async () => {
    const workspace = await installedExample("node/pino-transport");
    const received = await delivered(workspace, guide.example("node-run-pino-transport"));
    expect(received).toEqual(envelopes({ program: "app.mjs", ...NAMED }));
  });
});

describe("the guide shows", () => {
  test.each<[string, string, Document?]>([
    ["node-telemetry", "telemetry.mjs"],
    ["node-instrument-pino", "instrument-pino.mjs"],
    ["node-pino", "pino.mjs"],
    ["node-pino-transport", "pino-transport/app.mjs"],
    ["node-winston", "winston.mjs"],
    ["node-bunyan", "bunyan.mjs"],
    ["node-otel", "opentelemetry.mjs"],
    ["node-connect", "connect.mjs", workers],
    ["node-audited", "audited.mjs", workers],
  ])("%s as it is in examples/node/%s", async (name, file, page = guide) => {
    const source = await readFile(repositoryPath(`examples/node/${file}`), "utf8");
    expect(source).toContain(page.example(name));
  });

  test("the first line of pino.cjs", async () => {
    const [line] = (await readFile(repositoryPath("examples/node/pino.cjs"), "utf8")).split("\n");
    expect(guide.inlineCode).toContain(line);
  });

  test.each([
    ["node-install-pino", "node"],
    ["node-install-winston", "node"],
    ["node-install-bunyan", "node"],
    ["node-install-pino-transport", "node/pino-transport"],
    ["node-run-pino-tsc", "node"],
  ])("%s with the versions that are tested", async (name, example) => {
    const manifest = await readFile(repositoryPath(`examples/${example}/package.json`), "utf8");
    const { dependencies, devDependencies } = JSON.parse(manifest) as Manifest;
    const all = Object.entries({ ...dependencies, ...devDependencies });
    const tested = new Set(all.map((entry) => entry.join("@")));
    const installed = guide.example(name).match(/@?[\w/-]+@[\d.]+/g)!;
    expect(installed.filter((one) => !tested.has(one))).toEqual([]);
  });

  test("what `tailgate tail` prints", async () => {
    await delivered(await installedExample("node"), guide.example("node-run-pino"));
    const args = [...guide.command("npx tailgate tail --replay 3").split(" ").slice(2)];
    const tail = await runCli([...args, "--no-follow", "--url", gateway.url]);
    const comparable = (text: string): string =>
      text
        .replaceAll(/^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d/gm, "TIME")
        .replaceAll(/at file:.*\//g, "at file:///")
        .replaceAll(/^ {8}at (?!file).*\n/gm, "");
    expect(guide.listings.map(comparable)).toContain(comparable(tail.stdout));
  });
});

const RUN_PINO = "node --import ./telemetry.mjs --import ./instrument-pino.mjs";

describe("nothing that pino logs arrives if", () => {
  test.each<[string, (workspace: Workspace) => Promise<string>]>([
    [
      "the hook is missing",
      async (workspace) => {
        const source = await readFile(workspace.path("instrument-pino.mjs"), "utf8");
        await workspace.write("instrument-pino.mjs", source.replace(/^register\(.*$/m, ""));
        return `${RUN_PINO} pino.mjs`;
      },
    ],
    [
      "the program imports the setup",
      async (workspace) => {
        const names = ["telemetry", "instrument-pino", "pino"];
        const source = names.map((name) => `import "./${name}.mjs";`).join("\n");
        await workspace.write("main.mjs", source);
        return "node main.mjs";
      },
    ],
    [
      "pino is bundled",
      async (workspace) => {
        const options = { bundle: true, platform: "node", format: "cjs" } as const;
        const entryPoints = [workspace.path("pino.mjs")];
        await build({ entryPoints, outfile: workspace.path("bundle.cjs"), ...options });
        return `${RUN_PINO} bundle.cjs`;
      },
    ],
  ])("%s", async (_, prepare) => {
    const workspace = await installedExample("node");
    const command = await prepare(workspace);
    const received = await delivered(
      workspace,
      `${command} && OTEL_SERVICE_NAME=server node --import ./telemetry.mjs opentelemetry.mjs`,
    );
    expect(received).toEqual(envelopes({ program: "opentelemetry.mjs" }));
  });
});

test("pino arrives from a bundle that does not contain it", async () => {
  const workspace = await installedExample("node");
  await build({
    entryPoints: [workspace.path("pino.mjs")],
    outfile: workspace.path("bundle.mjs"),
    bundle: true,
    platform: "node",
    format: "esm",
    external: ["pino"],
  });
  const received = await delivered(workspace, `OTEL_SERVICE_NAME=server ${RUN_PINO} bundle.mjs`);
  expect(received).toEqual(envelopes({ program: "bundle.mjs", ...NAMED }));
});

describe("when the program ends", () => {
  const BURST = `
    import pino from "pino";
    const logger = pino(process.env.TRANSPORT ? JSON.parse(process.env.TRANSPORT) : {});
    for (let i = 0; i < 10_000; i++) logger.info("record " + i);
  `;

  test.each([
    ["telemetry.mjs, by itself", "telemetry", ""],
    ["telemetry.mjs, by a signal", "telemetry", 'process.kill(process.pid, "SIGTERM");'],
    ["connect.mjs, by itself", "connect", ""],
    ["connect.mjs, by a signal", "connect", 'process.kill(process.pid, "SIGTERM");'],
  ])("a burst arrives through %s", async (_, preload, end) => {
    const workspace = await installedExample("node");
    await workspace.write("burst.mjs", BURST + end);
    const command = `node --import ./${preload}.mjs --import ./instrument-pino.mjs burst.mjs`;
    const signalled = end === "" ? command : `${command}; [ $? = 143 ]`;
    await delivered(workspace, signalled, { count: 10_000 });
  });

  const HANDLER = `
    import pino from "pino";
    const logger = pino({ name: "orchestrator.server" });
    const work = setInterval(() => {}, 60_000);
    process.once("SIGTERM", async () => {
      logger.info("stopping");
      await fetch(process.env.OTEL_EXPORTER_OTLP_ENDPOINT);
      logger.info("stopped");
      clearInterval(work);
    });
    process.kill(process.pid, "SIGTERM");
  `;

  test.each(["telemetry", "connect"])(
    "the program's own handler of a signal finishes, with %s.mjs",
    async (preload) => {
      const workspace = await installedExample("node");
      await workspace.write("handler.mjs", HANDLER);
      const command = `node --import ./${preload}.mjs --import ./instrument-pino.mjs handler.mjs`;
      const received = await delivered(workspace, command, { count: 2 });
      expect(received.map(({ data }) => data.message)).toEqual(["stopping", "stopped"]);
    },
  );

  test("a burst arrives through pino's transport with the queue of the guide, also at process.exit()", async () => {
    const workspace = await installedExample("node/pino-transport");
    const source = await readFile(workspace.path("app.mjs"), "utf8");
    const burst = "for (let i = 0; i < 10_000; i++) logger.info('record'); process.exit(0);";
    await workspace.write("app.mjs", source.replace(/^logger\.warn/m, `${burst}\n$&`));
    await delivered(workspace, "node app.mjs", { count: 10_000 });
  });

  test("connect.mjs reports what process.exit() loses", async () => {
    const { directory: cwd } = await installedExample("node");
    const args = ["--import", "./connect.mjs", "--input-type=module", "--eval"];
    const code = `import { logs } from "@opentelemetry/api";
      logs.getLogger("mine").emit({ body: "lost" }); process.exit(0);`;
    await using program = new Program(process.execPath, [...args, code], { cwd });
    expect(await program.ended).toBe(0);
    expect(program.stderr).toContain("The process ended before 1 record was acknowledged");
  });
});

test("the README of the examples shows how to run them", async () => {
  const page = await Document.read("examples/node/README.md");
  const [install, run] = page.example("examples-node").split(/\n/);
  expect(install).toBe("npm install");
  expect(`${run}\n`).toBe(guide.example("node-run-pino"));
});

test("with a loggerName, pino's transport turns audit events into system logs", async () => {
  const workspace = await installedExample("node/pino-transport");
  const source = await readFile(workspace.path("app.mjs"), "utf8");
  await workspace.write("app.mjs", source.replace("options: {", '$& loggerName: "mine",'));
  const received = await delivered(workspace, "node app.mjs");
  expect(received.map(({ type, data }) => [type, data.logger])).toEqual(
    Array.from({ length: 3 }, () => ["system_log", "mine"]),
  );
});

test("a pino logger whose level is higher still sends audit events", async () => {
  const workspace = await installedExample("node");
  const source = await readFile(workspace.path("pino.mjs"), "utf8");
  await workspace.write("pino.mjs", source.replace("pino({", '$& level: "error",'));
  const received = await delivered(workspace, `${RUN_PINO} pino.mjs`, { count: 2 });
  expect(received.map(({ type }) => type)).toEqual(["system_log", "audit_log"]);
});

test("the diagnostics of OpenTelemetry report that no gateway listens", async () => {
  const workspace = await installedExample("node");
  const source = await readFile(workspace.path("telemetry.mjs"), "utf8");
  await workspace.write("telemetry.mjs", guide.example("node-diag") + source);
  const env = {
    OTEL_EXPORTER_OTLP_ENDPOINT: "http://127.0.0.1:9",
    OTEL_EXPORTER_OTLP_TIMEOUT: "1500",
  };
  const args = ["--import", "./telemetry.mjs", "opentelemetry.mjs"];
  await using program = new Program(process.execPath, args, { cwd: workspace.directory, env });
  expect(await program.ended).toBe(0);
  expect(program.stdout + program.stderr).toContain("ECONNREFUSED");
});

describe("audit events beside telemetry.mjs", () => {
  const [, connectOnly] = /`await (LoggingManager\.connect\(\{.*\}\))`/.exec(workers.text)!;

  test.each([
    ["reports that two providers are in use", "LoggingManager.connect()", true],
    ["is silent as the guide shows it", connectOnly!, false],
  ])("%s", async (_, connect, isReported) => {
    const workspace = await installedExample("node");
    const code = `import { LoggingManager } from "tailgate"; const logging = await ${connect};
      await logging.audit({ eventType: "instance_spawn" });`;
    await workspace.write("audit.mjs", code);
    const env = { OTEL_EXPORTER_OTLP_ENDPOINT: await gateway.endpoint("OTLP/HTTP") };
    const args = ["--import", "./telemetry.mjs", "audit.mjs"];
    const { directory: cwd } = workspace;
    await using program = new Program(process.execPath, args, { cwd, env });
    expect(await program.ended).toBe(0);
    const [shown] = guide.text.match(/(?<=`)Records from logs[^`]*/)!;
    const [start, end] = shown.split(" ... ");
    expect(program.stderr.includes(start!) && program.stderr.includes(end!)).toBe(isReported);
  });
});

test("a second LoggerProvider is reported", async () => {
  const workspace = await installedExample("node");
  await workspace.write("other.mjs", await readFile(workspace.path("telemetry.mjs"), "utf8"));
  const args = ["--import", "./other.mjs", "--import", "./telemetry.mjs", "opentelemetry.mjs"];
  await using program = new Program(process.execPath, args, { cwd: workspace.directory });
  expect(await program.ended).toBe(1);
  expect(program.stderr).toContain("Another LoggerProvider is registered");
});

test("records have the service and the resource of the environment", async () => {
  const bodies: string[] = [];
  const server = createServer((request, response) => {
    void textOf(request).then((body) => {
      bodies.push(body);
      return response.setHeader("Content-Type", "application/json").end("{}");
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => void server.close());
  const { directory: cwd } = await installedExample("node");
  const env = {
    OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    OTEL_SERVICE_NAME: "billing",
    OTEL_RESOURCE_ATTRIBUTES: "service.version=1.4.0,service.name=ignored",
  };
  for (const preload of ["telemetry", "connect"]) {
    const args = ["--import", `./${preload}.mjs`, "opentelemetry.mjs"];
    await Program.run(process.execPath, args, { cwd, env });
    const { resourceLogs } = JSON.parse(bodies.at(-1)!) as Request;
    expect(resourceLogs[0]!.resource.attributes).toEqual(
      expect.arrayContaining([
        { key: "service.name", value: { stringValue: "billing" } },
        { key: "service.version", value: { stringValue: "1.4.0" } },
      ]),
    );
  }
  expect(bodies).toHaveLength(2);
});

/** The part of an OTLP request that names the sender. */
interface Request {
  readonly resourceLogs: readonly { readonly resource: { readonly attributes: unknown[] } }[];
}

describe("the gateway in the program's own process stores what is logged with", () => {
  test.each<[string, readonly string[], Expected]>([
    ["pino", ["--import", "./instrument-pino.mjs"], { program: "pino.mjs", ...NAMED }],
    ["winston", [], WINSTON],
    ["the OpenTelemetry API", [], { program: "opentelemetry.mjs" }],
  ])("%s", async (_, imports, expected) => {
    const { directory: cwd } = await installedExample("node");
    const args = ["--import", "./in-process.mjs", ...imports, expected.program];
    const env = { ORCHESTRATOR_PORT: "0" };
    await using running = new Program(process.execPath, args, { cwd, env });
    const [, url] = await running.untilStdout(/^Dashboard: (\S+)$/m);
    const client = await collect(`${url!.replace("http", "ws")}/ws/logs?replay=3`);
    expect(await client.receive(3)).toEqual(envelopes(expected, {}));
    expect(await running.end()).toBe(0);
  });
});
