import { resolve } from "node:path";
import { SECTIONS, type Section } from "./built-ins.ts";
import {
  resolveSection,
  type ComponentContext,
  type ExporterComponent,
  type ProcessorComponent,
  type ReceiverComponent,
  rejectSharedFiles,
} from "./components.ts";
import { readConfigFile, type ConfigFileSource } from "./config-file.ts";
import { formatPath, Problems, type ConfigPath } from "./problems.ts";
import {
  FLAG_NAMES,
  OPTION_SOURCES,
  readOverrides,
  SETTING_SOURCES,
  type ConfigFlags,
  type OverrideSources,
  substitute,
} from "./environment.ts";
import {
  httpSchema,
  settingsSchema,
  type authSchema,
  type journalSchema,
  type tlsSchema,
} from "./settings.ts";
import {
  isMapping,
  validate,
  withoutExtensions,
  withoutUndefined,
  type Mapping,
} from "./validation.ts";
import type { EnvelopeType, Level } from "../wire/envelope.ts";
import { TailgateError } from "../wire/errors.ts";
import { followServiceLink } from "../runtime/log-dir.ts";
import { checkPackage } from "../runtime/package.ts";
import { SOCKET_PATH_BYTES_MAX } from "../runtime/unix-socket.ts";
import type { TlsFiles } from "../tls/tls-files.ts";
import type { z } from "../plugin/index.ts";
import { BlockList, isIP } from "node:net";

export type {
  Component,
  ExporterComponent,
  OnError,
  ProcessorComponent,
  ReceiverComponent,
} from "./components.ts";
export type { ConfigFlags } from "./environment.ts";

/** The complete configuration of a gateway, validated and frozen. */
export interface Config {
  /** The absolute path of the configuration file; absent if there is none. */
  readonly file?: string;
  readonly host: string;
  /** Null for no port: everything is served on the Unix socket. */
  readonly port: number | null;
  /** The Unix socket that serves the same as `port`. */
  readonly socket?: SocketConfig | undefined;
  readonly tls?: TlsConfig | undefined;
  /** What `host` lacks because of `insecure: true`, as a sentence; undefined if it lacks nothing. */
  readonly exposure?: string | undefined;
  readonly logDir: string;
  readonly logLevel: Level;
  /** Loggers whose records, and those of their children, are audit events. Default: `orchestrator.audit`. */
  readonly auditLoggers?: readonly string[];
  /** The attributes of the resource that envelopes have. Default: none. */
  readonly resourceAttributes?: readonly string[];
  /** Names, besides loopback and `host`, under which browsers may reach the gateway. */
  readonly allowedHosts: readonly string[];
  /** Whether pages of the original system's frontend may reach the gateway. */
  readonly trustsDefaultOrigins: boolean;
  /** Undefined if the gateway runs without authentication. */
  readonly auth?: AuthConfig | undefined;
  /** "" or the path below which the gateway serves everything, such as `/tailgate`. */
  readonly basePath?: string;
  /** Addresses and networks of proxies whose `X-Forwarded-*` headers count. */
  readonly trustedProxies?: readonly string[];
  readonly http: HttpConfig;
  /** A URL that contains `{trace_id}`; undefined if nothing displays traces. */
  readonly traceUrl: string | undefined;
  readonly journal: JournalConfig;
  /** The absolute path of the private key for checkpoints; undefined for the default path. */
  readonly auditKeyFile: string | undefined;
  readonly receivers: readonly ReceiverComponent[];
  readonly processors: readonly ProcessorComponent[];
  readonly exporters: readonly ExporterComponent[];
  /** All settings other than the sections, as in a file, for `tailgate validate`. */
  readonly settings?: Mapping;
}

export interface AuthConfig {
  /** The absolute path of the tokens file; undefined for the default path. */
  readonly tokensFile: string | undefined;
  /** Whether the use of the gateway is recorded in the audit trail. */
  readonly hasAccessTrail: boolean;
  readonly connectionsPerPrincipalMax: number | undefined;
  /** The average rate of ingest of one principal, in bytes after decompression. */
  readonly ingestBytesPerSecondPerPrincipal: number | undefined;
  /** Users whom a trusted proxy has authenticated; undefined if there are none. */
  readonly proxy?: ProxyUsersConfig | undefined;
  /** What clients with a certificate may do, by its name or fingerprint. */
  readonly certificates?: Readonly<Record<string, GrantConfig>>;
  readonly sessions: {
    /** How long a session may be unused, and how long it lasts at most. */
    readonly idleMs: number;
    readonly absoluteMs: number;
    readonly survivesRestart: boolean;
  };
}

