/** Runs docs/guides/tokens.md: real SDKs with a right and a rejected token. The Collector is in test/peers. */

import { existsSync } from "node:fs";
import { cp } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { GatewayProcess } from "../harness/gateway.ts";
import { MAIN, Program, requirePython, skipTest } from "../harness/program.ts";
import { Workspace } from "../harness/workspace.ts";
import { Document, repositoryPath } from "./document.ts";
import { installedExample } from "./example-packages.ts";

const page = await Document.read("docs/guides/tokens.md");

const CACHE =
  process.env["TAILGATE_CACHE"] ||
  join(process.env["XDG_CACHE_HOME"] || join(homedir(), ".cache"), "tailgate");

type Environment = Readonly<Record<string, string>>;

let workspace: Workspace;
let gateway: GatewayProcess;
const tokens = new Map<string, string>();

/** Runs `tailgate token` with the arguments and returns what it prints. */
async function token(...args: readonly string[]): Promise<string> {
  const file = ["--tokens-file", workspace.path("tokens.json")];
  const cli = [MAIN, "token", ...args, ...file];
  return (await Program.run(process.execPath, cli, { cwd: "/" })).trim();
}

beforeAll(async () => {
  workspace = await Workspace.create();
  const [, , , ...create] = page.example("tokens-create").trim().split(" ");
  tokens.set("ci", await token(...create));
  tokens.set("old", await token("create", "--name", "old", "--scope", "ingest"));
  await token("revoke", "old");
  tokens.set("reader", await token("create", "--name", "reader", "--scope", "read"));
  gateway = await GatewayProcess.start(
    `auth: { tokens_file: "${workspace.path("tokens.json")}" }
receivers: { otlp: { port: 0, grpc_port: 0 } }
exporters: { websocket: {} }
`,
  );
});

afterAll(async () => {
  await gateway?.[Symbol.asyncDispose]();
  await workspace[Symbol.asyncDispose]();
});

interface Stored {
  readonly data: {
    readonly message: string;
    readonly metadata?: Readonly<Record<string, unknown>>;
  };
}

async function recordsOf(service: string, type = "audit_log"): Promise<Stored[]> {
  const url = `${gateway.url}/api/logs?type=${type}&q=service:${service}`;
  const headers = { Authorization: `Bearer ${tokens.get("reader")!}` };
  const response = await fetch(url, { headers });
  if (!response.ok) throw new Error(`${url} was answered with ${response.status}.`);
  return ((await response.json()) as { records: Stored[] }).records;
}

interface Sending {
  readonly cwd: string;
  readonly token: string;
  readonly service: string;
  readonly protocol?: "OTLP/HTTP" | "OTLP/gRPC";
  readonly env?: Environment;
}

/** Runs a program with the page's variable, and returns everything that it prints. */
async function output(
  command: string,
  args: readonly string[],
  { cwd, token: name, service, protocol = "OTLP/HTTP", env = {} }: Sending,
): Promise<string> {
  const script = `${page.example("tokens-environment")}exec "$@"`;
  await using program = new Program("bash", ["-ec", script, "bash", command, ...args], {
    cwd,
    env: {
      TAILGATE_TOKEN: tokens.get(name)!,
      OTEL_EXPORTER_OTLP_ENDPOINT: await gateway.endpoint(protocol),
      OTEL_SERVICE_NAME: service,
      PYTHONDONTWRITEBYTECODE: "1",
      ...env,
    },
  });
  const end = await program.ended;
  const printed = program.stdout + program.stderr;
  if (end !== 0) throw new Error(`${command} ended with ${end}:\n${printed}`);
  expect(printed).not.toContain(tokens.get(name)!.slice(17, 40));
  return printed;
}

