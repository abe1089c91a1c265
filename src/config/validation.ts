import { z, type OptionSchema } from "../plugin/index.ts";
import { hasFixedKeys, inputSchema, schemaAt, typeText, type JsonSchema } from "./option-schema.ts";
import { found, type Path, type Problems, suggestion } from "./problems.ts";
import { EnvironmentText } from "./environment.ts";

export type Mapping = Readonly<Record<string, unknown>>;

export interface ValidationContext {
  /** The name of a place inside the value: its path in the file, a variable, a flag. */
  readonly place: (path: Path) => string;
  /** Keys that are fine at the top beside those of the schema; somebody else reads them. */
  readonly otherKeys?: readonly string[];
  readonly problems: Problems;
}

/**
 * Checks a mapping against a plugin's schema, or against one of Tailgate's own. Keys that the schema does not name are
 * refused, whatever the schema itself does with them. Answers undefined after a problem, which was added.
 */
export async function validated<Schema extends OptionSchema>(
  schema: Schema,
  given: Mapping,
  context: ValidationContext,
): Promise<z.output<Schema> | undefined> {
  const allowed = inputSchema(schema);
  const known = settled(given, allowed, [], context) as Mapping;
  const result = await z.safeParseAsync(schema, known, {
    // A text that the schema's author gave to a check wins over this one.
    error: (issue) => expectation(allowed, issue),
  });
  if (result.success) return result.data;
  for (const { path, message } of result.error.issues) {
    const value = path.reduce<unknown>(memberOf, known);
    const text = message.replace(/\.$/, "");
    context.problems.add(context.place(path), `${text}${found(path, value)}`);
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

/** A key that belongs to nobody: `x-anything` holds anchors for YAML's aliases, and notes, as in Compose files. */
const EXTENSION = /^x-/;

/** Leaves out the keys that are nobody's. */
export function withoutExtensions(values: Mapping): Mapping {
  return Object.fromEntries(Object.entries(values).filter(([key]) => !EXTENSION.test(key)));
}

/** The value with its substitutions typed and its unknown keys reported and left out. */
function settled(
  value: unknown,
  allowed: JsonSchema | undefined,
  path: Path,
  context: ValidationContext,
): unknown {
  if (value instanceof EnvironmentText) {
    return allowed?.type === "string" ? value.text : value.value;
  }
  if (Array.isArray(value)) {
    return value.map((inner, index) => settled(inner, allowed?.items, [...path, index], context));
  }
  if (!isMapping(value)) return value;
  const kept: [string, unknown][] = [];
  for (const [key, inner] of Object.entries(value)) {
    const innerPath = [...path, key];
    if (isKnown(key, allowed, innerPath, context)) {
      kept.push([key, settled(inner, schemaAt(allowed, [key]), innerPath, context)]);
    }
  }
  return Object.fromEntries(kept);
}

function isKnown(
  key: string,
  allowed: JsonSchema | undefined,
  path: Path,
  context: ValidationContext,
): boolean {
  if (!allowed || !hasFixedKeys(allowed)) return true;
  const own = Object.keys(allowed.properties ?? {});
  if (own.includes(key)) return true;
  const others = path.length === 1 ? (context.otherKeys ?? []) : [];
  if (!others.includes(key) && !EXTENSION.test(key))
    context.problems.add(context.place(path), unknownKey(key, [...own, ...others]));
  return false;
}

function unknownKey(key: string, known: readonly string[]): string {
  if (known.length === 0) return "unknown key; there are no options here";
  return `unknown key${suggestion(key, known) || `; known are ${known.join(", ")}`}`;
}

/** What zod says better: its text knows more of the check than the schema does. */
const OWN_TEXTS = new Set<RawIssue["code"]>(["custom", "invalid_format", "unrecognized_keys"]);

type RawIssue = Parameters<z.core.$ZodErrorMap>[0];

/** Undefined leaves the text to zod: for what a JSON Schema does not express. */
function expectation(allowed: JsonSchema, issue: RawIssue): string | undefined {
  const schema = schemaAt(allowed, issue.path ?? []);
  if (!schema || OWN_TEXTS.has(issue.code)) return undefined;
  return `expected ${typeText(schema)}`;
}

function memberOf(value: unknown, key: PropertyKey): unknown {
  return (value as Record<PropertyKey, unknown> | undefined)?.[key];
}