/** The headers by which a proxy names its users, and what they may do. */
interface ProxyUsersConfig {
  readonly userHeader: string;
  readonly groupsHeader: string | undefined;
  readonly groups: Readonly<Record<string, GrantConfig>>;
  readonly users: Readonly<Record<string, GrantConfig>>;
}

interface GrantConfig {
  readonly scopes: readonly string[];
  readonly filter?: string | undefined;
}

export interface SocketConfig {
  readonly path: string;
  /** The permission bits of the socket. */
  readonly mode: number;
}

export interface TlsConfig {
  readonly files: TlsFiles;
  readonly minVersion: "TLSv1.2" | "TLSv1.3";
  /** For `Strict-Transport-Security`; 0 to send none. */
  readonly hstsSeconds: number;
}

export interface HttpConfig {
  /** The maximum number of open connections to one port, without WebSockets. */
  readonly connectionsMax: number;
  readonly connectionsPerAddressMax: number;
  readonly webSocketsPerAddressMax: number | undefined;
  /** The average rate of ingest of one address, in bytes after decompression. */
  readonly ingestBytesPerSecondPerAddress: number | undefined;
  /** The memory of all responses that clients have not read yet, in bytes. */
  readonly answerBytesMax: number;
  /** How long a client may read nothing of its response. */
  readonly writeTimeoutMs: number;
  /** The maximum number of searches of the journal that run, and that wait. */
  readonly searchesMax: number;
  readonly queuedSearchesMax: number;
}

interface JournalConfig {
  readonly engine: "sqlite" | "memory";
  /** The retention policy of each type of record: bytes on disk, and age in milliseconds. */
  readonly retention: Readonly<
    Record<EnvelopeType, { readonly bytes: number; readonly ms: number }>
  >;
}

export interface ConfigSources extends ConfigFileSource, OverrideSources {
  /**
   * The defaults. `embedded`, for LoggingManager, has no receivers and ignores `tailgate.yaml` in the working directory,
   * which may belong to a standalone gateway.
   */
  readonly base?: "standalone" | "embedded";
  /** Sections that replace those of the file. Their texts are used as they are, without substitution. */
  readonly document?: { readonly [S in Section | "journal"]?: Mapping | undefined } & {
    readonly audit_loggers?: readonly string[] | undefined;
  };
}

const DEFAULT_EXPORTERS = { websocket: {}, file: {}, "audit-file": {}, console: {} };

/** The default sections. A configured section replaces the default one; they are not merged. */
const DEFAULT_SECTIONS = {
  standalone: { receivers: { otlp: {} }, processors: {}, exporters: DEFAULT_EXPORTERS },
  embedded: { receivers: {}, processors: {}, exporters: DEFAULT_EXPORTERS },
};

/** For `exporters:` with nothing below it, usually because all lines are commented out. */
const NO_EXPORTERS =
  "it is empty; list exporters below it, remove it to get the default ones, or write {} to have none";

/**
 * Resolves the configuration: defaults < file < environment < flags.
 * @throws TailgateError PACKAGE_INCOMPLETE; CONFIG_UNREADABLE; CONFIG_INVALID with all problems, one per line;
 * BIND_REFUSED, PLUGIN_NOT_FOUND, PLUGIN_INVALID or PLUGIN_API_MISMATCH if that is the only problem.
 */
export async function resolveConfig(sources: ConfigSources): Promise<Config> {
  checkPackage();
  const { base = "standalone", document = {}, env } = sources;
  const file = await readConfigFile(sources, { usesDefaultFile: base === "standalone" });
  const problems = new Problems();
  const own = withoutExtensions(file.values);
  const values = { ...(substitute(own, env, problems) as Mapping), ...withoutUndefined(document) };
  const context = { directory: file.directory, sources, problems };
  const settings = await resolveSettings(values, context);

  const sections: Mapping = { ...DEFAULT_SECTIONS[base], ...values };
  const receivers = await resolveSection("receivers", sections.receivers, context);
  const processors = await resolveSection("processors", sections.processors, context);
  const exporters = await resolveSection("exporters", sections.exporters, context);
  if (sections.exporters === null) problems.add("exporters", NO_EXPORTERS);
  rejectUnusedFlags(sections, sources.flags, problems);
  rejectSharedFiles(exporters, problems);
  problems.throwIfAny(file.path ?? "The configuration");
  return deepFreeze({
    ...(file.path !== undefined && { file: file.path }),
    ...settings!, // undefined only if there is a problem
    receivers,
    processors,
    exporters,
  });
}

type Settings = Omit<Config, "file" | Section>;

