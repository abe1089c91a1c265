/** Filters of records: of subscriptions, the history API, exporters, processors and access tokens. */

import type { EnvelopeType } from "../wire/envelope.ts";
import { checkFilterLength, type FilterQuery } from "../wire/filter.ts";
import type { FilterNode } from "../wire/query/ast.ts";
import { allOf, canonicalKey, countTerms } from "../wire/query/nodes.ts";
import { parseQuery, QUERY_TERMS_MAX } from "../wire/query/parse.ts";
import { limitExceeded } from "../wire/query/problem.ts";
import { levelFilter, loggerFilter, typeFilter } from "../wire/query/values.ts";
import { byCost, compileNode, costOf, requiredOfAll } from "./compile.ts";
import type { RecordFields } from "./records.ts";

/** A parsed filter. */
export interface Filter {
  /** What it matches, as data. */
  readonly node: FilterNode;
  /** Equal for no filters with different meanings, so that clients can share matches; "" matches everything. */
  readonly key: string;
  /** The only type that can match; undefined if both can. */
  readonly type?: EnvelopeType | undefined;
  /**
   * The terms, all of which must match, cheap ones first. Callers may match a large record term by term and yield to
   * the event loop in between.
   */
  readonly terms: readonly FilterTerm[];
  /** The envelopes of all records that match contain one of these texts, in any case; undefined if that is not known. */
  readonly required?: readonly string[] | undefined;
  /** Estimates how long it takes to match a record of this size, in microseconds. */
  effort(bytes: number): number;
  /** Returns whether a record matches. */
  matches(records: RecordFields, index: number): boolean;
}

/** One term of a filter. */
export interface FilterTerm {
  /** Returns whether a record matches. */
  matches(records: RecordFields, index: number): boolean;
}

/** Estimates in microseconds; but for regular expressions, they hold for adversarial texts as well. */
const HEADER_TERM_EFFORT = 0.05;
const ENVELOPE_TERM_EFFORT = 0.1;
const TERM_EFFORT_PER_BYTE = 1 / 2_000;
/** What most expressions take, of 10 to 30 instructions; adversarial text takes up to 65 ns for each. */
const INSTRUCTION_EFFORT_PER_BYTE = 1 / 1_000;
const PARSE_EFFORT = 2;
/** The cost of parsing an envelope and reading all its values. */
export const PARSE_EFFORT_PER_BYTE = 1 / 150;

/**
 * Parses a filter from query parameters.
 * @throws TailgateError FILTER_INVALID; the message names the invalid term or the limit that is exceeded.
 */
export function parseFilter(query: FilterQuery): Filter {
  checkFilterLength(query);
  const nodes: FilterNode[] = [];
  if (query.type) nodes.push(typeFilter(query.type));
  if (query.level) nodes.push(levelFilter(query.level));
  if (query.logger) nodes.push(loggerFilter(query.logger));
  if (query.q) nodes.push(parseQuery(query.q));
  return limitedFilter(allOf(nodes));
}

/**
 * Parses the filter that limits what a principal may read. In it, `name:value` compares the field only, and exactly: whoever
 * writes logs decides which texts they contain, and must not decide who may read them.
 * @throws TailgateError FILTER_INVALID
 */
export function parseAccessFilter(q: string): Filter {
  checkFilterLength({ q });
  return limitedFilter(withStrictRegexes(parseQuery(q, { access: true }), false));
}

/** In what a negation excludes, a value that is too long for a regular expression is taken to match. */
function withStrictRegexes(node: FilterNode, isNegated: boolean): FilterNode {
  switch (node.kind) {
    case "and":
    case "or":
      return { ...node, nodes: node.nodes.map((inner) => withStrictRegexes(inner, isNegated)) };
    case "not":
      return { ...node, node: withStrictRegexes(node.node, !isNegated) };
    case "text":
      return node.pattern.kind === "regex" && isNegated
        ? { ...node, pattern: { ...node.pattern, assumesMatch: true } }
        : node;
    case "field":
      return node.test.kind === "regex" && isNegated
        ? { ...node, test: { ...node.test, assumesMatch: true } }
        : node;
    default:
      return node;
  }
}

/** @throws TailgateError FILTER_INVALID if there are too many terms. */
function limitedFilter(node: FilterNode): Filter {
  const terms = countTerms(node);
  if (terms > QUERY_TERMS_MAX)
    throw limitExceeded(`The filter has ${terms} terms`, QUERY_TERMS_MAX);
  return compileFilter(node);
}

/**
 * Returns the filter that a tree stands for.
 * @throws TailgateError FILTER_INVALID if a regular expression is invalid or too large
 */
export function compileFilter(node: FilterNode): Filter {
  const nodes = node.kind === "and" ? node.nodes : [node];
  const compiled = nodes.map(compileNode);
  const terms = node.kind === "all" ? [] : byCost(compiled);
  const { reads, instructions } = costOf(terms);
  const header = terms.filter((term) => term.reads === 0).length;
  const [first] = terms;
  return {
    node,
    key: canonicalKey(node),
    type: typeOf(node),
    terms,
    required: requiredOfAll(terms),
    effort(bytes) {
      const headerEffort = HEADER_TERM_EFFORT * header;
      if (reads === 0) return headerEffort;
      const termEffort = ENVELOPE_TERM_EFFORT + TERM_EFFORT_PER_BYTE * bytes;
      const parseEffort = PARSE_EFFORT + PARSE_EFFORT_PER_BYTE * bytes;
      const regexEffort = INSTRUCTION_EFFORT_PER_BYTE * bytes * instructions;
      return headerEffort + parseEffort + termEffort * reads + regexEffort;
    },
    matches:
      terms.length === 1
        ? (records, index) => first!.matches(records, index)
        : (records, index) => terms.every((term) => term.matches(records, index)),
  };
}

/** Returns the only type that can match; undefined if both can. */
function typeOf(node: FilterNode): EnvelopeType | undefined {
  switch (node.kind) {
    case "type":
      return node.type;
    case "and":
      return node.nodes.map(typeOf).find((type) => type !== undefined);
    case "or": {
      const types = new Set(node.nodes.map(typeOf));
      return types.size === 1 ? [...types][0] : undefined;
    }
    default:
      return undefined;
  }
}

/** Returns the filter that a record matches if it matches both. The terms of `first` are matched first. */
export function bothFilters(first: Filter, second: Filter): Filter {
  if (first.key === "" || first.key === second.key) return second;
  if (second.key === "") return first;
  return {
    node: allOf([first.node, second.node]),
    key: `${first.key}\n${second.key}`,
    type: first.type ?? second.type,
    terms: [...first.terms, ...second.terms],
    required: requiredOfAll([first, second]),
    effort: (bytes) => first.effort(bytes) + second.effort(bytes),
    matches: (records, index) => first.matches(records, index) && second.matches(records, index),
  };
}
