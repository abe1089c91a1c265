/**
 * `npm run soak -- [--minutes N]`: runs a gateway as `npm start` does, with senders at a steady rate and clients that
 * connect, disconnect, stall and resume, for 20 minutes. At the end, its memory must have reached a plateau that the
 * configuration explains, all descriptors must be closed again, and no accepted record may be missing.
 */

import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { Program } from "../bench/program.ts";
import { Sender, type Ports } from "./senders.ts";
import { Visitors } from "./visitors.ts";

const CLI = fileURLToPath(new URL("../../dist/cli/main.js", import.meta.url));

/** As in package.json. */
const NODE_FLAGS = ["--max-semi-space-size=4"];

const MINUTES = 20;
const MIB = 1 << 20;

/**
 * Memory of the gateway in addition to what it uses before the first record, in MiB. Most of it is garbage: V8 starts to
 * collect external memory after 64 MiB, and more is allocated until the collection ends.
 */
const BOUNDS = {
  "the newest records (memory tail)": 64,
  "buffers that are not yet collected": 128,
  "JavaScript heap that is not yet collected": 64,
  "arenas of the memory allocator": 64,
  "SQLite's cache, write-ahead log and blocks": 16,
  "clients' buffers (40 * client_buffer_bytes)": 10,
  "responses that nobody reads (6 * 1000 records)": 8,
} as const;

/** Plateau: how far the last third may exceed the middle third. */
const PLATEAU_SHARE = 1.05;
const PLATEAU_MIB = 8;

/** Shorter runs end before the memory tail is full, and do not reach a plateau. */
const PLATEAU_MINUTES_MIN = 5;

/** How long the gateway may take to close descriptors, and how many more than before may stay open. */
const CLOSED_MS_MAX = 20_000;
const DESCRIPTORS_MORE_MAX = 3;

interface Sample {
  readonly seconds: number;
  readonly residentMib: number;
  readonly descriptors: number;
  readonly heapMib: number;
  readonly externalMib: number;
}

await main();

