import { logs as apiLogs, type LoggerProvider } from "@opentelemetry/api";
import { logs as oldApiLogs } from "@opentelemetry/api-logs";
import { TailgateError } from "../wire/errors.ts";
import { LoggerRelay } from "./loggers.ts";
import { realpathSync } from "node:fs";
import module from "node:module";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { packageFile } from "../runtime/package.ts";

/** In which generation of the logs API Tailgate is the global provider. */
export interface Registration {
  /** `logs` of @opentelemetry/api. */
  readonly api: boolean;
  /** `logs` of @opentelemetry/api-logs, which the winston transport and older code use. */
  readonly apiLogs: boolean;
  /** One for each generation that has another provider, and for each copy of the API whose records do not arrive. */
  readonly problems: readonly TailgateError[];
  undo(): void;
}

/**
 * The provider behind the global APIs. There is one for the process, because loggers of these APIs stay with the first
 * provider that they get.
 */
export const GLOBAL_RELAY = new LoggerRelay();

export interface LoadedApis {
  readonly api: readonly ApiCopy[];
  readonly apiLogs: readonly ApiCopy[];
}

export async function findLoadedApis(): Promise<LoadedApis> {
  return {
    api: await findCopies("@opentelemetry/api", apiLogs),
    apiLogs: await findCopies("@opentelemetry/api-logs", oldApiLogs),
  };
}

/** Makes {@link GLOBAL_RELAY} the provider of both generations of the API, unless they have one. */
export function registerGlobally(loaded: LoadedApis): Registration {
  const api = register("@opentelemetry/api", loaded.api);
  const olderApi = register("@opentelemetry/api-logs", loaded.apiLogs);
  return {
    api: api.owner !== undefined,
    apiLogs: olderApi.owner !== undefined,
    problems: [...api.problems, ...olderApi.problems],
    undo: () => {
      api.owner?.disable();
      olderApi.owner?.disable();
    },
  };
}

/**
 * Registers the relay in all copies of one generation. They share the global provider, but loggers that a copy handed out
 * earlier wait for a provider that is registered through that copy. So the relay is registered and unregistered in each
 * copy, and finally registered in the first, the `owner`.
 */
function register(
  name: ApiName,
  copies: readonly ApiCopy[],
): { owner: LogsApi | undefined; problems: readonly TailgateError[] } {
  const isFree = !copies.some(isRelayRegistered);
  const registrable = isFree ? copies.filter(registerOnce) : [];
  const owner = registrable[0]?.logs;
  if (owner === undefined) return { owner, problems: [ownedByOther(name)] };
  owner.setGlobalLoggerProvider(GLOBAL_RELAY);
  const others = copies.filter((copy) => copy.path !== undefined && !registrable.includes(copy));
  return { owner, problems: others.map((copy) => otherVersion(name, copy)) };
}

function isRelayRegistered({ logs }: ApiCopy): boolean {
  return logs.getLoggerProvider() === GLOBAL_RELAY;
}

/** Returns false if another provider is registered, or the global belongs to another version of the API. */
function registerOnce(copy: ApiCopy): boolean {
  copy.logs.setGlobalLoggerProvider(GLOBAL_RELAY);
  const isRegistered = isRelayRegistered(copy);
  if (isRegistered) copy.logs.disable();
  return isRegistered;
}

function ownedByOther(name: ApiName): TailgateError {
  const text = `Records from logs.getLogger() of ${name} do not arrive, because another provider is registered.`;
  return new TailgateError("REGISTRATION_FAILED", text);
}

function otherVersion(name: ApiName, copy: ApiCopy): TailgateError {
  const when = isRelayRegistered(copy) ? " that was called before the start" : "";
  const text = `Records from logs.getLogger() of ${copy.path}${when} do not arrive, because it is a different version than the registered one. Run \`npm ls ${name}\` and install only one.`;
  return new TailgateError("REGISTRATION_FAILED", text);
}

/** The common part of both generations of the logs API. */
interface LogsApi {
  /** Returns false, or the earlier provider, if there was one. */
  setGlobalLoggerProvider(provider: LoggerProvider): unknown;
  getLoggerProvider(): unknown;
  disable(): void;
}

type ApiName = "@opentelemetry/api" | "@opentelemetry/api-logs";

interface ApiCopy {
  readonly logs: LogsApi;
  /** The path of the module; undefined for the copy that Tailgate imports. */
  readonly path: string | undefined;
}

/**
 * Returns the copies of a package of the API that loggers may come from: the one that the program imports, the one that
 * Tailgate imports, those that CommonJS has loaded, and those in the same bundle. A package is loaded twice if it is both
 * imported and required, and it can be installed more than once.
 */
async function findCopies(name: ApiName, own: LogsApi): Promise<readonly ApiCopy[]> {
  const found = [
    ...(await findImportedCopy(name)),
    { logs: own, path: undefined },
    ...findRequiredCopies(name),
    ...(name === "@opentelemetry/api" ? findBundledCopies() : []),
  ];
  return found.filter(({ logs }, index) => found.findIndex((one) => one.logs === logs) === index);
}

/** CommonJS has one module cache per process. */
const { cache } = module.createRequire(process.execPath);

function findRequiredCopies(name: ApiName): ApiCopy[] {
  const paths = Object.keys(cache).filter((path) => packageDirectory(path, name) !== undefined);
  return paths.flatMap((path) => toCopies(cache[path]?.exports, path));
}

/** Returns the copy that the bundle requires, if this code is bundled. */
function findBundledCopies(): ApiCopy[] {
  try {
    // Resolved by the bundler. An ES module that is not bundled has no `require`.
    return toCopies(require("@opentelemetry/api"), "this bundle");
  } catch {
    return [];
  }
}

/** Returns the copy that the program's main module imports, if it is not the one that Tailgate imports. */
async function findImportedCopy(name: ApiName): Promise<ApiCopy[]> {
  const main = realMainPath();
  try {
    const path = module.createRequire(main).resolve(name);
    if (packageDirectory(path, name) === ownDirectory(name)) return [];
    const { resolve } = await import("import-meta-resolve");
    const url = resolve(name, pathToFileURL(main).href);
    return toCopies(await import(url), fileURLToPath(url));
  } catch {
    // It is not installed there.
    return [];
  }
}

function realMainPath(): string {
  try {
    return realpathSync(process.argv[1]!);
  } catch {
    // With `node --eval` there is none.
    return join(process.cwd(), "main.js");
  }
}

function ownDirectory(name: ApiName): string | undefined {
  const { resolve } = module.createRequire(packageFile("package.json"));
  return packageDirectory(resolve(name), name);
}

/** Returns the directory of the package that contains a module; undefined if that is another package. */
function packageDirectory(path: string, name: ApiName): string | undefined {
  const end = `/node_modules/${name}/`;
  const start = path.replaceAll("\\", "/").lastIndexOf(end);
  return start < 0 ? undefined : path.slice(0, start + end.length);
}

/** Returns none if the module has no `logs`, such as an inner file of the package. */
function toCopies(exported: unknown, path: string): ApiCopy[] {
  const { logs } = (exported ?? {}) as { logs?: Partial<LogsApi> };
  return typeof logs?.setGlobalLoggerProvider === "function"
    ? [{ logs: logs as LogsApi, path }]
    : [];
}
