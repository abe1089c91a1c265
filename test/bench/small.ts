import { execFile } from "node:child_process";
import { mkdtemp, readdir, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { printCompared, printValues } from "./figure.ts";
import { startGateway, type GatewayProcess } from "./gateway-process.ts";
import { HelperProcess } from "./helper-process.ts";
import { Program } from "./program.ts";
import type { Scale } from "./rounds.ts";
import type { TailQuestion } from "./tail-clients.ts";

/** The time after its start when a gateway is idle. */
const SETTLE_MS = 1_500;

const CLIENTS = 1_000;

/** What a gateway with the default configuration needs when idle: startup time, memory, memory per client. */
export async function benchSmall({ rounds }: Scale): Promise<void> {
  const readyMs: number[] = [];
  const emptyMs: number[] = [];
  const emptyMegabytes: number[] = [];
  const residentMegabytes: number[] = [];
  const anonymousMegabytes: number[] = [];
  for (let round = 0; round < rounds; round++) {
    await using empty = await emptyServer();
    emptyMs.push(empty.readyMs);
    await using gateway = await startGateway();
    readyMs.push(gateway.program.readyMs);
    await wait(SETTLE_MS);
    emptyMegabytes.push(empty.residentBytes / 1e6);
    residentMegabytes.push(gateway.program.residentBytes / 1e6);
    anonymousMegabytes.push(gateway.program.anonymousBytes / 1e6);
  }
  const [start, memory] = ["small.tailgate.start", "small.tailgate.idle_memory"] as const;
  const [emptyStart, emptyMemory] = [
    "small.node_http.start",
    "small.node_http.idle_memory",
  ] as const;
  printCompared(
    "ms",
    { [start]: readyMs, [emptyStart]: emptyMs },
    [{ name: "small.ratio", of: start, to: emptyStart, target: undefined }],
    (name) => (name === start ? "<= 300" : undefined),
  );
  printCompared(
    "MB",
    { [memory]: residentMegabytes, [emptyMemory]: emptyMegabytes },
    [{ name: "small.ratio", of: memory, to: emptyMemory, target: undefined }],
    (name) => (name === memory ? "<= 80" : undefined),
  );
  printValues("small.tailgate.idle_memory_own", "MB", anonymousMegabytes);
  printValues("small.tailgate.idle_client", "KiB", [await idleClientKibibytes()], "<= 24");
}

/** The minimum of any server on Node. */
function emptyServer(): Promise<Program> {
  const code = "require('node:http').createServer().listen(0, () => console.log('ready'))";
  return Program.start({ command: process.execPath, args: ["-e", code], ready: /ready/ });
}

const COLLECTOR = new URL("collect-on-signal.ts", import.meta.url);

/** The memory that a client of the second half adds, excluding the garbage of its handshake. */
async function idleClientKibibytes(): Promise<number> {
  await using clients = await HelperProcess.start(new URL("tail-clients.ts", import.meta.url));
  await using gateway = await startGateway(
    {
      receivers: { otlp: {} },
      exporters: { websocket: { max_connections: CLIENTS } },
    },
    { NODE_OPTIONS: `--expose-gc --import=${COLLECTOR.href}` },
  );
  const before = await connected(gateway, clients);
  const after = await connected(gateway, clients);
  return (after - before) / (CLIENTS / 2) / 1024;
}

async function connected(
  { program, port }: GatewayProcess,
  clients: HelperProcess,
): Promise<number> {
  const count = CLIENTS / 2;
  const question = { verb: "connect", port, path: "/ws/logs", count, lookAtEvery: count } as const;
  await clients.ask(question satisfies TailQuestion);
  await wait(SETTLE_MS);
  process.kill(program.pid, "SIGUSR2");
  await wait(SETTLE_MS);
  return program.residentBytes;
}

const run = promisify(execFile);
const ROOT = fileURLToPath(new URL("../..", import.meta.url));

/** The size that `npm install` of the packed package adds, including dependencies. */
export async function benchInstall(): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), "tailgate-bench-"));
  try {
    const packing = ["pack", "--ignore-scripts", "--silent", "--pack-destination", directory];
    const { stdout } = await run("npm", packing, { cwd: ROOT });
    await writeFile(join(directory, "package.json"), '{ "private": true }');
    const installing = ["install", "--omit=dev", "--prefer-offline", "--no-audit", "--no-fund"];
    await run("npm", [...installing, `./${stdout.trim()}`], { cwd: directory });
    const bytes = await sizeOf(join(directory, "node_modules"));
    printValues("small.tailgate.install", "MB", [bytes / 1e6], "<= 40");
  } finally {
    await rm(directory, { recursive: true });
  }
}

async function sizeOf(directory: string): Promise<number> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile());
  const sizes = await Promise.all(
    files.map(async ({ parentPath, name }) => (await stat(join(parentPath, name))).size),
  );
  return sizes.reduce((sum, size) => sum + size, 0);
}
