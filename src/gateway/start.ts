import type { X509Certificate } from "node:crypto";
import { lstat, readdir, statfs } from "node:fs/promises";
import { dirname, join } from "node:path";
import { AUDIT_DIRECTORY } from "../audit/checkpoint-file.ts";
import { SigningKey } from "../audit/signing-key.ts";
import type { Config, TlsConfig } from "../config/config.ts";
import { Gateway } from "./gateway.ts";
import { hostLogger, lineLimiter, writeToStderr, type WriteLine } from "./host-log.ts";
import { Authentication } from "./authentication.ts";
import { DEFAULT_ORIGINS } from "../http/server/guard.ts";
import { HttpServer, type HttpSettings } from "../http/server/server.ts";
import { ClockFile, TrustedClock } from "../journal/trusted-clock.ts";
import type { HostLogger } from "../plugin/index.ts";
import type { Journal, Damage } from "../journal/journal.ts";
import { MemoryJournal } from "../journal/memory.ts";
import { SqliteJournal } from "../journal/sqlite.ts";
import { type AccessEvent, AccessTrail } from "../auth/access-trail.ts";
import { TokenWatch } from "../auth/tokens/token-changes.ts";
import type { TokenStore } from "../auth/tokens/token-store.ts";
import { whenAborted } from "../runtime/timers.ts";
import { Forwarding } from "../auth/proxies/public-base.ts";
import { prepareLogDir, volatileNotice } from "../runtime/log-dir.ts";
import { ServerTls } from "../tls/server-tls.ts";
import { loginLinks } from "../http/server/login-links.ts";
import { preflight } from "./preflight.ts";
import { Reloader } from "./reloader.ts";
import { startFacts } from "./start-facts.ts";
import { onProcessExit, keepAlive } from "./process-exit.ts";

export interface RunningTailgate {
  readonly gateway: Gateway;
  /** The URL of the dashboard, such as `http://127.0.0.1:8001`; `unix:` and a path if it has no port. */
  readonly url: string;
  /** The version, the files and the protection of the gateway: names and values. */
  readonly facts: readonly (readonly [string, string])[];
  /** What the gateway listens on, one line each. */
  readonly listeners: readonly string[];
  /** What the operator should know at the start, one line each. */
  readonly notices: readonly string[];
  /** Reads the files of `tls` again if they have changed. Without this call, that takes up to 30 seconds. */
  reloadCertificate(): Promise<void>;
  /** Applies what has changed in the configuration. Undefined without `resolve`. */
  readonly reloader: Pick<Reloader, "reload" | "files"> | undefined;
  /** Signs the first administrator in; undefined if there are tokens, or without `invitesAdmin`. */
  readonly invitation: Invitation | undefined;
  /** Shuts down within about ten seconds. Safe to call again. */
  stop(): Promise<void>;
}

/** Links that sign the first administrator in, with the same code at different addresses. */
export interface Invitation {
  readonly links: readonly string[];
  /** Where to write the links if nobody sees stderr: beside the tokens file. */
  readonly file: string;
}

export interface StartOptions {
  /** Writes the gateway's own log lines. Default: to stderr. */
  readonly write?: WriteLine;
  /** Whether the gateway keeps the process alive until it is stopped. Default true. */
  readonly keepsAlive?: boolean;
  /** Whether to create the first token if authentication is on and there is none. Default false. */
  readonly invitesAdmin?: boolean;
  /** Reads the configuration again, for reloads. Default: it cannot be reloaded. */
  readonly resolve?: () => Promise<Config>;
  /** Whether to write everything before a signal that nothing else handles ends the process. Default true. */
  readonly handlesSignals?: boolean;
}

/** Tells the operator which pages may reach the gateway although the configuration does not name them. */
const TRUST_TEXT = `Pages of ${DEFAULT_ORIGINS.join(" and ")} can read logs over the WebSocket. To reject them, set trust_default_origins: false.`;

const SERVED_TEXT = "(dashboard, /ws/logs, /api, /healthz, /readyz, /metrics)";

const TRAIL_CLOSE_MS_MAX = 1_000;
const HTTP_CLOSE_MS_MAX = 1_000;

async function openJournal(
  { journal, logDir }: Config,
  write: WriteLine,
  damaged: (damage: Damage) => void,
): Promise<Journal> {
  const lastMs = await readAuditFileTime(logDir);
  if (journal.engine === "memory") {
    const file = new ClockFile(logDir);
    return new MemoryJournal(undefined, new TrustedClock(file.read() ?? { lastMs }), file);
  }
  const log = hostLogger("tailgate.journal", write);
  return SqliteJournal.open({
    directory: logDir,
    retention: journal.retention,
    lastMs,
    alarm: (text, damage) => {
      log.error(text);
      if (damage !== undefined) damaged(damage);
    },
  });
}

