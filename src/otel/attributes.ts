import { tellsCallSite } from "../envelope/call-site.ts";
import type { CallSiteAttributes } from "./call-site.ts";
import { errorColumns } from "./exception.ts";
import { isError, snapshotOf } from "./plain-value.ts";

/** Attributes as two columns: names, each once, and their values at the same places. */
export interface Columns {
  readonly keys: readonly string[];
  readonly values: readonly unknown[];
}

/** A record with more attributes leaves nothing behind. */
const NAMES_MAX = 64;

/**
 * The names that the attributes of the record before have. Most records have the same ones, and then share them: who
 * is given the same column again need not look at its names again.
 */
export class NameColumn {
  #names: readonly string[] = [];

  /** These names, or the same ones as they were given before. */
  shared(names: readonly string[]): readonly string[] {
    if (this.has(names)) return this.#names;
    if (names.length <= NAMES_MAX) this.#names = names;
    return names;
  }

  /** Whether these names were the last ones. */
  has(names: readonly string[]): boolean {
    const known = this.#names;
    if (names.length !== known.length) return false;
    for (let index = 0; index < names.length; index++) {
      if (names[index] !== known[index]) return false;
    }
    return true;
  }
}

/** Attributes, and of some others those whose names are not among them. */
export function withAdded(given: Columns, others: Columns): Columns {
  const { keys, values } = others;
  if (keys.length === 0) return given;
  const added = keys.map((_, index) => index).filter((index) => !given.keys.includes(keys[index]!));
  return {
    keys: [...given.keys, ...added.map((index) => keys[index]!)],
    values: [...given.values, ...added.map((index) => values[index])],
  };
}

/** Under this name an Error is the record's exception. */
const EXCEPTION = "exception";

/** Makes snapshots of the attributes that callers hand to one logger; never throws. */
export class CallerAttributes {
  /** Only of records whose names are used as they are. */
  readonly #names = new NameColumn();

  /**
   * A snapshot, with an Error under `exception` as the semantic conventions have it. `site` is the place of the call;
   * what the attributes say of it wins.
   */
  columns(attributes: unknown, site: CallSiteAttributes | undefined): Columns {
    const keys = keysOf(attributes);
    if (site !== undefined || !this.#areUsual(keys)) return unusualColumns(attributes, keys, site);
    const values = valuesOf(attributes, keys);
    for (let index = 0; index < values.length; index++) values[index] = snapshotOf(values[index]);
    return values.includes(undefined)
      ? withoutAbsent(keys, values)
      : { keys: this.#names.shared(keys), values };
  }

  #areUsual(keys: readonly string[]): boolean {
    return this.#names.has(keys) || keys.every((key) => key !== EXCEPTION && key.isWellFormed());
  }
}

/** The names of the attributes: none where they cannot be listed, which costs the attributes and not the message. */
function keysOf(attributes: unknown): string[] {
  try {
    return typeof attributes === "object" && attributes !== null ? Object.keys(attributes) : [];
  } catch {
    return [];
  }
}

/** Read all at once; one by one where that fails, or a getter has taken away what comes after it. */
function valuesOf(attributes: unknown, keys: readonly string[]): unknown[] {
  if (keys.length === 0) return [];
  const holder = attributes as Record<string, unknown>;
  try {
    const values = Object.values(holder);
    if (values.length === keys.length) return values;
  } catch {
    // One of them cannot be read.
  }
  return keys.map((key) => readProperty(holder, key));
}

/** As if what is undefined was not there: then what the gateway would say under that name is said. */
function withoutAbsent(keys: readonly string[], values: readonly unknown[]): Columns {
  const isThere = (index: number): boolean => values[index] !== undefined;
  return {
    keys: keys.filter((_, index) => isThere(index)),
    values: values.filter((_, index) => isThere(index)),
  };
}

/** Of a name that is there twice the last value counts, as with what comes over OTLP. */
function unusualColumns(
  attributes: unknown,
  listed: readonly string[],
  site: CallSiteAttributes | undefined,
): Columns {
  const columns = new Map<string, unknown>();
  for (const key of listed) {
    const value = readProperty(attributes as object, key);
    if (key === EXCEPTION && isError(value)) addAll(columns, errorColumns(value));
    else {
      const snapshot = snapshotOf(value);
      if (snapshot !== undefined) columns.set(key.toWellFormed(), snapshot);
    }
  }
  const keys = [...columns.keys()];
  const values = [...columns.values()];
  if (site !== undefined && !keys.some(tellsCallSite)) {
    keys.push(...Object.keys(site));
    values.push(...Object.values(site));
  }
  return { keys, values };
}

function addAll(columns: Map<string, unknown>, { keys, values }: Columns): void {
  for (const [index, key] of keys.entries()) columns.set(key, values[index]);
}

/** Reads one property; what a getter throws stands for its value. */
function readProperty(holder: object, key: string): unknown {
  try {
    return (holder as Record<string, unknown>)[key];
  } catch (error) {
    return error;
  }
}
