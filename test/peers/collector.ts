import { fileURLToPath } from "node:url";
import type { Workspace } from "../harness/workspace.ts";
import type { Program } from "../harness/program.ts";
import { freePort, startPeer } from "./peer.ts";

/** The shipped configuration. */
export const COLLECTOR_CONFIG = fileURLToPath(
  new URL("../../otel-collector.yaml", import.meta.url),
);

/** The addresses of a Collector, which stay the same over its restarts. */
export interface CollectorPorts {
  readonly grpc: number;
  readonly http: number;
  readonly metrics: number;
}

export async function collectorPorts(): Promise<CollectorPorts> {
  return { grpc: await freePort(), http: await freePort(), metrics: await freePort() };
}

/** Starts a Collector with the shipped configuration; resolves when it is ready. */
export async function startCollector(
  workspace: Workspace,
  { grpc, http, metrics }: CollectorPorts,
  env: Readonly<Record<string, string>>,
): Promise<Program> {
  const collector = startPeer("otelcol", ["--config", COLLECTOR_CONFIG], workspace, {
    OTELCOL_GRPC: `127.0.0.1:${grpc}`,
    OTELCOL_HTTP: `127.0.0.1:${http}`,
    OTELCOL_METRICS_PORT: `${metrics}`,
    ...env,
  });
  await collector.untilStderr(/Everything is ready/);
  return collector;
}
