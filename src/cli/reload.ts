import { once } from "node:events";
import { connect } from "node:net";
import { text } from "node:stream/consumers";
import type { Command } from "commander";
import { findLogDir } from "../config/log-dir.ts";
import {
  controlSocketPath,
  type ControlRequest,
  type ControlResponse,
} from "../gateway/control-socket.ts";
import { TailgateError, textOf } from "../wire/errors.ts";
import { printableLines } from "../wire/printable.ts";
import { print, say } from "./output.ts";

const EXAMPLES = `
Examples:
  tailgate reload                                        the gateway of ./tailgate.yaml, or of the defaults
  tailgate reload --config /etc/tailgate/tailgate.yaml
  tailgate reload --log-dir /var/log/tailgate

Run it as the gateway's user. It asks the gateway, through control.sock in the log directory, to read its configuration
again, with the flags and the environment of its start, and waits for the result. --config only tells where the log directory is.

Exit codes: 0 if the changes are applied or there are none; 78 if the configuration is invalid or needs a restart, and 1
if a component could not be opened: the gateway then continues with the previous configuration; 69 if no gateway runs there.`;

export function addReload(program: Command): void {
  program
    .command("reload")
    .description("apply a changed configuration to the running gateway")
    .option("--config <path>", "configuration file (default: ./tailgate.yaml, if it exists)")
    .option("--log-dir <path>", "log directory of the gateway (default: that of the configuration)")
    .addHelpText("after", EXAMPLES)
    .action(async ({ config: file, logDir }: { config?: string; logDir?: string }) => {
      const flags = logDir === undefined ? {} : { logDir };
      const directory = await findLogDir({ file, flags, env: process.env, cwd: process.cwd() });
      show(await request(directory));
    });
}

/** @throws TailgateError GATEWAY_UNREACHABLE */
async function request(logDir: string): Promise<ControlResponse> {
  const socket = connect({ path: controlSocketPath(logDir) });
  try {
    await once(socket, "connect");
    const message: ControlRequest = { command: "reload", uid: process.getuid?.() };
    socket.write(`${JSON.stringify(message)}\n`);
    const answer = await text(socket);
    if (answer === "") throw new Error("it ended before the result was known");
    return JSON.parse(answer) as ControlResponse;
  } catch (error) {
    const why = `No gateway can be reached in the log directory ${logDir}: ${textOf(error)}.`;
    const hint = "If log_dir was changed in the file, pass the previous one with --log-dir.";
    throw new TailgateError("GATEWAY_UNREACHABLE", `${why} ${hint}`, { cause: error });
  } finally {
    socket.destroy();
  }
}

const TITLES: Readonly<Record<ControlResponse["outcome"], string>> = {
  applied: "reloaded:",
  unchanged: "nothing has changed",
  invalid: "not reloaded",
  refused: "not reloaded:",
  failed: "not reloaded:",
};

function show({ outcome, changes, error }: ControlResponse): void {
  const lines = [TITLES[outcome], ...changes.map((change) => `  ${change}`)];
  if (error === undefined) return void print(printableLines(`${lines.join("\n")}\n`));
  say(lines.join("\n"));
  say(`${error.code}: ${error.message}`);
  process.exitCode = outcome === "failed" ? 1 : 78;
}