/** Returns when an audit file was modified last, as a lower bound of the time for a journal that has none. */
async function readAuditFileTime(logDir: string): Promise<number | undefined> {
  const directory = join(logDir, AUDIT_DIRECTORY);
  const names = await readdir(directory).catch((): string[] => []);
  const changes = names.map(async (name) => {
    const stats = await lstat(join(directory, name)).catch(() => undefined);
    return stats?.isFile() ? stats.mtimeMs : -Infinity;
  });
  const lastMs = Math.max(...(await Promise.all(changes)));
  return lastMs === -Infinity ? undefined : lastMs;
}

async function openTls(
  { files, minVersion }: TlsConfig,
  { write, record }: { write: WriteLine; record: ((event: AccessEvent) => void) | undefined },
): Promise<ServerTls> {
  return ServerTls.open({
    files,
    minVersion,
    log: hostLogger("tailgate.tls", write),
    reloaded: (outcome) => record?.(reloadEvent(outcome)),
  });
}

function reloadEvent(outcome: X509Certificate | { readonly reason: string }): AccessEvent {
  if ("reason" in outcome) return { type: "certificate_rejected", reason: outcome.reason };
  const { subjectAltName: names, fingerprint256: fingerprint, validToDate } = outcome;
  const details = { names, fingerprint, valid_until: validToDate.toISOString() };
  return { type: "certificate_renewed", details };
}

/** Returns undefined for a journal in memory, which has no hash chain to sign. */
async function openAuditKey(config: Config, write: WriteLine): Promise<SigningKey | undefined> {
  const { journal, auditKeyFile: path, logDir } = config;
  if (journal.engine === "memory") return undefined;
  return SigningKey.open({ path, logDir, log: hostLogger("tailgate.audit", write) });
}

/**
 * Starts a gateway with its HTTP server. If it fails, nothing is left running.
 * @throws TailgateError CONFIG_INVALID for conflicts between components, TLS_UNUSABLE, LOG_DIR_UNUSABLE,
 * AUDIT_KEY_UNUSABLE, TOKENS_UNREADABLE, PORT_IN_USE, LISTEN_FAILED, PLUGIN_OPEN_FAILED and what plugins throw.
 */
export async function startTailgate(
  config: Config,
  options: StartOptions = {},
): Promise<RunningTailgate> {
  return keepAlive(start(config, options));
}

