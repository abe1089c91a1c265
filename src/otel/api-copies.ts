import type { LoggerProvider } from "@opentelemetry/api";
import { realpathSync } from "node:fs";
import module from "node:module";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { packageFile } from "../runtime/package.ts";

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
