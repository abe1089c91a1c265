import { setTimeout as wait } from "node:timers/promises";
import { startGateway, type GatewayProcess } from "./gateway-process.ts";
import type { Pipeline } from "./pipelines.ts";

/** The exporter's progress. */
export interface Progress {
  readonly sent: number;
  readonly queued: number;
  readonly lagSeconds: number;
}

const LOOK_EVERY_MS = 20;

/** A gateway with a durable journal, exporting to an OTLP server. */
export class ExportingGateway implements Pipeline {
  readonly #gateway: GatewayProcess;

  private constructor(gateway: GatewayProcess) {
    this.#gateway = gateway;
  }

  static async to(otlpPort: number): Promise<ExportingGateway> {
    const gateway = await startGateway({
      receivers: { otlp: {} },
      exporters: { otlp: { endpoint: `http://127.0.0.1:${otlpPort}` } },
      journal: { engine: "sqlite" },
    });
    return new ExportingGateway(gateway);
  }

  get program(): GatewayProcess["program"] {
    return this.#gateway.program;
  }

  get otlpPort(): number {
    return this.#gateway.otlpPort;
  }

  async progress(): Promise<Progress> {
    const metrics = await (await fetch(`http://127.0.0.1:${this.#gateway.port}/metrics`)).text();
    const valueOf = (name: string): number => {
      const line = new RegExp(`^${name}\\{component="otlp",kind="exporter"\\} (\\S+)$`, "m");
      return Number(line.exec(metrics)![1]);
    };
    return {
      sent: valueOf("tailgate_records_sent_total"),
      queued: valueOf("tailgate_queue_records"),
      lagSeconds: valueOf("tailgate_lag_seconds"),
    };
  }

  /** Resolves when the server has accepted this many records in total. */
  async arrived(records: number): Promise<void> {
    while ((await this.progress()).sent < records) await wait(LOOK_EVERY_MS);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#gateway[Symbol.asyncDispose]();
  }
}
