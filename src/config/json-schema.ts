import type { PluginDefinition } from "../plugin/index.ts";
import { builtInNames, KIND_OF, loadBuiltIn, SECTIONS, type Section } from "./built-ins.ts";
import { ID } from "./components.ts";
import { hasFixedKeys, inputSchema, type JsonSchema } from "./option-schema.ts";
import { GENERIC_SCHEMAS, settingsSchema } from "./settings.ts";

/** Keys that are nobody's: anchors for aliases, and notes. */
const EXTENSIONS = { "^x-": {} };

/** A schema of the whole configuration with the options of all built-ins, for editors: JSON Schema, draft 7. */
export async function configJsonSchema(): Promise<object> {
  const { properties } = withSubstitutions(inputSchema(settingsSchema));
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
  receivers: "Ways in for the records of other processes.",
  processors: "Change or drop records before they are stored, in this order.",
  exporters: "Where the records go.",
};

async function sectionSchema(section: Section): Promise<object> {
  const generic = inputSchema(GENERIC_SCHEMAS[section]);
  const patternProperties: Record<string, object> = {};
  for (const name of builtInNames(section)) {
    const definition = (await loadBuiltIn(section, name))!;
    patternProperties[`^${name}(/[A-Za-z0-9._-]{1,64})?$`] = builtInSchema(definition, generic);
  }
  return {
    description: `${DESCRIPTIONS[section]} A section that is given replaces the default one.`,
    // Without exporters nothing of what is logged goes anywhere: that has to be said.
    type: section === "exporters" ? "object" : ["object", "null"],
    propertyNames: { pattern: ID.source },
    patternProperties,
    additionalProperties: {
      description: `A ${KIND_OF[section]} from a package tailgate-plugin-<name>, or from the place after use.`,
      type: ["object", "null"],
      properties: withSubstitutions(generic).properties,
    },
  };
}

function builtInSchema(definition: PluginDefinition, generic: JsonSchema): JsonSchema {
  const own = inputSchema(definition.options);
  return {
    ...withSubstitutions({ ...own, properties: { ...own.properties, ...generic.properties } }),
    description: definition.description,
    // `console:` with nothing after it is YAML's null.
    type: own.required ? "object" : ["object", "null"],
    patternProperties: EXTENSIONS,
    additionalProperties: false,
  };
}

const SUBSTITUTION: JsonSchema = { type: "string", pattern: "\\$\\{env:" };

/** The same schema, with `${env:NAME}` allowed wherever a scalar other than a text is wanted. */
function withSubstitutions(schema: JsonSchema): JsonSchema {
  const { properties, items, additionalProperties } = schema;
  if (schema.type === "object" || schema.type === "array") {
    return {
      ...schema,
      ...(properties && { properties: mapValues(properties, withSubstitutions) }),
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

function mapValues<T, U>(
  values: Readonly<Record<string, T>>,
  change: (value: T) => U,
): Record<string, U> {
  return Object.fromEntries(Object.entries(values).map(([key, value]) => [key, change(value)]));
}
