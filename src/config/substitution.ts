import type { ScalarTag } from "yaml";
import { requireDependency } from "../runtime/package.ts";
import { pathText, type Path, type Problems } from "./problems.ts";

export type Environment = Readonly<Record<string, string | undefined>>;

/** `$${`, `${env:NAME}`, `${env:NAME:-default}`, and any other `${`, which is refused. */
const SUBSTITUTION = /\$\$\{|\$\{env:([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}|\$\{/g;
/** The same where no closing brace follows: each search for one would go through all of the rest. */
const UNENDED = /\$\$\{|\$\{/g;

/**
 * A value that is nothing but one substitution. It has the type that YAML gives to its text, except where an option
 * wants a text: a password may consist of digits.
 */
export class EnvironmentText {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }

  get value(): unknown {
    return scalarOf(this.text);
  }
}

/**
 * Replaces `${env:NAME}` and `${env:NAME:-default}` in the texts of a parsed configuration, never in keys, and never
 * so that a value becomes structure. The default stands for a variable that is unset or empty (POSIX, 2.6.2);
 * `$${` is a plain `${`.
 */
export function substituted(
  value: unknown,
  environment: Environment,
  problems: Problems,
  path: Path = [],
): unknown {
  if (typeof value === "string") return substitutedText(value, environment, problems, path);
  if (Array.isArray(value)) {
    return value.map((inner, index) => substituted(inner, environment, problems, [...path, index]));
  }
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, inner]) => [
      key,
      substituted(inner, environment, problems, [...path, key]),
    ]),
  );
}

function substitutedText(
  text: string,
  environment: Environment,
  problems: Problems,
  path: Path,
): string | EnvironmentText {
  let whole = false;
  const replaced = (match: string, name?: string, fallback?: string): string => {
    if (match === "$${") return "${";
    if (name === undefined) {
      problems.add(
        pathText(path),
        "a substitution is written ${env:NAME} or ${env:NAME:-default}, and a plain ${ as $${",
      );
      return match;
    }
    whole = match.length === text.length;
    const value = environment[name];
    if (value === undefined && fallback === undefined) {
      problems.add(
        pathText(path),
        `the environment variable ${name} is not set; give it, or a default: \${env:${name}:-default}`,
      );
    }
    return value || (fallback ?? "");
  };
  const end = text.lastIndexOf("}") + 1;
  const result =
    text.slice(0, end).replaceAll(SUBSTITUTION, replaced) +
    text.slice(end).replaceAll(UNENDED, (match) => replaced(match));
  return whole ? new EnvironmentText(result) : result;
}

/** The value of a plain scalar in YAML's core schema (YAML 1.2.2, 10.3.2). */
function scalarOf(text: string): unknown {
  // Loaded when there is something to read with it: a start without a configuration need not wait for it.
  const { Document, isScalar } = requireDependency("yaml") as typeof import("yaml");
  const { tags } = new Document(null, { schema: "core" }).schema;
  const tag = tags.find(
    (one): one is ScalarTag => "test" in one && one.test !== undefined && one.test.test(text),
  );
  if (!tag) return text;
  const resolved: unknown = tag.resolve(text, () => undefined, {});
  return isScalar(resolved) ? resolved.value : resolved;
}
