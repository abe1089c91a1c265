/** Which fields envelopes have. */

import type { Envelope, JsonValue } from "../wire/envelope.ts";
import type { FieldType } from "../wire/fields.ts";

/** A field, by its name in the filter language. */
export interface FieldCount {
  readonly name: string;
  /** The types of its values; `other`: null or an empty object. */
  readonly types: readonly FieldType[];
  /** How many records have it, about. */
  readonly records: number;
}

/** Further fields, or further text of their names, do not count: such names are values. */
const FIELDS_MAX = 1000;
const NAMES_CHARS_MAX = 1 << 17;

/** In the filter language, these names never mean a field of an audit event's metadata. */
const HEADERS = new Set(["type", "level", "logger"]);

/** What the names of fields may leave out. */
const PREFIXES = ["metadata.details.", "metadata."];

/** Counts the records that have a field, by its name. */
export class FieldCounts {
  readonly #fields = new Map<string, { readonly types: Set<FieldType>; records: number }>();
  #nameChars = 0;

  /** Adds the fields of a record; each counts once. */
  addEnvelope({ data }: Envelope): void {
    const found = new Map<string, Set<FieldType>>();
    collectMembers(data as unknown as JsonObject, "", false, found);
    for (const [name, types] of found) this.add({ name, types: [...types], records: 1 });
  }

  /** Adds a field, under its whole name or the shortest one of the filter language. */
  add({ name, types, records }: FieldCount): void {
    const short = shortName(name);
    let field = this.#fields.get(short);
    if (!field) {
      const chars = this.#nameChars + short.length;
      if (this.#fields.size >= FIELDS_MAX || chars > NAMES_CHARS_MAX) return;
      this.#nameChars = chars;
      this.#fields.set(short, (field = { types: new Set(), records: 0 }));
    }
    for (const type of types) field.types.add(type);
    field.records += records;
  }

  /** Returns the fields, the most frequent ones first. */
  mostFrequent(): FieldCount[] {
    return [...this.#fields]
      .map(([name, { types, records }]) => ({ name, types: [...types].toSorted(), records }))
      .toSorted((one, other) => other.records - one.records || (one.name < other.name ? -1 : 1));
  }
}

function shortName(name: string): string {
  const prefix = PREFIXES.find((one) => name.startsWith(one)) ?? "";
  const short = name.slice(prefix.length);
  return short === "" || HEADERS.has(short) ? name : short;
}

type JsonObject = { readonly [key: string]: JsonValue };

function collectMembers(
  members: JsonObject,
  prefix: string,
  isListed: boolean,
  found: Map<string, Set<FieldType>>,
): void {
  for (const [key, value] of Object.entries(members)) {
    collect(value, prefix + key, isListed, found);
  }
}

/** `isListed`: the value is an element of a list, or below one. */
function collect(
  value: JsonValue,
  name: string,
  isListed: boolean,
  found: Map<string, Set<FieldType>>,
): void {
  const add = (type: FieldType): void => {
    const types = found.get(name);
    if (types) types.add(isListed ? "list" : type);
    else found.set(name, new Set([isListed ? "list" : type]));
  };
  if (Array.isArray(value)) {
    add("list");
    for (const element of value as readonly JsonValue[]) collect(element, name, true, found);
  } else if (typeof value !== "object") {
    add(typeof value as "string" | "number" | "boolean");
  } else if (value === null || Object.keys(value).length === 0) add("other");
  else collectMembers(value as JsonObject, `${name}.`, isListed, found);
}
