import { textOf } from "../wire/errors.ts";
import {
  API_VERSION,
  type ExporterDefinition,
  type OptionSchema,
  type PluginDefinition,
} from "../plugin/index.ts";
import { KIND_OF, SECTIONS, type Section } from "./built-ins.ts";
import { inputSchema } from "./option-schema.ts";
import { GENERIC_SCHEMAS } from "./settings.ts";

const NAME = /^[a-z][a-z0-9-]*$/;

/** The version of the interface that a plugin says it is made for; undefined where it says none. */
export function apiVersionOf(exported: unknown): number | undefined {
  if (typeof exported !== "object" || exported === null) return undefined;
  const { apiVersion } = exported as Partial<PluginDefinition>;
  return typeof apiVersion === "number" ? apiVersion : undefined;
}

/**
 * Why what a plugin exports cannot stand in a section; undefined where it can. Plugins come from anywhere: nothing is
 * taken on trust.
 */
export function definitionFlaw(exported: unknown, section: Section): string | undefined {
  if (typeof exported !== "object" || exported === null) {
    return `its default export is ${nameOfType(exported)}`;
  }
  const definition = exported as Partial<PluginDefinition>;
  const { apiVersion, name, description, options, open } = definition;
  if (apiVersion === undefined) {
    return `its default export has ${keysOf(definition)}, and no apiVersion`;
  }
  if (apiVersion !== API_VERSION) return `its apiVersion is ${JSON.stringify(apiVersion)}`;
  if (typeof name !== "string" || !NAME.test(name)) {
    return `its name is ${JSON.stringify(name)}, and has to match ${NAME.source}`;
  }
  if (typeof description !== "string") return `its description is ${nameOfType(description)}`;
  if (typeof open !== "function") return `its open is ${nameOfType(open)}`;
  const { owns, plan } = exported as Partial<ExporterDefinition>;
  if (plan !== undefined && typeof plan !== "function") return `its plan is ${nameOfType(plan)}`;
  if (owns !== undefined && typeof owns !== "function") return `its owns is ${nameOfType(owns)}`;
  return kindFlaw(definition.kind, section) ?? optionsFlaw(options, section);
}

function kindFlaw(
  kind: PluginDefinition["kind"] | undefined,
  section: Section,
): string | undefined {
  if (kind === KIND_OF[section]) return undefined;
  const home = SECTIONS.find((one) => KIND_OF[one] === kind);
  return home
    ? `it is ${withArticle(KIND_OF[home])} and stands under ${home}`
    : `its kind is ${JSON.stringify(kind)}`;
}

function optionsFlaw(options: OptionSchema | undefined, section: Section): string | undefined {
  // Zod 4 alone has `_zod`; its copies do not share classes.
  if (typeof options !== "object" || options === null || !("_zod" in options)) {
    const isOlder = typeof options === "object" && options !== null && "_def" in options;
    const what = isOlder ? "a schema of zod 3" : nameOfType(options);
    return `its options are ${what}, and have to be a z.object of zod 4; take z from tailgate/plugin`;
  }
  try {
    const { type, properties = {} } = inputSchema(options);
    if (type !== "object") return "its options are no z.object";
    const taken = Object.keys(GENERIC_SCHEMAS[section].shape).find((key) => key in properties);
    return taken && `its option ${JSON.stringify(taken)} is a key of the gateway's own`;
  } catch (error) {
    return `its options cannot be described as JSON Schema: ${textOf(error)}`;
  }
}

/** `a receiver`, `an exporter` */
export function withArticle(noun: string): string {
  return /^[aeiou]/.test(noun) ? `an ${noun}` : `a ${noun}`;
}

function keysOf(value: object): string {
  const keys = Object.keys(value);
  return keys.length === 0 ? "no members" : `the members ${keys.slice(0, 5).join(", ")}`;
}

function nameOfType(value: unknown): string {
  if (value === undefined) return "missing";
  return value === null ? "null" : withArticle(typeof value);
}
