/** Runs what docs/guides/pipe.md shows. */

import { open, stat } from "node:fs/promises";
import { afterAll, beforeAll, expect, onTestFinished, test, vi } from "vitest";
import { GatewayProcess } from "../harness/gateway.ts";
import { Pipeline } from "../harness/pipeline.ts";
import { MAIN, Program } from "../harness/program.ts";
import { Workspace } from "../harness/workspace.ts";
import { Document } from "./document.ts";

const page = await Document.read("docs/guides/pipe.md");

const CONFIG = "receivers: { otlp: { port: 0, grpc_port: null } }\nexporters: { websocket: {} }\n";

let gateway: GatewayProcess;

beforeAll(async () => {
  gateway = await GatewayProcess.start(CONFIG);
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

test("the flags of run apply to a gateway of its own, which has a console with --quiet", async () => {
  const workspace = await Workspace.create({
    "own.yaml": "port: 0\nreceivers: {}\nlog_dir: logs\n",
  });
  onTestFinished(() => workspace[Symbol.asyncDispose]());
  const flags = "--config own.yaml --host 127.0.0.2 --log-level DEBUG --level DEBUG --quiet";
  const command = `echo detail | "${process.execPath}" "${MAIN}" pipe --serve ${flags}`;
  await using program = new Pipeline(command, { cwd: workspace.directory });
  await program.untilStderr(/listening on http:\/\/127\.0\.0\.2:/);
  await program.untilStderr(/ - pipe - DEBUG - detail\n/);
  program.signal("SIGTERM");
  await program.ended;
  expect(program.stdout).toBe("");
});

test("records wait for a gateway that was killed, and arrive once each", async () => {
  await using killed = await GatewayProcess.start(CONFIG);
  const endpoint = await killed.endpoint("OTLP/HTTP");
  const workspace = await Workspace.create();
  onTestFinished(() => workspace[Symbol.asyncDispose]());
  await using pipeline = new Pipeline(
    `mkfifo lines; "${process.execPath}" "${MAIN}" pipe --endpoint ${endpoint} < lines`,
    { cwd: workspace.directory },
  );
  await vi.waitFor(() => stat(workspace.path("lines")));
  await using lines = await open(workspace.path("lines"), "w");
  await lines.write("first\n");
  await vi.waitFor(async () => expect(await messages(killed)).toEqual(["first"]), 10_000);
  // Records are visible before they are durable; without an answer, the line would be sent again.
  await vi.waitFor(async () => {
    const metrics = await (await fetch(`${killed.url}/metrics`)).text();
    expect(metrics).toMatch(/^tailgate_otlp_requests_total\{.*status="200".*\} 1$/m);
  }, 10_000);
  await killed.kill();
  await lines.write("in between\n");
  await pipeline.untilStderr(/does not accept records: .*ECONNREFUSED.* They wait in a queue\./);
  await killed.restart();
  await lines.write("last\n");
  await pipeline.untilStderr(/ accepts records\.\n/);
  await lines.close();
  expect(await pipeline.ended).toBe(0);
  expect(pipeline.stdout).toBe("first\nin between\nlast\n");
  expect(await messages(killed)).toEqual(["first", "in between", "last"]);
});

async function messages({ url }: GatewayProcess): Promise<string[]> {
  const response = await fetch(`${url}/api/logs?logger=pipe`);
  const { records } = (await response.json()) as { records: { data: { message: string } }[] };
  return records.map(({ data }) => data.message).toReversed();
}

/** Prints a million lines, and how much memory its children had at most, in KiB. */
const BIG = `
import resource, subprocess, sys
child = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE)
for number in range(1000):
    child.stdin.write(b"".join(b"WARNING %0100d\\n" % (number * 1000 + n) for n in range(1000)))
child.stdin.close()
code = child.wait()
print(code, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
`;

const KIB_MAX = 600 << 10;

async function memoryOf(endpoint: string): Promise<readonly [Program, number, number]> {
  const args = ["-c", BIG, process.execPath, MAIN, "pipe", "--quiet", "--endpoint", endpoint];
  await using program = new Program("python3", args, { cwd: "/" });
  await program.ended;
  const [code, kibibytes] = program.stdout.trim().split(" ").map(Number);
  return [program, code!, kibibytes!];
}

test("a million lines arrive, and take a bounded memory", async () => {
  const [program, code, kibibytes] = await memoryOf(await gateway.endpoint("OTLP/HTTP"));
  expect([code, program.stderr]).toEqual([0, ""]);
  expect(kibibytes).toBeLessThan(KIB_MAX);
});

test("a million lines do not wait for a gateway that is down, and are counted", async () => {
  const [program, code, kibibytes] = await memoryOf("http://127.0.0.1:9");
  expect(code).toBe(1);
  expect(program.stderr).toContain("The queue for http://127.0.0.1:9/v1/logs is full");
  expect(program.stderr).toMatch(
    /RECORDS_LOST: 1000000 of 1000000 records did not reach .*ECONNREFUSED/,
  );
  expect(kibibytes).toBeLessThan(KIB_MAX);
});
