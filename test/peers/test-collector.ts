import { Workspace } from "../harness/workspace.ts";
import type { Program } from "../harness/program.ts";
import { freePort, startPeer } from "./peer.ts";

/** A real Collector that can be killed and restarted on the same port, with a configuration of the test. */
export class TestCollector implements AsyncDisposable {
  readonly port: number;
  readonly workspace: Workspace;
  #program: Program | undefined;

  private constructor(workspace: Workspace, port: number) {
    this.workspace = workspace;
    this.port = port;
  }

  /** `configOf` gets the OTLP/HTTP port and returns the configuration without `service.telemetry`. */
  static async create(configOf: (port: number) => string): Promise<TestCollector> {
    const port = await freePort();
    const workspace = await Workspace.create({ "config.yaml": configOf(port) });
    return new TestCollector(workspace, port);
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** Resolves when it accepts records. */
  async start(): Promise<void> {
    // Its own metrics would use a port that is the same for all.
    const telemetry = "yaml:service::telemetry::metrics::level: none";
    const args = ["--config", "config.yaml", "--config", telemetry];
    this.#program = startPeer("otelcol", args, this.workspace);
    await this.#program.untilStderr(/Everything is ready/);
  }

  /** Resolves when its own log contains the text. */
  async says(pattern: RegExp): Promise<void> {
    await this.#program!.untilStderr(pattern);
  }

  get stderr(): string {
    return this.#program?.stderr ?? "";
  }

  /** Kills it immediately. */
  async kill(): Promise<void> {
    await this.#program?.[Symbol.asyncDispose]();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
    await this.workspace[Symbol.asyncDispose]();
  }
}

/**
 * Receives OTLP/HTTP and writes it to `records.jsonl`, with a buffer: the last records may be lost when it is killed.
 */
export function toFile(port: number): string {
  return `
receivers: { otlp: { protocols: { http: { endpoint: "127.0.0.1:${port}" } } } }
exporters: { file: { path: records.jsonl, append: true, flush_interval: 100ms } }
service: { pipelines: { logs: { receivers: [otlp], exporters: [file] } } }
`;
}

/** Forwards to another Collector, and accepts a request only once that one has: nothing is stored here. */
export function forwardingTo(to: string): (port: number) => string {
  return (port) => `
receivers: { otlp: { protocols: { http: { endpoint: "127.0.0.1:${port}" } } } }
exporters: { otlp_http: { endpoint: "${to}", sending_queue: { enabled: false }, retry_on_failure: { enabled: false } } }
service: { pipelines: { logs: { receivers: [otlp], exporters: [otlp_http] } } }
`;
}

/** Forwards to another Collector from a queue on disk, as otel-collector.yaml does. */
export function queueingTo(to: string): (port: number) => string {
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
