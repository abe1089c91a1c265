import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { freePort } from "./peer-program.ts";
import { Program } from "./program.ts";

/** Grafana's Loki as one process with its data in its own directory. */
export interface Loki extends AsyncDisposable {
  readonly program: Program;
  readonly port: number;
}

/** Loki takes some 17 s to report ready. */
const READY_MS_MAX = 120_000;
const LOOK_EVERY_MS = 200;

const TAILS_MAX = 1_000;

export async function startLoki(command: string): Promise<Loki> {
  const directory = await mkdtemp(join(tmpdir(), "tailgate-bench-"));
  const port = await freePort();
  const file = join(directory, "loki.yaml");
  await writeFile(file, JSON.stringify(configOf(directory, port, await freePort())));
  const program = await Program.start({
    command,
    args: [`-config.file=${file}`],
    ready: /Loki started/,
  });
  await ready(port);
  return {
    program,
    port,
    async [Symbol.asyncDispose]() {
      await program[Symbol.asyncDispose]();
      await rm(directory, { recursive: true });
    },
  };
}

function configOf(directory: string, port: number, grpcPort: number): object {
  return {
    auth_enabled: false,
    server: {
      http_listen_address: "127.0.0.1",
      http_listen_port: port,
      grpc_listen_address: "127.0.0.1",
      grpc_listen_port: grpcPort,
    },
    common: {
      path_prefix: directory,
      replication_factor: 1,
      instance_addr: "127.0.0.1",
      ring: { kvstore: { store: "inmemory" }, instance_addr: "127.0.0.1" },
      storage: {
        filesystem: {
          chunks_directory: join(directory, "chunks"),
          rules_directory: join(directory, "rules"),
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
    limits_config: { max_concurrent_tail_requests: TAILS_MAX },
    analytics: { reporting_enabled: false },
  };
}

async function ready(port: number): Promise<void> {
  const deadline = performance.now() + READY_MS_MAX;
  while (performance.now() < deadline) {
    const answer = await fetch(`http://127.0.0.1:${port}/ready`);
    if (answer.ok) return;
    await wait(LOOK_EVERY_MS);
  }
  throw new Error("Loki did not get ready.");
}
