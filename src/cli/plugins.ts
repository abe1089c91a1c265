import type { Command } from "commander";
import { builtInNames, loadBuiltIn, SECTIONS } from "../config/built-ins.ts";
import { resolveConfig } from "../config/config.ts";
import { describeOptions, type OptionDescription } from "../config/option-schema.ts";
import type { PluginDefinition } from "../plugin/index.ts";
import { printable, printableJson, printableLines } from "../wire/printable.ts";
import { print } from "./output.ts";

const EXAMPLES = `
Examples:
  tailgate plugins
  tailgate plugins --json | jq '.[] | select(.kind == "exporter").name'`;

export function addPlugins(program: Command): void {
  program
    .command("plugins")
    .description("list the built-in and configured plugins with their options")
    .option("--config <path>", "configuration file (default: ./tailgate.yaml, if it exists)")
    .option("--json", "print JSON")
    .addHelpText("after", EXAMPLES)
    .action(async ({ config, json }: { config?: string; json?: boolean }) => {
      const plugins = await listPlugins(config);
      const text = json
        ? JSON.stringify(plugins, null, 2).split("\n").map(printableJson).join("\n")
        : printableLines(plugins.map(describe).join("\n\n"));
      print(`${text}\n`);
    });
}

interface ListedPlugin {
  readonly kind: PluginDefinition["kind"];
  readonly name: string;
  readonly description: string;
  /** The components of the configuration that use it, such as `exporters.webhook/audit`. */
  readonly components: string[];
  readonly options: readonly OptionDescription[];
}

/** Returns the built-in plugins, then the other ones of the configuration. */
async function listPlugins(file: string | undefined): Promise<ListedPlugin[]> {
  const config = await resolveConfig({ file, flags: {}, env: process.env, cwd: process.cwd() });
  const listed = new Map<PluginDefinition, ListedPlugin>();
  for (const section of SECTIONS) {
    for (const name of builtInNames(section)) list((await loadBuiltIn(section, name))!, listed);
  }
  for (const section of SECTIONS) {
    for (const { id, definition } of config[section]) {
      list(definition, listed).components.push(`${section}.${id}`);
    }
  }
  return [...listed.values()];
}

function list(
  definition: PluginDefinition,
  listed: Map<PluginDefinition, ListedPlugin>,
): ListedPlugin {
  const known = listed.get(definition);
  if (known) return known;
  const { kind, name, description, options } = definition;
  const plugin = { kind, name, description, components: [], options: describeOptions(options) };
  listed.set(definition, plugin);
  return plugin;
}

function describe({ kind, name, description, components, options }: ListedPlugin): string {
  const use = components.length === 0 ? "not configured" : `configured as ${components.join(", ")}`;
  const lines = [`${kind} ${name} (${use})`, `  ${printable(description)}`];
  for (const option of options) {
    lines.push(`    ${option.key}: ${option.type}${defaultText(option)}`);
    if (option.description !== "") lines.push(`        ${printable(option.description)}`);
  }
  return lines.join("\n");
}

function defaultText(option: OptionDescription): string {
  if (option.default !== undefined) return `, default ${JSON.stringify(option.default)}`;
  return option.isRequired ? ", required" : "";
}
