/** The names and values that the search box suggests. */

import { ENVELOPE_TYPES, type Envelope, type JsonValue } from "../../wire/envelope.ts";
import { isEntry } from "../panel/rows.ts";
import type { DashboardSession } from "../session/session.ts";
import type { Suggestion } from "./query.ts";

/** How many of the newest rows of each panel are searched for fields. */
const ROWS_MAX = 1000;
const VALUES_MAX = 200;
const VALUE_CHARACTERS_MAX = 120;
const DEPTH_MAX = 4;

/** The fields of the filter language itself, in the order in which they are suggested. */
const BUILT_IN_FIELDS = ["level", "logger", "action", "type"];

/** These differ in almost every record, so a term for one of their values is of no use. */
const NOT_SUGGESTED = new Set(["timestamp", "message"]);

/** Suggests the fields and values of the records that are loaded. */
export class FieldCatalog {
  readonly #session: Panels;

  constructor(session: Panels) {
    this.#session = session;
  }

  /** Returns the names of fields, those of the filter language first. */
  fields(): Suggestion[] {
    return toSuggestions(collectFields(this.#session).keys());
  }

  values(field: string): Suggestion[] {
    return toSuggestions(collectFields(this.#session).get(field) ?? []);
  }
}

function toSuggestions(texts: Iterable<string>): Suggestion[] {
  return Array.from(texts, (text) => ({ text }));
}

type Panels = Pick<DashboardSession, "panels">;

/** The fields of the newest loaded records, by the names that the filter language uses, and their values. */
function collectFields({ panels }: Panels): ValuesByField {
  const values: ValuesByField = new Map(BUILT_IN_FIELDS.map((name) => [name, new Set()]));
  for (const type of ENVELOPE_TYPES) {
    const { rows } = panels[type];
    for (let index = Math.max(0, rows.length - ROWS_MAX); index < rows.length; index++) {
      const row = rows.at(index)!;
      if (isEntry(row)) collectRecord(row.envelope, values);
    }
  }
  return values;
}

type ValuesByField = Map<string, Set<string>>;

function collectRecord({ type, data }: Envelope, values: ValuesByField): void {
  const { metadata, ...own } = data as { readonly [name: string]: JsonValue };
  collectObject(own, "", values);
  if (type !== "audit_log" || !isObject(metadata)) return;
  const { details, ...fields } = metadata;
  collectObject(fields, "", values);
  if (isObject(details)) collectObject(details, "", values);
}

function collectObject(fields: JsonFields, path: string, values: ValuesByField, depth = 0): void {
  for (const [name, value] of Object.entries(fields)) {
    const field = path + name;
    if (NOT_SUGGESTED.has(field)) continue;
    if (isObject(value) && depth < DEPTH_MAX) {
      collectObject(value, `${field}.`, values, depth + 1);
    } else {
      collectValue(field, value, values);
    }
  }
}

function collectValue(field: string, value: JsonValue, values: ValuesByField): void {
  const known = values.get(field) ?? new Set();
  values.set(field, known);
  const text = typeof value === "string" ? value : JSON.stringify(value);
  if (known.size < VALUES_MAX && text.length <= VALUE_CHARACTERS_MAX) known.add(text);
}

type JsonFields = { readonly [name: string]: JsonValue };

function isObject(value: JsonValue | undefined): value is JsonFields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
