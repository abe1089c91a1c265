/**
 * The filter language of WebSocket subscriptions, the history API, the CLI, the dashboard and plugins.
 *
 * A record matches if all terms match:
 *
 * - `text` and `"a phrase"` search all values, ignoring case.
 * - `-term` matches records that the term does not match.
 * - `level:WARNING` matches that level and more severe ones, `level:=WARNING` that level only.
 * - `logger:a.b` matches that logger and its children; `type:audit` and `type:system` match one type of record.
 * - `action:NAME` and the other {@link RESERVED_NAMES} compare a field.
 * - `resource.NAME:value` compares an attribute of the record's resource, such as `resource.host.name:web-1`, and like the
 *   next kind a field of that name and the text.
 * - Any other `name:value` matches a record whose field `name` has that value (`details.role:worker`, with dots for
 *   nested fields) and also a record that contains the text `name:value`: pasted text often has colons
 *   (`http://10.0.0.5:8080/x`, `12:30:45`, `file.py:42`). `name:"value"` compares the field only.
 *
 * There are no regular expressions: matching takes time in proportion to the size of the record.
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
import { FACETS, fieldValues, isValueText, valueAtPath } from "./fields.ts";
import { quotedExcerpt } from "./printable.ts";
import { createTextSearch, searchText } from "./text-search.ts";

/** The maximum length of each parameter of a filter, in UTF-16 code units. */
export const FILTER_CHARACTERS_MAX = 4096;

/** The maximum number of terms of a filter, in all its parameters together. */
const FILTER_TERMS_MAX = 64;

/** The parameters of a filter; `q` has terms of the filter language. */
export const FILTER_PARAMETERS = ["type", "level", "logger", "q"] as const;

/**
 * A filter as text, by parameter; a record must match all that are set. `type`: `system` or `audit`; `level`: the minimum,
 * or only that one (`=WARNING`); `logger`: a logger with its children; `q`: terms of the filter language. Absent and
 * empty parameters match everything.
 */
export type FilterQuery = {
  readonly [P in (typeof FILTER_PARAMETERS)[number]]?: string | undefined;
};

/** What a filter reads of records, by their index in a batch. */
export interface RecordFields {
  type(index: number): EnvelopeType;
  level(index: number): Level;
  logger(index: number): string;
  envelope(index: number): Envelope;
  /** The attributes of the record's resource, with values as in envelopes. Without it, no record has any. */
  resourceAttributes?(index: number): Readonly<Record<string, JsonValue>>;
  /**
   * Returns whether the envelope has the field with that value, as `name:"value"` does; undefined if only the envelope tells.
   * A shortcut for records that are not encoded yet.
   */
  matchesField?(index: number, name: string, value: string): boolean | undefined;
  /** Returns false if the envelope surely does not contain a text, given in lower case. A shortcut of the same kind. */
  mayContain?(index: number, text: string): boolean;
}

/**
 * Returns a view of one record that parses its envelope at most once and retains it. Use it to match a record over
 * several turns of the event loop: between turns, a batch may drop parsed envelopes.
 */
export function heldRecord(records: RecordFields, index: number): RecordFields {
  let envelope: Envelope | undefined;
  return {
    type: () => records.type(index),
    level: () => records.level(index),
    logger: () => records.logger(index),
    envelope: () => (envelope ??= records.envelope(index)),
    resourceAttributes: () => records.resourceAttributes?.(index) ?? {},
  };
}

/** A parsed filter. */
export interface Filter {
  /**
   * Equal for filters with the same meaning and for no others, so that clients can share matches; "" matches everything.
   * Terms are joined by line feeds, which is unambiguous because text from clients is quoted.
   */
  readonly key: string;
  /** The only type that can match; undefined if both can. */
  readonly type?: EnvelopeType | undefined;
  /**
   * The terms, all of which must match, cheap ones first. Callers may match a large record term by term and yield to
   * the event loop in between.
   */
  readonly terms: readonly FilterTerm[];
  /** Estimates how long it takes to match a record of this size, in microseconds. */
  effort(bytes: number): number;
  matches(records: RecordFields, index: number): boolean;
}

/** One term of a filter. */
export interface FilterTerm {
  matches(records: RecordFields, index: number): boolean;
}

interface Term extends FilterTerm {
  readonly key: string;
  readonly type?: EnvelopeType | undefined;
  /** How many times the term traverses the parsed envelope; 0 if the batch's index suffices. */
  readonly reads: number;
}

