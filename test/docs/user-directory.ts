/** A user's directory in which the examples of a page run, and a gateway in it. */

import { onTestFinished } from "vitest";
import { MAIN, Program } from "../harness/program.ts";
import { Workspace } from "../harness/workspace.ts";

/** Creates a directory with the packages that the examples import, until the test ends. */
export async function userDirectory(
  files: Readonly<Record<string, string>> = {},
): Promise<Workspace> {
  const workspace = await Workspace.create({ "package.json": '{ "type": "module" }', ...files });
  onTestFinished(() => workspace[Symbol.asyncDispose]());
  await workspace.install("tailgate");
  await workspace.install("@opentelemetry");
  return workspace;
}

export interface StartedGateway {
  readonly program: Program;
  /** The main port's URL, such as `http://127.0.0.1:8001`. */
  readonly url: string;
  /** The OTLP port's URL. */
  readonly otlpUrl: string;
}

/** Starts the built gateway with its log directory `logs` there, until the test ends. */
export async function startGateway(
  { directory }: Workspace,
  port = "0",
  env: Readonly<Record<string, string>> = {},
): Promise<StartedGateway> {
  const args = [MAIN, "run", "--port", port, "--otlp-port", "0", "--log-dir", "logs"];
  const program = new Program(process.execPath, args, { cwd: directory, env });
  onTestFinished(() => program[Symbol.asyncDispose]());
  const [, otlpUrl] = await program.untilStderr(/listening on (\S+)\/v1\/logs \(OTLP\/HTTP\)/);
  const [, url] = await program.untilStderr(/listening on (\S+) \(dashboard/);
  return { program, url: url!, otlpUrl: otlpUrl! };
}

/** The built gateway with its defaults in a user's directory, on free ports, for a whole file of tests. */
export class DefaultGateway implements AsyncDisposable {
  readonly workspace: Workspace;
  readonly program: Program;
  /** The real URLs by the default ones. */
  readonly #urls: ReadonlyMap<string, string>;

  private constructor(workspace: Workspace, program: Program, urls: ReadonlyMap<string, string>) {
    this.workspace = workspace;
    this.program = program;
    this.#urls = urls;
  }

  /** `options`: further options of `tailgate run`. */
  static async start(options: readonly string[]): Promise<DefaultGateway> {
    const workspace = await Workspace.create({
      "package.json": '{ "type": "module" }',
      "tailgate.yaml": "receivers: { otlp: { port: 0, grpc_port: 0 } }",
    });
    await workspace.install("tailgate");
    const args = [MAIN, "run", "--port", "0", ...options];
    const program = new Program(process.execPath, args, { cwd: workspace.directory });
    const urls = new Map<string, string>();
    for (const [shown, pattern] of LISTENING) {
      urls.set(shown, (await program.untilStderr(pattern))[1]!);
    }
    return new DefaultGateway(workspace, program, urls);
  }

  /** The main port's URL. */
  get main(): string {
    return this.#urls.get("http://127.0.0.1:8001")!;
  }

  /** The OTLP port's URL. */
  get otlp(): string {
    return this.#urls.get("http://127.0.0.1:4318")!;
  }

  /** For `tailgate tail`, which expects the default port. */
  get environment(): Record<string, string> {
    return { ORCHESTRATOR_PORT: new URL(this.main).port };
  }

  /** What the gateway has printed, as in a user's clone without a configuration, with the default ports. */
  get printed(): string {
    const { directory } = this.workspace;
    let text = this.program.stderr
      .replace(this.workspace.path("tailgate.yaml"), "none, the defaults")
      .replace(directory, "/home/you/tailgate")
      .replace(`Node.js ${process.versions.node}`, "Node.js 24.21.0");
    for (const [shown, url] of this.#urls) text = text.replaceAll(url, shown);
    return text;
  }

  /** Returns a command of a page as it stands there, except for the ports and the installation. */
  withPorts(command: string): string {
    let text = command.replaceAll("npx tailgate", `"${process.execPath}" "${MAIN}"`);
    for (const [shown, url] of this.#urls) text = text.replaceAll(shown, url);
    return text;
  }

  /** Runs a command of a page in the directory; returns its stdout. */
  run(command: string): Promise<string> {
    const { environment: env, workspace } = this;
    return Program.run("bash", ["-c", this.withPorts(command)], { cwd: workspace.directory, env });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.program[Symbol.asyncDispose]();
    await this.workspace[Symbol.asyncDispose]();
  }
}

/** The lines in which the gateway prints its URLs, by the URLs of the default ports. */
const LISTENING = [
  ["http://127.0.0.1:8001", /listening on (\S+) \(dashboard/],
  ["http://127.0.0.1:4318", /listening on (\S+)\/v1\/logs/],
  ["http://127.0.0.1:4317", /listening on (\S+) \(OTLP\/gRPC\)\n/],
] as const;
