import type { Level } from "../wire/envelope.ts";
import type { AddedAttributes } from "../otlp/added-attributes.ts";
import type {
  ExporterDefinition,
  OptionSchema,
  ProcessorDefinition,
  ReceiverDefinition,
  z,
} from "../plugin/index.ts";
import { TailgateError, textOf } from "../wire/errors.ts";
import { parseFilter } from "../filter/filter.ts";
import type { Definitions, Section } from "./built-ins.ts";
import {
  EnvironmentText,
  optionSources,
  readOverrides,
  type OverrideSources,
} from "./environment.ts";
import { loadPlugin } from "./plugin-loader.ts";
import { describeFound, formatPath, type ConfigPath, type Problems } from "./problems.ts";
import { GENERIC_SCHEMAS } from "./settings.ts";
import { isMapping, validate, withoutUndefined, type Mapping } from "./validation.ts";
import { posix } from "node:path";
import { isJournalFile } from "../runtime/log-dir.ts";

export interface Component<Definition> {
  /** The key in the configuration: `file`, `webhook/audit`. */
  readonly id: string;
  readonly definition: Definition;
  readonly options: Record<string, unknown>;
  /** The path or the package of the plugin, if the configuration names one. */
  readonly use?: string;
  /** What the file, the environment and flags say, without defaults: equal for components that did not change. */
  readonly given?: Mapping;
}

export interface ExporterComponent extends Component<ExporterDefinition> {
  /** Records below this level count as filtered; undefined to get all. */
  readonly level?: Level;
  /** Records that do not match count as filtered; the text of a valid filter. */
  readonly filter?: string;
  /** The capacity of the queue in bytes, for each type of record. */
  readonly queueBytesMax: number;
  readonly timeoutMs: number;
}

export interface ReceiverComponent extends Component<ReceiverDefinition> {
  /** What is added to records that lack them. */
  readonly attributes?: AddedAttributes;
}

/** What happens to a record that a processor fails on. */
export type OnError = "fail" | "keep" | "drop";

export interface ProcessorComponent extends Component<ProcessorDefinition> {
  /** Default: `fail` for audit events, `keep` for system logs. */
  readonly onError?: OnError;
}

export type ComponentOf<S extends Section> = S extends "exporters"
  ? ExporterComponent
  : S extends "processors"
    ? ProcessorComponent
    : ReceiverComponent;

export interface ComponentContext {
  readonly directory: string;
  readonly sources: OverrideSources;
  readonly problems: Problems;
}

export const ID = /^[a-z][a-z0-9-]*(\/[A-Za-z0-9._-]{1,64})?$/;

/** Loads and validates the components of a section, in its order. An invalid one becomes a problem and is left out. */
export async function resolveSection<S extends Section>(
  section: S,
  given: unknown,
  context: ComponentContext,
): Promise<ComponentOf<S>[]> {
  const components: ComponentOf<S>[] = [];
  for (const [id, body] of readEntries(given, [section], context.problems)) {
    const component = await resolveComponent(section, id, body, context);
    if (component) components.push(component);
  }
  return components;
}

/** Returns the members of a mapping; null is an empty one. */
function readEntries(given: unknown, path: ConfigPath, problems: Problems): [string, unknown][] {
  const value = given instanceof EnvironmentText ? given.value : given;
  if (isMapping(value)) return Object.entries(value);
  if (value === null) return [];
  const hint = Array.isArray(value) ? "; write NAME: {} for each, not a list" : "";
  problems.add(formatPath(path), `expected mapping${describeFound(path, value)}${hint}`);
  return [];
}

async function resolveComponent<S extends Section>(
  section: S,
  id: string,
  body: unknown,
  context: ComponentContext,
): Promise<ComponentOf<S> | undefined> {
  const path = [section, id];
  if (!ID.test(id)) {
    const form = "a component's key is a plugin name, such as webhook, or webhook/NAME";
    context.problems.add(formatPath(path), form);
    return undefined;
  }
  const given = Object.fromEntries(readEntries(body, path, context.problems));
  const generic = await readGeneric(section, given, path, context.problems);
  if (!generic) return undefined;
  try {
    const { directory } = context;
    const definition = await loadPlugin({ section, id, use: generic.use, directory });
    rejectUnsafeErrors(definition, generic, path, context.problems);
    rejectUnusableFilter(definition, generic, path, context.problems);
    const overrides = readOverrides(optionSources(section, id), context.sources);
    const options = await readOptions(definition, { given, overrides }, path, context);
    const values = [...overrides].map(([key, { value }]) => [key, value] as const);
    return (
      options &&
      ({
        id,
        definition,
        options,
        ...generic,
        given: plainValues({ ...given, ...Object.fromEntries(values) }),
      } as unknown as ComponentOf<S>)
    );
  } catch (error) {
    if (!TailgateError.is(error)) throw error;
    context.problems.addError(formatPath(path), error);
    return undefined;
  }
}

/** What such a processor failed on may contain what it removes. */
function rejectUnsafeErrors(
  definition: Definitions[Section],
  { onError }: Generic,
  path: ConfigPath,
  problems: Problems,
): void {
  if (onError !== "keep" || !("failsClosed" in definition) || !definition.failsClosed) return;
  const text = `${definition.name} must not pass on a record that it failed on; use fail or drop`;
  problems.add(formatPath([...path, "on_error"]), text);
}

