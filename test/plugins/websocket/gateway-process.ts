import { setTimeout as wait } from "node:timers/promises";
import { startCli, type Program } from "../../harness/program.ts";
import { Workspace } from "../../harness/workspace.ts";

const CONFIG = "receivers: { otlp: { port: null } }\nexporters: { websocket: {} }\n";

/** A gateway as a user runs it, with a journal that outlasts it. It can be killed and started again on its port. */
export class GatewayProcess implements AsyncDisposable {
  readonly #workspace: Workspace;
  #program: Program | undefined;
  port = 0;

  private constructor(workspace: Workspace) {
    this.#workspace = workspace;
  }

  static async start(config = CONFIG): Promise<GatewayProcess> {
    const gateway = new GatewayProcess(await Workspace.create({ "tailgate.yaml": config }));
    await gateway.restart();
    return gateway;
  }

  async restart(): Promise<void> {
    const cwd = this.#workspace.directory;
    const args = ["run", "--port", String(this.port), "--log-dir", "logs"];
    this.#program = startCli(args, { cwd });
    const [, port] = await this.#program.says(/http:\/\/127\.0\.0\.1:(\d+) /);
    this.port = Number(port);
  }

  /** kill -9. */
  async kill(): Promise<void> {
    await this.#program?.[Symbol.asyncDispose]();
  }

  get url(): string {
    return `ws://127.0.0.1:${this.port}/ws/logs`;
  }

  /** Sends records at that rate until the signal aborts; what the gateway is not there for is not sent. */
  async feed(recordsPerSecond: number, signal: AbortSignal): Promise<void> {
    const startMs = performance.now();
    let sent = 0;
    while (!signal.aborted) {
      const due = Math.floor(((performance.now() - startMs) / 1000) * recordsPerSecond) - sent;
      if (due > 0) await this.#send(sent, due).catch(() => {});
      sent += due;
      await wait(FEED_MS);
    }
  }

  async #send(from: number, count: number): Promise<void> {
    const logRecords = Array.from({ length: count }, (_, offset) => ({
      severityText: (from + offset) % 50 === 0 ? "ERROR" : "INFO",
      body: { stringValue: `record ${from + offset} ${"x".repeat((from + offset) % 100)}` },
    }));
    const resourceLogs = [{ scopeLogs: [{ scope: { name: "orchestrator.load" }, logRecords }] }];
    await fetch(`http://127.0.0.1:${this.port}/v1/logs`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ resourceLogs }),
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
    await this.#workspace[Symbol.asyncDispose]();
  }
}

const FEED_MS = 10;
