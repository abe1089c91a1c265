import { createHash } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { isAbsolute, join, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { TailgateError, textOf } from "../wire/errors.ts";
import { packageFile } from "../runtime/package.ts";
import * as pluginInterface from "../plugin/index.ts";
import {
  API_VERSION,
  ENVELOPE_TYPES,
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
import { suggest } from "./problems.ts";
import { within } from "../runtime/timers.ts";
import { toJsonSchema } from "./option-schema.ts";
import { GENERIC_SCHEMAS } from "./settings.ts";
import module from "node:module";

export interface PluginRequest<S extends Section = Section> {
  readonly section: S;
  readonly id: string;
  /** A path that starts with `.` or `/`, or the name of a package. */
  readonly use: string | undefined;
  /** The directory that paths are relative to and packages are resolved from first. */
  readonly directory: string;
}

/** Packages with this prefix need no `use`. */
const PACKAGE_PREFIX = "tailgate-plugin-";

const IMPORT_MS_MAX = 10_000;

/**
 * Finds, imports and checks the plugin of a component: the one that `use` names, else the built-in of that type, else the
 * package `tailgate-plugin-<type>`.
 * @throws TailgateError PLUGIN_NOT_FOUND, PLUGIN_INVALID or PLUGIN_API_MISMATCH; the message starts with the component's
 * path in the configuration.
 */
export async function loadPlugin<S extends Section>(
  request: PluginRequest<S>,
): Promise<Definitions[S]> {
  if (request.use === undefined) {
    const builtIn = await loadBuiltIn(request.section, componentType(request.id));
    if (builtIn) return builtIn as Definitions[S];
  }
  const url = await locate(request);
  shareInterface();
  const exported = await importDefault(url, request);
  return checkDefinition(exported, fileURLToPath(url), request);
}

/** Returns the type in a component's key: `webhook` of `webhook/audit`. */
function componentType(id: string): string {
  return id.split("/", 1)[0]!;
}

function formatComponent({ section, id }: PluginRequest): string {
  return `${section}.${id}`;
}

async function locate(request: PluginRequest): Promise<string> {
  const { use, directory } = request;
  if (use !== undefined && (use.startsWith(".") || isAbsolute(use))) {
    const path = resolve(directory, use);
    if (existsSync(path)) return versionedUrl(path);
    throw new TailgateError(
      "PLUGIN_NOT_FOUND",
      `${formatComponent(request)}: the file ${path} does not exist (use: ${use}).`,
    );
  }
  return locatePackage(use ?? PACKAGE_PREFIX + componentType(request.id), request);
}

/** The digest of each plugin file when it was imported first. */
const firstDigests = new Map<string, string>();

/**
 * Returns the URL of a plugin file. Node.js imports a URL only once: if the content is not that of the first import, the URL
 * has a query that names it. What the file imports itself stays as it was.
 */
function versionedUrl(path: string): string {
  const { href } = pathToFileURL(path);
  const digest = digestOf(path);
  const first = firstDigests.get(href) ?? digest;
  firstDigests.set(href, first);
  return first === digest ? href : `${href}?content=${digest}`;
}

/** A path that cannot be read fails when it is imported. */
function digestOf(path: string): string {
  try {
    return createHash("sha256").update(readFileSync(path)).digest("hex").slice(0, 16);
  } catch {
    return "";
  }
}

/** Resolves from the configuration's directory first, then from Tailgate's own: either may be a global installation. */
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
  const missing = `the package ${name} is not installed (searched from ${request.directory})`;
  if (request.use !== undefined) {
    return new TailgateError("PLUGIN_NOT_FOUND", `${formatComponent(request)}: ${missing}.`);
  }
  const type = componentType(request.id);
  const kind = KIND_OF[request.section];
  const names = builtInNames(request.section);
  const builtIn =
    names.length === 0
      ? `No ${kind} is built in`
      : `Built-in ${request.section}: ${names.join(", ")}`;
  const elsewhere = SECTIONS.find((section) => builtInNames(section).includes(type));
  const hint = elsewhere
    ? `; ${withArticle(KIND_OF[elsewhere])} of that name belongs under ${elsewhere}.`
    : suggest(type, names) || ".";
  return new TailgateError(
    "PLUGIN_NOT_FOUND",
    `${formatComponent(request)}: there is no ${kind} ${JSON.stringify(type)}${hint} ${builtIn}; ${missing}.`,
  );
}

function invalid(
  request: PluginRequest,
  from: string,
  why: string,
  cause?: unknown,
): TailgateError {
  const text = `${formatComponent(request)}: the plugin ${from} cannot be used: ${why}.`;
  return new TailgateError("PLUGIN_INVALID", text, { cause });
}

/** Imports the default export, with a time limit: a plugin whose import never ends must not block the start. */
async function importDefault(url: string, request: PluginRequest): Promise<unknown> {
  try {
    const late = `it was not loaded within ${IMPORT_MS_MAX / 1000} s`;
    const loaded: { default?: unknown } = await within(IMPORT_MS_MAX, late, import(url));
    return loaded.default;
  } catch (error) {
    const why = `its import failed: ${textOf(error)}${importHint(error)}`;
    throw invalid(request, fileURLToPath(url), why, error);
  }
}

/** Returns what to do about an error that authors of plugins often meet; "" for others. */
function importHint(error: unknown): string {
  const { code } = (error ?? {}) as Partial<NodeJS.ErrnoException>;
  if (code === "ERR_UNSUPPORTED_NODE_MODULES_TYPE_STRIPPING") {
    return "; a package must contain JavaScript: compile it before publishing";
  }
  const isMissing = code === "ERR_MODULE_NOT_FOUND";
  return isMissing && textOf(error).includes("'zod'") ? "; import z from tailgate/plugin" : "";
}

function checkDefinition<S extends Section>(
  exported: unknown,
  from: string,
  request: PluginRequest<S>,
): Definitions[S] {
  const version = (exported as Partial<PluginDefinition> | null | undefined)?.apiVersion;
  if (typeof version === "number" && version !== API_VERSION) {
    throw new TailgateError(
      "PLUGIN_API_MISMATCH",
      `${formatComponent(request)}: the plugin ${from} uses version ${version} of the plugin interface, but this Tailgate has version ${API_VERSION}.`,
    );
  }
  const flaw = findDefinitionFlaw(exported, request.section);
  if (flaw !== undefined) throw invalid(request, from, flaw);
  return exported as Definitions[S];
}

const NAME = /^[a-z][a-z0-9-]*$/;

/**
 * Returns why a plugin's export cannot be used in a section; undefined if it can. Plugins come from anywhere, so nothing
 * is trusted.
 */
function findDefinitionFlaw(exported: unknown, section: Section): string | undefined {
  if (typeof exported !== "object" || exported === null) {
    return `its default export is ${describeType(exported)}`;
  }
  const definition = exported as Partial<PluginDefinition>;
  const { apiVersion, name, description, options, open } = definition;
  if (apiVersion === undefined) {
    const keys = Object.keys(definition).slice(0, 5).join(", ");
    return `its default export has ${keys ? `the members ${keys}` : "no members"}, and no apiVersion`;
  }
  if (apiVersion !== API_VERSION) return `its apiVersion is ${JSON.stringify(apiVersion)}`;
  if (typeof name !== "string" || !NAME.test(name)) {
    return `its name is ${JSON.stringify(name)}, and must match ${NAME.source}`;
  }
  if (typeof description !== "string") return `its description is ${describeType(description)}`;
  if (typeof open !== "function") return `its open is ${describeType(open)}`;
  const { owns, plan, type } = exported as Partial<ExporterDefinition>;
  if (plan !== undefined && typeof plan !== "function") return `its plan is ${describeType(plan)}`;
  if (owns !== undefined && typeof owns !== "function") return `its owns is ${describeType(owns)}`;
  const typeFlaw = type === undefined ? undefined : findTypeFlaw(type);
  return typeFlaw ?? findKindFlaw(definition.kind, section) ?? findOptionsFlaw(options, section);
}

/** Returns why a value is not a type of records. */
export function findTypeFlaw(type: unknown): string | undefined {
  const types: readonly unknown[] = ENVELOPE_TYPES;
  if (types.includes(type)) return undefined;
  return `its type is ${JSON.stringify(type)}, and must be ${ENVELOPE_TYPES.join(" or ")}`;
}

function findKindFlaw(
  kind: PluginDefinition["kind"] | undefined,
  section: Section,
): string | undefined {
  if (kind === KIND_OF[section]) return undefined;
  const home = SECTIONS.find((one) => KIND_OF[one] === kind);
  return home
    ? `it is ${withArticle(KIND_OF[home])} and belongs under ${home}`
    : `its kind is ${JSON.stringify(kind)}`;
}

function findOptionsFlaw(options: OptionSchema | undefined, section: Section): string | undefined {
  // Only zod 4 has `_zod`; copies of zod do not share classes.
  if (typeof options !== "object" || options === null || !("_zod" in options)) {
    const isOlder = typeof options === "object" && options !== null && "_def" in options;
    const what = isOlder ? "a schema of zod 3" : describeType(options);
    return `its options are ${what}, but must be a z.object of zod 4; import z from tailgate/plugin`;
  }
  try {
    const { type, properties = {} } = toJsonSchema(options);
    if (type !== "object") return "its options are not a z.object";
    const reserved = Object.keys(GENERIC_SCHEMAS[section].shape).find((key) => key in properties);
    return reserved && `its option ${JSON.stringify(reserved)} is reserved for the gateway`;
  } catch (error) {
    return `its options cannot be described as JSON Schema: ${textOf(error)}`;
  }
}

/** Returns `a receiver`, `an exporter`. */
function withArticle(noun: string): string {
  return /^[aeiou]/.test(noun) ? `an ${noun}` : `a ${noun}`;
}

function describeType(value: unknown): string {
  if (value === undefined) return "missing";
  return value === null ? "null" : withArticle(typeof value);
}

const SPECIFIER = "tailgate/plugin";

const SHARED_URL = "tailgate:plugin";

/** The global symbol of the interface: a module that is loaded from a source text can only reach globals. */
const KEY = `${SPECIFIER} ${import.meta.url}`;

let isShared = false;

/**
 * Makes plugins that import `tailgate/plugin` from this package, or have no Tailgate installed, share the interface that is
 * loaded already. Otherwise they would load the interface and zod a second time, because the command line is bundled. A
 * plugin that has another Tailgate installed keeps that one.
 */
function shareInterface(): void {
  if (isShared) return;
  isShared = true;
  Object.defineProperty(globalThis, Symbol.for(KEY), { value: pluginInterface });
  const own = resolveOwnUrl();
  const names = Object.keys(pluginInterface).join(", ");
  const source = `export const { ${names} } = globalThis[Symbol.for(${JSON.stringify(KEY)})];`;
  module.registerHooks({
    resolve(specifier, context, next) {
      if (specifier !== SPECIFIER || !context.conditions.includes("import")) {
        return next(specifier, context);
      }
      const found = unlessMissing(() => next(specifier, context));
      if (found !== undefined && found.url !== own) return found;
      return { url: SHARED_URL, format: "module", shortCircuit: true };
    },
    load(url, context, next) {
      if (url !== SHARED_URL) return next(url, context);
      return { format: "module", source, shortCircuit: true };
    },
  });
}

/** Returns the URL of this package's `tailgate/plugin`; undefined if it was bundled into a program. */
function resolveOwnUrl(): string | undefined {
  try {
    return pathToFileURL(module.createRequire(import.meta.url).resolve(SPECIFIER)).href;
  } catch {
    return undefined;
  }
}

function unlessMissing<Found>(find: () => Found): Found | undefined {
  try {
    return find();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ERR_MODULE_NOT_FOUND") return undefined;
    throw error;
  }
}
