import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { built } from "./built.ts";
import { printValues } from "./figure.ts";
import { BenchDirectory } from "./journal-directory.ts";
import type { Scale } from "./rounds.ts";

const SLICE_RELOADS = 20;

/** How long a reload takes that restarts one exporter and no listener, from reading the file to the durable audit event. */
export async function benchReload({ rounds, share }: Scale): Promise<void> {
  const { resolveConfig, startTailgate } =
    await built<typeof import("../../src/index.ts")>("src/index.js");
  await using directory = await BenchDirectory.make();
  const file = join(directory.path, "tailgate.yaml");
  const logDir = join(directory.path, "logs");
  const change = (maxBytes: number): Promise<void> =>
    writeFile(
      file,
      `port: 0\nreceivers: { otlp: { port: 0 } }\nexporters: { websocket: {}, file: { max_bytes: ${maxBytes} }, audit-file: {} }\n`,
    );
  const resolve = () => resolveConfig({ file, flags: { logDir }, env: {}, cwd: directory.path });
  let maxBytes = 1_000_000;
  await change(maxBytes);
  const tailgate = await startTailgate(await resolve(), { resolve, write: () => {} });
  const times: number[] = [];
  for (let reload = 0; reload < rounds * Math.ceil(SLICE_RELOADS * share); reload++) {
    await change(++maxBytes);
    const startMs = performance.now();
    const { outcome, error } = await tailgate.reloader!.reload({ by: "the benchmark" });
    times.push(performance.now() - startMs);
    if (outcome !== "applied") throw new Error(`The reload was ${outcome}`, { cause: error });
  }
  await tailgate.stop();
  printValues("reload.exporter", "ms", times, "<= 50");
}