/** Estimates in microseconds; they hold for adversarial texts as well. */
const HEADER_TERM_EFFORT = 0.05;
const ENVELOPE_TERM_EFFORT = 0.1;
const TERM_EFFORT_PER_BYTE = 1 / 2_000;
const PARSE_EFFORT = 2;
/** The cost of parsing an envelope and reading all its values. */
export const PARSE_EFFORT_PER_BYTE = 1 / 150;

const MATCH_ALL: Filter = { key: "", terms: [], effort: () => 0, matches: () => true };

/**
 * Parses a filter from query parameters.
 * @throws TailgateError FILTER_INVALID; the message names the invalid term or the limit that is exceeded.
 */
export function parseFilter(query: FilterQuery): Filter {
  checkFilterLength(query);
  const terms: Term[] = [];
  if (query.type) terms.push(typeTerm(query.type));
  if (query.level) terms.push(levelTerm(query.level));
  if (query.logger) terms.push(loggerTerm(query.logger));
  if (query.q) terms.push(...parseTerms(query.q).map(createTerm));
  return filterOf(terms);
}

/**
 * Parses the filter that limits what a principal may read. In it, `name:value` compares the field only: whoever writes logs
 * decides which texts they contain, and must not decide who may read them.
 * @throws TailgateError FILTER_INVALID
 */
export function parseAccessFilter(q: string): Filter {
  checkFilterLength({ q });
  const terms = parseTerms(q).map((term) => (term.name === undefined ? term : withoutText(term)));
  return filterOf(terms.map(createTerm));
}

function withoutText(term: ParsedTerm): ParsedTerm {
  return { ...term, text: undefined };
}

/** @throws TailgateError FILTER_INVALID if there are too many terms. */
function filterOf(terms: readonly Term[]): Filter {
  if (terms.length === 0) return MATCH_ALL;
  if (terms.length > FILTER_TERMS_MAX) {
    throw limitExceeded(`The filter has ${terms.length} terms`, FILTER_TERMS_MAX);
  }
  return createFilter(terms);
}

/** Returns the filter that a record matches if it matches both. The terms of `first` are matched first. */
export function bothFilters(first: Filter, second: Filter): Filter {
  if (first.key === "" || first.key === second.key) return second;
  if (second.key === "") return first;
  return {
    key: `${first.key}\n${second.key}`,
    type: first.type ?? second.type,
    terms: [...first.terms, ...second.terms],
    effort: (bytes) => first.effort(bytes) + second.effort(bytes),
    matches: (records, index) => first.matches(records, index) && second.matches(records, index),
  };
}

/** @throws TailgateError FILTER_INVALID if a parameter is longer than {@link FILTER_CHARACTERS_MAX}. */
export function checkFilterLength(query: FilterQuery): void {
  for (const name of FILTER_PARAMETERS) {
    const { length } = query[name] ?? "";
    if (length > FILTER_CHARACTERS_MAX) {
      throw limitExceeded(`The filter's ${name} has ${length} characters`, FILTER_CHARACTERS_MAX);
    }
  }
}

function limitExceeded(text: string, max: number): TailgateError {
  return new TailgateError("FILTER_INVALID", `${text}; at most ${max} are allowed.`);
}

function createFilter(given: readonly Term[]): Filter {
  const reading = given.filter(({ reads }) => reads > 0);
  const header = given.filter(({ reads }) => reads === 0);
  const terms = [...header, ...reading];
  const reads = reading.reduce((sum, term) => sum + term.reads, 0);
  const [first] = terms;
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
        ? (records, index) => first!.matches(records, index)
        : (records, index) => terms.every((term) => term.matches(records, index)),
  };
}

/** Names that always denote a field, never text: `action:` without a value is an error. */
const RESERVED_NAMES: ReadonlySet<string> = new Set([
  "type",
  "level",
  ...FACETS,
  "trace_id",
  "span_id",
]);

interface ParsedTerm {
  readonly isNegated: boolean;
  /** The text before the first colon outside quotes; undefined if the term is text only. */
  readonly name: string | undefined;
  readonly value: string;
  /** The text to search for; undefined if the term only compares a field. */
  readonly text: string | undefined;
}

