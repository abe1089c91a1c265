import type { Command } from "commander";
import {
  resolveConfig,
  type Component,
  type Config,
  type ExporterComponent,
  type ProcessorComponent,
} from "../config.ts";
import { masked } from "../config/secrets.ts";
import { printableLines } from "../printable.ts";
import { print } from "./output.ts";

const EXAMPLES = `
Examples:
  tailgate validate                              ./tailgate.yaml
  tailgate validate --config etc/tailgate.yaml

Exit code: 0 if the configuration is valid, 78 if it is not, with all that is wrong on stderr.`;

export function addValidate(program: Command): void {
  program
    .command("validate")
    .description("check the configuration and show what is in effect, with the environment")
    .option("--config <path>", "configuration file (default: ./tailgate.yaml, if it exists)")
    .addHelpText("after", EXAMPLES)
    .action(async ({ config: file }: { config?: string }) => {
      const config = await resolveConfig({ file, flags: {}, env: process.env, cwd: process.cwd() });
      // Loaded here, so that the other commands need not wait for it.
      const { stringify } = await import("yaml");
      const source = config.file ?? "the defaults (there is no tailgate.yaml here)";
      print(printableLines(`valid: ${source}\n${stringify(masked(asDocument(config)))}`));
    });
}

/** The configuration as a file would say it. */
function asDocument(config: Config): object {
  return {
    host: config.host,
    port: config.port,
    log_dir: config.logDir,
    log_level: config.logLevel,
    allowed_hosts: config.allowedHosts,
    ...(!config.trustsDefaultOrigins && { trust_default_origins: false }),
    ...(config.traceUrl !== undefined && { trace_url: config.traceUrl }),
    receivers: sectionOf(config.receivers),
    processors: sectionOf(config.processors),
    exporters: sectionOf(config.exporters),
  };
}

function sectionOf(
  components: readonly ExporterComponent[] | readonly Component<unknown>[],
): object {
  return Object.fromEntries(
    components.map((component) => {
      const { use, level, queueBytesMax, timeoutMs, onError } = component as Partial<
        ExporterComponent & ProcessorComponent
      >;
      const generic = {
        ...(use !== undefined && { use }),
        ...(level !== undefined && { level }),
        ...(onError !== undefined && { on_error: onError }),
        ...(queueBytesMax !== undefined && { queue_bytes: queueBytesMax }),
        ...(timeoutMs !== undefined && { timeout_seconds: timeoutMs / 1000 }),
      };
      return [component.id, { ...generic, ...component.options }];
    }),
  );
}
