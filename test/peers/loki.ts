import { expect, vi } from "vitest";
import { stringify } from "yaml";
import type { Workspace } from "../harness/workspace.ts";
import type { Program } from "../harness/program.ts";
import { freePort, startPeer } from "./peer.ts";

/** Starts Loki as one process on a port of 127.0.0.1, with its data in the directory; resolves when it is ready. */
export async function startLoki(workspace: Workspace, port: number): Promise<Program> {
  const grpcPort = await freePort();
  await workspace.write("loki.yaml", stringify(configOf(workspace.path("loki"), port, grpcPort)));
  const loki = startPeer("loki", ["-config.file=loki.yaml"], workspace);
  const isReady = async (): Promise<void> => {
    const answer = await fetch(`http://127.0.0.1:${port}/ready`).catch(() => undefined);
    if (answer?.status !== 200) throw new Error(`Loki is not ready:\n${loki.stderr.slice(-2000)}`);
  };
  await vi.waitFor(isReady, { timeout: 90_000, interval: 200 });
  return loki;
}

function configOf(directory: string, port: number, grpcPort: number): object {
  const address = "127.0.0.1";
  return {
    auth_enabled: false,
    analytics: { reporting_enabled: false },
    server: {
      http_listen_address: address,
      http_listen_port: port,
      grpc_listen_address: address,
      grpc_listen_port: grpcPort,
    },
    common: {
      instance_addr: address,
      path_prefix: directory,
      replication_factor: 1,
      ring: { kvstore: { store: "inmemory" } },
      storage: {
        filesystem: {
          chunks_directory: `${directory}/chunks`,
          rules_directory: `${directory}/rules`,
        },
      },
    },
    schema_config: {
      configs: [
        {
          from: "2024-01-01",
          store: "tsdb",
          object_store: "filesystem",
          schema: "v13",
          index: { prefix: "index_", period: "24h" },
        },
      ],
    },
  };
}

interface LokiStream {
  /** Labels and structured metadata. */
  readonly stream: Record<string, string>;
  /** Pairs of a time in nanoseconds and a line. */
  readonly values: readonly (readonly [string, string])[];
}

/** Runs a LogQL query over the last hour; resolves when there are results. */
export async function foundInLoki(url: string, query: string): Promise<LokiStream[]> {
  const ask = async (): Promise<LokiStream[]> => {
    const address = `${url}/loki/api/v1/query_range?${new URLSearchParams({ query })}`;
    const { data } = (await (await fetch(address)).json()) as { data: { result: LokiStream[] } };
    expect(data.result.length).toBeGreaterThan(0);
    return data.result;
  };
  return vi.waitFor(ask, { timeout: 30_000, interval: 200 });
}
