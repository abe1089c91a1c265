import type { ScalarTag } from "yaml";
import { requireDependency } from "../runtime/package.ts";
import { formatPath, type Path, type Problems } from "./problems.ts";
import type { Section } from "./built-ins.ts";
import type { settingsSchema } from "./settings.ts";

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
        formatPath(path),
        "a substitution is written ${env:NAME} or ${env:NAME:-default}, and a plain ${ as $${",
      );
      return match;
    }
    whole = match.length === text.length;
    const value = environment[name];
    if (value === undefined && fallback === undefined) {
      problems.add(
        formatPath(path),
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

/** What a caller sets above the file and the environment: the flags of `tailgate run`. */
export interface ConfigFlags {
  readonly host?: string;
  readonly port?: number;
  /** The port of the receiver `otlp`. */
  readonly otlpPort?: number;
  readonly logDir?: string;
  readonly logLevel?: string;
}

export interface OverrideSources {
  readonly env: Environment;
  readonly flags: ConfigFlags;
}

/** A value that stands above the file's. */
export interface Override {
  readonly value: unknown;
  /** The flag or the variable that it is from. */
  readonly place: string;
}

export const FLAG_NAMES = {
  host: "--host",
  port: "--port",
  otlpPort: "--otlp-port",
  logDir: "--log-dir",
  logLevel: "--log-level",
} as const satisfies Record<keyof ConfigFlags, string>;

/** Where a value can come from beside the file. Of several variables the first that is set counts. */
interface Source {
  readonly variables: readonly string[];
  readonly flag?: keyof ConfigFlags;
}

export type SettingKey = keyof typeof settingsSchema.shape;

export const SETTING_SOURCES: { readonly [K in SettingKey]: Source } = {
  host: { variables: [], flag: "host" },
  port: { variables: ["ORCHESTRATOR_PORT"], flag: "port" },
  log_dir: { variables: ["MADROX_LOG_DIR", "LOG_DIR"], flag: "logDir" },
  log_level: { variables: ["LOG_LEVEL"], flag: "logLevel" },
  audit_loggers: { variables: [] },
  journal: { variables: [] },
  audit_key_file: { variables: [] },
  allowed_hosts: { variables: [] },
  trust_default_origins: { variables: [] },
  http: { variables: [] },
  trace_url: { variables: [] },
};

interface OptionSource extends Source {
  readonly section: Section;
  readonly id: string;
  readonly option: string;
}

export const OPTION_SOURCES: readonly OptionSource[] = [
  { section: "receivers", id: "otlp", option: "port", variables: [], flag: "otlpPort" },
  {
    section: "exporters",
    id: "websocket",
    option: "max_connections",
    variables: ["MAX_WS_CONNECTIONS"],
  },
];

/** The settings that are given above the file. */
export function settingOverrides(sources: OverrideSources): Map<PropertyKey, Override> {
  return overridden(Object.entries(SETTING_SOURCES), sources);
}

/** The options of one component that are given above the file. */
export function optionOverrides(
  section: Section,
  id: string,
  sources: OverrideSources,
): Map<PropertyKey, Override> {
  const own = OPTION_SOURCES.filter((source) => source.section === section && source.id === id);
  return overridden(
    own.map((source) => [source.option, source]),
    sources,
  );
}

function overridden(
  keyed: readonly (readonly [string, Source])[],
  sources: OverrideSources,
): Map<PropertyKey, Override> {
  const overrides = new Map<PropertyKey, Override>();
  for (const [key, source] of keyed) {
    const override = overrideFrom(source, sources);
    if (override) overrides.set(key, override);
  }
  return overrides;
}

function overrideFrom(
  { variables, flag }: Source,
  { env, flags }: OverrideSources,
): Override | undefined {
  if (flag && flags[flag] !== undefined) return { value: flags[flag], place: FLAG_NAMES[flag] };
  for (const name of variables) {
    const text = env[name];
    // An empty variable is one that somebody switched off.
    if (text) return { value: new EnvironmentText(text), place: name };
  }
  return undefined;
}