/** Returns what the page says that a sender prints, the longest text of its row. */
function printedBy(sender: string): string {
  const row = page.text.split("\n").find((line) => line.startsWith(`| ${sender} |`));
  const texts = Array.from(row?.matchAll(/`([^`]+)`/g) ?? [], ([, text]) => text!);
  return texts.toSorted((one, other) => other.length - one.length)[0]!;
}

type Send = (name: string, service: string) => Promise<string>;

/** Sends with the right token, then with the revoked one. */
async function expectAccepted(send: Send, service: string): Promise<void> {
  await send("ci", service);
  const events = await recordsOf(service);
  expect(events).toHaveLength(1);
  expect(Object.entries(events[0]!.data.metadata!).at(-1)).toEqual(["ingested_by", "token:ci"]);
  expect(JSON.parse(page.example("tokens-event"))).toEqual({ ingested_by: "token:ci" });
}

async function expectRejected(send: Send, sender: string): Promise<void> {
  expect(await send("old", "rejected")).toContain(printedBy(sender));
  expect(await recordsOf("rejected")).toEqual([]);
}

const PYTHON = `
import logging, sys
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor

provider = LoggerProvider()
provider.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter()))
logging.getLogger("opentelemetry").addHandler(logging.StreamHandler(sys.stdout))
logger = logging.getLogger("orchestrator.audit")
logger.setLevel(logging.INFO)
logger.addHandler(LoggingHandler(logger_provider=provider))
logger.info("deploy_requested")
provider.shutdown()
`;

describe("Python", () => {
  const overHttp: Send = async (name, service) => {
    const python = await requirePython("loguru");
    const cwd = repositoryPath("examples/python");
    return output(python, ["app.py"], { cwd, token: name, service });
  };
  const overGrpc: Send = async (name, service) => {
    const python = await requirePython("opentelemetry.exporter.otlp.proto.grpc._log_exporter");
    const sending = { cwd: "/", token: name, service, protocol: "OTLP/gRPC" } as const;
    return output(python, ["-W", "ignore", "-c", PYTHON], sending);
  };

  test("over HTTP", async () => {
    await expectAccepted(overHttp, "python-http");
    await expectRejected(overHttp, "Python");
  });

  test("over gRPC", async () => {
    await expectAccepted(overGrpc, "python-grpc");
    await expectRejected(overGrpc, "Python, gRPC");
  });
});

const DIAG = `
import { diag, DiagConsoleLogger, DiagLogLevel } from "@opentelemetry/api";
diag.setLogger(new DiagConsoleLogger(), DiagLogLevel.ERROR);
`;

test("Node.js", async () => {
  const example = await installedExample("node");
  await example.write("diag.mjs", DIAG);
  const send =
    (...imports: readonly string[]): Send =>
    (name, service) => {
      const args = [...imports.map((path) => `--import=./${path}`), "opentelemetry.mjs"];
      return output(process.execPath, args, { cwd: example.directory, token: name, service });
    };
  await expectAccepted(send("telemetry.mjs"), "node");
  expect(await send("telemetry.mjs")("old", "rejected")).toBe("");
  await expectRejected(send("diag.mjs", "telemetry.mjs"), "Node.js");
});

/** A copy of an example whose dependencies are installed. */
async function exampleIn(language: "go" | "java"): Promise<Workspace> {
  if (!existsSync(join(CACHE, "languages", `${language}.state`))) {
    skipTest(`The dependencies in ${language} are missing: npm run setup:docs`);
  }
  const copy = await Workspace.create();
  onTestFinished(() => copy[Symbol.asyncDispose]());
  await cp(repositoryPath(`examples/${language}`), copy.directory, { recursive: true });
  return copy;
}

test("Go", async () => {
  const { directory: cwd } = await exampleIn("go");
  const env = { GOPROXY: "off", GOSUMDB: "off" };
  await Program.run("go", ["build", "-o", "orchestrator", "."], { cwd, env });
  const send: Send = (name, service) =>
    output("./orchestrator", [], { cwd, token: name, service, protocol: "OTLP/gRPC" });
  await expectAccepted(send, "go");
  await expectRejected(send, "Go, gRPC");
});

test("the Java agent", async () => {
  const { directory } = await exampleIn("java");
  const cwd = join(directory, "agent");
  const java = await Document.read("docs/guides/java.md");
  const download = java.example("java-agent-download").replace("mvn ", "mvn --offline ");
  await Program.run("bash", ["-ec", `${download}javac Plain.java`], { cwd });
  const [agent] = /-javaagent:\S+/.exec(java.example("java-agent-run"))!;
  const env = { OTEL_TRACES_EXPORTER: "none", OTEL_METRICS_EXPORTER: "none" };
  const send: Send = (name, service) =>
    output("java", [agent, "Plain"], { cwd, token: name, service, env });
  await send("ci", "java");
  expect(await recordsOf("java", "system_log")).toHaveLength(2);
  await expectRejected(send, "Java agent");
});

test("curl", async () => {
  const script = page
    .example("tokens-curl")
    .replace("http://127.0.0.1:4318", await gateway.endpoint("OTLP/HTTP"));
  const env = { TAILGATE_TOKEN: tokens.get("ci")! };
  expect(await Program.run("bash", ["-ec", script], { cwd: "/", env })).toBe("{}");
});