async function start(config: Config, options: StartOptions): Promise<RunningTailgate> {
  const { write = writeToStderr, keepsAlive = true, handlesSignals = true } = options;
  const checked = await preflight(config);
  await prepareLogDir(config.logDir);
  const { host, port, socket, trustsDefaultOrigins } = config;
  const { basePath = "", trustedProxies = [] } = config;
  const log = hostLogger("tailgate.http", write);
  const forwarding = new Forwarding({ trustedProxies, basePath, log });
  const trail = config.auth?.hasAccessTrail
    ? new AccessTrail({
        auditLoggers: config.auditLoggers,
        store: (event) => gateway.intake.acceptOwn(event),
        log: hostLogger("tailgate.access", write),
      })
    : undefined;
  const record = trail && ((event: AccessEvent) => trail.record(event));
  const auth =
    config.auth &&
    (await Authentication.open({ ...config, auth: config.auth }, { forwarding, write, record }));
  const tls = config.tls && (await openTls(config.tls, { write, record }));
  const server = new HttpServer({
    host,
    port,
    socket,
    tls,
    hstsSeconds: config.tls?.hstsSeconds,
    ...httpSettings(config),
    forwarding,
    log,
    keepsAlive,
    authenticator: auth?.authenticator,
    principalLimits: config.auth,
    signIn: auth?.signIn,
    tickets: auth?.tickets,
    access: trail && { trail, tokenIdOf: (request) => auth?.tokens.idOf(request) },
    metrics: auth?.tokens.metrics,
    suppressedLines: () => lineLimiter(write).suppressed,
  });
  const auditKey = await openAuditKey(config, write);
  const early: Damage[] = [];
  let damaged = (damage: Damage): void => void early.push(damage);
  const journal = await openJournal(config, write, (damage) => damaged(damage));
  const gateway = new Gateway(config, { http: server.plugins, tls, journal, auditKey, write });
  damaged = (damage) => gateway.damaged(damage);
  early.forEach(damaged);
  const undoAtEnd = onProcessExit({
    isForSignals: handlesSignals,
    hold: () => gateway.hold(),
    endSync: () => gateway.endSync(),
  });
  const stop = async (): Promise<void> => {
    server.stopAccepting();
    await Promise.race([trail?.close(), whenAborted(AbortSignal.timeout(TRAIL_CLOSE_MS_MAX))]);
    await gateway.stop();
    await server.close(AbortSignal.timeout(HTTP_CLOSE_MS_MAX));
    auth?.close();
    tls?.close();
    lineLimiter(write).flush();
    undoAtEnd();
  };
  try {
    await gateway.open();
    if (auth && trail) followTokens(auth.tokens, trail, journal);
    server.mount(gateway);
    await server.listen();
    tls?.watch();
    const urls = server.urls.map((one) => (one.startsWith("unix:") ? one : one + basePath));
    const url = urls[0]!;
    const listeners = [...urls.map((one) => `${one} ${SERVED_TEXT}`), ...gateway.listeners];
    const { type } = await statfs(config.logDir);
    const notices = [
      config.exposure &&
        `insecure: true: ${JSON.stringify(host)} is not a loopback address. ${config.exposure}`,
      volatileNotice(config.logDir, type),
      // With authentication, such pages need a ticket.
      trustsDefaultOrigins && auth === undefined ? TRUST_TEXT : undefined,
    ].filter((notice) => notice !== undefined);
    const invitation =
      auth && options.invitesAdmin
        ? await inviteAdmin(auth, config, { url, certificate: tls?.certificate, log })
        : undefined;
    const facts = startFacts(config, {
      tokens: auth?.tokens.size,
      certificate: tls?.certificate,
    });
    const { resolve } = options;
    const reloader =
      resolve &&
      new Reloader({
        config,
        checked,
        status: gateway.reloads,
        resolve,
        apply: async (next, changes) => {
          const before = new Set(gateway.listeners);
          await gateway.reload(next, changes);
          server.apply(httpSettings(next));
          const opened = gateway.listeners.filter((line) => !before.has(line));
          for (const line of opened) log.info(`Listening on ${line}`);
        },
        isIncomplete: () => gateway.isIncomplete,
        readFiles: async () => void (await Promise.all([tls?.reload(), auth?.tokens.reload()])),
        announce: (event) => gateway.intake.acceptOwn(event),
        log: hostLogger("tailgate.config", write),
      });
    let stopping: Promise<void> | undefined;
    return {
      gateway,
      url,
      facts,
      listeners,
      notices,
      reloadCertificate: async () => tls?.reload(),
      reloader,
      invitation,
      stop: () => (stopping ??= keepAlive(stop())),
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

function httpSettings({ allowedHosts, trustsDefaultOrigins, http: limits }: Config): HttpSettings {
  return { allowedHosts, trustsDefaultOrigins, limits };
}

/** The file of {@link Invitation}. */
const INVITATION_FILE = "login-link";

/** Without a token nobody could sign in; a gateway that cannot create one works with those that are added later. */
async function inviteAdmin(
  auth: Authentication,
  { host, allowedHosts, basePath = "" }: Config,
  {
    url,
    certificate,
    log,
  }: { url: string; certificate?: X509Certificate | undefined; log: HostLogger },
): Promise<Invitation | undefined> {
  try {
    const code = await auth.firstLoginCode();
    if (code === undefined) return undefined;
    return {
      links: loginLinks({
        url,
        host,
        allowedHosts,
        subjectAltName: certificate?.subjectAltName,
        basePath,
        code,
      }),
      file: join(dirname(auth.tokensFile), INVITATION_FILE),
    };
  } catch (error) {
    log.error("There are no tokens, and the first one could not be created:", error);
    return undefined;
  }
}

/** The owner of the journal's memory of the tokens. */
const TOKENS_OWNER = "auth/tokens";

function followTokens(tokens: TokenStore, trail: AccessTrail, journal: Journal): void {
  const watch = new TokenWatch({
    record: (event) => trail.record(event),
    recall: () => journal.memory(TOKENS_OWNER),
    // Without it, the next run records the same changes again.
    keep: (text) => void journal.saveMemory(TOKENS_OWNER, text).catch(() => {}),
  });
  tokens.follow((all) => watch.update(all));
}
