import { existsSync } from "node:fs";
import { isAbsolute, join, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { TailgateError, textOf } from "../wire/errors.ts";
import { packageFile } from "../runtime/package.ts";
import { API_VERSION } from "../plugin/index.ts";
import {
  builtInNames,
  KIND_OF,
  loadBuiltIn,
  SECTIONS,
  type Definitions,
  type Section,
} from "./built-ins.ts";
import { apiVersionOf, definitionFlaw, withArticle } from "./definition-flaw.ts";
import { shareInterface } from "./shared-interface.ts";
import { suggestion } from "./suggestion.ts";
import { clearTimeout, setTimeout } from "../runtime/timers.ts";

/** Which plugin a component of the configuration wants. */
export interface PluginRequest<S extends Section = Section> {
  readonly section: S;
  /** The component's key: `webhook/audit`. */
  readonly id: string;
  /** A path that begins with `.` or `/`, or the name of a package. */
  readonly use: string | undefined;
  /** What paths are relative to, and where packages are looked for first. */
  readonly directory: string;
}

/** Packages of this name need no `use`. */
const PACKAGE_PREFIX = "tailgate-plugin-";

const IMPORT_MS_MAX = 10_000;

/**
 * Finds, imports and checks the plugin of a component: what `use` says, else the built-in of that type, else the
 * package `tailgate-plugin-<type>`.
 * @throws TailgateError PLUGIN_NOT_FOUND, PLUGIN_INVALID or PLUGIN_API_MISMATCH; the message begins with the
 * component's place.
 */
export async function loadPlugin<S extends Section>(
  request: PluginRequest<S>,
): Promise<Definitions[S]> {
  if (request.use === undefined) {
    const builtIn = await loadBuiltIn(request.section, typeOf(request.id));
    if (builtIn) return builtIn as Definitions[S];
  }
  const url = await locate(request);
  shareInterface();
  const exported = await imported(url, request);
  return checked(exported, fileURLToPath(url), request);
}

/** The type in a component's key: `webhook` of `webhook/audit`. */
function typeOf(id: string): string {
  return id.split("/", 1)[0]!;
}

function place({ section, id }: PluginRequest): string {
  return `${section}.${id}`;
}

async function locate(request: PluginRequest): Promise<string> {
  const { use, directory } = request;
  if (use !== undefined && (use.startsWith(".") || isAbsolute(use))) {
    const path = resolve(directory, use);
    if (existsSync(path)) return pathToFileURL(path).href;
    throw new TailgateError(
      "PLUGIN_NOT_FOUND",
      `${place(request)}: there is no file ${path} (use: ${use}).`,
    );
  }
  return locatePackage(use ?? PACKAGE_PREFIX + typeOf(request.id), request);
}

/** Looks from the configuration's place first, then from Tailgate's own: both may be global or local installations. */
async function locatePackage(name: string, request: PluginRequest): Promise<string> {
  const { resolve: resolveModule } = await import("import-meta-resolve");
  const parents = [join(request.directory, "tailgate.yaml"), packageFile("package.json")];
  for (const parent of parents) {
    try {
      const url = resolveModule(name, pathToFileURL(parent).href);
      if (url.startsWith("file:")) return url;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ERR_MODULE_NOT_FOUND") continue;
      throw invalid(request, name, `the package cannot be resolved: ${textOf(error)}`, error);
    }
  }
  throw notFound(name, request);
}

function notFound(name: string, request: PluginRequest): TailgateError {
  const missing = `the package ${name} is not installed (looked for from ${request.directory})`;
  if (request.use !== undefined) {
    return new TailgateError("PLUGIN_NOT_FOUND", `${place(request)}: ${missing}.`);
  }
  const type = typeOf(request.id);
  const kind = KIND_OF[request.section];
  const names = builtInNames(request.section);
  const builtIn =
    names.length === 0
      ? `No ${kind} is built in`
      : `Built-in ${request.section}: ${names.join(", ")}`;
  const elsewhere = SECTIONS.find((section) => builtInNames(section).includes(type));
  const hint = elsewhere
    ? `; ${withArticle(KIND_OF[elsewhere])} of that name stands under ${elsewhere}.`
    : suggestion(type, names) || ".";
  return new TailgateError(
    "PLUGIN_NOT_FOUND",
    `${place(request)}: there is no ${kind} ${JSON.stringify(type)}${hint} ${builtIn}; ${missing}.`,
  );
}

function invalid(
  request: PluginRequest,
  from: string,
  why: string,
  cause?: unknown,
): TailgateError {
  const text = `${place(request)}: the plugin ${from} cannot be used: ${why}.`;
  return new TailgateError("PLUGIN_INVALID", text, { cause });
}

/** The default export. A plugin whose import never ends must not hang the start. */
async function imported(url: string, request: PluginRequest): Promise<unknown> {
  const from = fileURLToPath(url);
  const { promise: timeout, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => {
    reject(new Error(`it was not loaded within ${IMPORT_MS_MAX / 1000} s`));
  }, IMPORT_MS_MAX);
  try {
    const module = (await Promise.race([import(url), timeout])) as { default?: unknown };
    return module.default;
  } catch (error) {
    throw invalid(request, from, `its import failed: ${textOf(error)}${hintFor(error)}`, error);
  } finally {
    clearTimeout(timer);
  }
}

function hintFor(error: unknown): string {
  const isMissing = (error as NodeJS.ErrnoException | undefined)?.code === "ERR_MODULE_NOT_FOUND";
  return isMissing && textOf(error).includes("'zod'") ? "; take z from tailgate/plugin" : "";
}

function checked<S extends Section>(
  exported: unknown,
  from: string,
  request: PluginRequest<S>,
): Definitions[S] {
  const version = apiVersionOf(exported);
  if (version !== undefined && version !== API_VERSION) {
    throw new TailgateError(
      "PLUGIN_API_MISMATCH",
      `${place(request)}: the plugin ${from} is made for version ${version} of the plugin interface, this Tailgate has version ${API_VERSION}.`,
    );
  }
  const flaw = definitionFlaw(exported, request.section);
  if (flaw !== undefined) throw invalid(request, from, flaw);
  return exported as Definitions[S];
}
