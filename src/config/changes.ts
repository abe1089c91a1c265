/** What differs between the configuration that a gateway runs with and the next one. */

import { isDeepStrictEqual } from "node:util";
import { SECTIONS, type Section } from "./built-ins.ts";
import type { Config } from "./config.ts";
import { formatPath, type ConfigPath } from "./problems.ts";
import { mask } from "./secrets.ts";
import { isMapping, type Mapping } from "./validation.ts";

/** A value that differs. Secrets are masked. */
export interface ConfigChange {
  /** Such as `exporters.file.max_bytes`. */
  readonly key: string;
  /** Undefined if the key is new. */
  readonly from: unknown;
  /** Undefined if the key is gone. */
  readonly to: unknown;
}

/** The settings that a running gateway applies; those below them as well. */
const APPLIED_SETTINGS = [
  "log_level",
  "trace_url",
  "allowed_hosts",
  "trust_default_origins",
  "insecure",
  "journal.system_days",
  "journal.system_bytes",
  "journal.audit_days",
  "journal.audit_bytes",
  "http",
];

export interface ConfigChanges {
  /** The sections that a running gateway applies, by component, and the settings. */
  readonly applied: readonly ConfigChange[];
  /** What needs a restart of the gateway. */
  readonly refused: readonly ConfigChange[];
}

/** Returns what differs. `stale`: components of both whose files have changed, such as `processors.mine`. */
export function findChanges(
  previous: Config,
  next: Config,
  stale: ReadonlySet<string> = new Set(),
): ConfigChanges {
  const settings = differences([], previous.settings, next.settings);
  const components = SECTIONS.flatMap((section) => sectionChanges(section, previous, next, stale));
  return {
    applied: [...settings.filter(isApplied), ...components],
    refused: settings.filter((change) => !isApplied(change)),
  };
}

function isApplied({ key }: ConfigChange): boolean {
  return APPLIED_SETTINGS.some((setting) => isWithin(key, setting));
}

/** Returns whether a key is that one or below it. */
function isWithin(key: string, other: string): boolean {
  return key === other || key.startsWith(`${other}.`);
}

function sectionChanges(
  section: Section,
  previous: Config,
  next: Config,
  stale: ReadonlySet<string>,
): ConfigChange[] {
  const [before, after] = [valuesOf(previous, section), valuesOf(next, section)];
  const changes = differences([section], before, after);
  for (const { id, definition } of next[section]) {
    const place = formatPath([section, id]);
    const old = previous[section].find((one) => one.id === id);
    const isOther = old !== undefined && old.definition !== definition;
    if (!isOther && !stale.has(place)) continue;
    if (changes.some(({ key }) => isWithin(key, place))) continue;
    changes.push({ key: place, from: "files", to: "changed files" });
  }
  const [order, nextOrder] = [Object.keys(before), Object.keys(after)];
  const isReordered = !isDeepStrictEqual(
    order.filter((id) => id in after),
    nextOrder.filter((id) => id in before),
  );
  if (section === "processors" && isReordered) {
    changes.push({ key: section, from: order, to: nextOrder });
  }
  return changes;
}

function valuesOf(config: Config, section: Section): Mapping {
  return Object.fromEntries(config[section].map(({ id, given = {} }) => [id, given]));
}

/** Returns the differing leaves; a mapping that is new or gone is one. */
function differences(path: ConfigPath, from: unknown, to: unknown): ConfigChange[] {
  if (isDeepStrictEqual(from, to)) return [];
  if (!isMapping(from) || !isMapping(to)) {
    return [{ key: formatPath(path), from: shown(path, from), to: shown(path, to) }];
  }
  const keys = new Set([...Object.keys(from), ...Object.keys(to)]);
  return [...keys].flatMap((key) => differences([...path, key], from[key], to[key]));
}

/** Masks a value as it would be within the whole configuration: a key above it may say that it is a secret. */
function shown(path: ConfigPath, value: unknown): unknown {
  if (value === undefined) return undefined;
  const whole = path.reduceRight<unknown>((inner, key) => ({ [key]: inner }), value);
  return path.reduce<unknown>((inner, key) => (inner as Mapping)[String(key)], mask(whole));
}

/** Which components of a section have to be closed and opened, each in the order of its configuration. */
export interface ComponentChanges<C> {
  readonly closed: readonly C[];
  readonly opened: readonly C[];
}

/** Returns the components that changed, by the `changes` of {@link findChanges}; `isOpen`: whether one is open now. */
export function changedComponents<S extends Section>(
  section: S,
  { previous, next, changes }: { previous: Config; next: Config; changes: readonly ConfigChange[] },
  isOpen: (id: string) => boolean,
): ComponentChanges<Config[S][number]> {
  const isChanged = ({ id }: Config[S][number]): boolean => {
    const place = formatPath([section, id]);
    return changes.some(({ key }) => isWithin(key, place));
  };
  const before: readonly Config[S][number][] = previous[section];
  const after: readonly Config[S][number][] = next[section];
  return {
    closed: before.filter((component) => isOpen(component.id) && isChanged(component)),
    opened: after.filter((component) => !isOpen(component.id) || isChanged(component)),
  };
}