/** A filter that lets no record through, or that leaves out records of which the destination needs every one. */
function rejectUnusableFilter(
  definition: Definitions[Section],
  { filter: q }: Generic,
  path: ConfigPath,
  problems: Problems,
): void {
  if (q === undefined || definition.kind !== "exporter" || definition.type === undefined) return;
  const { name, type, complete } = definition;
  const filter = parseFilter({ q });
  const place = formatPath([...path, "filter"]);
  const records = type === "audit_log" ? "audit events" : "system logs";
  if (filter.type !== undefined && filter.type !== type) {
    problems.add(place, `${name} gets only ${records}, and none of them matches it`);
  } else if (complete === true && filter.key !== parseFilter({ type }).key) {
    const why = `${name} must get all ${records}: one that is left out looks like a removed one`;
    problems.add(place, `${why}; remove the filter, or use it on another exporter`);
  }
}

type Generic = Partial<
  Pick<ExporterComponent, "use" | "level" | "filter" | "queueBytesMax" | "timeoutMs"> &
    Pick<ProcessorComponent, "onError"> &
    Pick<ReceiverComponent, "attributes">
>;

type GenericSchemas = typeof GENERIC_SCHEMAS;
type GenericOptions = z.output<GenericSchemas["exporters"]> &
  z.output<GenericSchemas["processors"]> &
  z.output<GenericSchemas["receivers"]>;

/** Reads the keys that belong to the gateway and not to the plugin. */
async function readGeneric(
  section: Section,
  given: Mapping,
  path: ConfigPath,
  problems: Problems,
): Promise<Generic | undefined> {
  const keys = listGenericKeys(section);
  const own = Object.fromEntries(Object.entries(given).filter(([key]) => keys.includes(key)));
  const generic: Partial<GenericOptions> | undefined = await validate(
    GENERIC_SCHEMAS[section] as OptionSchema,
    own,
    { place: (inner) => formatPath([...path, ...inner]), problems },
  );
  if (!generic) return undefined;
  const { use, level, on_error: onError, queue_bytes: queueBytesMax, timeout_seconds } = generic;
  const filter = generic.filter || undefined;
  const timeoutMs = timeout_seconds && 1000 * timeout_seconds;
  const { attributes } = generic;
  return withoutUndefined({ use, level, filter, onError, queueBytesMax, timeoutMs, attributes });
}

async function readOptions(
  definition: Definitions[Section],
  { given, overrides }: { given: Mapping; overrides: ReturnType<typeof readOverrides> },
  path: ConfigPath,
  context: ComponentContext,
): Promise<Record<string, unknown> | undefined> {
  const [section] = path as [Section, string];
  const keys = listGenericKeys(section);
  const options = new Map(Object.entries(given).filter(([key]) => !keys.includes(key)));
  for (const [key, { value }] of overrides) options.set(String(key), value);
  return validate(definition.options, Object.fromEntries(options), {
    place: (inner) => overrides.get(inner[0] ?? "")?.place ?? formatPath([...path, ...inner]),
    otherKeys: keys,
    problems: context.problems,
  });
}

/** Returns a copy in which substitutions have their values. */
function plainValues(value: unknown): unknown {
  if (value instanceof EnvironmentText) return value.value;
  if (Array.isArray(value)) return value.map(plainValues);
  if (!isMapping(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, plainValues(inner)]));
}

function listGenericKeys(section: Section): string[] {
  return Object.keys(GENERIC_SCHEMAS[section].shape);
}

/** Folders of the log directory that the gateway needs, and the exporter that may write there too. */
const RESERVED_FOLDERS: ReadonlyMap<string, { readonly owner: string; readonly exporter: string }> =
  new Map([
    ["audit", { owner: "the audit trail", exporter: "audit-file" }],
    ["quarantine", { owner: "the exporter otlp with rejected records", exporter: "otlp" }],
  ]);

/**
 * Rejects exporters that would write to a file of another exporter, of the journal, or to a folder of the gateway: each
 * would destroy the other's data. The folders are reserved even if nothing writes there yet, because a file of that name
 * would prevent their creation.
 */
export function rejectSharedFiles(
  exporters: readonly ExporterComponent[],
  problems: Problems,
): void {
  const owners = new Map<string, string>();
  for (const exporter of exporters) {
    const place = formatPath(["exporters", exporter.id]);
    const names = listOwnedNames(exporter, place, problems);
    const findOwner = (name: string): string | undefined =>
      owners.get(name) ?? findGatewayOwner(name, exporter);
    const shared = names.find((name) => findOwner(name) !== undefined);
    if (shared === undefined) {
      for (const name of names) owners.set(name, place);
    } else {
      const owner = findOwner(shared)!;
      problems.add(place, `it would write ${shared} in the log directory, as ${owner} does`);
    }
  }
}

/** Returns the part of the gateway that owns a name or a folder above it, if any. */
function findGatewayOwner(name: string, { definition }: ExporterComponent): string | undefined {
  const [first = ""] = posix.normalize(name).split("/", 1);
  if (isJournalFile(first)) return "the journal";
  const folder = RESERVED_FOLDERS.get(first);
  return folder?.exporter === definition.name ? undefined : folder?.owner;
}

function listOwnedNames(
  { definition, options }: ExporterComponent,
  place: string,
  problems: Problems,
): string[] {
  try {
    return Array.from(definition.owns?.(options) ?? [], String);
  } catch (error) {
    problems.add(place, `the plugin cannot say which files it writes: ${textOf(error)}`);
    return [];
  }
}
