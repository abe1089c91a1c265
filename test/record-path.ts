/**
 * Counts the source files that one record passes through, with V8's precise coverage:
 *
 * - an OTLP/HTTP request on the receiver's port, from the socket until it is answered because its record is durable,
 * - `logger.info()`, until the WebSocket frame has reached the client.
 *
 * `npm run record-path` prints the files of the main thread and those of the thread that writes to SQLite. It fails if
 * the main thread passes through more than {@link FILES_MAX}.
 */

import { mkdtempSync, rmSync } from "node:fs";
import { request as httpRequest } from "node:http";
import { Session } from "node:inspector/promises";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { WebSocket } from "ws";
import { LoggingManager, resolveConfig, startTailgate } from "tailgate";
import { otlpRequest } from "./bench/otlp-request.ts";

const FILES_MAX = 35;
/** Warm-up calls, which compile code and fill caches before the measured one. */
const WARM_UPS = 20;
const COUNTED_CALLS = 5;
/** One record with a body, four attributes and a trace. */
const body = otlpRequest(1).protobuf;
const ROOT = fileURLToPath(new URL("..", import.meta.url));

interface CoveredScript {
  readonly url: string;
  readonly functions: readonly { readonly ranges: readonly { readonly count: number }[] }[];
}

interface CoverageResult {
  readonly result: readonly CoveredScript[];
}

/** The files that a record passes through. */
interface Path {
  readonly main: readonly string[];
  readonly workers: readonly string[];
}

/** Records precise coverage of this thread and of the workers that it starts. */
class Coverage {
  readonly #session = new Session();
  readonly #workers: string[] = [];
  readonly #replies = new Map<number, (result: unknown) => void>();
  #lastId = 0;

  async start(): Promise<void> {
    this.#session.connect();
    this.#session.on("NodeWorker.attachedToWorker", ({ params }) => {
      this.#workers.push(params.sessionId);
    });
    this.#session.on("NodeWorker.receivedMessageFromWorker", ({ params }) => {
      const { id, result } = JSON.parse(params.message) as { id?: number; result?: unknown };
      if (id !== undefined) this.#replies.get(id)?.(result);
    });
    await this.#session.post("NodeWorker.enable", { waitForDebuggerOnStart: false });
    await this.#session.post("Profiler.enable");
    await this.#session.post("Profiler.startPreciseCoverage", { callCount: true, detailed: false });
    for (const worker of this.#workers) {
      await this.#ask(worker, "Profiler.enable");
      await this.#ask(worker, "Profiler.startPreciseCoverage", { callCount: true });
    }
  }

  /** Returns the files whose functions were called since the last time. */
  async take(): Promise<Path> {
    const main = await this.#session.post("Profiler.takePreciseCoverage");
    const workers = await Promise.all(
      this.#workers.map((worker) => this.#ask(worker, "Profiler.takePreciseCoverage")),
    );
    return { main: filesIn([main]), workers: filesIn(workers as CoverageResult[]) };
  }

  #ask(sessionId: string, method: string, params = {}): Promise<unknown> {
    const id = ++this.#lastId;
    const { promise, resolve } = Promise.withResolvers<unknown>();
    this.#replies.set(id, resolve);
    const message = JSON.stringify({ id, method, params });
    void this.#session.post("NodeWorker.sendMessageToWorker", { sessionId, message });
    return promise;
  }
}

function filesIn(results: readonly CoverageResult[]): string[] {
  const files = results.flatMap(({ result }) => result.filter(ran).map(fileOf));
  return [...new Set(files)].filter((path) => /^(src|plugins)\//.test(path)).sort();
}

function ran({ url, functions }: CoveredScript): boolean {
  return url.startsWith("file:") && functions.some(({ ranges }) => ranges[0]!.count > 0);
}

function fileOf({ url }: CoveredScript): string {
  return relative(ROOT, fileURLToPath(url));
}

/** Returns the files that `call` passes through once code is compiled and caches are filled. */
async function pathOfCall(call: () => Promise<void>): Promise<Path> {
  const coverage = new Coverage();
  await coverage.start();
  for (let count = 0; count < WARM_UPS; count++) await call();
  await coverage.take();
  const paths: Path[] = [];
  for (let count = 0; count < COUNTED_CALLS; count++) {
    await call();
    paths.push(await coverage.take());
  }
  const inAll = (files: keyof Path): string[] =>
    paths[0]![files].filter((file) => paths.every((path) => path[files].includes(file)));
  return { main: inAll("main"), workers: inAll("workers") };
}

/** Calls `work` with a new directory, which is deleted afterwards. */
async function withDirectory<Result>(work: (path: string) => Promise<Result>): Promise<Result> {
  const directory = mkdtempSync(join(tmpdir(), "tailgate-path-"));
  try {
    return await work(directory);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

async function otlpPath(logDir: string): Promise<Path> {
  const config = await resolveConfig({
    env: {},
    flags: { port: 0, logDir },
    cwd: logDir,
    document: { receivers: { otlp: { port: 0 } }, exporters: {} },
  });
  const { listeners, stop } = await startTailgate(config, { write: () => undefined });
  const [url] = /http:\S+/.exec(listeners.find((line) => line.includes("OTLP/HTTP"))!)!;
  const path = await pathOfCall(async () => {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const headers = { "Content-Type": "application/x-protobuf" };
    const request = httpRequest(url, { method: "POST", headers });
    request.on("error", reject);
    request.on("response", (response) => {
      response.resume().on("end", resolve);
      if (response.statusCode !== 200) reject(new Error(`Answered ${response.statusCode}`));
    });
    request.end(body);
    await promise;
  });
  await stop();
  return path;
}

async function loggerPath(logDir: string): Promise<Path> {
  const manager = await LoggingManager.start({
    port: 0,
    logDir,
    exporters: { websocket: {} },
    registerGlobally: false,
    write: () => undefined,
  });
  const logger = manager.getLogger("orchestrator.server");
  const client = new WebSocket(`${manager.url.replace("http", "ws")}/ws/logs`);
  await new Promise((resolve) => client.once("open", resolve));
  const path = await pathOfCall(async () => {
    const frame = new Promise((resolve) => client.once("message", resolve));
    logger.info("High memory usage detected", { instance_id: "a-1", used_mb: 512 });
    await frame;
  });
  client.close();
  await manager.stop();
  return path;
}

// The inspector's messages do not keep the process alive.
const alive = setInterval(() => undefined, 1_000);

for (const [name, { main, workers }] of [
  ["OTLP record, socket to journal", await withDirectory(otlpPath)],
  ["logger.info(), call to WebSocket frame", await withDirectory(loggerPath)],
] as const) {
  console.log(`${name}: ${main.length} files (at most ${FILES_MAX})`);
  for (const file of main) console.log(`  ${file}`);
  console.log(`  and in the thread that writes to SQLite: ${workers.join(", ")}`);
  if (main.length > FILES_MAX) process.exitCode = 1;
}

clearInterval(alive);
