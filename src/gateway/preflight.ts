/** The checks of a configuration that need no running gateway, for `tailgate validate` and every start. */

import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { dirname, isAbsolute, join, resolve } from "node:path";
import { AUDIT_DIRECTORY } from "../audit/checkpoint-file.ts";
import { SigningKey, type KeyState } from "../audit/signing-key.ts";
import { readTokensFile, tokensFileAt } from "../auth/tokens/tokens-file.ts";
import type { Component, Config } from "../config/config.ts";
import { SECTIONS } from "../config/built-ins.ts";
import { formatPath, Problems } from "../config/problems.ts";
import { TailgateError, textOf } from "../wire/errors.ts";
import { Guard } from "../http/server/guard.ts";
import { checkSocketPath } from "../http/server/listeners.ts";
import { reservedPaths } from "../http/server/server.ts";
import { readTlsFiles } from "../tls/tls-files.ts";
import { checkFolder, checkLogDir } from "../runtime/log-dir.ts";
import { fixedListeners, rejectSelfExport, type ExportTarget } from "./self-export.ts";
import type { Plan, PluginDefinition } from "../plugin/index.ts";
import { within } from "../runtime/timers.ts";

export interface Preflight {
  /** The plans of the components, by their path, such as `exporters.otlp`. */
  readonly plans: ReadonlyMap<string, Plan>;
  /** A digest of the files that a component reads when it opens, by its path; absent if it reads none. */
  readonly files: ReadonlyMap<string, string>;
  /** The files that belong to the configuration: its own, those of plugins and TLS, and those that components read. */
  readonly paths: readonly string[];
  /** Undefined if the journal is in memory, where there is nothing to sign. */
  readonly auditKey: KeyState | undefined;
  /** Undefined without authentication. */
  readonly tokens: TokensState | undefined;
}

interface TokensState {
  readonly file: string;
  readonly isThere: boolean;
}

/** The time limit for a plan, the same as for opening a plugin. */
const PLAN_MS_MAX = 10_000;

/**
 * Checks the configuration as far as possible without opening, creating or sending anything. Only the start itself detects a
 * port that another program uses, problems with the journal's files, and those of plugins without a plan.
 * @throws TailgateError CONFIG_INVALID with all problems, one per line; LISTEN_FAILED, TLS_UNUSABLE,
 * LOG_DIR_UNUSABLE, AUDIT_KEY_UNUSABLE, AUDIT_KEY_NOT_CREATED, TOKENS_UNREADABLE, SENDS_TO_ITSELF or a plugin's own error if that is the only problem.
 */
export async function preflight(config: Config): Promise<Preflight> {
  const problems = new Problems();
  await collect(problems, "allowed_hosts", () => new Guard(config));
  const plans = await collectPlans(config, problems);
  rejectSharedPorts(config, plans, problems);
  rejectSharedPaths(plans, problems);
  const ports = [...plans.values()].flatMap((plan) => Object.values(plan.ports ?? {}));
  const listeners = fixedListeners(config.host, [config.port, ...ports]);
  await collect(problems, "exporters", () => rejectSelfExport(listTargets(plans), listeners));
  const { socket, tls } = config;
  await collect(problems, "listen", () => socket && checkSocketPath(socket.path));
  await collect(problems, "tls", () => tls && readTlsFiles(tls.files));
  await collect(problems, "log_dir", () => checkLogDir(config.logDir));
  const auditKey = await collect(problems, "audit_key_file", () => checkAuditKey(config));
  const tokens = await collect(problems, "auth.tokens_file", () => checkTokens(config));
  problems.throwIfAny(config.file ?? "The configuration");
  const paths = listFiles(config, plans);
  return { plans, files: await digestFiles(plans), paths, auditKey, tokens };
}

/** Runs a check, and adds what it throws as a problem at `place`. */
async function collect<Result>(
  problems: Problems,
  place: string,
  check: () => Result | Promise<Result>,
): Promise<Result | undefined> {
  try {
    return await check();
  } catch (error) {
    if (TailgateError.is(error)) problems.addError(place, error);
    else problems.add(place, textOf(error).replace(/\.$/, ""));
    return undefined;
  }
}

