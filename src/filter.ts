/**
 * The one filter language: WebSocket subscription, history API, CLI and dashboard.
 *
 * All terms must hold. `text` and `"a phrase"` are looked for in all values, in any case; `-term` must not hold.
 * `level:WARNING` is that level or a more severe one, `level:=WARNING` that level alone, `logger:a.b` that logger or one below it, `type:audit` or
 * `type:system`, `action:NAME`; any other `field:value` compares a field, with dots for nested ones
 * (`details.role:worker`). There are no regular expressions.
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

/** The names of the query parameters that a filter is read from. */
export const FILTER_PARAMETERS = ["type", "level", "logger", "q"] as const;

export type FilterQuery = {
  readonly [P in (typeof FILTER_PARAMETERS)[number]]?: string | undefined;
};

/** What a filter asks of a record; a batch answers it. */
interface Records {
  type(index: number): EnvelopeType;
  level(index: number): Level;
  logger(index: number): string;
  envelope(index: number): Envelope;
}

export interface Filter {
  /**
   * The same for filters that mean the same and for no others, so that viewers can share the work; "" takes everything.
   * Terms are joined by line feeds: what a viewer has written is quoted.
   */
  readonly key: string;
  /** The one type that it takes; undefined where it takes both. */
  readonly type?: EnvelopeType | undefined;
  matches(records: Records, index: number): boolean;
}

type Term = Filter;

/** Most viewers have no filter. */
const EVERYTHING: Filter = { key: "", matches: () => true };

/**
 * Reads a filter from query parameters.
 * @throws TailgateError FILTER_INVALID, with the term and what would be valid.
 */
export function parseFilter(query: FilterQuery): Filter {
  const terms: Term[] = [];
  if (query.type) terms.push(typeTerm(query.type));
  if (query.level) terms.push(levelTerm(query.level));
  if (query.logger) terms.push(loggerTerm(query.logger));
  if (query.q) terms.push(...parseTerms(query.q));
  const [only = EVERYTHING, ...others] = terms;
  if (others.length === 0) return only;
  return {
    key: terms.map((term) => term.key).join("\n"),
    type: terms.find(({ type }) => type !== undefined)?.type,
    matches: (records, index) => terms.every((term) => term.matches(records, index)),
  };
}

/** A minus, then an unquoted field's name and a colon, then a quoted or an unquoted text; each part may be missing. */
const TERM = /(-?)(?:([^\s":]+):)?(?:"((?:[^"\\]|\\.)*)"|([^\s"]+))/gy;

function parseTerms(text: string): Term[] {
  const terms: Term[] = [];
  let position = skipSpace(text, 0);
  while (position < text.length) {
    TERM.lastIndex = position;
    const match = TERM.exec(text);
    if (!match) throw invalid(text.slice(position), "a quote is not closed or a value is missing");
    const [whole, minus, field, quoted, bare] = match;
    const value = quoted === undefined ? bare! : quoted.replaceAll(/\\(.)/g, "$1");
    const term = field === undefined ? textTerm(value) : fieldTerm(field, value);
    terms.push(minus ? not(term) : term);
    position = skipSpace(text, position + whole.length);
  }
  return terms;
}

function skipSpace(text: string, from: number): number {
  let position = from;
  while (position < text.length && text[position]!.trim() === "") position++;
  return position;
}

function fieldTerm(field: string, value: string): Term {
  switch (field) {
    case "type":
      return typeTerm(value);
    case "level":
      return levelTerm(value);
    case "logger":
      return loggerTerm(value);
    default:
      return {
        key: `${field}:${JSON.stringify(value)}`,
        matches: (records, index) =>
          fieldValues(records.envelope(index), field).some((found) => textual(found) === value),
      };
  }
}

function typeTerm(name: string): Term {
  const type = ENVELOPE_TYPES.find((known) => known === name || known === `${name}_log`);
  if (!type) throw invalid(`type:${name}`, "the type is system_log or audit_log");
  return { key: `type:${type}`, type, matches: (records, index) => records.type(index) === type };
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
      matches: (records, index) => records.level(index) === level,
    };
  }
  return {
    key: `level:${level}`,
    matches: (records, index) => LEVELS.indexOf(records.level(index)) >= rank,
  };
}

function loggerTerm(name: string): Term {
  return {
    key: `logger:${JSON.stringify(name)}`,
    matches: (records, index) => isSameOrChild(records.logger(index), name),
  };
}

function textTerm(text: string): Term {
  const wanted = text.toLowerCase();
  return {
    key: JSON.stringify(wanted),
    matches: (records, index) => searchText(records.envelope(index)).includes(wanted),
  };
}

function not(term: Term): Term {
  return { key: `-${term.key}`, matches: (records, index) => !term.matches(records, index) };
}

/** A field of `data`, of an audit event's metadata or of its details; names with dots are tried whole first. */
function fieldValues(envelope: Envelope, field: string): JsonValue[] {
  const data = envelope.data as unknown as JsonValue;
  const metadata = member(data, "metadata");
  return [data, metadata, member(metadata, "details")]
    .map((root) => lookUp(root, field))
    .filter((value) => value !== undefined);
}

function lookUp(root: JsonValue | undefined, path: string): JsonValue | undefined {
  const whole = member(root, path);
  if (whole !== undefined) return whole;
  for (let dot = path.indexOf("."); dot > 0; dot = path.indexOf(".", dot + 1)) {
    const found = lookUp(member(root, path.slice(0, dot)), path.slice(dot + 1));
    if (found !== undefined) return found;
  }
  return undefined;
}

function member(value: JsonValue | undefined, key: string): JsonValue | undefined {
  if (typeof value !== "object" || value === null || !Object.hasOwn(value, key)) return undefined;
  return (value as Record<string, JsonValue>)[key];
}

function textual(value: JsonValue): string {
  return typeof value === "string" ? value : JSON.stringify(value);
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
    `The filter term ${JSON.stringify(term)} is not understood: ${why}.`,
  );
}
