import type { Command } from "commander";
import type { Document, Node } from "yaml";
import { type Section, SECTIONS } from "../config/built-ins.ts";
import {
  type Component,
  type Config,
  type ExporterComponent,
  type ProcessorComponent,
  type ReceiverComponent,
  resolveConfig,
} from "../config/config.ts";
import { formatPath } from "../config/problems.ts";
import { mask } from "../config/secrets.ts";
import { settingsSchema } from "../config/settings.ts";
import type { Preflight } from "../gateway/preflight.ts";
import { printableLines } from "../wire/printable.ts";
import { print } from "./output.ts";

const EXAMPLES = `
Examples:
  tailgate validate                              ./tailgate.yaml
  tailgate validate --config etc/tailgate.yaml

Run it as the gateway's user and in its environment: it rejects what \`tailgate run\` would reject there, except for
problems that only a start can reveal, such as a port in use. It opens, creates and sends nothing.

Exit codes: 0 if the configuration is valid, with the effective configuration on stdout; otherwise that of
\`tailgate run\`, usually 78, with all problems on stderr.`;

export function addValidate(program: Command): void {
  program
    .command("validate")
    .description("check the configuration and print the effective one, environment included")
    .option("--config <path>", "configuration file (default: ./tailgate.yaml, if it exists)")
    .addHelpText("after", EXAMPLES)
    .action(async ({ config: file }: { config?: string }) => {
      const config = await resolveConfig({ file, flags: {}, env: process.env, cwd: process.cwd() });
      // Loaded here to keep the other commands fast.
      const { preflight } = await import("../gateway/preflight.ts");
      const source = config.file ?? "the defaults (there is no tailgate.yaml here)";
      const text = await effectiveConfig(config, await preflight(config));
      print(printableLines(`valid: ${source}\n${text}`));
    });
}

/**
 * Returns the effective configuration as YAML, with secrets masked. Comments name the environment variables that an
 * exporter's values come from.
 */
async function effectiveConfig(
  config: Config,
  { plans, auditKey, tokens }: Preflight,
): Promise<string> {
  const yaml = await import("yaml");
  const isKeyUsed = auditKey !== undefined && auditKey.obstacle === undefined;
  const values: Record<string, unknown> = {
    ...config.settings,
    ...(isKeyUsed && { audit_key_file: auditKey.file }),
    ...(tokens && { auth: { ...(config.settings?.["auth"] as object), tokens_file: tokens.file } }),
  };
  const keys = Object.keys(settingsSchema.shape).filter((key) => key in values);
  const settings = Object.fromEntries(keys.map((key) => [key, values[key]]));
  const sections = SECTIONS.map((section) => [section, sectionOf(section, config, plans)]);
  const document = new yaml.Document(mask({ ...settings, ...Object.fromEntries(sections) }));
  if (auditKey?.obstacle !== undefined) {
    document.comment = ` No signed checkpoints are written for the audit trail. ${auditKey.obstacle}`;
  }
  if (tokens?.isThere === false) {
    const text =
      "This file does not exist yet; `tailgate token create` and `tailgate run` create it.";
    addComment(document, ["auth", "tokens_file"], text);
  }
  for (const section of SECTIONS) {
    for (const { id } of config[section]) addComments(document, [section, id], plans);
  }
  return document.toString({ lineWidth: 0 });
}

type AnyComponent = Component<unknown> &
  Partial<Omit<ExporterComponent & ProcessorComponent & ReceiverComponent, "definition">>;

function sectionOf(section: Section, config: Config, plans: Preflight["plans"]): object {
  const components: readonly AnyComponent[] = config[section];
  return Object.fromEntries(
    components.map((component) => {
      const { id, options, use, level, filter, onError, queueBytesMax, timeoutMs, attributes } =
        component;
      const { effective = {} } = plans.get(formatPath([section, id])) ?? {};
      const values = {
        ...(use !== undefined && { use }),
        ...(level !== undefined && { level }),
        ...(filter !== undefined && { filter }),
        ...(onError !== undefined && { on_error: onError }),
        ...(queueBytesMax !== undefined && { queue_bytes: queueBytesMax }),
        ...(attributes !== undefined && { attributes }),
        ...(timeoutMs !== undefined && { timeout_seconds: timeoutMs / 1000 }),
        ...options,
        ...Object.fromEntries(Object.entries(effective).map(([key, { value }]) => [key, value])),
      };
      return [id, values];
    }),
  );
}

function addComments(document: Document, path: readonly string[], plans: Preflight["plans"]): void {
  const { effective = {}, notes = [] } = plans.get(formatPath(path)) ?? {};
  if (notes.length > 0) addComment(document, path, notes.join("\n "));
  for (const [key, { source }] of Object.entries(effective)) {
    addComment(document, [...path, key], source);
  }
}

/** Puts the comment after a scalar, and above the entries of a mapping. */
function addComment(document: Document, path: readonly string[], text: string): void {
  const node = document.getIn(path, true) as Node | undefined;
  if (node === undefined) return;
  if ("items" in node) node.commentBefore = ` ${text}`;
  else node.comment = ` ${text}`;
}
