/**
 * The one filter language: WebSocket subscription, history API, CLI and dashboard.
 *
 * All terms must hold. `text` and `"a phrase"` are looked for in all values, in any case; `-term` must not hold.
 * `level:WARNING` is that level or a more severe one, `level:=WARNING` that level alone, `logger:a.b` that logger or one below it, `type:audit` or
 * `type:system`; `action:NAME` and the other {@link RESERVED_NAMES} compare a field. Any other `name:value` matches a
 * record whose field `name` has that value (`details.role:worker`, with dots for nested fields) and a record that
 * contains the text `name:value`: what people paste has colons, too (`http://10.0.0.5:8080/x`, `12:30:45`,
 * `file.py:42`). `name:"value"` compares the field only. There are no regular expressions.
 */

import {
  ENVELOPE_TYPES,
  LEVELS,
  isSameOrChild,
  rankOfName,
  type Envelope,
  type EnvelopeType,
  type JsonValue,
  type Level,
} from "./envelope.ts";
import { TailgateError } from "./errors.ts";
import { FACETS } from "./facets.ts";
import { quotedExcerpt } from "./printable.ts";

/** Each parameter of a filter has at most this many characters (UTF-16 code units). */
export const FILTER_CHARACTERS_MAX = 4096;

/** A filter has at most this many terms, counted over all its parameters. */
const FILTER_TERMS_MAX = 64;

/** The names of the query parameters that a filter is read from. */
export const FILTER_PARAMETERS = ["type", "level", "logger", "q"] as const;

export type FilterQuery = {
  readonly [P in (typeof FILTER_PARAMETERS)[number]]?: string | undefined;
};

/** What a filter asks of a record; a batch answers it. */
export interface RecordFields {
  type(index: number): EnvelopeType;
  level(index: number): Level;
  logger(index: number): string;
  envelope(index: number): Envelope;
}

/**
 * Returns one record of a batch that parses its envelope once at most, and keeps it: for those who match it over
 * several turns of the event loop, in which a batch may forget it.
 */
export function heldRecord(records: RecordFields, index: number): RecordFields {
  let envelope: Envelope | undefined;
  return {
    type: () => records.type(index),
    level: () => records.level(index),
    logger: () => records.logger(index),
    envelope: () => (envelope ??= records.envelope(index)),
  };
}

export interface Filter {
  /**
   * The same for filters that mean the same and for no others, so that viewers can share the work; "" takes everything.
   * Terms are joined by line feeds: what a viewer has written is quoted.
   */
  readonly key: string;
  /** The one type that it takes; undefined where it takes both. */
  readonly type?: EnvelopeType | undefined;
  /**
   * The parts that must all match, cheap ones first. Matching one term takes time in proportion to the record's size;
   * matching term by term lets the caller pause in between.
   */
  readonly terms: readonly FilterTerm[];
  /** Estimates the microseconds that matching a record of this size takes. */
  effort(bytes: number): number;
  matches(records: RecordFields, index: number): boolean;
}

export interface FilterTerm {
  matches(records: RecordFields, index: number): boolean;
}

interface Term extends FilterTerm {
  readonly key: string;
  readonly type?: EnvelopeType | undefined;
  /** How often the term goes through the parsed envelope; 0 if it knows the answer from the record's index. */
  readonly reads: number;
}

/** Estimates, in microseconds, that hold for texts that are made to be expensive, too. */
const HEADER_TERM_EFFORT = 0.05;
const ENVELOPE_TERM_EFFORT = 0.1;
const TERM_EFFORT_PER_BYTE = 1 / 2_000;
const PARSE_EFFORT = 2;
/** Of parsing an envelope and reading all of its values. */
export const PARSE_EFFORT_PER_BYTE = 1 / 150;

/** Most viewers have no filter. */
const EVERYTHING: Filter = { key: "", terms: [], effort: () => 0, matches: () => true };

/**
 * Reads a filter from query parameters.
 * @throws TailgateError FILTER_INVALID, with the term and what would be valid, or with the limit that is exceeded.
 */
export function parseFilter(query: FilterQuery): Filter {
  checkFilterLength(query);
  const terms: Term[] = [];
  if (query.type) terms.push(typeTerm(query.type));
  if (query.level) terms.push(levelTerm(query.level));
  if (query.logger) terms.push(loggerTerm(query.logger));
  if (query.q) terms.push(...parseTerms(query.q));
  if (terms.length === 0) return EVERYTHING;
  if (terms.length > FILTER_TERMS_MAX) {
    throw beyondLimit(`The filter has ${terms.length} terms`, FILTER_TERMS_MAX);
  }
  return filterOf(terms);
}

