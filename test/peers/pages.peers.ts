/** The commands and configurations of docs/integrations with the real programs, verbatim except for the ports. */

import { randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";
import { dirname } from "node:path";
import { beforeEach, expect, onTestFinished, test, vi } from "vitest";
import { startCli, Program } from "../harness/program.ts";
import { Workspace } from "../harness/workspace.ts";
import { Document } from "../docs/document.ts";
import { postMessages } from "../harness/otlp.ts";
import { COLLECTOR_CONFIG } from "./collector.ts";
import { foundInJaeger, JAEGER_ALONE } from "./jaeger.ts";
import { freePort, localUrl, peerPath, requirePeer } from "./peer.ts";
import { instanceEvent, logsOfWorker, post, spanOfWorker } from "./requests.ts";
import { foundInVictoriaLogs } from "./victoria-logs.ts";

const collectorPage = await Document.read("docs/integrations/collector.md");
const victoriaLogsPage = await Document.read("docs/integrations/victorialogs.md");
const jaegerPage = await Document.read("docs/integrations/jaeger.md");
const pages = [collectorPage, victoriaLogsPage, jaegerPage];

const PORTS = /\b(?:4317|4318|5318|9428|14317|14318|16686|18888|24317|24318)\b/g;

let workspace: Workspace;
let ports: Map<string, number>;

beforeEach(async () => {
  const texts = pages.map(({ text }) => text);
  const named = `${texts.join("\n")}${await readFile(COLLECTOR_CONFIG, "utf8")}`.match(PORTS)!;
  ports = new Map();
  for (const port of named) ports.set(port, ports.get(port) ?? (await freePort()));
  workspace = await Workspace.create({
    "otel-collector.yaml": withFreePorts(await readFile(COLLECTOR_CONFIG, "utf8")),
    "tailgate.yaml": withFreePorts(collectorPage.example("config-to-collector")),
  });
  return () => workspace[Symbol.asyncDispose]();
});

/** Replaces the ports in a text with free ones. */
function withFreePorts(text: string): string {
  return text.replaceAll(PORTS, (port) => `${ports.get(port)}`);
}

function urlOf(port: number): string {
  return localUrl(ports.get(`${port}`)!);
}

/** Starts the program in the foreground, as the page does. */
async function startProgram(program: string, command: string, ready: RegExp): Promise<void> {
  requirePeer(program);
  const env = { PATH: `${dirname(peerPath(program))}:${process.env["PATH"]}` };
  const args = ["-c", `exec env ${withFreePorts(command)}`];
  const running = new Program("bash", args, { cwd: workspace.directory, env });
  onTestFinished(() => running[Symbol.asyncDispose]());
  await running.untilStderr(ready);
}

/** Returns the command in an example that starts a program, without its stderr redirection. */
function commandOf(program: string, example = collectorPage.example("run-with-stores")): string {
  const lines = example.replaceAll(/\\\n\s*/g, "").split("\n");
  const line = lines.find((text) => text.includes(`${program} -`))!;
  return line.replace(/ 2> \S+ &$/, "");
}

/** Starts Jaeger with the command in an example. */
async function startJaeger(example?: string): Promise<void> {
  const settings = [
    ...JAEGER_ALONE,
    `extensions.jaeger_query.http.endpoint=127.0.0.1:${ports.get("16686")}`,
    `extensions.jaeger_query.grpc.endpoint=127.0.0.1:${await freePort()}`,
  ];
  const options = settings.map((setting) => `--set '${setting}'`).join(" ");
  await startProgram("jaeger", `${commandOf("jaeger", example)} ${options}`, /Everything is ready/);
}

async function startGateway(args: readonly string[]): Promise<string> {
  const gateway = startCli([...args, "--port", "0", "--log-dir", "logs"], {
    cwd: workspace.directory,
  });
  onTestFinished(() => gateway[Symbol.asyncDispose]());
  const [, url] = await gateway.untilStderr(/listening on (\S+) \(dashboard/);
  return url!;
}

test("the Collector forwards records to VictoriaLogs, traces to Jaeger", async () => {
  await startProgram("victoria-logs", commandOf("victoria-logs"), /started server at/);
  await startJaeger();
  await startProgram("otelcol", commandOf("otelcol"), /Everything is ready/);
  const url = await startGateway(["run", "--otlp-port", "0"]);

  expect(await post(`${url}/v1/logs`, logsOfWorker())).toBe(200);
  const stored = [
    {
      _msg: "High memory usage detected",
      "service.name": "worker",
      logger: "orchestrator.instance_manager",
      severity: "WARNING",
      memory_mb: "512",
    },
    { _msg: "instance_spawn", logger: "orchestrator.audit", instance_id: "abc-123" },
  ];
  expect(await foundInVictoriaLogs(urlOf(9428), 'service.name:="worker"', 2)).toMatchObject(stored);
  const curl = collectorPage.command(
    "curl http://127.0.0.1:9428/select/logsql/query -d 'query=logger:*'",
  );
  const shown = await Program.run("bash", ["-c", withFreePorts(curl)], {
    cwd: workspace.directory,
  });
  expect(shown).toContain('"_msg":"High memory usage detected"');

  const traceId = randomBytes(16).toString("hex");
  expect(await post(`${url}/v1/traces`, spanOfWorker(traceId))).toBe(200);
  expect(await foundInJaeger(urlOf(16686), "worker")).toMatchObject([
    { traceID: traceId, spans: [{ operationName: "spawn", duration: 1500 }] },
  ]);
});

test("an instance is a trace in Jaeger, and its log line links to it", async () => {
  await startJaeger(jaegerPage.example("jaeger-run"));
  await workspace.write("tailgate.yaml", withFreePorts(jaegerPage.example("config-jaeger")));
  const url = await startGateway(["run", "--otlp-port", "0"]);
  const traceId = randomBytes(16).toString("hex");
  for (const type of ["instance_spawn", "instance_terminate"]) {
    expect(await post(`${url}/v1/logs`, instanceEvent(type, traceId))).toBe(200);
  }
  const [found] = await foundInJaeger(urlOf(16686), "orchestrator");
  expect(found).toMatchObject({ traceID: traceId, spans: [{ operationName: "instance general" }] });
  const stats = (await (await fetch(`${url}/api/stats`)).json()) as { trace_url: string };
  const link = stats.trace_url.replace("{trace_id}", traceId);
  expect(link).toBe(`${urlOf(16686)}/trace/${traceId}`);
  expect((await fetch(link.replace("/trace/", "/api/traces/"))).status).toBe(200);
});

test("the two events of the page are an instance in Jaeger", async () => {
  await startJaeger(jaegerPage.example("jaeger-run"));
  await workspace.write("tailgate.yaml", withFreePorts(jaegerPage.example("config-jaeger")));
  await startGateway(["run", "--otlp-port", `${ports.get("4318")}`]);
  const script = withFreePorts(jaegerPage.example("jaeger-instance"));
  await Program.run("bash", ["-ec", script], { cwd: workspace.directory });
  const [found] = await foundInJaeger(urlOf(16686), "orchestrator");
  const tag = { key: "instance_id", value: "abc-123" };
  expect(found!.spans).toMatchObject([{ operationName: "instance general" }]);
  expect(found!.spans[0]!.tags).toContainEqual(expect.objectContaining(tag));
});

test("VictoriaLogs gets records without a Collector, and the page's queries find them", async () => {
  const command = victoriaLogsPage.command("victoria-logs -httpListenAddr=127.0.0.1:9428");
  await startProgram("victoria-logs", command, /started server at/);
  const config = victoriaLogsPage.example("config-victorialogs");
  await workspace.write("tailgate.yaml", withFreePorts(config));
  const url = await startGateway(["run", "--otlp-port", "0"]);
  expect(await post(`${url}/v1/logs`, logsOfWorker("orchestrator"))).toBe(200);
  const stored = await foundInVictoriaLogs(urlOf(9428), "logger:*", 2);
  expect(stored).toMatchObject([
    { _msg: "High memory usage detected", severity: "WARNING", memory_mb: "512" },
    { _msg: "instance_spawn", severity: "Info", _stream: '{service.name="orchestrator"}' },
  ]);

  const script = withFreePorts(victoriaLogsPage.example("victorialogs-query"));
  const shown = await Program.run("bash", ["-c", script], { cwd: workspace.directory });
  expect(shown).toMatch(/^\{.*"_msg":"High memory usage detected".*\}\n$/);

  const cursor = stored[0]!["log.record.uid"]!;
  const queries = victoriaLogsPage.inlineCode.filter((code) =>
    /^(?:logger|memory|")\S*:/.test(code),
  );
  expect(queries.length).toBeGreaterThan(4);
  for (const query of queries.concat("memory _time:1h")) {
    const asked = query.replace("<epoch>:<sequence>", cursor).replaceAll("\\|", "|");
    await foundInVictoriaLogs(urlOf(9428), asked, 1);
  }
});

test("a Collector in front of Tailgate queues records while Tailgate is away", async () => {
  const command = collectorPage.command(
    "LOGS_TO='[otlp_http/tailgate]' OTELCOL_GRPC=127.0.0.1:4317 OTELCOL_HTTP=127.0.0.1:4318 otelcol --config otel-collector.yaml",
  );
  await startProgram("otelcol", command, /Everything is ready/);
  const sent = Array.from({ length: 50 }, (_, index) => `record ${index}`);
  expect(await postMessages(urlOf(4318), sent)).toBe(200);
  const run = collectorPage.command("npx tailgate run --otlp-port 5318");
  await workspace.write("tailgate.yaml", "");
  const url = await startGateway(withFreePorts(run).split(" ").slice(2));
  const arrived = async (): Promise<void> => {
    const response = await fetch(`${url}/api/logs?logger=orchestrator.server`);
    const { records } = (await response.json()) as { records: { data: { message: string } }[] };
    expect(records.map(({ data }) => data.message).toReversed()).toEqual(sent);
  };
  await vi.waitFor(arrived, { timeout: 30_000, interval: 100 });
});
