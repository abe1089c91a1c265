import { fileURLToPath } from "node:url";
import { Program, type ProgramOptions } from "./program.ts";

export const MAIN = fileURLToPath(new URL("../../dist/cli/main.js", import.meta.url));

/** Starts the built `tailgate`. */
export function startCli(
  args: readonly string[],
  { cwd = "/", env = {} }: Partial<ProgramOptions> = {},
): Program {
  return new Program(process.execPath, [MAIN, ...args], { cwd, env });
}

/** Runs a command of it to its end, good or bad. */
export async function runCli(
  args: readonly string[],
  options?: Partial<ProgramOptions>,
): Promise<Program> {
  const cli = startCli(args, options);
  await cli.ended;
  return cli;
}
