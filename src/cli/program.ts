import { Command } from "commander";
import { packageVersion } from "../runtime/package.ts";
import { printableLines } from "../wire/printable.ts";
import { addAudit } from "./audit.ts";
import { outputFailure, report } from "./output.ts";
import { addPlugins } from "./plugins.ts";
import { addRun } from "./run.ts";
import { addTail } from "./tail.ts";
import { addValidate } from "./validate.ts";

const EPILOGUE = `
Examples:
  tailgate                            run the gateway, with ./tailgate.yaml or the defaults
  tailgate tail --level WARNING       see what goes wrong while it runs
  tailgate help tail                  options and examples of a command

Exit codes: 0 done, 1 failed at work, 64 wrong usage, 69 something is not available, 78 wrong configuration.`;

guardStreams();
try {
  await program().parseAsync();
} catch (error) {
  process.exitCode = report(error);
}
leave();

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
  addPlugins(tailgate);
  addTail(tailgate);
  addAudit(tailgate);
  return tailgate;
}

/** A reader that goes away (`tailgate plugins | head`) has seen enough; a terminal that is gone ends nothing. */
function guardStreams(): void {
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    process.exit(error.code === "EPIPE" ? 0 : report(outputFailure(error)));
  });
  process.stderr.on("error", () => {});
}

/** Does not wait for what plugins may have left behind, only for what is written. */
function leave(): void {
  process.stdout.write("", (error) => {
    // The guard of the stream ends the process then.
    if (!error) process.stderr.write("", () => process.exit());
  });
}