async function resolveSettings(
  values: Mapping,
  { directory, sources, problems }: ComponentContext & { readonly sources: ConfigSources },
): Promise<Settings | undefined> {
  const settings = new Map(Object.entries(values));
  const overrides = readOverrides(SETTING_SOURCES, sources);
  for (const [key, { value }] of overrides) settings.set(String(key), value);
  const place = (path: ConfigPath): string =>
    overrides.get(path[0] ?? "")?.place ?? formatPath(path);
  const context = { place, otherKeys: SECTIONS, problems };
  const checked = await validate(settingsSchema, Object.fromEntries(settings), context);
  if (!checked) return undefined;
  const { host, port } = checked;
  const risk = isLoopback(host)
    ? undefined
    : bindRisk({ hasAuth: checked.auth !== undefined, hasTls: checked.tls !== undefined });
  if (risk !== undefined && !checked.insecure) {
    const text = `${place(["host"])}: ${JSON.stringify(host)} is not a loopback address. ${risk}`;
    problems.addError(place(["host"]), new TailgateError("BIND_REFUSED", text));
  }
  const socket = socketConfig(checked, directory, problems);
  if (port === null && socket === undefined) {
    problems.add(place(["port"]), "null needs listen: else nothing could reach the gateway");
  }
  const tls = checked.tls && tlsConfig(checked.tls, directory);
  rejectUselessCertificates(checked, problems);
  if (checked.auth?.proxy && checked.trusted_proxies.length === 0 && socket === undefined) {
    problems.add("auth.proxy", "it needs trusted_proxies or listen: else nobody's headers count");
  }
  const logDir = followServiceLink(resolve(sources.cwd, checked.log_dir), sources.env);
  const auditKeyFile = checked.audit_key_file && resolve(sources.cwd, checked.audit_key_file);
  const tokensFile = checked.auth?.tokens_file && resolve(directory, checked.auth.tokens_file);
  return {
    host,
    port,
    socket,
    tls,
    exposure: risk,
    logDir,
    logLevel: checked.log_level,
    auditLoggers: checked.audit_loggers,
    resourceAttributes: checked.envelope.resource_attributes,
    allowedHosts: checked.allowed_hosts,
    trustsDefaultOrigins: checked.trust_default_origins,
    auth: checked.auth && authConfig(checked.auth, tokensFile),
    basePath: checked.base_path,
    trustedProxies: checked.trusted_proxies,
    http: httpConfig(checked.http),
    traceUrl: checked.trace_url,
    journal: journalConfig(checked.journal),
    auditKeyFile,
    settings: {
      ...checked,
      base_path: checked.base_path || "/",
      log_dir: logDir,
      ...(socket !== undefined && { listen: `unix:${socket.path}` }),
      ...(tls !== undefined && {
        tls: { ...checked.tls, ...withoutUndefined(filesAsOptions(tls.files)) },
      }),
      ...(auditKeyFile !== undefined && { audit_key_file: auditKeyFile }),
      ...(tokensFile !== undefined && { auth: { ...checked.auth, tokens_file: tokensFile } }),
    },
  };
}

function proxyUsersConfig(
  checked: z.output<typeof authSchema>["proxy"],
): ProxyUsersConfig | undefined {
  if (checked === undefined) return undefined;
  const { user_header: userHeader, groups_header: groupsHeader, groups, users } = checked;
  return { userHeader, groupsHeader, groups, users };
}

/** What is at stake on an address other than loopback; undefined if nothing is missing. */
function bindRisk({ hasAuth, hasTls }: { hasAuth: boolean; hasTls: boolean }): string | undefined {
  if (hasAuth && hasTls) return undefined;
  if (hasAuth) return "Without TLS, tokens and logs cross the network in clear text.";
  return hasTls
    ? "Without authentication, anyone who can reach the port can read and write logs."
    : "Without authentication and TLS, anyone who can reach the port can read and write logs, and logs cross the network in clear text.";
}

const SOCKET_PREFIX = "unix:";

function socketConfig(
  { listen, listen_mode: mode }: z.output<typeof settingsSchema>,
  directory: string,
  problems: Problems,
): SocketConfig | undefined {
  if (listen === undefined) return undefined;
  const path = resolve(directory, listen.slice(SOCKET_PREFIX.length));
  const bytes = Buffer.byteLength(path);
  if (bytes > SOCKET_PATH_BYTES_MAX) {
    const text = `the path of a socket must not be longer than ${SOCKET_PATH_BYTES_MAX} bytes; ${path} has ${bytes}`;
    problems.add("listen", text);
  }
  return { path, mode: Number.parseInt(mode, 8) };
}

