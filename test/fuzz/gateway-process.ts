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

/** Ports are free ones. System logs expire early, so that this happens, too. */
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

/** What a gateway says when something went wrong that should not be possible. */
const FAULT = /INTERNAL|because of a fault|A request failed|uncaught|Error:|RangeError|TypeError/;

/** Compiling the first requests takes long, and is no input's fault. */
const WARM_UP_MS = 500;

/** A gateway in a process of its own, from the sources, that tells how long its turns take. */
export class GatewayProcess {
  readonly port: number;
  readonly otlpPort: number;
  readonly grpcPort: number;
  readonly #child: ChildProcess;
  readonly #directory: string;
  readonly #said: Said;
  #faultsTold = 0;

  private constructor(child: ChildProcess, directory: string, said: Said) {
    this.#child = child;
    this.#directory = directory;
    this.#said = said;
    const portOf = (pattern: RegExp): number => Number(pattern.exec(said.text)![1]);
    this.port = portOf(/:(\d+) \(dashboard/);
    this.otlpPort = portOf(/:(\d+)\/v1\/logs/);
    this.grpcPort = portOf(/:(\d+) \(OTLP\/gRPC\)/);
  }

  /** @throws Error with what it has written when it does not get ready. */
  static async start(): Promise<GatewayProcess> {
    const directory = mkdtempSync(join(tmpdir(), "tailgate-fuzz-gateway-"));
    const file = join(directory, "tailgate.yaml");
    writeFileSync(file, JSON.stringify({ ...CONFIG, log_dir: join(directory, "logs") }));
    const child = fork(MAIN, ["run", "--config", file], {
      execArgv: [...NODE_FLAGS, "--import", SOURCE_HOOKS, "--import", TURN_WATCH],
      env: { PATH: process.env["PATH"], XDG_CONFIG_HOME: directory },
      stdio: ["ignore", "ignore", "pipe", "ipc"],
    });
    const said = new Said(child);
    await said.when(/\(OTLP\/gRPC\)/, START_MS_MAX);
    return new GatewayProcess(child, directory, said);
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /**
   * Forgets the turns so far, with those in which the process has compiled what it needs.
   */
  async warm(): Promise<void> {
    await wait(WARM_UP_MS);
    await this.#turnMs();
  }

  /**
   * Checks that it lives, answers, has no fault to tell of, and has had no turn that took too long since the last call.
   * @throws SlowTurn, or Error
   */
  async settle(): Promise<void> {
    const { exitCode, signalCode } = this.#child;
    if (exitCode !== null || signalCode !== null) {
      throw new Error(`The gateway ended with ${exitCode ?? signalCode}:\n${this.#said.text}`);
    }
    const health = await fetch(`${this.url}/healthz`, {
      signal: AbortSignal.timeout(ANSWER_MS_MAX),
    });
    if (health.status !== 200) throw new Error(`/healthz answers ${health.status}.`);
    await health.arrayBuffer();
    const faults = this.#said.text.split("\n").filter((line) => FAULT.test(line));
    const fresh = faults.slice(this.#faultsTold);
    this.#faultsTold = faults.length;
    if (fresh.length > 0) throw new Error(`The gateway tells of a fault: ${fresh.join("\n")}`);
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

/** A closed connection keeps its port for a minute: so many addresses have enough of them. */
const ADDRESSES = 200;

let connections = 0;

/** An address of loopback for a connection that is closed again soon. */
export function nextLocalAddress(): string {
  return `127.0.0.${2 + (connections++ % ADDRESSES)}`;
}

/** What a process writes to stderr. */
class Said {
  text = "";
  readonly #child: ChildProcess;

  constructor(child: ChildProcess) {
    this.#child = child;
    child.stderr!.setEncoding("utf8").on("data", (text: string) => (this.text += text));
  }

  /** @throws Error when the process ends, or takes too long, before it has written that. */
  async when(pattern: RegExp, msMax: number): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const fail = (): void => reject(new Error(`The gateway did not get ready:\n${this.text}`));
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
