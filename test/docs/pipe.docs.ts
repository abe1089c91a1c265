/** Runs what docs/guides/pipe.md shows. */

import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { GatewayProcess } from "../harness/gateway.ts";
import { Pipeline } from "../harness/pipeline.ts";
import { MAIN } from "../harness/program.ts";
import { Workspace } from "../harness/workspace.ts";
import { Document } from "./document.ts";

const page = await Document.read("docs/guides/pipe.md");

let gateway: GatewayProcess;

beforeAll(async () => {
  gateway = await GatewayProcess.start(
    "receivers: { otlp: { port: 0, grpc_port: null } }\nexporters: { websocket: {} }\n",
  );
});

afterAll(() => gateway[Symbol.asyncDispose]());

async function start(
  example: string,
  files: Readonly<Record<string, string>>,
  change = (command: string): string => command,
): Promise<Pipeline> {
  const workspace = await Workspace.create(files);
  onTestFinished(() => workspace[Symbol.asyncDispose]());
  await workspace.install("pino");
  const tailgate = `"${process.execPath}" "${MAIN}"`;
  const command = change(page.example(example)).replace("npx tailgate", tailgate);
  const env = { OTEL_EXPORTER_OTLP_ENDPOINT: await gateway.endpoint("OTLP/HTTP") };
  return new Pipeline(command, { cwd: workspace.directory, env });
}

test("a program's lines are printed, and arrive with their levels and fields", async () => {
  const client = await gateway.client();
  await using program = await start("pipe-run", { "app.mjs": page.example("pipe-app") });
  expect(await program.ended).toBe(0);
  expect(program.stdout.split("\n")).toContain("2025-10-13 09:27:24,339 ERROR no slot is free");
  const records = (await client.receive(3)).map(({ data }) => data);
  const fields = { logger: "orchestrator.shop", service: "orchestrator.shop" };
  expect(records.toSorted((a, b) => a.level.localeCompare(b.level))).toEqual([
    expect.objectContaining({ ...fields, level: "ERROR", message: "no slot is free" }),
    expect.objectContaining({ ...fields, level: "INFO", message: "Order paid", order: 7 }),
    expect.objectContaining({ ...fields, level: "WARNING", memory_mb: 512 }),
  ]);
});

test("with pipefail, the shell knows that the program has failed", async () => {
  const files = { "build.sh": "echo compiling; exit 3\n" };
  await using program = await start("pipe-pipefail", files, (text) => text.replace("./", "sh ./"));
  await program.ended;
  expect(program.stdout).toBe("compiling\nbuild.sh ended with 3\n");
});

test("a gateway of its own serves what has arrived after the input has ended", async () => {
  const files = { "kubectl.sh": 'echo "WARNING: $*"\n' };
  await using program = await start("pipe-serve", files, (text) =>
    text.replace("kubectl", "sh kubectl.sh").replace("--port 8002", "--port 0"),
  );
  const [, url] = await program.untilStderr(/The input has ended. .* gateway at (\S+)\n/);
  expect(program.stdout).toBe("WARNING: logs -f deploy/shop\n");
  const stored = await (await fetch(`${url}/api/logs`)).text();
  expect(stored).toContain("logs -f deploy/shop");
  program.signal("SIGINT");
  expect(await program.ended).toBe(0);
});
