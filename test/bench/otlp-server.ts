import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { built } from "./built.ts";

export interface OtlpServer extends AsyncDisposable {
  readonly port: number;
  /** The number of records sent to it, and the number it has counted. */
  sent: number;
  received(): number;
}

interface ServerOptions {
  /** With a tokens file, the gateway has authentication. */
  readonly tokensFile?: string;
  readonly processors?: object;
  /** Default: none. */
  readonly exporters?: object;
}

/** A gateway as started by `tailgate run`. */
export async function tailgateServer(
  engine: "memory" | "sqlite",
  { tokensFile, processors = {}, exporters = {} }: ServerOptions = {},
): Promise<OtlpServer> {
  const { resolveConfig, startTailgate } =
    await built<typeof import("../../src/index.ts")>("src/index.js");
  const directory = await mkdtemp(join(tmpdir(), "tailgate-bench-"));
  const config = await resolveConfig({
    base: "embedded",
    text: tokensFile === undefined ? "" : JSON.stringify({ auth: { tokens_file: tokensFile } }),
    document: {
      receivers: { otlp: { port: 0 } },
      processors: { ...processors },
      exporters: { ...exporters },
      journal: { engine },
    },
    flags: { port: 0, logDir: directory },
    env: {},
    cwd: directory,
  });
  const { gateway, listeners, stop } = await startTailgate(config, { write: () => {} });
  const url = listeners.map((line) => /^http\S+\/v1\/logs(?= )/.exec(line)?.[0]).find(Boolean)!;
  return {
    port: Number(new URL(url).port),
    sent: 0,
    received: () => gateway.intake.counters.sent,
    async [Symbol.asyncDispose]() {
      await stop();
      await rm(directory, { recursive: true });
    },
  };
}
