/** The names and values that the search box suggests: from the gateway's index, and from the records that are loaded. */

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

const FIELDS_PATH = "api/fields";

/** The gateway is asked for the fields again after this time. */
const FIELDS_AGE_MS_MAX = 60_000;

/** How long typing must pause before values are requested. */
const TYPING_PAUSE_MS = 150;

const VALUES_REQUESTED = 50;

interface FieldsResponse {
  readonly fields: readonly { readonly name: string; readonly records: number }[];
  /** Null if these are the fields of all records. */
  readonly next_cursor: string | null;
}

/** The gateway lists no more. */
const FIELDS_MAX = 1000;

interface ValuesResponse {
  readonly values: readonly { readonly value: string; readonly count: number }[];
}

interface FieldCatalogOptions {
  readonly panels: DashboardSession["panels"];
  readonly fetch: typeof fetch;
}

/**
 * Suggests fields and values. The gateway is asked for those of stored records while the user types; until it answers, or if it
 * does not, there are those of the loaded records.
 */
export class FieldCatalog {
  readonly #options: FieldCatalogOptions;
  readonly #listeners = new Set<() => void>();
  #fields: FieldsResponse["fields"] | undefined;
  #hasAllFields = false;
  #fieldsAtMs = -Infinity;
  /** The last values, and what they are values of. */
  #values: { readonly key: string; readonly suggestions: readonly Suggestion[] } | undefined;
  #request = new AbortController();
  #version = 0;

  constructor(options: FieldCatalogOptions) {
    this.#options = options;
  }

  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  /** Increases whenever there are other suggestions. */
  readonly version = (): number => this.#version;

  /** The names of the fields of all stored records; undefined if they are not known. */
  get names(): readonly string[] | undefined {
    return this.#hasAllFields ? this.#fields?.map(({ name }) => name) : undefined;
  }

  /** Returns all names: those of the filter language first, then the gateway's, then those of loaded records. */
  fields(): Suggestion[] {
    const known = new Map(this.#fields?.map(({ name, records }) => [name, records]));
    const names = [...BUILT_IN_FIELDS, ...known.keys(), ...collectFields(this.#options).keys()];
    return [...new Set(names)]
      .filter((name) => !NOT_SUGGESTED.has(name))
      .map((text) => ({ text, records: known.get(text) }));
  }

  /** Returns the values of a field that are known now; {@link load} asks for more. */
  values(field: string): Suggestion[] {
    const loaded = collectFields(this.#options).get(field) ?? [];
    const stored = this.#values?.key.startsWith(`${field}\n`) ? this.#values.suggestions : [];
    const known = new Set(stored.map(({ text }) => text));
    return [...stored, ...[...loaded].filter((text) => !known.has(text)).map((text) => ({ text }))];
  }

  /** Asks the gateway for the fields, if it has not answered lately. */
  async loadFields(): Promise<void> {
    const nowMs = performance.now();
    if (nowMs - this.#fieldsAtMs < FIELDS_AGE_MS_MAX) return;
    this.#fieldsAtMs = nowMs;
    const response = await this.#get<FieldsResponse>(FIELDS_PATH);
    if (!response) return;
    const { fields, next_cursor } = response;
    this.#fields = fields;
    this.#hasAllFields = next_cursor === null && fields.length < FIELDS_MAX;
    this.#publish();
  }

  /** Asks the gateway for the values of a field that start with a text. A later call cancels it. */
  async load(field: string, prefix: string): Promise<void> {
    const key = `${field}\n${prefix}`;
    if (this.#values?.key === key) return;
    this.#request.abort();
    this.#request = new AbortController();
    const { signal } = this.#request;
    await new Promise((resolve) => setTimeout(resolve, TYPING_PAUSE_MS));
    if (signal.aborted) return;
    const query = new URLSearchParams({ prefix, limit: String(VALUES_REQUESTED) });
    const path = `${FIELDS_PATH}/${encodeURIComponent(field)}/values?${query}`;
    const response = await this.#get<ValuesResponse>(path, signal);
    if (!response || signal.aborted) return;
    const suggestions = response.values
      .map(({ value, count }) => ({ text: value, records: count }))
      .filter(({ text }) => text.length <= VALUE_CHARACTERS_MAX);
    this.#values = { key, suggestions };
    this.#publish();
  }

  /** Returns undefined if there is no answer: suggestions are not worth an error. */
  async #get<T>(path: string, signal?: AbortSignal): Promise<T | undefined> {
    try {
      const response = await this.#options.fetch(path, signal ? { signal } : {});
      return response.ok ? ((await response.json()) as T) : undefined;
    } catch {
      return undefined;
    }
  }

  #publish(): void {
    this.#version++;
    for (const listener of this.#listeners) listener();
  }
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