async function collectPlans(config: Config, problems: Problems): Promise<Map<string, Plan>> {
  const plans = new Map<string, Plan>();
  for (const section of SECTIONS) {
    for (const component of config[section]) {
      const place = formatPath([section, component.id]);
      const plan = await collect(problems, place, () => readPlan(component));
      if (plan !== undefined) plans.set(place, plan);
    }
  }
  return plans;
}

async function readPlan({
  definition,
  options,
}: Component<PluginDefinition>): Promise<Plan | undefined> {
  const late = `its plan took longer than ${PLAN_MS_MAX} ms`;
  return within(PLAN_MS_MAX, late, definition.plan?.(options));
}

function listFiles(config: Config, plans: ReadonlyMap<string, Plan>): string[] {
  const { file, tls } = config;
  const plugins = SECTIONS.flatMap((section) => config[section].map(({ use }) => use));
  const directory = file === undefined ? process.cwd() : dirname(file);
  return [
    ...(file === undefined ? [] : [file]),
    ...plugins.filter(isPath).map((path) => resolve(directory, path)),
    ...Object.values(tls?.files ?? {}).filter((path) => path !== undefined),
    ...[...plans.values()].flatMap(({ files = [] }) => files),
  ];
}

/** Returns whether `use` names a file, and not a package. */
function isPath(use: string | undefined): use is string {
  return use !== undefined && (use.startsWith(".") || isAbsolute(use));
}

/** The contents of files that cannot be read do not differ: opening their component reports them. */
async function digestFiles(plans: ReadonlyMap<string, Plan>): Promise<Map<string, string>> {
  const digests = new Map<string, string>();
  for (const [place, { files = [] }] of plans) {
    if (files.length === 0) continue;
    const hash = createHash("sha256");
    for (const path of files) {
      const content = await readFile(path).catch(() => "");
      hash.update(`${path}\0${content.length}\0`).update(content);
    }
    digests.set(place, hash.digest("hex"));
  }
  return digests;
}

function rejectSharedPorts(
  config: Config,
  plans: ReadonlyMap<string, Plan>,
  problems: Problems,
): void {
  const owners = new Map(config.port === null ? [] : [[config.port, "port"]]);
  for (const [component, { ports = {} }] of plans) {
    for (const [option, port] of Object.entries(ports)) {
      const place = `${component}.${option}`;
      const owner = port === 0 ? undefined : owners.get(port);
      const text = `${port} is the port of ${owner}; choose another, or 0 for a free port`;
      if (owner === undefined) owners.set(port, place);
      else problems.add(place, text);
    }
  }
}

function rejectSharedPaths(plans: ReadonlyMap<string, Plan>, problems: Problems): void {
  const owners = new Map(reservedPaths().map((path) => [path, "the gateway itself"]));
  for (const [component, { paths = [] }] of plans) {
    for (const path of paths) {
      const owner = owners.get(path);
      if (owner === undefined) owners.set(path, component);
      else problems.add(component, `it would serve ${path} on the main port, as ${owner} does`);
    }
  }
}

function listTargets(plans: ReadonlyMap<string, Plan>): ExportTarget[] {
  return [...plans].flatMap(([component, { targets = [] }]) =>
    targets.map((url) => ({ component, url })),
  );
}

async function checkAuditKey({
  journal,
  auditKeyFile: path,
  logDir,
}: Config): Promise<KeyState | undefined> {
  if (journal.engine === "memory") return undefined;
  await checkFolder(join(logDir, AUDIT_DIRECTORY));
  return SigningKey.check({ path, logDir });
}

async function checkTokens({ auth }: Config): Promise<TokensState | undefined> {
  if (auth === undefined) return undefined;
  const file = tokensFileAt(auth.tokensFile);
  return { file, isThere: (await readTokensFile(file)) !== undefined };
}
