import { existsSync } from "node:fs";
import { isAbsolute, join, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { TailgateError, textOf } from "../wire/errors.ts";
import { packageFile } from "../runtime/package.ts";
import * as pluginInterface from "../plugin/index.ts";
import {
  API_VERSION,
  type ExporterDefinition,
  type OptionSchema,
  type PluginDefinition,
} from "../plugin/index.ts";
import {
  builtInNames,
  KIND_OF,
  loadBuiltIn,
  SECTIONS,
  type Definitions,
  type Section,
} from "./built-ins.ts";
import { suggestion } from "./problems.ts";
import { clearTimeout, setTimeout } from "../runtime/timers.ts";
import { inputSchema } from "./option-schema.ts";
import { GENERIC_SCHEMAS } from "./settings.ts";
import module from "node:module";

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
    const loaded = (await Promise.race([import(url), timeout])) as { default?: unknown };
    return loaded.default;
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

const NAME = /^[a-z][a-z0-9-]*$/;

/** The version of the interface that a plugin says it is made for; undefined where it says none. */
export function apiVersionOf(exported: unknown): number | undefined {
  if (typeof exported !== "object" || exported === null) return undefined;
  const { apiVersion } = exported as Partial<PluginDefinition>;
  return typeof apiVersion === "number" ? apiVersion : undefined;
}

/**
 * Why what a plugin exports cannot stand in a section; undefined where it can. Plugins come from anywhere: nothing is
 * taken on trust.
 */
export function definitionFlaw(exported: unknown, section: Section): string | undefined {
  if (typeof exported !== "object" || exported === null) {
    return `its default export is ${nameOfType(exported)}`;
  }
  const definition = exported as Partial<PluginDefinition>;
  const { apiVersion, name, description, options, open } = definition;
  if (apiVersion === undefined) {
    return `its default export has ${keysOf(definition)}, and no apiVersion`;
  }
  if (apiVersion !== API_VERSION) return `its apiVersion is ${JSON.stringify(apiVersion)}`;
  if (typeof name !== "string" || !NAME.test(name)) {
    return `its name is ${JSON.stringify(name)}, and has to match ${NAME.source}`;
  }
  if (typeof description !== "string") return `its description is ${nameOfType(description)}`;
  if (typeof open !== "function") return `its open is ${nameOfType(open)}`;
  const { owns, plan } = exported as Partial<ExporterDefinition>;
  if (plan !== undefined && typeof plan !== "function") return `its plan is ${nameOfType(plan)}`;
  if (owns !== undefined && typeof owns !== "function") return `its owns is ${nameOfType(owns)}`;
  return kindFlaw(definition.kind, section) ?? optionsFlaw(options, section);
}

function kindFlaw(
  kind: PluginDefinition["kind"] | undefined,
  section: Section,
): string | undefined {
  if (kind === KIND_OF[section]) return undefined;
  const home = SECTIONS.find((one) => KIND_OF[one] === kind);
  return home
    ? `it is ${withArticle(KIND_OF[home])} and stands under ${home}`
    : `its kind is ${JSON.stringify(kind)}`;
}

function optionsFlaw(options: OptionSchema | undefined, section: Section): string | undefined {
  // Zod 4 alone has `_zod`; its copies do not share classes.
  if (typeof options !== "object" || options === null || !("_zod" in options)) {
    const isOlder = typeof options === "object" && options !== null && "_def" in options;
    const what = isOlder ? "a schema of zod 3" : nameOfType(options);
    return `its options are ${what}, and have to be a z.object of zod 4; take z from tailgate/plugin`;
  }
  try {
    const { type, properties = {} } = inputSchema(options);
    if (type !== "object") return "its options are no z.object";
    const taken = Object.keys(GENERIC_SCHEMAS[section].shape).find((key) => key in properties);
    return taken && `its option ${JSON.stringify(taken)} is a key of the gateway's own`;
  } catch (error) {
    return `its options cannot be described as JSON Schema: ${textOf(error)}`;
  }
}

/** `a receiver`, `an exporter` */
export function withArticle(noun: string): string {
  return /^[aeiou]/.test(noun) ? `an ${noun}` : `a ${noun}`;
}

function keysOf(value: object): string {
  const keys = Object.keys(value);
  return keys.length === 0 ? "no members" : `the members ${keys.slice(0, 5).join(", ")}`;
}

function nameOfType(value: unknown): string {
  if (value === undefined) return "missing";
  return value === null ? "null" : withArticle(typeof value);
}

const SPECIFIER = "tailgate/plugin";

const SHARED_URL = "tailgate:plugin";

/** Under this name the interface is global: code that is loaded from a text has no other way to it. */
const KEY = `${SPECIFIER} ${import.meta.url}`;

let isShared = false;

/**
 * From now on, plugins that import `tailgate/plugin` from this package, or have none installed, get the copy that runs
 * already. Without it each start with a plugin of one's own would load the interface and zod a second time, because the
 * command line is bundled. A plugin with another Tailgate beside it keeps that one.
 */
export function shareInterface(): void {
  if (isShared) return;
  isShared = true;
  Object.defineProperty(globalThis, Symbol.for(KEY), { value: pluginInterface });
  const own = ownUrl();
  const names = Object.keys(pluginInterface).join(", ");
  const source = `export const { ${names} } = globalThis[Symbol.for(${JSON.stringify(KEY)})];`;
  module.registerHooks({
    resolve(specifier, context, next) {
      if (specifier !== SPECIFIER || !context.conditions.includes("import")) {
        return next(specifier, context);
      }
      const found = foundOrMissing(() => next(specifier, context));
      if (found !== undefined && found.url !== own) return found;
      return { url: SHARED_URL, format: "module", shortCircuit: true };
    },
    load(url, context, next) {
      if (url !== SHARED_URL) return next(url, context);
      return { format: "module", source, shortCircuit: true };
    },
  });
}

/** Where this package's own `tailgate/plugin` is; undefined if it was bundled into a program. */
function ownUrl(): string | undefined {
  try {
    return pathToFileURL(module.createRequire(import.meta.url).resolve(SPECIFIER)).href;
  } catch {
    return undefined;
  }
}

function foundOrMissing<Found>(find: () => Found): Found | undefined {
  try {
    return find();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ERR_MODULE_NOT_FOUND") return undefined;
    throw error;
  }
}
