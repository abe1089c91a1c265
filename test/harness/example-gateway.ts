import { fileURLToPath } from "node:url";
import { onTestFinished } from "vitest";
import { Workspace } from "./workspace.ts";
import { collect, type Collected } from "./client.ts";
import { Program } from "./program.ts";

const MAIN = fileURLToPath(new URL("../../dist/cli/main.js", import.meta.url));

const CONFIGURATION = `
  port: 0
  log_dir: logs
  receivers: { otlp: { port: 0, grpc_port: 0 } }
  exporters: { websocket: {} }
`;

/** A gateway as users run it, to which examples send. */
export class ExampleGateway implements AsyncDisposable {
  readonly #workspace: Workspace;
  readonly #program: Program;
  readonly #url: string;
  /** Where it takes OTLP, for OTEL_EXPORTER_OTLP_ENDPOINT. */
  readonly endpoints: { readonly http: string; readonly grpc: string };

  private constructor(workspace: Workspace, program: Program, urls: readonly string[]) {
    this.#workspace = workspace;
    this.#program = program;
    const [url, http, grpc] = urls;
    this.#url = url!;
    this.endpoints = { http: http!, grpc: grpc! };
  }

  static async start(): Promise<ExampleGateway> {
    const workspace = await Workspace.create({ "tailgate.yaml": CONFIGURATION });
    const program = new Program(process.execPath, [MAIN, "run"], { cwd: workspace.directory });
    const urls: string[] = [];
    for (const what of [" \\(dashboard", "/v1/logs \\(OTLP/HTTP", " \\(OTLP/gRPC"]) {
      const [, url] = await program.says(new RegExp(`listening on (\\S+)${what}`));
      urls.push(url!);
    }
    return new ExampleGateway(workspace, program, urls);
  }

  /** A viewer of what comes from now on, for the test that is running. */
  async viewer(): Promise<Collected> {
    const viewer = await collect(`${this.#url.replace("http", "ws")}/ws/logs`);
    onTestFinished(() => viewer.close());
    return viewer;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#program[Symbol.asyncDispose]();
    await this.#workspace[Symbol.asyncDispose]();
  }
}
