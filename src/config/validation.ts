import { z, type OptionSchema } from "../plugin/index.ts";
import {
  hasFixedKeys,
  toJsonSchema,
  schemaAt,
  describeType,
  type JsonSchema,
} from "./option-schema.ts";
import { describeFound, type ConfigPath, type Problems, suggest } from "./problems.ts";
import { EnvironmentText } from "./environment.ts";

export type Mapping = Readonly<Record<string, unknown>>;

export interface ValidationContext {
  /** Names the source of a value in messages: its path in the file, a variable, or a flag. */
  readonly place: (path: ConfigPath) => string;
  /** Keys at the top level that are allowed besides those of the schema and are read elsewhere. */
  readonly otherKeys?: readonly string[];
  readonly problems: Problems;
}

/**
 * Validates a mapping with the schema of a plugin or of the gateway. Unknown keys are rejected, whatever the schema itself
 * does with them. Adds problems to the context and returns undefined if there are any.
 */
export async function validate<Schema extends OptionSchema>(
  schema: Schema,
  given: Mapping,
  context: ValidationContext,
): Promise<z.output<Schema> | undefined> {
  const allowed = toJsonSchema(schema);
  const known = resolveValue(given, allowed, [], context) as Mapping;
  const result = await z.safeParseAsync(schema, known, {
    // A message from the schema's author takes precedence over this one.
    error: (issue) => describeExpected(allowed, issue),
  });
  if (result.success) return result.data;
  for (const { path, message } of result.error.issues) {
    const value = path.reduce<unknown>(readMember, known);
    const text = message.replace(/\.$/, "");
    const found = describeFound(path, value);
    const isUnlisted = typeof value === "string" && schemaAt(allowed, path)?.type === "array";
    const hint = isUnlisted ? "; write it as a list, in brackets" : "";
    context.problems.add(context.place(path), `${text}${found}${hint}`);
  }
  return undefined;
}

export function isMapping(value: unknown): value is Mapping {
  return (
    typeof value === "object" &&
    value !== null &&
    [Object.prototype, null].includes(Object.getPrototypeOf(value) as object | null)
  );
}

/** Keys that nothing reads: `x-anything` holds anchors for YAML aliases, and notes, as in Compose files. */
const EXTENSION = /^x-/;

export function withoutExtensions(values: Mapping): Mapping {
  return Object.fromEntries(Object.entries(values).filter(([key]) => !EXTENSION.test(key)));
}

export function withoutUndefined(values: Mapping): Mapping {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined));
}

/** Gives substitutions their types, and reports and removes unknown keys. */
function resolveValue(
  value: unknown,
  allowed: JsonSchema | undefined,
  path: ConfigPath,
  context: ValidationContext,
): unknown {
  if (value instanceof EnvironmentText) {
    return allowed?.type === "string" ? value.text : value.value;
  }
  if (Array.isArray(value)) {
    return value.map((inner, index) =>
      resolveValue(inner, allowed?.items, [...path, index], context),
    );
  }
  if (!isMapping(value)) return value;
  const members: [string, unknown][] = [];
  for (const [key, inner] of Object.entries(value)) {
    const innerPath = [...path, key];
    if (isKnown(key, allowed, innerPath, context)) {
      members.push([key, resolveValue(inner, schemaAt(allowed, [key]), innerPath, context)]);
    }
  }
  return Object.fromEntries(members);
}

function isKnown(
  key: string,
  allowed: JsonSchema | undefined,
  path: ConfigPath,
  context: ValidationContext,
): boolean {
  if (!allowed || !hasFixedKeys(allowed)) return true;
  const own = Object.keys(allowed.properties ?? {});
  if (own.includes(key)) return true;
  const others = path.length === 1 ? (context.otherKeys ?? []) : [];
  if (!others.includes(key) && !EXTENSION.test(key))
    context.problems.add(context.place(path), describeUnknownKey(key, [...own, ...others]));
  return false;
}

function describeUnknownKey(key: string, known: readonly string[]): string {
  if (known.length === 0) return "unknown key; there are no options here";
  return `unknown key${suggest(key, known) || `; known keys are ${known.join(", ")}`}`;
}

/** Issues for which zod's own message is more precise than the schema. */
const PRECISE_ISSUES = new Set<RawIssue["code"]>(["custom", "invalid_format", "unrecognized_keys"]);

type RawIssue = Parameters<z.core.$ZodErrorMap>[0];

/** Returns undefined to keep zod's message, if a JSON Schema cannot express the check. */
function describeExpected(allowed: JsonSchema, issue: RawIssue): string | undefined {
  const schema = schemaAt(allowed, issue.path ?? []);
  if (!schema || PRECISE_ISSUES.has(issue.code)) return undefined;
  return `expected ${describeType(schema)}`;
}

function readMember(value: unknown, key: PropertyKey): unknown {
  return (value as Record<PropertyKey, unknown> | undefined)?.[key];
}