/** @throws TailgateError FILTER_INVALID if a parameter is longer than {@link FILTER_CHARACTERS_MAX}. */
export function checkFilterLength(query: FilterQuery): void {
  for (const name of FILTER_PARAMETERS) {
    const { length } = query[name] ?? "";
    if (length > FILTER_CHARACTERS_MAX) {
      throw beyondLimit(`The filter's ${name} has ${length} characters`, FILTER_CHARACTERS_MAX);
    }
  }
}

function beyondLimit(text: string, max: number): TailgateError {
  return new TailgateError("FILTER_INVALID", `${text}; at most ${max} are allowed.`);
}

function filterOf(given: readonly Term[]): Filter {
  const reading = given.filter(({ reads }) => reads > 0);
  const header = given.filter(({ reads }) => reads === 0);
  const terms = [...header, ...reading];
  const reads = reading.reduce((sum, term) => sum + term.reads, 0);
  const [only] = terms;
  return {
    key: given.map((term) => term.key).join("\n"),
    type: given.find(({ type }) => type !== undefined)?.type,
    terms,
    effort(bytes) {
      const headerEffort = HEADER_TERM_EFFORT * header.length;
      if (reads === 0) return headerEffort;
      const termEffort = ENVELOPE_TERM_EFFORT + TERM_EFFORT_PER_BYTE * bytes;
      const parseEffort = PARSE_EFFORT + PARSE_EFFORT_PER_BYTE * bytes;
      return headerEffort + parseEffort + termEffort * reads;
    },
    matches:
      terms.length === 1
        ? (records, index) => only!.matches(records, index)
        : (records, index) => terms.every((term) => term.matches(records, index)),
  };
}

/** Names that always mean a field, never a text: `action:` without a value is an error. */
const RESERVED_NAMES: ReadonlySet<string> = new Set([
  "type",
  "level",
  ...FACETS,
  "trace_id",
  "span_id",
]);

/** A term as it is written. */
interface WrittenTerm {
  readonly isNegated: boolean;
  /** What precedes the first colon outside quotes; undefined if the term is a text only. */
  readonly name: string | undefined;
  readonly value: string;
  /** The text that it can match; undefined if it is a field only. */
  readonly text: string | undefined;
}

/**
 * A minus, then an unquoted field's name and a colon, then a quoted or an unquoted text; each part may be missing. The
 * minus of `->` and `--flag` belongs to the text.
 */
