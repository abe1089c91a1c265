import type { Level } from "../wire/envelope.ts";
import type { ExporterDefinition, ProcessorDefinition } from "../plugin/index.ts";
import { TailgateError, textOf } from "../wire/errors.ts";
import type { Definitions, Section } from "./built-ins.ts";
import { optionOverrides, type OverrideSources, EnvironmentText } from "./environment.ts";
import { loadPlugin } from "./plugin-loader.ts";
import { found, formatPath, type Path, type Problems } from "./problems.ts";
import { GENERIC_SCHEMAS } from "./settings.ts";
import { isMapping, validated, type Mapping } from "./validation.ts";
import { posix } from "node:path";
import { JOURNAL_PREFIX } from "../runtime/log-dir.ts";

/** A plugin with its validated options. */
export interface Component<Definition> {
  /** The key in the configuration: `file`, `webhook/audit`. */
  readonly id: string;
  readonly definition: Definition;
  readonly options: Record<string, unknown>;
  /** Where the plugin is from, if the configuration says it: a path or a package. */
  readonly use?: string;
}

export interface ExporterComponent extends Component<ExporterDefinition> {
  /** Records below it are counted as filtered; all are wanted where it is absent. */
  readonly level?: Level;
  /** What may wait for it, for each type of record. */
  readonly queueBytesMax: number;
  /** How long one write may take before its signal aborts. */
  readonly timeoutMs: number;
}

/** What becomes of a record that a processor fails on. */
export type OnError = "fail" | "keep" | "drop";

export interface ProcessorComponent extends Component<ProcessorDefinition> {
  /** Default: `fail` for audit events, `keep` for system logs. */
  readonly onError?: OnError;
}

export type ComponentOf<S extends Section> = S extends "exporters"
  ? ExporterComponent
  : S extends "processors"
    ? ProcessorComponent
    : Component<Definitions[S]>;

export interface ComponentContext {
  readonly directory: string;
  readonly sources: OverrideSources;
  readonly problems: Problems;
}

export const ID = /^[a-z][a-z0-9-]*(\/[A-Za-z0-9._-]{1,64})?$/;

/** Loads and checks what stands in one section, in its order. What is wrong becomes a problem and is left out. */
export async function resolveSection<S extends Section>(
  section: S,
  given: unknown,
  context: ComponentContext,
): Promise<ComponentOf<S>[]> {
  const components: ComponentOf<S>[] = [];
  for (const [id, body] of entriesOf(given, [section], context.problems)) {
    const component = await resolveComponent(section, id, body, context);
    if (component) components.push(component);
  }
  return components;
}

/** The members of a mapping; nothing at all is an empty one. */
function entriesOf(given: unknown, path: Path, problems: Problems): [string, unknown][] {
  const value = given instanceof EnvironmentText ? given.value : given;
  if (isMapping(value)) return Object.entries(value);
  if (value !== null) problems.add(formatPath(path), `expected mapping${found(path, value)}`);
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
    const form = "a component's key is a plugin's name, such as webhook, or webhook/NAME";
    context.problems.add(formatPath(path), form);
    return undefined;
  }
  const given = Object.fromEntries(entriesOf(body, path, context.problems));
  const generic = await readGeneric(section, given, path, context.problems);
  if (!generic) return undefined;
  try {
    const { directory } = context;
    const definition = await loadPlugin({ section, id, use: generic.use, directory });
    const options = await readOptions(definition, given, path, context);
    return options && ({ id, definition, options, ...generic } as unknown as ComponentOf<S>);
  } catch (error) {
    if (!TailgateError.is(error)) throw error;
    context.problems.addError(formatPath(path), error);
    return undefined;
  }
}

type Generic = Partial<
  Pick<ExporterComponent, "use" | "level" | "queueBytesMax" | "timeoutMs"> &
    Pick<ProcessorComponent, "onError">
>;

/** The keys that are the gateway's and not the plugin's. */
async function readGeneric(
  section: Section,
  given: Mapping,
  path: Path,
  problems: Problems,
): Promise<Generic | undefined> {
  const own = pick(given, genericKeys(section));
  const context = { place: (inner: Path) => formatPath([...path, ...inner]), problems };
  if (section === "receivers") {
    const generic = await validated(GENERIC_SCHEMAS[section], own, context);
    return generic && withoutUndefined(generic);
  }
  if (section === "processors") {
    const generic = await validated(GENERIC_SCHEMAS[section], own, context);
    return generic && withoutUndefined({ use: generic.use, onError: generic.on_error });
  }
  const generic = await validated(GENERIC_SCHEMAS[section], own, context);
  if (!generic) return undefined;
  const { use, level, queue_bytes: queueBytesMax, timeout_seconds: timeoutSeconds } = generic;
  return withoutUndefined({ use, level, queueBytesMax, timeoutMs: 1000 * timeoutSeconds });
}

async function readOptions(
  definition: Definitions[Section],
  given: Mapping,
  path: Path,
  context: ComponentContext,
): Promise<Record<string, unknown> | undefined> {
  const [section, id] = path as [Section, string];
  const keys = genericKeys(section);
  const options = new Map(Object.entries(given).filter(([key]) => !keys.includes(key)));
  const overrides = optionOverrides(section, id, context.sources);
  for (const [key, { value }] of overrides) options.set(String(key), value);
  return validated(definition.options, Object.fromEntries(options), {
    place: (inner) => overrides.get(inner[0] ?? "")?.place ?? formatPath([...path, ...inner]),
    otherKeys: keys,
    problems: context.problems,
  });
}

function genericKeys(section: Section): string[] {
  return Object.keys(GENERIC_SCHEMAS[section].shape);
}

function pick(given: Mapping, keys: readonly string[]): Mapping {
  return Object.fromEntries(Object.entries(given).filter(([key]) => keys.includes(key)));
}

function withoutUndefined(values: Mapping): Mapping {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined));
}

/** Folders of the log directory that the gateway needs, by their names, and the exporter that may write there, too. */
const RESERVED_FOLDERS: ReadonlyMap<string, { readonly owner: string; readonly exporter: string }> =
  new Map([
    ["audit", { owner: "the audit trail", exporter: "audit-file" }],
    ["quarantine", { owner: "the exporter otlp with rejected records", exporter: "otlp" }],
  ]);

/**
 * Refuses exporters that would write to a file of another one, to the journal's or where the gateway keeps a folder:
 * each would destroy what the other writes. The folders are reserved even if nothing writes there yet: a file in their
 * place would keep them from being created later.
 */
export function refuseSharedFiles(
  exporters: readonly ExporterComponent[],
  problems: Problems,
): void {
  const owners = new Map<string, string>();
  for (const exporter of exporters) {
    const place = formatPath(["exporters", exporter.id]);
    const names = ownedNames(exporter, place, problems);
    const ownerOf = (name: string): string | undefined =>
      owners.get(name) ?? gatewayOwner(name, exporter);
    const taken = names.find((name) => ownerOf(name) !== undefined);
    if (taken === undefined) {
      for (const name of names) owners.set(name, place);
    } else {
      const owner = ownerOf(taken)!;
      problems.add(place, `it would write ${taken} in the log directory, as ${owner} does`);
    }
  }
}

/** What of the gateway's own has that name or a folder above it; undefined if nothing has. */
function gatewayOwner(name: string, { definition }: ExporterComponent): string | undefined {
  const [first = ""] = posix.normalize(name).split("/", 1);
  if (first.startsWith(JOURNAL_PREFIX)) return "the journal";
  const folder = RESERVED_FOLDERS.get(first);
  return folder?.exporter === definition.name ? undefined : folder?.owner;
}

function ownedNames(
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
