/** Adds terms to the text of a filter and removes them, and leaves the rest as it was typed. */

import type { FilterNode } from "./ast.ts";
import { formatQuery } from "./format.ts";
import { tokensOf, type QueryToken, type Span } from "./lexer.ts";
import { allOf, canonicalKey } from "./nodes.ts";
import { parseQuery, problemOfQuery } from "./parse.ts";

/** Returns a filter that records match if they match all of these valid filters. */
export function joinQueries(queries: readonly string[]): string {
  const given = queries.map((q) => q.trim()).filter((q) => q !== "");
  if (given.length === 1) return given[0]!;
  const typed = given.map((q) => (topTerms(q) ? q : `(${q})`)).join(" ");
  return typedOrWritten(typed, allOf(given.map((q) => parseQuery(q))));
}

/** Returns the text as it was typed if that is the filter; else, such as for a lone parenthesis, a text that is. */
function typedOrWritten(typed: string, node: FilterNode): string {
  const isFilter = !problemOfQuery(typed) && canonicalKey(parseQuery(typed)) === canonicalKey(node);
  return isFilter ? typed : formatQuery(node);
}

/** Whether a filter requires a term, at its top level. */
export function hasTerm(q: string, term: string): boolean {
  return topTerms(q)?.some(({ text }) => isSame(text, term)) ?? false;
}

/** Removes a term if the filter requires it; else adds it, in place of other terms of the same field that it requires. */
export function toggleTerm(q: string, term: string): string {
  const terms = topTerms(q);
  if (!terms) return joinQueries([problemOfQuery(q) ? "" : q, term]);
  const isRemoved = terms.some(({ text }) => isSame(text, term));
  const [added] = topTerms(term) ?? [];
  const others = terms.filter(({ text, name }) =>
    isRemoved ? !isSame(text, term) : name === undefined || name !== added?.name,
  );
  return joinQueries([...others.map(({ text }) => text), ...(isRemoved ? [] : [term])]);
}

/** A term at the top level of a filter. */
interface TopTerm {
  readonly text: string;
  /** The field of a term that is not negated. */
  readonly name: string | undefined;
}

/** Returns the terms that a record must match; undefined if the filter is not a mere list of terms. */
function topTerms(q: string): TopTerm[] | undefined {
  if (problemOfQuery(q)) return undefined;
  const terms: (Span & { first: QueryToken })[] = [];
  let depth = 0;
  let isContinued = false;
  for (const token of tokensOf(q)) {
    const { kind } = token;
    if (depth === 0 && kind === "or") return undefined;
    if (depth === 0 && kind === "and") continue;
    if (kind === "close") depth--;
    if (depth > 0 || isContinued || kind === "close") {
      terms.push({ ...terms.pop()!, to: token.to });
    } else {
      terms.push({ from: token.from, to: token.to, first: token });
    }
    if (kind === "open") depth++;
    isContinued = depth === 0 && CONTINUED.has(kind);
  }
  return terms.map(({ from, to, first }) => ({
    text: q.slice(from, to),
    name: first.kind === "name" ? first.name : undefined,
  }));
}

/** What another token of the same term follows. */
const CONTINUED: ReadonlySet<QueryToken["kind"]> = new Set(["minus", "not", "name", "operator"]);

function isSame(one: string, other: string): boolean {
  return canonicalKey(parseQuery(one)) === canonicalKey(parseQuery(other));
}
