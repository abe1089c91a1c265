import { logs as apiLogs, type LoggerProvider } from "@opentelemetry/api";
import { logs as oldApiLogs } from "@opentelemetry/api-logs";
import { TailgateError } from "../wire/errors.ts";
import { LoggerRelay } from "./relay.ts";
import { realpathSync } from "node:fs";
import module from "node:module";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { packageFile } from "../runtime/package.ts";

/** In which of the two generations of the logs API the provider is the global one. */
export interface Registration {
  /** `logs` of @opentelemetry/api. */
  readonly api: boolean;
  /** `logs` of @opentelemetry/api-logs, which winston's transport and older code use. */
  readonly apiLogs: boolean;
  /** One for each generation that another provider owns, and for each copy of the API whose records do not arrive. */
  readonly problems: readonly TailgateError[];
  /** Gives the globals back. */
  undo(): void;
}

/**
 * What the global APIs lead to. The process has one, because loggers of these APIs keep the first provider that they were
 * given.
 */
export const GLOBAL_RELAY = new LoggerRelay();

/** The copies of both generations of the API that are loaded. */
export interface LoadedApis {
  readonly api: readonly ApiCopy[];
  readonly apiLogs: readonly ApiCopy[];
}

export async function loadedApis(): Promise<LoadedApis> {
  return {
    api: await loadedCopies("@opentelemetry/api", apiLogs),
    apiLogs: await loadedCopies("@opentelemetry/api-logs", oldApiLogs),
  };
}

/** Makes {@link GLOBAL_RELAY} the provider of both generations of the API, where nobody else is. */
export function registerGlobally(loaded: LoadedApis): Registration {
  const api = register("@opentelemetry/api", loaded.api);
  const apiLogsToo = register("@opentelemetry/api-logs", loaded.apiLogs);
  return {
    api: api.owner !== undefined,
    apiLogs: apiLogsToo.owner !== undefined,
    problems: [...api.problems, ...apiLogsToo.problems],
    undo: () => {
      api.owner?.disable();
      apiLogsToo.owner?.disable();
    },
  };
}

interface Registered {
  /** The copy through which the relay was made the global provider. */
  readonly owner: LogsApi | undefined;
  readonly problems: readonly TailgateError[];
}

/**
 * Registers in all copies of one generation. They share the global provider, but the loggers that a copy gave out before
 * there was one wait for a provider that is registered in that very copy. So the relay is registered in each of them and
 * taken back, and stays in the last one.
 */
function register(name: ApiName, copies: readonly ApiCopy[]): Registered {
  const isFree = !copies.some(isServed);
  const able = isFree ? copies.filter(registerOnce) : [];
  const owner = able[0]?.logs;
  if (owner === undefined) return { owner, problems: [ownedByOther(name)] };
  owner.setGlobalLoggerProvider(GLOBAL_RELAY);
  const others = copies.filter((copy) => copy.path !== undefined && !able.includes(copy));
  return { owner, problems: others.map((copy) => otherVersion(name, copy)) };
}

function isServed({ logs }: ApiCopy): boolean {
  return logs.getLoggerProvider() === GLOBAL_RELAY;
}

/** Returns false if another provider is registered, or the global is of another version of the API. */
function registerOnce(copy: ApiCopy): boolean {
  copy.logs.setGlobalLoggerProvider(GLOBAL_RELAY);
  const isRegistered = isServed(copy);
  if (isRegistered) copy.logs.disable();
  return isRegistered;
}

function ownedByOther(name: ApiName): TailgateError {
  const text = `Records of logs.getLogger() of ${name} do not arrive: it has a provider already.`;
  return new TailgateError("REGISTRATION_FAILED", text);
}

function otherVersion(name: ApiName, copy: ApiCopy): TailgateError {
  const when = isServed(copy) ? " that was called before the start" : "";
  const text = `Records of logs.getLogger()${when} of ${copy.path} do not arrive: it is another version than the one that is registered. \`npm ls ${name}\` shows them; install one.`;
  return new TailgateError("REGISTRATION_FAILED", text);
}

/** What both generations of the logs API have. */
export interface LogsApi {
  /** Returns false, or the provider that was there before, if there was one. */
  setGlobalLoggerProvider(provider: LoggerProvider): unknown;
  getLoggerProvider(): unknown;
  disable(): void;
}

export type ApiName = "@opentelemetry/api" | "@opentelemetry/api-logs";

/** One of the modules that a package of the API was loaded as. */
export interface ApiCopy {
  readonly logs: LogsApi;
  /** Path of the module; undefined for the one that Tailgate imports. */
  readonly path: string | undefined;
}

/**
 * The copies of a package of the API that loggers may have been taken from: the one that the program imports, the one that
 * Tailgate imports, those that CommonJS has loaded, and those in the same bundle. The same package is loaded twice if it is both imported and
 * required, and it can be installed more than once.
 */
export async function loadedCopies(name: ApiName, own: LogsApi): Promise<readonly ApiCopy[]> {
  const found = [
    ...(await importedByProgram(name)),
    { logs: own, path: undefined },
    ...requiredCopies(name),
    ...(name === "@opentelemetry/api" ? bundledCopies() : []),
  ];
  return found.filter(({ logs }, index) => found.findIndex((one) => one.logs === logs) === index);
}

/** CommonJS has one cache, whatever the path. */
const { cache } = module.createRequire(process.execPath);

function requiredCopies(name: ApiName): ApiCopy[] {
  const paths = Object.keys(cache).filter((path) => packageDirectory(path, name) !== undefined);
  return paths.flatMap((path) => copyOf(cache[path]?.exports, path));
}

/** In a bundle, the copy that code of the bundle requires. */
function bundledCopies(): ApiCopy[] {
  try {
    // A bundler resolves it. An ES module that is not bundled has no `require`.
    return copyOf(require("@opentelemetry/api"), "this bundle");
  } catch {
    return [];
  }
}

/** The copy that the program's main module imports, if it is installed elsewhere than the one that Tailgate imports. */
async function importedByProgram(name: ApiName): Promise<ApiCopy[]> {
  const main = realMain();
  try {
    const path = module.createRequire(main).resolve(name);
    if (packageDirectory(path, name) === ownDirectory(name)) return [];
    const { resolve } = await import("import-meta-resolve");
    const url = resolve(name, pathToFileURL(main).href);
    return copyOf(await import(url), fileURLToPath(url));
  } catch {
    // It is not installed there.
    return [];
  }
}

function realMain(): string {
  try {
    return realpathSync(process.argv[1]!);
  } catch {
    // There is none with `node --eval`.
    return join(process.cwd(), "main.js");
  }
}

function ownDirectory(name: ApiName): string | undefined {
  const { resolve } = module.createRequire(packageFile("package.json"));
  return packageDirectory(resolve(name), name);
}

/** The directory of the package that a module is in; undefined if it is in another package. */
function packageDirectory(path: string, name: ApiName): string | undefined {
  const end = `/node_modules/${name}/`;
  const start = path.replaceAll("\\", "/").lastIndexOf(end);
  return start < 0 ? undefined : path.slice(0, start + end.length);
}

/** Nothing if the module has no `logs`, such as a file of the package other than its main one. */
function copyOf(exported: unknown, path: string): ApiCopy[] {
  const { logs } = (exported ?? {}) as { logs?: Partial<LogsApi> };
  return typeof logs?.setGlobalLoggerProvider === "function"
    ? [{ logs: logs as LogsApi, path }]
    : [];
}
