import { stringify } from "yaml";
import { startCli, type Program } from "../harness/program.ts";
import type { Workspace } from "../harness/workspace.ts";

export interface StartedGateway extends AsyncDisposable {
  readonly program: Program;
  /** The main port's URL. */
  readonly url: string;
}

/** Starts the built gateway with this configuration, without its default ports; it is killed on disposal. */
export async function startGateway(
  workspace: Workspace,
  { otlp = {}, exporters = {} }: { otlp?: object; exporters?: object },
): Promise<StartedGateway> {
  const receivers = { otlp: { port: 0, ...otlp } };
  const config = stringify({ port: 0, log_dir: "logs", receivers, exporters });
  await workspace.write("tailgate.yaml", config);
  const program = startCli(["run"], { cwd: workspace.directory });
  const [, url] = await program.untilStderr(/listening on (\S+) \(dashboard/);
  return { program, url: url!, [Symbol.asyncDispose]: () => program[Symbol.asyncDispose]() };
}
