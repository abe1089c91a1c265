import { resolve } from "node:path";
import { SECTIONS, type Section } from "./built-ins.ts";
import {
  resolveSection,
  type Component,
  type ExporterComponent,
  type ProcessorComponent,
  refuseSharedFiles,
} from "./components.ts";
import { readConfigFile, type ConfigFileSource } from "./config-file.ts";
import { formatPath, Problems, type Path } from "./problems.ts";
import {
  FLAG_NAMES,
  OPTION_SOURCES,
  settingOverrides,
  type ConfigFlags,
  type OverrideSources,
  substituted,
} from "./environment.ts";
import { httpSchema, settingsSchema, type journalSchema } from "./settings.ts";
import { isMapping, validated, withoutExtensions, type Mapping } from "./validation.ts";
import type { EnvelopeType, Level } from "../wire/envelope.ts";
import { TailgateError } from "../wire/errors.ts";
import { checkPackage } from "../runtime/package.ts";
import type { ReceiverDefinition, z } from "../plugin/index.ts";
import { BlockList, isIP } from "node:net";

export type { Component, ExporterComponent, OnError, ProcessorComponent } from "./components.ts";
export type { ConfigFlags } from "./environment.ts";

/** What the gateway runs with: complete, checked and frozen. */
export interface Config {
  /** Absolute path of the file that it was read from; absent where there was none. */
  readonly file?: string;
  readonly host: string;
  readonly port: number;
  readonly logDir: string;
  readonly logLevel: Level;
  /** The loggers whose records, and whose children's, are audit events. Default: `orchestrator.audit`. */
  readonly auditLoggers?: readonly string[];
  /** Names beside loopback's and `host` under which browsers may reach the gateway. */
  readonly allowedHosts: readonly string[];
  /** Whether pages of the original system's frontend may reach it, too. */
  readonly trustsDefaultOrigins: boolean;
  readonly http: HttpConfig;
  /** With `{trace_id}` in it; undefined where there is nothing that shows traces. */
  readonly traceUrl: string | undefined;
  readonly journal: JournalConfig;
  /** Absolute path of the private key for checkpoints; undefined where the default one is to be taken. */
  readonly auditKeyFile: string | undefined;
  readonly receivers: readonly Component<ReceiverDefinition>[];
  readonly processors: readonly ProcessorComponent[];
  readonly exporters: readonly ExporterComponent[];
  /** All settings beside the sections as a file would say them, for `tailgate validate`. */
  readonly settings?: Mapping;
}

/** Limits of the HTTP server. */
export interface HttpConfig {
  /** Open connections to one port, WebSockets aside. */
  readonly connectionsMax: number;
  readonly connectionsPerAddressMax: number;
  /** What answers that are not read yet may hold together. */
  readonly answerBytesMax: number;
  /** How long a client may read nothing of its answer. */
  readonly writeTimeoutMs: number;
  /** Searches of the journal that run at the same time, and that wait for it. */
  readonly searchesMax: number;
  readonly queuedSearchesMax: number;
}

/** Where records are kept, and for how long. */
interface JournalConfig {
  readonly engine: "sqlite" | "memory";
  /** For each type of record what is kept: in bytes on the disk, and in milliseconds. */
  readonly retention: Readonly<
    Record<EnvelopeType, { readonly bytes: number; readonly ms: number }>
  >;
}

export interface ConfigSources extends ConfigFileSource, OverrideSources {
  /**
   * What holds where nothing is said. `embedded`, for LoggingManager, has no receivers and takes no file that was
   * not named: a file for a gateway of its own may happen to be in the working directory.
   */
  readonly base?: "standalone" | "embedded";
  /** Sections that a program gives instead of the file's. Their texts are taken as they are, without substitution. */
  readonly document?: { readonly [S in Section | "journal"]?: Mapping | undefined } & {
    readonly audit_loggers?: readonly string[] | undefined;
  };
}

const DEFAULT_EXPORTERS = { websocket: {}, file: {}, "audit-file": {}, console: {} };

/** The sections that nothing else gives. A section that is given replaces the one here, it is not added to it. */
const DEFAULT_SECTIONS = {
  standalone: { receivers: { otlp: {} }, processors: {}, exporters: DEFAULT_EXPORTERS },
  embedded: { receivers: {}, processors: {}, exporters: DEFAULT_EXPORTERS },
};

/** A key whose lines below are all commented out: hardly anybody wants to get nothing of what is logged. */
const NO_EXPORTERS =
  "it is empty; name exporters below it, remove it to have the default ones, or write {} to have none";

/**
 * Puts the configuration together: defaults < file < environment < flags.
 * @throws TailgateError PACKAGE_INCOMPLETE; CONFIG_UNREADABLE; CONFIG_INVALID with all problems, one a line; BIND_REFUSED,
 * PLUGIN_NOT_FOUND, PLUGIN_INVALID or PLUGIN_API_MISMATCH where that is the only one.
 */
