/** A user's directory in which the examples of a page run, and a gateway in it. */

import { onTestFinished } from "vitest";
import { MAIN, Program } from "../harness/program.ts";
import { Workspace } from "../harness/workspace.ts";

/** Creates a directory with the packages that the examples import, until the test ends. */
export async function userDirectory(
  files: Readonly<Record<string, string>> = {},
): Promise<Workspace> {
  const workspace = await Workspace.create({ "package.json": '{ "type": "module" }', ...files });
  onTestFinished(() => workspace[Symbol.asyncDispose]());
  await workspace.install("tailgate");
  await workspace.install("@opentelemetry");
  return workspace;
}

export interface StartedGateway {
  readonly program: Program;
  /** The main port's URL, such as `http://127.0.0.1:8001`. */
  readonly url: string;
  /** The OTLP port's URL. */
  readonly otlpUrl: string;
}

/** Starts the built gateway with its log directory `logs` there, until the test ends. */
export async function startGateway({ directory }: Workspace, port = "0"): Promise<StartedGateway> {
  const args = [MAIN, "run", "--port", port, "--otlp-port", "0", "--log-dir", "logs"];
  const program = new Program(process.execPath, args, { cwd: directory });
  onTestFinished(() => program[Symbol.asyncDispose]());
  const [, otlpUrl] = await program.untilStderr(/listening on (\S+)\/v1\/logs \(OTLP\/HTTP\)/);
  const [, url] = await program.untilStderr(/listening on (\S+) \(dashboard/);
  return { program, url: url!, otlpUrl: otlpUrl! };
}
