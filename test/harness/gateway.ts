/** Gateways as users run them: in this process with a `LoggingManager`, or in a process of their own. */

import { once } from "node:events";
import { connect } from "node:net";
import { text } from "node:stream/consumers";
import { onTestFinished } from "vitest";
import { LoggingManager } from "tailgate";
import type { LogStreamOptions } from "tailgate/client";
import {
  controlSocketPath,
  type ControlRequest,
  type ControlResponse,
} from "../../src/gateway/control-socket.ts";
import { StreamLog } from "../client/stream-log.ts";
import { collect, type Collected } from "./client.ts";
import { startCli, type Program } from "./program.ts";
import { Workspace } from "./workspace.ts";

/** Starts a gateway in this process with nothing but the WebSocket, until the test ends. */
export async function startGateway(
  websocket: Record<string, unknown> = {},
  { allowedHosts = "127.0.0.1" } = {},
): Promise<LoggingManager> {
  const config = `allowed_hosts: ["${allowedHosts}"]`;
  const workspace = await Workspace.create({ "tailgate.yaml": config });
  const manager = await LoggingManager.start({
    config: workspace.path("tailgate.yaml"),
    port: 0,
    logDir: workspace.path("logs"),
    logLevel: "DEBUG",
    exporters: { websocket },
    registerGlobally: false,
    write: () => {},
  });
  onTestFinished(async () => {
    await manager.stop();
    await workspace[Symbol.asyncDispose]();
  });
  return manager;
}

/** Follows a gateway with the client, until the test ends. */
export function follow(options: LogStreamOptions): StreamLog {
  const log = new StreamLog(options);
  onTestFinished(() => log.stream.close());
  return log;
}

/** A configuration without ports but the main one, and with the WebSocket alone. */
export const WEBSOCKET_ONLY = "receivers: { otlp: { port: null } }\nexporters: { websocket: {} }\n";

type Protocol = "dashboard" | "OTLP/HTTP" | "OTLP/gRPC";

/** The built `tailgate run` with a journal that outlasts it, in a directory that ends with the scope. */
export class GatewayProcess implements AsyncDisposable {
  readonly #workspace: Workspace;
  #program!: Program;
  #url = "";
  #otlpPort: string | undefined;

  private constructor(workspace: Workspace) {
    this.#workspace = workspace;
  }

  /** Starts it on free ports with what a tailgate.yaml, further files and flags say. Resolves when it is ready. */
  static async start(
    config = "",
    flags: readonly string[] = [],
    files: Readonly<Record<string, string>> = {},
  ): Promise<GatewayProcess> {
    const all = { ...files, "tailgate.yaml": config };
    const gateway = new GatewayProcess(await Workspace.create(all));
    try {
      await gateway.#run(flags);
      return gateway;
    } catch (error) {
      await gateway[Symbol.asyncDispose]();
      throw error;
    }
  }

  async #run(flags: readonly string[]): Promise<void> {
    const port = this.#url === "" ? "0" : new URL(this.#url).port;
    const args = ["run", "--port", port, "--log-dir", "logs", ...flags];
    this.#program = startCli(args, { cwd: this.#workspace.directory });
    this.#url = await this.endpoint("dashboard");
  }

  /** Starts it again with the same journal, on the same ports. */
  async restart(): Promise<void> {
    const otlp = /:(\d+)\/v1\/logs \(OTLP\/HTTP/.exec(this.stderr);
    this.#otlpPort = otlp?.[1] ?? this.#otlpPort;
    await this.#run(this.#otlpPort === undefined ? [] : ["--otlp-port", this.#otlpPort]);
  }

  /** `http://127.0.0.1:PORT` of the main port. */
  get url(): string {
    return this.#url;
  }

  get port(): number {
    return Number(new URL(this.#url).port);
  }

  get pid(): number {
    return this.#program.process.pid!;
  }

  /** The log directory, unless a flag chose another. */
  get logDir(): string {
    return this.#workspace.path("logs");
  }

  get websocketUrl(): string {
    return `${this.#url.replace("http", "ws")}/ws/logs`;
  }

  /** What it has written since it was started last. */
  get stderr(): string {
    return this.#program.stderr;
  }

  /** Resolves with the address of a listener, without a path. */
  async endpoint(protocol: Protocol): Promise<string> {
    const line = new RegExp(`listening on (http://[^\\s/]+)\\S* \\(${protocol}`);
    return (await this.#program.untilStderr(line))[1]!;
  }

  /** Connects a client that collects what comes from now on, until the test ends. */
  async client(): Promise<Collected> {
    const client = await collect(this.websocketUrl);
    onTestFinished(() => client.close());
    return client;
  }

  /** Asks it to end, and resolves when it has. */
  async stop(): Promise<void> {
    await this.#program.end();
  }

  /** Replaces its tailgate.yaml. */
  async configure(config: string): Promise<void> {
    await this.#workspace.write("tailgate.yaml", config);
  }

  /** Reloads its configuration, as `tailgate reload` does. */
  async reload(): Promise<ControlResponse> {
    const socket = connect({ path: controlSocketPath(this.logDir) });
    await once(socket, "connect");
    const request: ControlRequest = { command: "reload" };
    socket.write(`${JSON.stringify(request)}\n`);
    return JSON.parse(await text(socket)) as ControlResponse;
  }

  /** `kill -9`. */
  async kill(): Promise<void> {
    await this.#program?.[Symbol.asyncDispose]();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
    await this.#workspace[Symbol.asyncDispose]();
  }
}