/** A minus, an unquoted name with a colon, and a quoted or unquoted text, each optional. The minus of `->` and `--flag` is part of the text. */
const TERM = /((?:-(?![->]))?)(?:([^\s":]+):)?(?:"((?:[^"\\]|\\.)*)"|([^\s"]+))/gy;

/**
 * Returns the texts that the terms of a query search for, to highlight them; texts of negated terms are left out.
 * @throws TailgateError FILTER_INVALID
 */
export function textsToHighlight(q: string): string[] {
  return parseTerms(q)
    .filter(({ isNegated }) => !isNegated)
    .map(({ text }) => text ?? "")
    .filter((text) => text !== "");
}

function parseTerms(text: string): ParsedTerm[] {
  const terms: ParsedTerm[] = [];
  let position = skipSpace(text, 0);
  while (position < text.length) {
    TERM.lastIndex = position;
    const match = TERM.exec(text);
    if (!match)
      throw invalidTerm(text.slice(position), "a quote is not closed or a value is missing");
    const end = position + match[0].length;
    // If text follows without a space, it is a quote that is not closed.
    if (isIncomplete(match) && text[end] !== '"') throw invalidTerm(match[0], MISSING_VALUE);
    terms.push(parseTerm(match));
    position = skipSpace(text, end);
  }
  return terms;
}

const MISSING_VALUE = "a value is missing after the colon; quote the term to search for it as text";

function isIncomplete([, , name, , bare = ""]: RegExpExecArray): boolean {
  return name === undefined && bare.endsWith(":") && RESERVED_NAMES.has(bare.slice(0, -1));
}

function parseTerm([whole, minus, name, quoted, bare]: RegExpExecArray): ParsedTerm {
  const isNegated = minus !== "";
  if (quoted !== undefined) {
    const value = quoted.replaceAll(/\\(["\\])/g, "$1");
    return { isNegated, name, value, text: name === undefined ? value : undefined };
  }
  const text =
    name !== undefined && RESERVED_NAMES.has(name) ? undefined : whole.slice(minus!.length);
  return { isNegated, name, value: bare!, text };
}

function createTerm({ isNegated, name, value, text }: ParsedTerm): Term {
  const term = name === undefined ? textTerm(value) : fieldTerm(name, value, text);
  if (!isNegated) return term;
  return {
    key: `-${term.key}`,
    reads: term.reads,
    matches: (records, index) => !term.matches(records, index),
  };
}

function skipSpace(text: string, from: number): number {
  let position = from;
  while (position < text.length && text[position]!.trim() === "") position++;
  return position;
}

/** @param text is searched for as well, if given. */
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

const RESOURCE = "resource.";

function valueTerm(field: string, value: string): Term {
  const key = `${field}:${JSON.stringify(value)}`;
  const isValueOf = (records: RecordFields, index: number): boolean =>
    records.matchesField?.(index, field, value) ??
    fieldValues(records.envelope(index), field).some((found) => isValueText(found, value));
  if (!field.startsWith(RESOURCE)) {
    return { key, reads: 1, matches: isValueOf };
  }
  const name = field.slice(RESOURCE.length);
  return {
    key,
    reads: 2,
    matches(records, index) {
      const found = valueAtPath(records.resourceAttributes?.(index), name);
      return (found !== undefined && isValueText(found, value)) || isValueOf(records, index);
    },
  };
}

function typeTerm(name: string): Term {
  const type = ENVELOPE_TYPES.find((known) => known === name || known === `${name}_log`);
  if (!type) throw invalidTerm(`type:${name}`, "the type must be system_log or audit_log");
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
    throw invalidTerm(`level:${text}`, `the level must be one of ${LEVELS.join(", ")}`);
  const level = LEVELS[rank];
  return {
    key: isExact ? `level:=${level}` : `level:${level}`,
    reads: 0,
    matches: isExact
      ? (records, index) => records.level(index) === level
      : (records, index) => LEVELS.indexOf(records.level(index)) >= rank,
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
  const isIncluded = createTextSearch(wanted);
  return {
    key: JSON.stringify(wanted),
    reads: 1,
    matches: (records, index) =>
      records.mayContain?.(index, wanted) !== false &&
      isIncluded(searchText(records.envelope(index))),
  };
}

function either(one: Term, other: Term): Term {
  return {
    key: `${one.key}|${other.key}`,
    reads: one.reads + other.reads,
    matches: (records, index) => one.matches(records, index) || other.matches(records, index),
  };
}

function invalidTerm(term: string, why: string): TailgateError {
  return new TailgateError(
    "FILTER_INVALID",
    `The filter term ${quotedExcerpt(term)} is invalid: ${why}.`,
  );
}