export async function resolveConfig(sources: ConfigSources): Promise<Config> {
  checkPackage();
  const { base = "standalone", document = {}, env } = sources;
  const file = await readConfigFile(sources, { takesDefaultFile: base === "standalone" });
  const problems = new Problems();
  const own = withoutExtensions(file.values);
  const values = { ...(substituted(own, env, problems) as Mapping), ...given(document) };
  const settings = await resolveSettings(values, sources, problems);

  const context = { directory: file.directory, sources, problems };
  const sections: Mapping = { ...DEFAULT_SECTIONS[base], ...values };
  const receivers = await resolveSection("receivers", sections.receivers, context);
  const processors = await resolveSection("processors", sections.processors, context);
  const exporters = await resolveSection("exporters", sections.exporters, context);
  if (sections.exporters === null) problems.add("exporters", NO_EXPORTERS);
  refuseIdleFlags(sections, sources.flags, problems);
  refuseSharedFiles(exporters, problems);
  problems.throwIfAny(file.path ?? "The configuration");
  return frozen({
    ...(file.path !== undefined && { file: file.path }),
    ...settings!, // undefined only together with a problem
    receivers,
    processors,
    exporters,
  });
}

type Settings = Omit<Config, "file" | Section>;

async function resolveSettings(
  values: Mapping,
  sources: ConfigSources,
  problems: Problems,
): Promise<Settings | undefined> {
  const settings = new Map(Object.entries(values));
  const overrides = settingOverrides(sources);
  for (const [key, { value }] of overrides) settings.set(String(key), value);
  const place = (path: Path): string => overrides.get(path[0] ?? "")?.place ?? formatPath(path);
  const context = { place, otherKeys: SECTIONS, problems };
  const checked = await validated(settingsSchema, Object.fromEntries(settings), context);
  if (!checked) return undefined;
  const { host, port } = checked;
  if (!isLoopback(host)) problems.addError(place(["host"]), bindRefused(place(["host"]), host));
  const logDir = resolve(sources.cwd, checked.log_dir);
  const auditKeyFile = checked.audit_key_file && resolve(sources.cwd, checked.audit_key_file);
  return {
    host,
    port,
    logDir,
    logLevel: checked.log_level,
    auditLoggers: checked.audit_loggers,
    allowedHosts: checked.allowed_hosts,
    trustsDefaultOrigins: checked.trust_default_origins,
    http: httpConfig(checked.http),
    traceUrl: checked.trace_url,
    journal: journalConfig(checked.journal),
    auditKeyFile,
    settings: {
      ...checked,
      log_dir: logDir,
      ...(auditKeyFile !== undefined && { audit_key_file: auditKeyFile }),
    },
  };
}

function httpConfig(checked: z.output<typeof httpSchema>): HttpConfig {
  return {
    connectionsMax: checked.max_connections,
    connectionsPerAddressMax: checked.max_connections_per_address,
    answerBytesMax: checked.max_answer_bytes,
    writeTimeoutMs: 1000 * checked.write_timeout_seconds,
    searchesMax: checked.max_searches,
    queuedSearchesMax: checked.max_queued_searches,
  };
}

/** What holds where the configuration says nothing. */
export const HTTP_DEFAULTS: HttpConfig = httpConfig(httpSchema.parse({}));

const DAY_MS = 86_400_000;

function journalConfig(checked: z.output<typeof journalSchema>): JournalConfig {
  const system = { bytes: checked.system_bytes, ms: checked.system_days * DAY_MS };
  const audit = { bytes: checked.audit_bytes, ms: checked.audit_days * DAY_MS };
  return { engine: checked.engine, retention: { system_log: system, audit_log: audit } };
}

function bindRefused(place: string, host: string): TailgateError {
  return new TailgateError(
    "BIND_REFUSED",
    `${place}: ${JSON.stringify(host)} is not a loopback address, and whoever reaches the port could read and write logs.`,
  );
}

/** A flag for a component that is not there would say nothing and do nothing. */
function refuseIdleFlags(sections: Mapping, flags: ConfigFlags, problems: Problems): void {
  for (const { section, id, flag } of OPTION_SOURCES) {
    if (flag === undefined || flags[flag] === undefined) continue;
    const components = sections[section];
    if (isMapping(components) && Object.hasOwn(components, id)) continue;
    problems.add(FLAG_NAMES[flag], `the configuration has no ${section}.${id}`);
  }
}

function given(values: Mapping): Mapping {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined));
}

/** Freezes what is the configuration's own; definitions and whatever else a plugin's options hold are not. */
function frozen<T>(value: T): T {
  if (!Array.isArray(value) && !isMapping(value)) return value;
  for (const [key, inner] of Object.entries(value)) {
    if (key !== "definition") frozen(inner);
  }
  return Object.freeze(value);
}

const LOOPBACK = new BlockList();
LOOPBACK.addSubnet("127.0.0.0", 8, "ipv4");
LOOPBACK.addAddress("::1", "ipv6");

/**
 * True for 127.0.0.0/8, ::1 and localhost. A name is not looked up: what it stands for may change after the check
 * (RFC 6761, 6.3 fixes localhost alone). Nor is a zone, as in `::1%lo`: whether there is one is known to the system only.
 */
export function isLoopback(host: string): boolean {
  if (host.includes("%")) return false;
  const version = isIP(host);
  if (version === 0) return host.toLowerCase() === "localhost";
  return LOOPBACK.check(host, version === 4 ? "ipv4" : "ipv6");
}