const TERM = /((?:-(?![->]))?)(?:([^\s":]+):)?(?:"((?:[^"\\]|\\.)*)"|([^\s"]+))/gy;

function parseTerms(text: string): Term[] {
  return writtenTerms(text).map(termOf);
}

/**
 * Returns the texts that a record may have to contain to match, for highlighting; not those that must be absent.
 * @throws TailgateError FILTER_INVALID
 */
export function soughtTexts(q: string): string[] {
  return writtenTerms(q)
    .filter(({ isNegated }) => !isNegated)
    .map(({ text }) => text ?? "")
    .filter((text) => text !== "");
}

function writtenTerms(text: string): WrittenTerm[] {
  const terms: WrittenTerm[] = [];
  let position = skipSpace(text, 0);
  while (position < text.length) {
    TERM.lastIndex = position;
    const match = TERM.exec(text);
    if (!match) throw invalid(text.slice(position), "a quote is not closed or a value is missing");
    const end = position + match[0].length;
    // What follows can only be a quote that is not closed.
    if (isHalfTyped(match) && text[end] !== '"') throw invalid(match[0], MISSING_VALUE);
    terms.push(writtenTerm(match));
    position = skipSpace(text, end);
  }
  return terms;
}

const MISSING_VALUE = "a value is missing after the colon; in quotes it is a text";

function isHalfTyped([, , name, , bare = ""]: RegExpExecArray): boolean {
  return name === undefined && bare.endsWith(":") && RESERVED_NAMES.has(bare.slice(0, -1));
}

function writtenTerm([whole, minus, name, quoted, bare]: RegExpExecArray): WrittenTerm {
  const isNegated = minus !== "";
  if (quoted !== undefined) {
    const value = quoted.replaceAll(/\\(["\\])/g, "$1");
    return { isNegated, name, value, text: name === undefined ? value : undefined };
  }
  const text =
    name !== undefined && RESERVED_NAMES.has(name) ? undefined : whole.slice(minus!.length);
  return { isNegated, name, value: bare!, text };
}

function termOf({ isNegated, name, value, text }: WrittenTerm): Term {
  const term = name === undefined ? textTerm(value) : fieldTerm(name, value, text);
  return isNegated ? not(term) : term;
}

function skipSpace(text: string, from: number): number {
  let position = from;
  while (position < text.length && text[position]!.trim() === "") position++;
  return position;
}

/** @param text is looked for, too, if it is there. */
function fieldTerm(field: string, value: string, text: string | undefined): Term {
  switch (field) {
    case "type":
      return typeTerm(value);
    case "level":
      return levelTerm(value);
    case "logger":
      return loggerTerm(value);
    default: {
      const term = valueTerm(field, value);
      return text === undefined ? term : either(term, textTerm(text));
    }
  }
}

function valueTerm(field: string, value: string): Term {
  return {
    key: `${field}:${JSON.stringify(value)}`,
    reads: 1,
    matches: (records, index) =>
      fieldValues(records.envelope(index), field).some((found) => isTextOf(value, found)),
  };
}

function typeTerm(name: string): Term {
  const type = ENVELOPE_TYPES.find((known) => known === name || known === `${name}_log`);
  if (!type) throw invalid(`type:${name}`, "the type is system_log or audit_log");
  return {
    key: `type:${type}`,
    type,
    reads: 0,
    matches: (records, index) => records.type(index) === type,
  };
}

function levelTerm(text: string): Term {
  const isExact = text.startsWith("=");
  const rank = rankOfName(isExact ? text.slice(1) : text);
  if (rank === undefined)
    throw invalid(`level:${text}`, `the level is one of ${LEVELS.join(", ")}`);
  const level = LEVELS[rank];
  if (isExact) {
    return {
      key: `level:=${level}`,
      reads: 0,
      matches: (records, index) => records.level(index) === level,
    };
  }
  return {
    key: `level:${level}`,
    reads: 0,
    matches: (records, index) => LEVELS.indexOf(records.level(index)) >= rank,
  };
}

function loggerTerm(name: string): Term {
  return {
    key: `logger:${JSON.stringify(name)}`,
    reads: 0,
    matches: (records, index) => isSameOrChild(records.logger(index), name),
  };
}

function textTerm(text: string): Term {
  const wanted = text.toLowerCase();
  const isIn = textSearch(wanted);
  return {
    key: JSON.stringify(wanted),
    reads: 1,
    matches: (records, index) => isIn(searchText(records.envelope(index))),
  };
}

function either(one: Term, other: Term): Term {
  return {
    key: `${one.key}|${other.key}`,
    reads: one.reads + other.reads,
    matches: (records, index) => one.matches(records, index) || other.matches(records, index),
  };
}

function not({ key, reads, matches }: Term): Term {
  return {
    key: `-${key}`,
    reads,
    matches: (records, index) => !matches(records, index),
  };
}

/** A field of `data`, of an audit event's metadata or of its details; names with dots are tried whole first. */
function fieldValues(envelope: Envelope, field: string): JsonValue[] {
  const data = envelope.data as unknown as JsonValue;
  const metadata = member(data, "metadata");
  return [data, metadata, member(metadata, "details")]
    .map((root) => lookUp(root, field))
    .filter((value) => value !== undefined);
}

/** With more dots than this, an object's own keys are compared with the path, instead of each part of the path looked up. */
const DOTS_LOOKED_UP_MAX = 4;

/**
 * Returns the value at a path from `from` on: under the rest of the path as a whole, else under its shortest part that
 * leads to a value. Every object of the record is visited at most once, as only one path leads to it.
 */
function lookUp(root: JsonValue | undefined, path: string, from = 0): JsonValue | undefined {
  if (typeof root !== "object" || root === null) return undefined;
  const whole = member(root, from === 0 ? path : path.slice(from));
  if (whole !== undefined) return whole;
  for (const end of partEnds(root, path, from)) {
    const found = lookUp(member(root, path.slice(from, end)), path, end + 1);
    if (found !== undefined) return found;
  }
  return undefined;
}

/** Returns where the parts of the path that may be keys of the object end, the shortest part first. A part is not empty. */
function partEnds(root: object, path: string, from: number): number[] {
  const ends: number[] = [];
  let dot = path.indexOf(".", from);
  if (dot === from) return ends;
  // No key of an array has a dot.
  const endsMax = Array.isArray(root) ? 1 : DOTS_LOOKED_UP_MAX;
  while (dot >= 0 && ends.length < endsMax) {
    ends.push(dot);
    dot = path.indexOf(".", dot + 1);
  }
  return dot < 0 || Array.isArray(root) ? ends : keyEnds(root, path, from);
}

function keyEnds(root: object, path: string, from: number): number[] {
  return Object.keys(root)
    .filter((key) => key !== "" && path[from + key.length] === "." && path.startsWith(key, from))
    .map((key) => from + key.length)
    .toSorted((one, other) => one - other);
}

function member(value: JsonValue | undefined, key: string): JsonValue | undefined {
  if (typeof value !== "object" || value === null || !Object.hasOwn(value, key)) return undefined;
  return (value as Record<string, JsonValue>)[key];
}

/** True if the text is the value itself, or the JSON of a value that is no string. */
function isTextOf(text: string, value: JsonValue): boolean {
  if (typeof value === "string") return value === text;
  return jsonEnd(value, text, 0) === text.length;
}

/** Returns where the value's JSON ends that begins at `start`; -1 if something else stands there. Reads no more of the value than the text has. */
function jsonEnd(value: JsonValue, text: string, start: number): number {
  if (typeof value !== "object" || value === null) return leafEnd(value, text, start);
  const isArray = Array.isArray(value);
  if (text[start] !== (isArray ? "[" : "{")) return -1;
  const members: Iterable<[string | number, JsonValue]> = isArray
    ? value.entries()
    : Object.entries(value);
  let end = start + 1;
  let separator = "";
  for (const [key, inner] of members) {
    if (!text.startsWith(separator, end)) return -1;
    end += separator.length;
    if (!isArray) {
      end = leafEnd(key, text, end);
      if (end < 0 || text[end++] !== ":") return -1;
    }
    end = jsonEnd(inner, text, end);
    if (end < 0) return -1;
    separator = ",";
  }
  return text[end] === (isArray ? "]" : "}") ? end + 1 : -1;
}

function leafEnd(value: JsonValue | number, text: string, start: number): number {
  if (typeof value === "string" && value.length > text.length - start) return -1;
  const json = JSON.stringify(value);
  return text.startsWith(json, start) ? start + json.length : -1;
}

/**
 * V8 searches in linear time for texts up to this length (Boyer-Moore with its tables for the last 250 characters). A
 * longer text could cost its length for each character of the record.
 */
const NATIVE_SEARCH_CHARACTERS_MAX = 250;

/** Returns a test whether a text includes the wanted one, which takes time in proportion to the text. */
function textSearch(wanted: string): (text: string) => boolean {
  if (wanted.length <= NATIVE_SEARCH_CHARACTERS_MAX) return (text) => text.includes(wanted);
  const beginning = wanted.slice(0, NATIVE_SEARCH_CHARACTERS_MAX);
  let borders: Int32Array | undefined;
  return (text) => {
    const start = text.indexOf(beginning);
    return start >= 0 && includesFrom(start, text, wanted, (borders ??= bordersOf(wanted)));
  };
}

/** For each beginning of the text: how many of its last characters are its first ones, too (Knuth, Morris, Pratt). */
function bordersOf(text: string): Int32Array {
  const borders = new Int32Array(text.length);
  let border = 0;
  for (let index = 1; index < text.length; index++) {
    while (border > 0 && text[index] !== text[border]) border = borders[border - 1]!;
    if (text[index] === text[border]) border++;
    borders[index] = border;
  }
  return borders;
}

function includesFrom(start: number, text: string, wanted: string, borders: Int32Array): boolean {
  let matched = 0;
  for (let index = start; index < text.length; index++) {
    const code = text.charCodeAt(index);
    while (matched > 0 && code !== wanted.charCodeAt(matched)) matched = borders[matched - 1]!;
    if (code === wanted.charCodeAt(matched)) matched++;
    if (matched === wanted.length) return true;
  }
  return false;
}

/** One envelope is often asked by several filters. */
const searchTexts = new WeakMap<Envelope, string>();

function searchText(envelope: Envelope): string {
  let text = searchTexts.get(envelope);
  if (text === undefined) {
    const parts: string[] = [];
    collectTexts(envelope.data as unknown as JsonValue, parts);
    text = parts.join("\n").toLowerCase();
    searchTexts.set(envelope, text);
  }
  return text;
}

function collectTexts(value: JsonValue, parts: string[]): void {
  if (typeof value !== "object" || value === null) parts.push(String(value));
  else for (const inner of Object.values(value)) collectTexts(inner, parts);
}

function invalid(term: string, why: string): TailgateError {
  return new TailgateError(
    "FILTER_INVALID",
    `The filter term ${quotedExcerpt(term)} is not understood: ${why}.`,
  );
}
