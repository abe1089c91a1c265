import type { PluginDefinition, OptionSchema } from "../plugin/index.ts";
import { builtInNames, KIND_OF, loadBuiltIn, SECTIONS, type Section } from "./built-ins.ts";
import { ID } from "./components.ts";
import {
  hasFixedKeys,
  toJsonSchema,
  type JsonSchema,
  describeOptions,
  type OptionDescription,
} from "./option-schema.ts";
import {
  authSchema,
  envelopeSchema,
  GENERIC_SCHEMAS,
  httpSchema,
  journalSchema,
  proxySchema,
  sessionsSchema,
  settingsSchema,
  tlsSchema,
} from "./settings.ts";
import { FLAG_NAMES, optionSources, SETTING_SOURCES, type ValueSource } from "./environment.ts";

const EXTENSIONS = { "^x-": {} };

/** Returns the JSON Schema (draft 7) of the configuration, with the options of all built-ins, for editors. */
export async function configJsonSchema(): Promise<object> {
  const { properties } = withSubstitutions(toJsonSchema(settingsSchema));
  const sections: Record<string, object> = {};
  for (const section of SECTIONS) sections[section] = await sectionSchema(section);
  return {
    $schema: "http://json-schema.org/draft-07/schema#",
    title: "Tailgate configuration (tailgate.yaml)",
    type: "object",
    properties: { ...properties, ...sections },
    patternProperties: EXTENSIONS,
    additionalProperties: false,
  };
}

const DESCRIPTIONS: { readonly [S in Section]: string } = {
  receivers: "Where records of other processes come from.",
  processors: "Change or drop records before they are stored, in this order.",
  exporters: "Where the records go.",
};

async function sectionSchema(section: Section): Promise<object> {
  const generic = toJsonSchema(GENERIC_SCHEMAS[section]);
  const patternProperties: Record<string, object> = {};
  for (const name of builtInNames(section)) {
    const definition = (await loadBuiltIn(section, name))!;
    patternProperties[`^${name}(/[A-Za-z0-9._-]{1,64})?$`] = builtInSchema(definition, generic);
  }
  return {
    description: `${DESCRIPTIONS[section]} A configured section replaces the default one.`,
    // An empty `exporters:` is most likely a mistake: records would go nowhere.
    type: section === "exporters" ? "object" : ["object", "null"],
    propertyNames: { pattern: ID.source },
    patternProperties,
    additionalProperties: {
      description: `A ${KIND_OF[section]} from the package tailgate-plugin-<name>, or from the file or package that use names.`,
      type: ["object", "null"],
      properties: withSubstitutions(generic).properties,
    },
  };
}

function builtInSchema(definition: PluginDefinition, generic: JsonSchema): JsonSchema {
  const own = toJsonSchema(definition.options);
  return {
    ...withSubstitutions({ ...own, properties: { ...own.properties, ...generic.properties } }),
    description: definition.description,
    // `console:` with nothing after it is null in YAML.
    type: own.required ? "object" : ["object", "null"],
    patternProperties: EXTENSIONS,
    additionalProperties: false,
  };
}

const SUBSTITUTION: JsonSchema = { type: "string", pattern: "\\$\\{env:" };

/** Returns the schema with `${env:NAME}` allowed in place of each scalar that is not a text. */
function withSubstitutions(schema: JsonSchema): JsonSchema {
  const { properties, items, additionalProperties } = schema;
  if (schema.type === "object" || schema.type === "array") {
    return {
      ...schema,
      ...(properties && {
        properties: Object.fromEntries(
          Object.entries(properties).map(([key, inner]) => [key, withSubstitutions(inner)]),
        ),
      }),
      ...(hasFixedKeys(schema) && { patternProperties: EXTENSIONS }),
      ...(items && { items: withSubstitutions(items) }),
      ...(typeof additionalProperties === "object" && {
        additionalProperties: withSubstitutions(additionalProperties),
      }),
    };
  }
  const { description, default: fallback, ...constraint } = schema;
  return {
    ...(description !== undefined && { description }),
    ...(fallback !== undefined && { default: fallback }),
    anyOf: [constraint, SUBSTITUTION],
  };
}

/** Returns tables of all keys, and of the options of receivers and exporters, as Markdown, for `docs/configuration.md`. */
export async function configReference(): Promise<string> {
  const parts = [
    table(settingsSchema, SETTING_SOURCES),
    "### tls",
    table(tlsSchema),
    "### envelope",
    table(envelopeSchema),
    "### journal",
    table(journalSchema),
    "### http",
    table(httpSchema),
    "### auth",
    table(authSchema),
    "### auth.sessions",
    table(sessionsSchema),
    "### auth.proxy",
    table(proxySchema),
    "### All components",
    "Every component has the key `use`. Exporters also have the other keys:",
    table(GENERIC_SCHEMAS.exporters),
    "Processors also have:",
    table(GENERIC_SCHEMAS.processors.omit({ use: true })),
    "Receivers also have:",
    table(GENERIC_SCHEMAS.receivers.omit({ use: true })),
  ];
  parts.push(...(await optionTables("receivers")), ...(await optionTables("exporters")));
  return joinParts(parts);
}

/** Returns tables of the options of processors as Markdown, for `docs/reference/processors.md`. */
export async function processorReference(): Promise<string> {
  return joinParts(await optionTables("processors"));
}

async function optionTables(section: Section): Promise<string[]> {
  const parts: string[] = [];
  for (const name of builtInNames(section)) {
    const { description, options } = (await loadBuiltIn(section, name))!;
    parts.push(`### ${section}.${name}`, `${capitalize(KIND_OF[section])}. ${description}`);
    parts.push(table(options, optionSources(section, name)));
  }
  return parts;
}

function joinParts(parts: readonly string[]): string {
  return parts.filter((part) => part !== "").join("\n\n");
}

/** Returns a table, with a column for variables and flags if a key has some; "" for a schema without options. */
function table(schema: OptionSchema, sources: Readonly<Record<string, ValueSource>> = {}): string {
  const options = describeOptions(schema);
  if (options.length === 0) return "";
  const rows = [
    ["Key", "Value", "Default", "Meaning", "Also as"],
    ["---", "---", "---", "---", "---"],
    ...options.map((option) => {
      const { key, type, description } = option;
      return [`\`${key}\``, type, formatDefault(option), description, formatSources(sources[key])];
    }),
  ];
  const columns = Object.keys(sources).length === 0 ? 4 : 5;
  return rows.map((cells) => row(cells.slice(0, columns))).join("\n");
}

function formatDefault(option: OptionDescription): string {
  if (option.default !== undefined) return `\`${JSON.stringify(option.default)}\``;
  return option.isRequired ? "required" : "none";
}

function formatSources({ variables = [], flag }: ValueSource = {}): string {
  const names = [...(flag ? [FLAG_NAMES[flag]] : []), ...variables];
  return names.map((name) => `\`${name}\``).join(", ");
}

function row(cells: readonly string[]): string {
  return `| ${cells.map((cell) => cell.replaceAll("|", "\\|").replaceAll("\n", " ")).join(" | ")} |`;
}

function capitalize(word: string): string {
  return word.charAt(0).toUpperCase() + word.slice(1);
}
