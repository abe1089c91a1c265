import { ENVELOPE_TYPES, type Envelope, type JsonValue } from "../../wire/envelope.ts";
import type { Known } from "./completion.ts";
import { isEntry } from "../panel/rows.ts";
import type { Session } from "../session/session.ts";

/** Of each panel, the newest. */
const ROWS_MAX = 1000;
const VALUES_MAX = 200;
const VALUE_CHARACTERS_MAX = 120;
const DEPTH_MAX = 4;

/** The language's own, in the order in which they are offered. */
const OWN_FIELDS = ["level", "logger", "action", "type"];

/** Not worth a term: each record has another one. */
const NOT_OFFERED = new Set(["timestamp", "message"]);

/** The fields of the newest loaded records, under the names by which the filter finds them, and their values. */
export function seenIn({ panels }: Pick<Session, "panels">): Known {
  const values = new Map<string, Set<string>>(OWN_FIELDS.map((name) => [name, new Set()]));
  for (const lane of ENVELOPE_TYPES) {
    const { rows } = panels[lane];
    for (let index = Math.max(0, rows.length - ROWS_MAX); index < rows.length; index++) {
      const row = rows.at(index)!;
      if (isEntry(row)) collect(row.envelope, values);
    }
  }
  return {
    fields: [...values.keys()],
    values: (field) => [...(values.get(field) ?? [])],
  };
}

function collect({ type, data }: Envelope, values: Map<string, Set<string>>): void {
  const { metadata, ...own } = data as { readonly [name: string]: JsonValue };
  addAll(own, "", values);
  if (type !== "audit_log" || !isObject(metadata)) return;
  const { details, ...fields } = metadata;
  addAll(fields, "", values);
  if (isObject(details)) addAll(details, "", values);
}

function addAll(fields: JsonObject, path: string, values: Map<string, Set<string>>, depth = 0) {
  for (const [name, value] of Object.entries(fields)) {
    const field = path + name;
    if (NOT_OFFERED.has(field)) continue;
    if (isObject(value) && depth < DEPTH_MAX) addAll(value, `${field}.`, values, depth + 1);
    else add(field, value, values);
  }
}

function add(field: string, value: JsonValue, values: Map<string, Set<string>>): void {
  const seen = values.get(field) ?? new Set();
  values.set(field, seen);
  const text = typeof value === "string" ? value : JSON.stringify(value);
  if (seen.size < VALUES_MAX && text.length <= VALUE_CHARACTERS_MAX) seen.add(text);
}

type JsonObject = { readonly [name: string]: JsonValue };

function isObject(value: JsonValue | undefined): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
