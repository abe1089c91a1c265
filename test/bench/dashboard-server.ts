import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { built } from "./built.ts";

/** A gateway with a dashboard. */
export interface DashboardServer extends AsyncDisposable {
  readonly url: string;
  readonly otlpPort: number;
  /** The number of records sent to it; the first one has the sequence 1. */
  sent: number;
}

export async function dashboardServer(): Promise<DashboardServer> {
  const { resolveConfig, startTailgate } =
    await built<typeof import("../../src/index.ts")>("src/index.js");
  const directory = await mkdtemp(join(tmpdir(), "tailgate-bench-"));
  const file = join(directory, "tailgate.yaml");
  // A proxy in front of it has another port.
  await writeFile(file, "allowed_hosts: [127.0.0.1]\n");
  const config = await resolveConfig({
    base: "embedded",
    document: { receivers: { otlp: { port: 0 } }, exporters: { websocket: {} } },
    file: file,
    flags: { port: 0, logDir: directory },
    env: {},
    cwd: directory,
  });
  const { listeners, stop } = await startTailgate(config, { write: () => {} });
  const listening = (pattern: RegExp): string =>
    listeners.map((line) => pattern.exec(line)?.[0]).find(Boolean)!;
  return {
    url: listening(/^http\S+(?= \(dashboard)/),
    otlpPort: Number(new URL(listening(/^http\S+\/v1\/logs(?= )/)).port),
    sent: 0,
    async [Symbol.asyncDispose]() {
      await stop();
      await rm(directory, { recursive: true });
    },
  };
}
