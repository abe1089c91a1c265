import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Program } from "./program.ts";

const CLI = fileURLToPath(new URL("../../dist/cli/main.js", import.meta.url));

/** The same, with one file per module. */
export const UNBUNDLED_CLI = fileURLToPath(new URL("../../dist/src/cli/main.js", import.meta.url));

/** The start options of package.json. */
const NODE_FLAGS = ["--max-semi-space-size=4"];

/** A gateway started as by `npm start`, on free ports, with its own directory. */
export interface GatewayProcess extends AsyncDisposable {
  readonly program: Program;
  readonly logDir: string;
  readonly port: number;
  readonly otlpPort: number;
}

/** `config` is the content of the configuration file; the default one if absent. */
export async function startGateway(
  config?: object,
  env: NodeJS.ProcessEnv = {},
  cli = CLI,
): Promise<GatewayProcess> {
  const directory = await mkdtemp(join(tmpdir(), "tailgate-bench-"));
  const logDir = join(directory, "logs");
  const args = ["--port", "0", "--otlp-port", "0", "--log-dir", logDir];
  if (config) {
    const file = join(directory, "tailgate.yaml");
    // JSON is YAML.
    await writeFile(file, JSON.stringify(config));
    args.push("--config", file);
  }
  const program = await Program.start({
    command: process.execPath,
    args: [...NODE_FLAGS, cli, "run", ...args],
    // The signing key is temporary.
    env: { XDG_CONFIG_HOME: directory, ...env },
    ready: /\/v1\/logs \(OTLP\/HTTP\)\n/,
  });
  const portOf = (pattern: RegExp): number => Number(pattern.exec(program.text)![1]);
  return {
    program,
    logDir,
    port: portOf(/:(\d+) \(dashboard/),
    otlpPort: portOf(/:(\d+)\/v1\/logs/),
    async [Symbol.asyncDispose]() {
      await program[Symbol.asyncDispose]();
      await rm(directory, { recursive: true });
    },
  };
}
