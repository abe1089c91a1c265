import { Workspace } from "../harness/workspace.ts";
import type { Program } from "../harness/program.ts";
import { freePort, startPeer } from "./peer.ts";

/** A real Collector that can be killed and started again at the same port, with a configuration of the test's own. */
export class TestCollector implements AsyncDisposable {
  readonly port: number;
  readonly workspace: Workspace;
  #program: Program | undefined;

  private constructor(workspace: Workspace, port: number) {
    this.workspace = workspace;
    this.port = port;
  }

  /** `configOf`: gets the port where it is to listen for OTLP/HTTP, and answers its configuration without `service.telemetry`. */
  static async create(configOf: (port: number) => string): Promise<TestCollector> {
    const port = await freePort();
    const workspace = await Workspace.create({ "config.yaml": configOf(port) });
    return new TestCollector(workspace, port);
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** Resolves when it takes records. */
  async start(): Promise<void> {
    // Its own metrics would have a port that is the same for all.
    const telemetry = "yaml:service::telemetry::metrics::level: none";
    const args = ["--config", "config.yaml", "--config", telemetry];
    this.#program = startPeer("otelcol", args, this.workspace);
    await this.#program.untilStderr(/Everything is ready/);
  }

  /** Resolves when its own log has it. */
  async says(pattern: RegExp): Promise<void> {
    await this.#program!.untilStderr(pattern);
  }

  get stderr(): string {
    return this.#program?.stderr ?? "";
  }

  /** Ends it in the middle of whatever it does. */
  async kill(): Promise<void> {
    await this.#program?.[Symbol.asyncDispose]();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
    await this.workspace[Symbol.asyncDispose]();
  }
}

/** Takes OTLP/HTTP and writes it to `records.jsonl`. It has a buffer, so that what it took last may be lost where it is killed. */
export function toFile(port: number): string {
  return `
receivers: { otlp: { protocols: { http: { endpoint: "127.0.0.1:${port}" } } } }
exporters: { file: { path: records.jsonl, append: true, flush_interval: 100ms } }
service: { pipelines: { logs: { receivers: [otlp], exporters: [file] } } }
`;
}

/** Passes on to another Collector, and takes a request only when that one has: nothing is kept here. */
export function passingOn(to: string): (port: number) => string {
  return (port) => `
receivers: { otlp: { protocols: { http: { endpoint: "127.0.0.1:${port}" } } } }
exporters: { otlp_http: { endpoint: "${to}", sending_queue: { enabled: false }, retry_on_failure: { enabled: false } } }
service: { pipelines: { logs: { receivers: [otlp], exporters: [otlp_http] } } }
`;
}

/** Passes on to another Collector from a queue on its disk, as otel-collector.yaml does. */
export function queueing(to: string): (port: number) => string {
  return (port) => `
extensions: { file_storage: { directory: storage, create_directory: true } }
receivers: { otlp: { protocols: { http: { endpoint: "127.0.0.1:${port}" } } } }
exporters:
  otlp_http:
    endpoint: "${to}"
    sending_queue: { storage: file_storage }
    retry_on_failure: { max_elapsed_time: 0s }
service: { extensions: [file_storage], pipelines: { logs: { receivers: [otlp], exporters: [otlp_http] } } }
`;
}
