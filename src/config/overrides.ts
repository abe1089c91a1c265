import type { Section } from "./built-ins.ts";
import type { settingsSchema } from "./settings.ts";
import { EnvironmentText, type Environment } from "./substitution.ts";

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
