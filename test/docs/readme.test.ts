/** Runs the README's code verbatim against the built gateway. */

import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { parse } from "yaml";
import { Workspace } from "../harness/workspace.ts";
import { Program } from "../harness/program.ts";
import { Document, repositoryPath } from "./document.ts";
import { startGateway, userDirectory, type StartedGateway } from "./user-directory.ts";

const MAIN = fileURLToPath(new URL("../../dist/cli/main.js", import.meta.url));

const DEFAULT_OTLP_PORT = 4318;

const readme = await Document.read("README.md");

test("the gateway prints at startup what the README shows", async () => {
  const workspace = await userDirectory({
    "tailgate.yaml": "receivers: { otlp: { grpc_port: 0 } }",
  });
  const { program, url, otlpUrl } = await startGateway(workspace);
  const [, grpcUrl] = await program.untilStderr(/listening on (\S+) \(OTLP\/gRPC\)\n/);
  const shown = program.stderr
    .replaceAll(new URL(url).port, "8001")
    .replaceAll(new URL(grpcUrl!).port, "4317")
    .replaceAll(new URL(otlpUrl).port, `${DEFAULT_OTLP_PORT}`);
  expect(readme.listings).toContain(shown);
});

async function sentByCurl(): Promise<StartedGateway & { workspace: Workspace }> {
  const workspace = await userDirectory();
  const gateway = await startGateway(workspace);
  const curl = readme
    .example("curl")
    .replace(`:${DEFAULT_OTLP_PORT}/`, `:${new URL(gateway.otlpUrl).port}/`);
  const answer = await Program.run("bash", ["-c", curl], { cwd: workspace.directory });
  expect(answer).toBe("{}");
  return { ...gateway, workspace };
}

describe("records sent with curl", () => {
  test("are shown by `tailgate tail`", async () => {
    const { url, workspace } = await sentByCurl();
    const [, ...words] = readme.command("npx tailgate tail --replay 10").split(" ");
    const env = { ORCHESTRATOR_PORT: new URL(url).port };
    const { directory: cwd } = workspace;
    await using tail = new Program(process.execPath, [MAIN, ...words.slice(1)], { cwd, env });
    await tail.untilStdout(/ - orchestrator\.audit - AUDIT instance_spawn instance_id=abc-123\n/);
    expect(tail.stdout).toMatch(
      /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d - orchestrator\.instance_manager - WARNING - High memory usage detected memory_mb=512$/m,
    );
  });

  test("are found by its filters", async () => {
    const { url, workspace } = await sentByCurl();
    const command = "npx tailgate tail --level WARNING logger:orchestrator memory";
    const [, , ...words] = readme.command(command).split(" ");
    const env = { ORCHESTRATOR_PORT: new URL(url).port };
    const args = [MAIN, ...words, "--replay", "10", "--json"];
    await using tail = new Program(process.execPath, args, { cwd: workspace.directory, env });
    await tail.untilStdout(/\n/);
    expect(tail.stdout).toMatch(/^\{"type":"system_log",.*"memory_mb":512\}\}\n$/);
  });

  test("are in /api/logs, with their arrival time", async () => {
    const before = new Date().toISOString();
    const { url, workspace } = await sentByCurl();
    const command = readme
      .command("curl 'http://127.0.0.1:8001/api/logs?type=system&level=WARNING'")
      .replace("http://127.0.0.1:8001", url);
    const answer = await Program.run("bash", ["-c", command], { cwd: workspace.directory });
    const { records } = JSON.parse(answer) as { records: { data: { timestamp: string } }[] };
    expect(records).toMatchObject([{ sequence: 1, type: "system_log", data: { memory_mb: 512 } }]);
    expect(records[0]!.data.timestamp >= before).toBe(true);
  });
});

test("the configuration is valid and has the documented meaning", async () => {
  const { directory: cwd } = await userDirectory({
    "tailgate.yaml": (await Document.read("docs/configuration.md")).example("config-overview"),
  });
  const shown = await Program.run(process.execPath, [MAIN, "validate"], { cwd });
  expect(shown).toContain(`valid: ${cwd}/tailgate.yaml\n`);
  expect(shown).toContain(`log_dir: ${cwd}/logs\n`);
  const { exporters } = parse(shown.slice(shown.indexOf("\n"))) as { exporters: object };
  expect(exporters).toMatchObject({
    websocket: { max_connections: 50 },
    "file/errors": { path: "errors.log", level: "ERROR" },
  });
});

test("CI runs the benchmark as its page says", async () => {
  const page = await Document.read("docs/benchmarks.md");
  const script = await readFile(repositoryPath(".ci/run"), "utf8");
  const [, bench] = page.example("bench-run").trim().split("\n");
  expect(script).toContain(`${bench!} -- --quick --compare`);
});

test("CI runs what CONTRIBUTING asks for", async () => {
  const page = await Document.read("CONTRIBUTING.md");
  const commands = page.example("contributing-checks").match(/^npm [\w ]+?(?=\s+#)/gm);
  const script = await readFile(repositoryPath(".ci/run"), "utf8");
  expect(commands).toEqual(["npm ci", "npm test", "npm run check"]);
  expect(commands!.filter((command) => !script.includes(command))).toEqual([]);
});
