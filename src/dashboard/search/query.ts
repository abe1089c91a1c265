/** The text of the search box: its words, its terms, and their completions. The parser is src/wire/query/parse.ts. */

import { ENVELOPE_TYPES, LEVELS, type Envelope, type JsonValue } from "../../wire/envelope.ts";
import type { FilterNode } from "../../wire/query/ast.ts";
import { parseQuery } from "../../wire/query/parse.ts";
import { isEntry } from "../panel/rows.ts";
import type { DashboardSession } from "../session/session.ts";

export interface Word {
  readonly from: number;
  readonly to: number;
  readonly text: string;
}

/** Text between spaces outside quotes; the last word may be incomplete. */
const WORD = /(?:"(?:[^"\\]|\\[^])*(?:"|\\?$)|[^\s"])+/g;

export function splitWords(text: string): Word[] {
  return [...text.matchAll(WORD)].map(({ index, 0: word }) => ({
    from: index,
    to: index + word.length,
    text: word,
  }));
}

/** Returns the term that finds the records with this value of a field. */
export function toTerm(field: string, value: string): string {
  return `${field}:${quote(value)}`;
}

function quote(value: string): string {
  return value === "" || /[\s"]/.test(value) ? `"${value.replaceAll(/["\\]/g, "\\$&")}"` : value;
}

/** The value may lack its closing quote. */
function unquote(text: string): string {
  if (!text.startsWith('"')) return text;
  return text
    .slice(1)
    .replaceAll(/\\(["\\])|"$/g, (_, character: string | undefined) => character ?? "");
}

export function hasTerm(text: string, term: string): boolean {
  return splitWords(text).some((word) => word.text === term);
}

/** Removes a term if it is there; otherwise it replaces other terms of its field. */
export function toggleTerm(text: string, field: string, term: string): string {
  const words = splitWords(text).map((word) => word.text);
  const others = words.filter((word) => !word.startsWith(`${field}:`));
  return (words.includes(term) ? others : [...others, term]).join(" ");
}

/** Returns the texts that are searched for, in lower case; none if the filter is not valid. */
export function searchedTexts(text: string): string[] {
  try {
    return textsOf(parseQuery(text)).filter((searched) => searched !== "");
  } catch {
    return [];
  }
}

function textsOf(node: FilterNode): readonly string[] {
  switch (node.kind) {
    case "and":
    case "or":
      return node.nodes.flatMap(textsOf);
    case "field":
      return [node.alsoText ?? ""];
    case "text": {
      const { pattern } = node;
      if (pattern.kind === "literal") return [pattern.text];
      return pattern.kind === "wildcard" ? pattern.parts : [];
    }
    default:
      return [];
  }
}

export interface Completion {
  readonly label: string;
  /** The whole text after the completion, and where the caret is then. */
  readonly text: string;
  readonly caret: number;
  /** True for the name of a field, which needs a value next. */
  readonly isField: boolean;
}

/** Field names and values that can be suggested. */
export interface KnownFields {
  readonly fields: readonly string[];
  values(field: string): readonly string[];
}

const COMPLETIONS_MAX = 12;

/** Returns the completions of the word at the caret. */
export function completeQuery(text: string, caret: number, known: KnownFields): Completion[] {
  const word = splitWords(text).find(({ from, to }) => from <= caret && caret <= to);
  const [from, to] = word ? [word.from, word.to] : [caret, caret];
  const typed = text.slice(from, caret);
  const [, minus, field, start] = /^(-?)(?:([^\s":]+):)?([^]*)$/.exec(typed)!;
  const insert = (label: string, term: string, isField: boolean): Completion => {
    const head = text.slice(0, from) + minus! + term + (isField ? "" : " ");
    const tail = text.slice(to).trimStart();
    return { label, text: head + tail, caret: head.length, isField };
  };
  if (field !== undefined) {
    return findMatching(valuesOf(field, known), unquote(start!)).map((value) =>
      insert(value, toTerm(field, value), false),
    );
  }
  if (start!.startsWith('"')) return [];
  return findMatching(known.fields.filter(isFieldName), start!).map((name) =>
    insert(`${name}:`, `${name}:`, true),
  );
}

function valuesOf(field: string, known: KnownFields): readonly string[] {
  if (field === "level") return [...LEVELS, ...LEVELS.map((level) => `=${level}`)];
  return field === "type" ? ["system", "audit"] : known.values(field);
}

/** The filter language cannot express names with spaces, quotes or colons. */
function isFieldName(name: string): boolean {
  return name !== "" && !/[\s":]/.test(name) && !name.startsWith("-");
}

/** Returns those that start with the text first, then those that contain it. */
function findMatching(all: readonly string[], typed: string): string[] {
  const text = typed.toLowerCase();
  const found = all.filter((one) => one.toLowerCase().includes(text));
  const isFirst = (one: string): boolean => one.toLowerCase().startsWith(text);
  const sorted = [...found.filter(isFirst), ...found.filter((one) => !isFirst(one))];
  return sorted.slice(0, COMPLETIONS_MAX);
}

/** How many of the newest rows of each panel are searched for fields. */
const ROWS_MAX = 1000;
const VALUES_MAX = 200;
const VALUE_CHARACTERS_MAX = 120;
const DEPTH_MAX = 4;

/** The fields of the filter language itself, in the order in which they are suggested. */
const BUILT_IN_FIELDS = ["level", "logger", "action", "type"];

/** These differ in almost every record, so a term for one of their values is of no use. */
const NOT_SUGGESTED = new Set(["timestamp", "message"]);

/** Returns the fields of the newest loaded records, by the names that the filter language uses, and their values. */
export function collectFields({ panels }: Pick<DashboardSession, "panels">): KnownFields {
  const values = new Map<string, Set<string>>(BUILT_IN_FIELDS.map((name) => [name, new Set()]));
  for (const type of ENVELOPE_TYPES) {
    const { rows } = panels[type];
    for (let index = Math.max(0, rows.length - ROWS_MAX); index < rows.length; index++) {
      const row = rows.at(index)!;
      if (isEntry(row)) collectRecord(row.envelope, values);
    }
  }
  return {
    fields: [...values.keys()],
    values: (field) => [...(values.get(field) ?? [])],
  };
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
