import { z, type OptionSchema } from "../plugin/index.ts";

/** A JSON Schema (draft 7), as far as zod uses it for options. */
export interface JsonSchema {
  readonly type?: string | readonly string[];
  readonly title?: string;
  readonly description?: string;
  readonly default?: unknown;
  readonly enum?: readonly unknown[];
  readonly const?: unknown;
  readonly anyOf?: readonly JsonSchema[];
  readonly oneOf?: readonly JsonSchema[];
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly patternProperties?: Readonly<Record<string, JsonSchema>>;
  readonly required?: readonly string[];
  readonly additionalProperties?: boolean | JsonSchema;
  readonly items?: JsonSchema;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly exclusiveMinimum?: number;
  readonly exclusiveMaximum?: number;
  readonly multipleOf?: number;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly minItems?: number;
  readonly maxItems?: number;
  readonly format?: string;
  readonly pattern?: string;
}

export interface OptionDescription {
  readonly key: string;
  /** Such as `integer from 0 to 65535`. */
  readonly type: string;
  readonly default: unknown;
  readonly isRequired: boolean;
  readonly description: string;
}

/**
 * Returns the JSON Schema of what a user may write. Tailgate inspects schemas only in this form, since a plugin may bring
 * its own copy of zod.
 * @throws Error if the schema cannot be converted.
 */
export function toJsonSchema(schema: OptionSchema): JsonSchema {
  const { $schema: _, ...rest } = z.toJSONSchema(schema, {
    io: "input",
    target: "draft-07",
    unrepresentable: "any",
    metadata: OWN_METADATA,
  });
  return rest as JsonSchema;
}

/** Also asks each schema itself: early versions of zod 4 keep descriptions in one registry per copy. */
const OWN_METADATA = {
  get: (schema: z.core.$ZodType) =>
    z.globalRegistry.get(schema) ?? (schema as Partial<z.ZodType>).meta?.(),
} as z.core.$ZodRegistry<z.core.GlobalMeta>;

export function describeOptions(schema: OptionSchema): OptionDescription[] {
  const { properties = {}, required = [] } = toJsonSchema(schema);
  return Object.entries(properties).map(([key, option]) => ({
    key,
    type: describeType(option),
    default: option.default,
    isRequired: required.includes(key),
    description: option.description ?? "",
  }));
}

/** Returns the schema of the value at `path`; undefined if the schema does not tell. */
export function schemaAt(
  schema: JsonSchema | undefined,
  path: readonly PropertyKey[],
): JsonSchema | undefined {
  const [key, ...rest] = path;
  if (schema === undefined || key === undefined) return schema;
  if (typeof key === "number") return schemaAt(schema.items, rest);
  const property = Object.hasOwn(schema.properties ?? {}, key)
    ? schema.properties?.[String(key)]
    : valueSchema(schema);
  return schemaAt(property, rest);
}

/** Returns the schema of a mapping's values under keys of the user's choice; undefined if the keys are fixed. */
function valueSchema({ additionalProperties }: JsonSchema): JsonSchema | undefined {
  return typeof additionalProperties === "object" ? additionalProperties : undefined;
}

/** Returns true if the schema lists the keys of a mapping and allows no others. */
export function hasFixedKeys(schema: JsonSchema): boolean {
  return schema.properties !== undefined && !schema.additionalProperties;
}

/** Describes in words what a schema allows. A title takes precedence. */
export function describeType(schema: JsonSchema): string {
  if (schema.title !== undefined) return schema.title;
  const alternatives = schema.anyOf ?? schema.oneOf;
  if (alternatives) return alternatives.map((one) => describeType(one)).join(" or ");
  if (schema.enum) return `one of ${schema.enum.map((one) => JSON.stringify(one)).join(", ")}`;
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  switch (schema.type) {
    case "integer":
      return `integer${describeRange(schema)}`;
    case "number":
      return `number${describeRange(schema)}`;
    case "boolean":
      return "true or false";
    case "string":
      return describeString(schema);
    case "array":
      return describeList(schema);
    case "object":
      return "mapping";
    case "null":
      return "null";
    default:
      return "any value";
  }
}

function describeRange(schema: JsonSchema): string {
  const { minimum = -Infinity, maximum = Infinity, exclusiveMinimum, exclusiveMaximum } = schema;
  const hasMinimum = minimum > Number.MIN_SAFE_INTEGER;
  const hasMaximum = maximum < Number.MAX_SAFE_INTEGER;
  const texts: string[] = [];
  if (hasMinimum && hasMaximum) texts.push(`from ${minimum} to ${maximum}`);
  else if (hasMinimum) texts.push(`of at least ${minimum}`);
  else if (hasMaximum) texts.push(`of at most ${maximum}`);
  if (exclusiveMinimum !== undefined) texts.push(`above ${exclusiveMinimum}`);
  if (exclusiveMaximum !== undefined) texts.push(`below ${exclusiveMaximum}`);
  if (schema.multipleOf !== undefined) texts.push(`divisible by ${schema.multipleOf}`);
  return texts.map((text) => ` ${text}`).join("");
}

function describeString({
  format,
  pattern,
  minLength = 0,
  maxLength = Infinity,
}: JsonSchema): string {
  if (format === "uri") return "URL";
  if (pattern !== undefined) return `text that matches ${pattern}`;
  if (minLength === 1 && maxLength === Infinity) return "text";
  return `text${describeCount(minLength, maxLength, "characters")}`;
}

function describeList({ items, minItems = 0, maxItems = Infinity }: JsonSchema): string {
  const list = items ? `list of ${describeType(items)}` : "list";
  return `${list}${describeCount(minItems, maxItems, "items").replace(" of", ",")}`;
}

function describeCount(minimum: number, maximum: number, unit: string): string {
  if (minimum === maximum) return ` of ${minimum} ${unit}`;
  if (maximum < Infinity) return ` of ${minimum} to ${maximum} ${unit}`;
  if (minimum === 1) return ` of at least 1 ${unit.slice(0, -1)}`;
  return minimum > 0 ? ` of at least ${minimum} ${unit}` : "";
}
