import type { Command } from "commander";
import { resolveConfig } from "../config/config.ts";
import { printableLines } from "../wire/printable.ts";
import { print } from "./output.ts";

const EXAMPLES = `
Examples:
  tailgate validate                              ./tailgate.yaml
  tailgate validate --config etc/tailgate.yaml

Run it as the user and with the environment of the gateway: it refuses what \`tailgate run\` would refuse there. It does
not see what only a start can show, such as a port that another program uses. It opens, creates and sends nothing.

Exit code: 0 if the configuration is valid, with what is in effect on stdout; else that of \`tailgate run\`, most often
78, with all that is wrong on stderr.`;

export function addValidate(program: Command): void {
  program
    .command("validate")
    .description("check the configuration and show what is in effect, with the environment")
    .option("--config <path>", "configuration file (default: ./tailgate.yaml, if it exists)")
    .addHelpText("after", EXAMPLES)
    .action(async ({ config: file }: { config?: string }) => {
      const config = await resolveConfig({ file, flags: {}, env: process.env, cwd: process.cwd() });
      // Loaded here, so that the other commands need not wait for them.
      const { preflight } = await import("../gateway/preflight.ts");
      const { effectiveConfig } = await import("./effective-config.ts");
      const source = config.file ?? "the defaults (there is no tailgate.yaml here)";
      const text = effectiveConfig(config, await preflight(config));
      print(printableLines(`valid: ${source}\n${text}`));
    });
}
