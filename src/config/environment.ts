import type { ScalarTag } from "yaml";
import { requireDependency } from "../runtime/package.ts";
import { formatPath, type ConfigPath, type Problems } from "./problems.ts";
import type { Section } from "./built-ins.ts";
import type { settingsSchema } from "./settings.ts";

export type Environment = Readonly<Record<string, string | undefined>>;

/** Matches `$${`, `${env:NAME}`, `${env:NAME:-default}`, and any other `${`, which is rejected. */
const SUBSTITUTION = /\$\$\{|\$\{env:([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}|\$\{/g;
/** The same without a closing brace after it: each search for one would scan the rest of the text. */
const UNCLOSED = /\$\$\{|\$\{/g;

/**
 * A value that consists of one substitution or one variable. It has the type that YAML gives to its text, unless the
 * option is a text: a password may consist of digits.
 */
export class EnvironmentText {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }

  get value(): unknown {
    return parseScalar(this.text);
  }
}

/**
 * Replaces `${env:NAME}` and `${env:NAME:-default}` in the texts of a parsed configuration, not in its keys; a value never
 * becomes structure. The default applies if the variable is unset or empty (POSIX, 2.6.2). `$${` is a literal `${`.
 */
export function substitute(
  value: unknown,
  environment: Environment,
  problems: Problems,
  path: ConfigPath = [],
): unknown {
  if (typeof value === "string") return substituteText(value, environment, problems, path);
  if (Array.isArray(value)) {
    return value.map((inner, index) => substitute(inner, environment, problems, [...path, index]));
  }
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, inner]) => [
      key,
      substitute(inner, environment, problems, [...path, key]),
    ]),
  );
}

function substituteText(
  text: string,
  environment: Environment,
  problems: Problems,
  path: ConfigPath,
): string | EnvironmentText {
  let isWhole = false;
  const replace = (match: string, name?: string, fallback?: string): string => {
    if (match === "$${") return "${";
    if (name === undefined) {
      problems.add(
        formatPath(path),
        "write a substitution as ${env:NAME} or ${env:NAME:-default}, and a literal ${ as $${",
      );
      return match;
    }
    isWhole = match.length === text.length;
    const value = environment[name];
    if (value === undefined && fallback === undefined) {
      problems.add(
        formatPath(path),
        `the environment variable ${name} is not set; set it, or add a default: \${env:${name}:-default}`,
      );
    }
    return value || (fallback ?? "");
  };
  const end = text.lastIndexOf("}") + 1;
  const result =
    text.slice(0, end).replaceAll(SUBSTITUTION, replace) +
    text.slice(end).replaceAll(UNCLOSED, (match) => replace(match));
  return isWhole ? new EnvironmentText(result) : result;
}

/** Parses a plain scalar of YAML's core schema (YAML 1.2.2, section 10.3.2). */
function parseScalar(text: string): unknown {
  // Loaded on demand, to save a start without a configuration the time.
  const { Document, isScalar } = requireDependency("yaml") as typeof import("yaml");
  const { tags } = new Document(null, { schema: "core" }).schema;
  const tag = tags.find(
    (one): one is ScalarTag => "test" in one && one.test !== undefined && one.test.test(text),
  );
  if (!tag) return text;
  const resolved: unknown = tag.resolve(text, () => undefined, {});
  return isScalar(resolved) ? resolved.value : resolved;
}

/** The flags of `tailgate run`, which override the file and the environment. */
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

interface Override {
  readonly value: unknown;
  readonly place: string;
}

export const FLAG_NAMES = {
  host: "--host",
  port: "--port",
  otlpPort: "--otlp-port",
  logDir: "--log-dir",
  logLevel: "--log-level",
} as const satisfies Record<keyof ConfigFlags, string>;

/** What can override a value of the file. The first variable that is set counts. */
export interface ValueSource {
  readonly variables?: readonly string[];
  readonly flag?: keyof ConfigFlags;
}

export const SETTING_SOURCES: { readonly [K in keyof typeof settingsSchema.shape]?: ValueSource } =
  {
    host: { flag: "host" },
    port: { variables: ["ORCHESTRATOR_PORT"], flag: "port" },
    log_dir: { variables: ["MADROX_LOG_DIR", "LOG_DIR"], flag: "logDir" },
    log_level: { variables: ["LOG_LEVEL"], flag: "logLevel" },
  };

interface OptionSource extends ValueSource {
  readonly section: Section;
  readonly id: string;
  readonly option: string;
}

export const OPTION_SOURCES: readonly OptionSource[] = [
  { section: "receivers", id: "otlp", option: "port", flag: "otlpPort" },
  {
    section: "exporters",
    id: "websocket",
    option: "max_connections",
    variables: ["MAX_WS_CONNECTIONS"],
  },
];

/** Returns the sources of one component's options, by option. */
export function optionSources(section: Section, id: string): Readonly<Record<string, ValueSource>> {
  const own = OPTION_SOURCES.filter((source) => source.section === section && source.id === id);
  return Object.fromEntries(own.map((source) => [source.option, source]));
}

export function readOverrides(
  valueSources: Readonly<Record<string, ValueSource>>,
  { env, flags }: OverrideSources,
): Map<PropertyKey, Override> {
  const overrides = new Map<PropertyKey, Override>();
  for (const [key, { variables = [], flag }] of Object.entries(valueSources)) {
    // An empty variable counts as unset.
    const name = variables.find((variable) => env[variable]);
    if (flag && flags[flag] !== undefined) {
      overrides.set(key, { value: flags[flag], place: FLAG_NAMES[flag] });
    } else if (name !== undefined) {
      overrides.set(key, { value: new EnvironmentText(env[name]!), place: name });
    }
  }
  return overrides;
}
