import { fileURLToPath } from "node:url";
import { MAIN, Program } from "./program.ts";
import { Workspace } from "./workspace.ts";

const HOOKS = fileURLToPath(new URL("./source-hooks.ts", import.meta.url));
const EARLY_MAIN = fileURLToPath(new URL("../crash/early-gateway-main.ts", import.meta.url));

const LISTENING = /listening on (http:\/\/127\.0\.0\.1:\d+) \(dashboard/;

const CONFIG = `
port: 0
log_dir: logs
receivers: { otlp: { port: null } }
`;

const EXPORTERS = `exporters: { file: {}, audit-file: {} }
`;

export interface GatewayOptions {
  /** A command that runs the gateway's, such as `strace` with its arguments. */
  readonly through?: readonly string[];
  /** Lines for the configuration; default: the file exporters. */
  readonly config?: string;
  /** A faulty gateway that acknowledges records before they are durable. */
  readonly isEarly?: boolean;
}

/** A log directory and consecutive gateways that use it. Removed at the end of its scope. */
export class CrashSite implements AsyncDisposable {
  readonly workspace: Workspace;
  #gateway: Program | undefined;

  private constructor(workspace: Workspace) {
    this.workspace = workspace;
  }

  static async create(): Promise<CrashSite> {
    return new CrashSite(await Workspace.create());
  }

  get logDir(): string {
    return this.workspace.path("logs");
  }

  /** Starts a gateway; see {@link Program.says} and {@link urlOf} for when it is ready. */
  async start({
    through = [],
    config = EXPORTERS,
    isEarly = false,
  }: GatewayOptions = {}): Promise<Program> {
    await this.workspace.write("tailgate.yaml", CONFIG + config);
    const node = isEarly
      ? [process.execPath, "--import", HOOKS, EARLY_MAIN, this.logDir]
      : [process.execPath, MAIN, "run"];
    const [command, ...args] = [...through, ...node];
    this.#gateway = new Program(command!, args, { cwd: this.workspace.directory });
    return this.#gateway;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#gateway?.[Symbol.asyncDispose]();
    await this.workspace[Symbol.asyncDispose]();
  }
}

/** Resolves with the gateway's URL once it listens; undefined if it ends before. */
export async function urlOf(gateway: Program): Promise<string | undefined> {
  const listening = gateway.untilStderr(LISTENING).then(([, url]) => url);
  const ended = gateway.ended.then(() => undefined);
  // Who loses is not waited for.
  listening.catch(() => {});
  return Promise.race([listening, ended]);
}
