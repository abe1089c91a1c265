import { tellsCallSite } from "../envelope/call-site.ts";
import type { CallSiteAttributes } from "./call-site.ts";
import { errorColumns } from "./exception.ts";
import { isError, snapshotOf } from "./plain-value.ts";

/** Attributes as two parallel arrays: unique names and their values. */
export interface NamedValues {
  readonly keys: readonly string[];
  readonly values: readonly unknown[];
}

/** The names of records with more attributes are not remembered. */
const NAMES_MAX = 64;

/**
 * Remembers the attribute names of the previous record. Most records have the same names and then share one array, so that
 * the encoder need not look at them again.
 */
export class NameColumn {
  #names: readonly string[] = [];

  /** Returns the remembered array if it has the same names, else `names`. */
  shared(names: readonly string[]): readonly string[] {
    if (this.has(names)) return this.#names;
    if (names.length <= NAMES_MAX) this.#names = names;
    return names;
  }

  has(names: readonly string[]): boolean {
    const known = this.#names;
    if (names.length !== known.length) return false;
    for (let index = 0; index < names.length; index++) {
      if (names[index] !== known[index]) return false;
    }
    return true;
  }
}

/** Adds other attributes, except those whose names exist already. */
export function withAdded(given: NamedValues, others: NamedValues): NamedValues {
  const { keys, values } = others;
  if (keys.length === 0) return given;
  const added = keys.map((_, index) => index).filter((index) => !given.keys.includes(keys[index]!));
  return {
    keys: [...given.keys, ...added.map((index) => keys[index]!)],
    values: [...given.values, ...added.map((index) => values[index])],
  };
}

/** The attribute under which an Error is the record's exception. */
const EXCEPTION = "exception";

/** Takes snapshots of the attributes that callers pass to one logger. Never throws. */
export class CallerAttributes {
  /** The names of records whose attributes need no conversion. */
  readonly #names = new NameColumn();

  /**
   * Returns a snapshot, with an Error under `exception` converted as in the semantic conventions. `site` is the call site;
   * `code.*` attributes take precedence.
   */
  columns(attributes: unknown, site: CallSiteAttributes | undefined): NamedValues {
    const keys = listKeys(attributes);
    if (site !== undefined || !this.#arePlain(keys))
      return convertedColumns(attributes, keys, site);
    const values = readValues(attributes, keys);
    for (let index = 0; index < values.length; index++) values[index] = snapshotOf(values[index]);
    return values.includes(undefined)
      ? withoutUndefined(keys, values)
      : { keys: this.#names.shared(keys), values };
  }

  #arePlain(keys: readonly string[]): boolean {
    return this.#names.has(keys) || keys.every((key) => key !== EXCEPTION && key.isWellFormed());
  }
}

/** Returns the attribute names, or none if they cannot be listed; the message is logged anyway. */
function listKeys(attributes: unknown): string[] {
  try {
    return typeof attributes === "object" && attributes !== null ? Object.keys(attributes) : [];
  } catch {
    return [];
  }
}

/** Reads all values at once; one by one if a getter throws or deletes other attributes. */
function readValues(attributes: unknown, keys: readonly string[]): unknown[] {
  if (keys.length === 0) return [];
  const holder = attributes as Record<string, unknown>;
  try {
    const values = Object.values(holder);
    if (values.length === keys.length) return values;
  } catch {
    // A getter has thrown.
  }
  return keys.map((key) => readProperty(holder, key));
}

/** Removes undefined attributes, so that the gateway's own value for the name is used. */
function withoutUndefined(keys: readonly string[], values: readonly unknown[]): NamedValues {
  return {
    keys: keys.filter((_, index) => values[index] !== undefined),
    values: values.filter((value) => value !== undefined),
  };
}

/** The slow path. If two names become the same, the last value counts, as over OTLP. */
function convertedColumns(
  attributes: unknown,
  listed: readonly string[],
  site: CallSiteAttributes | undefined,
): NamedValues {
  const columns = new Map<string, unknown>();
  for (const key of listed) {
    const value = readProperty(attributes as object, key);
    if (key === EXCEPTION && isError(value)) {
      const error = errorColumns(value);
      error.keys.forEach((name, index) => columns.set(name, error.values[index]));
    } else {
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

/** Reads one property; the error that a getter throws becomes its value. */
function readProperty(holder: object, key: string): unknown {
  try {
    return (holder as Record<string, unknown>)[key];
  } catch (error) {
    return error;
  }
}