async function main(): Promise<void> {
  const { values } = parseArgs({ options: { minutes: { type: "string" } } });
  const minutes = Number(values.minutes ?? MINUTES);
  if (!(minutes > 0)) throw new RangeError("--minutes must be a number above 0.");
  const directory = mkdtempSync(join(tmpdir(), "tailgate-soak-"));
  try {
    const faults = await soak(directory, minutes);
    for (const fault of faults) process.stdout.write(`FAILED: ${fault}\n`);
    if (faults.length > 0) process.exitCode = 1;
    else process.stdout.write("All checks passed.\n");
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

async function soak(directory: string, minutes: number): Promise<string[]> {
  await using program = await start(directory);
  const ports = portsOf(program.text);
  await idle(ports.port);
  const before = await sample(program, ports.port, 0);
  say(`before: ${mib(before.residentMib)}, ${before.descriptors} descriptors`);
  const stop = new AbortController();
  const senders = Sender.all(ports);
  const sending = senders.map((sender) => sender.run(stop.signal));
  const visitors = new Visitors(ports.port, stop.signal);
  const samples = await sampled(program, ports.port, minutes);
  stop.abort();
  await Promise.all([...sending, visitors.ended()]);
  for (const sender of senders) sender[Symbol.dispose]();
  const after = await closed(program, ports.port, before.descriptors);
  say(
    `after: ${mib(after.residentMib)}, heap ${mib(after.heapMib)}, external ${mib(after.externalMib)}, ${after.descriptors} descriptors`,
  );
  await findRecords(ports.port, new Map(senders.map((sender) => [sender.name, sender])));
  printSenders(senders, visitors);
  return [
    ...memoryFaults(before, samples, minutes),
    ...descriptorFaults(before, after),
    ...recordFaults(senders),
    ...visitors.faults.slice(0, 5),
  ];
}

function start(directory: string): Promise<Program> {
  const file = join(directory, "tailgate.yaml");
  writeFileSync(file, JSON.stringify({ receivers: { otlp: { grpc_port: 0 } } }));
  const logDir = join(directory, "logs");
  const args = ["run", "--config", file, "--port", "0", "--otlp-port", "0", "--log-dir", logDir];
  return Program.start({
    command: process.execPath,
    args: [...NODE_FLAGS, CLI, ...args],
    // Keeps the audit key in the temporary directory.
    env: { XDG_CONFIG_HOME: directory },
    ready: /\(OTLP\/gRPC\)\n/,
  });
}

function portsOf(text: string): Ports {
  const portOf = (pattern: RegExp): number => Number(pattern.exec(text)![1]);
  return {
    port: portOf(/:(\d+) \(dashboard/),
    otlpPort: portOf(/:(\d+)\/v1\/logs/),
    grpcPort: portOf(/:(\d+) \(OTLP\/gRPC\)/),
  };
}

/** Warms up: the first requests load code that a start does not. */
async function idle(port: number): Promise<void> {
  for (const path of ["/api/logs", "/api/counts", "/metrics", "/"]) await textAt(port, path);
  await wait(2_000);
}

async function textAt(port: number, path: string): Promise<string> {
  const headers = { connection: "close" };
  const answer = await fetch(`http://127.0.0.1:${port}${path}`, { headers });
  const text = await answer.text();
  if (answer.status !== 200) throw new Error(`${path} responded with ${answer.status}: ${text}`);
  return text;
}

async function sampled(program: Program, port: number, minutes: number): Promise<Sample[]> {
  say("\nminute    RSS max    heap  external  descriptors");
  const startMs = performance.now();
  const samples: Sample[] = [];
  let reported = 0;
  for (let minute = 1; minute <= Math.ceil(minutes); minute++) {
    const endMs = startMs + 60_000 * Math.min(minute, minutes);
    while (performance.now() < endMs) {
      samples.push(await sample(program, port, (performance.now() - startMs) / 1000));
      await wait(1_000);
    }
    const ofMinute = samples.slice(reported);
    reported = samples.length;
    const most = (value: (sample: Sample) => number): number => Math.max(...ofMinute.map(value));
    const cells = [
      String(minute).padStart(6),
      mib(most(({ residentMib }) => residentMib)).padStart(11),
      most(({ heapMib }) => heapMib)
        .toFixed(0)
        .padStart(8),
      most(({ externalMib }) => externalMib)
        .toFixed(0)
        .padStart(10),
      String(most(({ descriptors }) => descriptors)).padStart(13),
    ];
    say(cells.join(""));
  }
  return samples;
}

async function sample(
  { pid, residentBytes }: Program,
  port: number,
  seconds: number,
): Promise<Sample> {
  const metrics = await textAt(port, "/metrics");
  const metric = (name: string): number =>
    Number(new RegExp(`^${name} (\\S+)`, "m").exec(metrics)?.[1] ?? NaN) / MIB;
  return {
    seconds,
    residentMib: residentBytes / MIB,
    descriptors: readdirSync(`/proc/${pid}/fd`).length,
    heapMib: metric("nodejs_heap_size_used_bytes"),
    externalMib: metric("nodejs_external_memory_bytes"),
  };
}

/** Returns the first sample with the descriptors closed, or the last one before the timeout. */
async function closed(program: Program, port: number, descriptors: number): Promise<Sample> {
  const endMs = performance.now() + CLOSED_MS_MAX;
  for (;;) {
    const last = await sample(program, port, 0);
    const isBack = last.descriptors <= descriptors + DESCRIPTORS_MORE_MAX;
    if (isBack || performance.now() > endMs) return last;
    await wait(500);
  }
}

interface FoundRecord {
  readonly data: { soak_sender?: string; soak_number?: number; metadata?: FoundRecord["data"] };
}

/** Reads all records of the journal. */
async function findRecords(port: number, senders: ReadonlyMap<string, Sender>): Promise<void> {
  for (let cursor: string | null = ""; cursor !== null;) {
    const text = await textAt(port, `/api/logs?order=asc&limit=1000&cursor=${cursor}`);
    const page = JSON.parse(text) as { records: FoundRecord[]; next_cursor: string | null };
    for (const { data } of page.records) {
      const { soak_sender: name, soak_number: number } = data.metadata ?? data;
      if (name !== undefined && number !== undefined) senders.get(name)?.found(number);
    }
    cursor = page.next_cursor;
  }
}

function printSenders(senders: readonly Sender[], visitors: Visitors): void {
  say("\nsender          accepted  rejected  lost");
  for (const { name, acceptedRecords, rejectedRecords, lost } of senders) {
    const cells = [acceptedRecords, rejectedRecords, lost.length].map(String);
    say(
      `${name.padEnd(14)}${cells[0]!.padStart(10)}${cells[1]!.padStart(10)}${cells[2]!.padStart(6)}`,
    );
  }
  say(`\n${visitors.visits} clients connected and disconnected.`);
}

function memoryFaults(before: Sample, samples: readonly Sample[], minutes: number): string[] {
  const bound = Object.values(BOUNDS).reduce((sum, part) => sum + part, before.residentMib);
  say(`\nExplained memory: ${mib(bound)}`);
  say(`  ${mib(before.residentMib).padStart(9)}  before the first record`);
  for (const [what, part] of Object.entries(BOUNDS)) say(`  ${mib(part).padStart(9)}  ${what}`);
  const third = Math.floor(samples.length / 3);
  const mostOf = (some: readonly Sample[]): number =>
    Math.max(...some.map(({ residentMib }) => residentMib));
  const [middle, last] = [
    mostOf(samples.slice(third, 2 * third)),
    mostOf(samples.slice(2 * third)),
  ];
  say(`Maximum RSS: ${mib(middle)} in the middle third, ${mib(last)} in the last third`);
  const faults: string[] = [];
  const hasPlateau = last <= middle * PLATEAU_SHARE + PLATEAU_MIB;
  if (minutes >= PLATEAU_MINUTES_MIN && !hasPlateau) faults.push("RSS did not reach a plateau.");
  const most = Math.max(middle, last);
  if (most > bound) faults.push(`RSS reached ${mib(most)}, but only ${mib(bound)} is explained.`);
  return faults;
}

function descriptorFaults(before: Sample, after: Sample): string[] {
  const more = after.descriptors - before.descriptors;
  return more > DESCRIPTORS_MORE_MAX ? [`${more} more descriptors are open than before.`] : [];
}

function recordFaults(senders: readonly Sender[]): string[] {
  return senders.flatMap(({ name, acceptedRecords, rejectedRecords, lost, duplicates }) => [
    ...(acceptedRecords === 0 ? [`${name}: nothing was accepted.`] : []),
    ...(rejectedRecords > 0 ? [`${name}: ${rejectedRecords} records were rejected.`] : []),
    ...(lost.length > 0 ? [`${name}: ${lost.length} records are lost, such as ${lost[0]}.`] : []),
    ...(duplicates.length > 0 ? [`${name}: ${duplicates.length} records are stored twice.`] : []),
  ]);
}

function mib(value: number): string {
  return `${value.toFixed(0)} MiB`;
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}
