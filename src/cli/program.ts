import { Command } from "commander";
import { packageVersion } from "../runtime/package.ts";
import { printableLines } from "../wire/printable.ts";
import { addAudit } from "./audit.ts";
import { addHealthcheck } from "./healthcheck.ts";
import { outputFailed, report } from "./output.ts";
import { addPipe } from "./pipe/pipe.ts";
import { addPlugins } from "./plugins.ts";
import { addRedact } from "./redact.ts";
import { addReload } from "./reload.ts";
import { addRun } from "./run.ts";
import { addTail } from "./tail.ts";
import { addToken } from "./token.ts";
import { addValidate } from "./validate.ts";

const EPILOGUE = `
Examples:
  tailgate                            run the gateway, with ./tailgate.yaml or the defaults
  tailgate tail --level WARNING       follow its warnings and errors
  tailgate help tail                  show the options and examples of a command

Exit codes: 0 success, 1 failure, 64 usage error, 69 unavailable, 77 no permission,
78 configuration error.`;

guardStreams();
try {
  await program().parseAsync();
} catch (error) {
  process.exitCode = report(error);
}
exitWhenWritten();

function program(): Command {
  const tailgate = new Command("tailgate")
    .description("Live-tail gateway for an orchestrator's logs.")
    .version(packageVersion())
    .addHelpText("after", EPILOGUE)
    .configureOutput({
      outputError: (text, write) =>
        write(printableLines(text.replace(/^error: /, "tailgate: USAGE: "))),
    })
    .showHelpAfterError("Run `tailgate --help`.")
    .exitOverride();
  addRun(tailgate);
  addValidate(tailgate);
  addReload(tailgate);
  addPlugins(tailgate);
  addRedact(tailgate);
  addTail(tailgate);
  addPipe(tailgate);
  addHealthcheck(tailgate);
  addToken(tailgate);
  addAudit(tailgate);
  return tailgate;
}

/**
 * Exits quietly when the reader of stdout goes away (`tailgate plugins | head`) or the terminal is closed. A lost terminal on
 * stderr is ignored.
 */
function guardStreams(): void {
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    const isGone = error.code === "EPIPE" || error.code === "EIO";
    process.exit(isGone ? 0 : report(outputFailed(error)));
  });
  process.stderr.on("error", () => {});
}

/** Exits once all output is written, without waiting for timers and sockets that plugins may have left behind. */
function exitWhenWritten(): void {
  process.stdout.write("", (error) => {
    // Otherwise the error handler of stdout exits.
    if (!error) process.stderr.write("", () => process.exit());
  });
}
