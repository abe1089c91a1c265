import { Document, isMap, isScalar } from "yaml";
import type { Component, Config, ExporterComponent, ProcessorComponent } from "../config/config.ts";
import { SECTIONS, type Section } from "../config/built-ins.ts";
import { pathText } from "../config/problems.ts";
import { masked } from "../config/secrets.ts";
import { settingsSchema } from "../config/settings.ts";
import type { Plan } from "../plugin/index.ts";
import type { Preflight } from "../gateway/preflight.ts";

/**
 * Returns all that is in effect as a configuration file would say it, without secrets. Comments name the variables that
 * values of an exporter are from.
 */
export function effectiveConfig(config: Config, { plans, auditKey }: Preflight): string {
  const isKeyUsed = auditKey !== undefined && auditKey.obstacle === undefined;
  const sections: [string, unknown][] = SECTIONS.map((section) => [
    section,
    sectionOf(section, config, plans),
  ]);
  const given = { ...config.settings, ...(isKeyUsed && { audit_key_file: auditKey.file }) };
  const keys = Object.keys(settingsSchema.shape).filter((key) => key in given);
  const settings = keys.map((key): [string, unknown] => [key, given[key as keyof typeof given]]);
  const document = new Document(masked(Object.fromEntries([...settings, ...sections])));
  if (auditKey?.obstacle !== undefined) {
    document.comment = ` The audit trail gets no signed checkpoints. ${auditKey.obstacle}`;
  }
  for (const section of SECTIONS) {
    for (const { id } of config[section]) comment(document, [section, id], plans);
  }
  return document.toString({ lineWidth: 0 });
}

type AnyComponent = Component<unknown> &
  Partial<Omit<ExporterComponent & ProcessorComponent, "definition">>;

function sectionOf(section: Section, config: Config, plans: Preflight["plans"]): object {
  const components: readonly AnyComponent[] = config[section];
  return Object.fromEntries(
    components.map(({ id, options, use, level, onError, queueBytesMax, timeoutMs }) => {
      const generic = {
        ...(use !== undefined && { use }),
        ...(level !== undefined && { level }),
        ...(onError !== undefined && { on_error: onError }),
        ...(queueBytesMax !== undefined && { queue_bytes: queueBytesMax }),
        ...(timeoutMs !== undefined && { timeout_seconds: timeoutMs / 1000 }),
      };
      return [
        id,
        { ...generic, ...options, ...effectiveOptions(plans.get(pathText([section, id]))) },
      ];
    }),
  );
}

function effectiveOptions({ effective = {} }: Plan = {}): object {
  return Object.fromEntries(Object.entries(effective).map(([key, { value }]) => [key, value]));
}

function comment(document: Document, path: readonly string[], plans: Preflight["plans"]): void {
  const { effective = {}, notes = [] } = plans.get(pathText(path)) ?? {};
  if (notes.length > 0) commentOn(document, path, notes.join("\n "));
  for (const [key, { source }] of Object.entries(effective)) {
    commentOn(document, [...path, key], source);
  }
}

/** After a scalar, and above what is in a mapping. */
function commentOn(document: Document, path: readonly string[], text: string): void {
  const node = document.getIn(path, true);
  if (isMap(node)) node.commentBefore = ` ${text}`;
  else if (isScalar(node)) node.comment = ` ${text}`;
}
