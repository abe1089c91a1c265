import { fork, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { SlowTurn, TURN_MS_MAX } from "./target.ts";

const MAIN = fileURLToPath(new URL("../../src/cli/main.ts", import.meta.url));
const SOURCE_HOOKS = fileURLToPath(new URL("../harness/source-hooks.ts", import.meta.url));
const TURN_WATCH = fileURLToPath(new URL("turn-watch.ts", import.meta.url));

/** As in package.json. */
const NODE_FLAGS = ["--max-semi-space-size=4"];

/** Uses free ports. System logs expire early, so that retention is part of the run. */
const CONFIG = {
  port: 0,
  log_level: "DEBUG",
  receivers: { otlp: { port: 0, grpc_port: 0 } },
  exporters: { websocket: { max_connections: 100 } },
  journal: { system_bytes: 64 << 20, audit_bytes: 64 << 20 },
};

const START_MS_MAX = 60_000;
const STOP_MS_MAX = 20_000;
const ANSWER_MS_MAX = 45_000;

/** Log lines that indicate an internal error. */
const FAULT = /INTERNAL|because of a fault|A request failed|uncaught|Error:|RangeError|TypeError/;

/** Compiling code for the first requests is slow, whatever the input. */
const WARM_UP_MS = 500;

/** A gateway that runs from source in its own process and measures the turns of its event loop. */
export class GatewayProcess {
  readonly port: number;
  readonly otlpPort: number;
  readonly grpcPort: number;
  readonly #child: ChildProcess;
  readonly #directory: string;
  readonly #stderr: Stderr;
  #reportedFaults = 0;

  private constructor(child: ChildProcess, directory: string, stderr: Stderr) {
    this.#child = child;
    this.#directory = directory;
    this.#stderr = stderr;
    const portOf = (pattern: RegExp): number => Number(pattern.exec(stderr.text)![1]);
    this.port = portOf(/:(\d+) \(dashboard/);
    this.otlpPort = portOf(/:(\d+)\/v1\/logs/);
    this.grpcPort = portOf(/:(\d+) \(OTLP\/gRPC\)/);
  }

  /** @throws Error with the output of the process if it does not become ready. */
  static async start(): Promise<GatewayProcess> {
    const directory = mkdtempSync(join(tmpdir(), "tailgate-fuzz-gateway-"));
    const file = join(directory, "tailgate.yaml");
    writeFileSync(file, JSON.stringify({ ...CONFIG, log_dir: join(directory, "logs") }));
    const child = fork(MAIN, ["run", "--config", file], {
      execArgv: [...NODE_FLAGS, "--import", SOURCE_HOOKS, "--import", TURN_WATCH],
      env: { PATH: process.env["PATH"], XDG_CONFIG_HOME: directory },
      stdio: ["ignore", "ignore", "pipe", "ipc"],
    });
    const stderr = new Stderr(child);
    await stderr.when(/\(OTLP\/gRPC\)/, START_MS_MAX);
    return new GatewayProcess(child, directory, stderr);
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** Discards the turns so far, which include those that compiled code. */
  async warm(): Promise<void> {
    await wait(WARM_UP_MS);
    await this.#turnMs();
  }

  /**
   * Checks that the gateway runs, responds, has logged no internal error, and has had no slow turn since the last call.
   * @throws SlowTurn if a turn was too slow, or another Error
   */
  async settle(): Promise<void> {
    const { exitCode, signalCode } = this.#child;
    if (exitCode !== null || signalCode !== null) {
      throw new Error(`The gateway ended with ${exitCode ?? signalCode}:\n${this.#stderr.text}`);
    }
    const health = await fetch(`${this.url}/healthz`, {
      signal: AbortSignal.timeout(ANSWER_MS_MAX),
    });
    if (health.status !== 200) throw new Error(`/healthz responded with ${health.status}.`);
    await health.arrayBuffer();
    const faults = this.#stderr.text.split("\n").filter((line) => FAULT.test(line));
    const fresh = faults.slice(this.#reportedFaults);
    this.#reportedFaults = faults.length;
    if (fresh.length > 0)
      throw new Error(`The gateway logged an internal error: ${fresh.join("\n")}`);
    const turnMs = await this.#turnMs();
    if (turnMs > TURN_MS_MAX) throw new SlowTurn(turnMs);
  }

  async #turnMs(): Promise<number> {
    const answer = once(this.#child, "message", { signal: AbortSignal.timeout(ANSWER_MS_MAX) });
    this.#child.send("turns");
    const [{ turnMs }] = (await answer) as [{ turnMs: number }];
    return turnMs;
  }

  async stop(): Promise<void> {
    const isRunning = this.#child.exitCode === null && this.#child.signalCode === null;
    if (isRunning) {
      const ended = once(this.#child, "exit");
      this.#child.kill("SIGTERM");
      const late = setTimeout(() => this.#child.kill("SIGKILL"), STOP_MS_MAX);
      await ended;
      clearTimeout(late);
    }
    rmSync(this.#directory, { recursive: true, force: true });
  }
}

/** A closed connection occupies its port for a minute. This many addresses provide enough ports. */
const ADDRESSES = 200;

let connections = 0;

/** Returns the loopback address for the next short-lived connection. */
export function nextLocalAddress(): string {
  return `127.0.0.${2 + (connections++ % ADDRESSES)}`;
}

/** Collects the stderr of a process. */
class Stderr {
  text = "";
  readonly #child: ChildProcess;

  constructor(child: ChildProcess) {
    this.#child = child;
    child.stderr!.setEncoding("utf8").on("data", (text: string) => (this.text += text));
  }

  /** Waits for a line. @throws Error if the process ends or the timeout expires first. */
  async when(pattern: RegExp, msMax: number): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const fail = (): void => reject(new Error(`The gateway did not become ready:\n${this.text}`));
    const look = (): void => {
      if (pattern.test(this.text)) resolve();
    };
    const late = setTimeout(fail, msMax);
    this.#child.once("exit", fail);
    this.#child.stderr!.on("data", look);
    try {
      await promise;
    } catch (error) {
      this.#child.kill("SIGKILL");
      throw error;
    } finally {
      clearTimeout(late);
      this.#child.off("exit", fail);
      this.#child.stderr!.off("data", look);
    }
  }
}