function tlsConfig(checked: z.output<typeof tlsSchema>, directory: string): TlsConfig {
  const { certificate, key, client_ca: clientCa, min_version: minVersion } = checked;
  return {
    files: {
      certificate: resolve(directory, certificate),
      key: resolve(directory, key),
      clientCa: clientCa === undefined ? undefined : resolve(directory, clientCa),
    },
    minVersion: `TLSv${minVersion}`,
    hstsSeconds: checked.hsts_seconds,
  };
}

/** Nothing else tells what clients with a certificate may do. Without it they would have no need for one. */
function rejectUselessCertificates(
  { auth, tls }: z.output<typeof settingsSchema>,
  problems: Problems,
): void {
  const hasAuthority = tls?.client_ca !== undefined;
  const hasGrants = Object.keys(auth?.certificates ?? {}).length > 0;
  if (hasAuthority && !hasGrants) {
    const why = "clients with and without a certificate could do the same";
    problems.add("tls.client_ca", `it needs auth.certificates: else ${why}`);
  }
  if (hasGrants && !hasAuthority) problems.add("auth.certificates", "it needs tls.client_ca");
}

function filesAsOptions({ certificate, key, clientCa }: TlsFiles): Mapping {
  return { certificate, key, client_ca: clientCa };
}

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;

function authConfig(
  checked: z.output<typeof authSchema>,
  tokensFile: string | undefined,
): AuthConfig {
  return {
    tokensFile,
    hasAccessTrail: checked.access_trail,
    connectionsPerPrincipalMax: checked.max_connections_per_principal ?? undefined,
    ingestBytesPerSecondPerPrincipal:
      checked.max_ingest_bytes_per_second_per_principal ?? undefined,
    proxy: proxyUsersConfig(checked.proxy),
    certificates: checked.certificates,
    sessions: {
      idleMs: checked.sessions.idle_minutes * MINUTE_MS,
      absoluteMs: checked.sessions.absolute_hours * HOUR_MS,
      survivesRestart: checked.sessions.survive_restart,
    },
  };
}

function httpConfig(checked: z.output<typeof httpSchema>): HttpConfig {
  return {
    connectionsMax: checked.max_connections,
    connectionsPerAddressMax: checked.max_connections_per_address,
    webSocketsPerAddressMax: checked.max_websockets_per_address ?? undefined,
    ingestBytesPerSecondPerAddress: checked.max_ingest_bytes_per_second_per_address ?? undefined,
    answerBytesMax: checked.max_answer_bytes,
    writeTimeoutMs: 1000 * checked.write_timeout_seconds,
    searchesMax: checked.max_searches,
    queuedSearchesMax: checked.max_queued_searches,
  };
}

export const HTTP_DEFAULTS: HttpConfig = httpConfig(httpSchema.parse({}));

const DAY_MS = 86_400_000;

function journalConfig(checked: z.output<typeof journalSchema>): JournalConfig {
  const system = { bytes: checked.system_bytes, ms: checked.system_days * DAY_MS };
  const audit = { bytes: checked.audit_bytes, ms: checked.audit_days * DAY_MS };
  return { engine: checked.engine, retention: { system_log: system, audit_log: audit } };
}

/** A flag for a component that is not configured would have no effect. */
function rejectUnusedFlags(sections: Mapping, flags: ConfigFlags, problems: Problems): void {
  for (const { section, id, flag } of OPTION_SOURCES) {
    if (flag === undefined || flags[flag] === undefined) continue;
    const components = sections[section];
    if (isMapping(components) && Object.hasOwn(components, id)) continue;
    problems.add(FLAG_NAMES[flag], `the configuration has no ${section}.${id}`);
  }
}

/** Freezes the configuration, except plugin definitions and class instances in plugin options. */
function deepFreeze<T>(value: T): T {
  if (!Array.isArray(value) && !isMapping(value)) return value;
  for (const [key, inner] of Object.entries(value)) {
    if (key !== "definition") deepFreeze(inner);
  }
  return Object.freeze(value);
}

const LOOPBACK = new BlockList();
LOOPBACK.addSubnet("127.0.0.0", 8, "ipv4");
LOOPBACK.addAddress("::1", "ipv6");

/**
 * Returns true for 127.0.0.0/8, ::1 and localhost. Other names are not resolved, because they may resolve differently
 * after the check; only localhost is fixed (RFC 6761, section 6.3). Zones, as in `::1%lo`, are rejected because only the
 * system knows them.
 */
export function isLoopback(host: string): boolean {
  if (host.includes("%")) return false;
  const version = isIP(host);
  if (version === 0) return host.toLowerCase() === "localhost";
  return LOOPBACK.check(host, version === 4 ? "ipv4" : "ipv6");
}
