/** The parser of the filter language. docs/reference/filters.md specifies it, and a test reads the page's table of cases. */

import { TailgateError } from "../errors.ts";
import type { FilterNode, TextPattern, ValueTest } from "./ast.ts";
import { fold } from "./fold.ts";
import { RESERVED_NAMES, tokensOf, type QueryToken, type Span } from "./lexer.ts";
import { ALL, allOf, anyOf, noneOf } from "./nodes.ts";
import {
  InvalidValue,
  invalidTerm,
  limitExceeded,
  problemOf,
  type QueryProblem,
} from "./problem.ts";
import { fieldNode, looksLikeText, type TypedValue } from "./values.ts";

/** The maximum length of a filter's text, in UTF-16 code units. */
export const QUERY_CHARACTERS_MAX = 4096;

/** The maximum number of terms of a filter. */
export const QUERY_TERMS_MAX = 64;

/** How deep groups can be nested. */
const DEPTH_MAX = 32;

export interface ParseOptions {
  /**
   * True for the filter that limits what a principal may read. In it, a field is compared exactly and the text is not searched
   * instead: whoever writes logs decides which texts they contain, and must not decide who may read them.
   */
  readonly access?: boolean;
}

/**
 * Parses the text of a filter.
 * @throws TailgateError FILTER_INVALID; the message names the position, and `problemOf` returns it.
 */
export function parseQuery(q: string, options: ParseOptions = {}): FilterNode {
  if (q.length > QUERY_CHARACTERS_MAX) {
    throw limitExceeded(`The filter's q has ${q.length} characters`, QUERY_CHARACTERS_MAX);
  }
  // Records have no lone surrogates either: half a character would match some of them, and depending on where they are.
  return new Parser(q.toWellFormed(), options.access ?? false).run();
}

/** Returns why a text is no filter; undefined if it is one. */
export function problemOfQuery(q: string): QueryProblem | undefined {
  try {
    parseQuery(q);
    return undefined;
  } catch (error) {
    if (!TailgateError.is(error, "FILTER_INVALID")) throw error;
    return (
      problemOf(error) ?? {
        from: 0,
        to: q.length,
        reason: error.message,
        suggestion: "",
        isUnfinished: false,
      }
    );
  }
}

type Token<K extends QueryToken["kind"]> = Extract<QueryToken, { kind: K }>;
type ValueToken = Token<"word" | "quoted" | "regex">;

/** The field whose value is parsed; undefined for text. */
interface Field {
  readonly name: string;
  readonly isNameQuoted: boolean;
  /** The position of the name. */
  readonly from: number;
  readonly isInGroup: boolean;
}

class Parser {
  readonly #q: string;
  readonly #isAccess: boolean;
  readonly #tokens: readonly QueryToken[];
  #index = 0;
  #depth = 0;

  constructor(q: string, isAccess: boolean) {
    this.#q = q;
    this.#isAccess = isAccess;
    this.#tokens = tokensOf(q);
  }

  run(): FilterNode {
    const terms = this.#tokens.filter(({ kind }) => TERM_KINDS.has(kind)).length;
    if (terms > QUERY_TERMS_MAX)
      throw limitExceeded(`The filter has ${terms} terms`, QUERY_TERMS_MAX);
    return this.#tokens.length === 0 ? ALL : this.#parseAlternatives(undefined);
  }

  /** Terms joined by `OR`, up to the end of the group. */
  #parseAlternatives(field: Field | undefined): FilterNode {
    const nodes = [this.#parseAll(field)];
    for (let operator = this.#take("or"); operator; operator = this.#take("or")) {
      this.#expectTerm(operator);
      nodes.push(this.#parseAll(field));
    }
    return anyOf(nodes);
  }

  /** Terms side by side, or joined by `AND`. */
  #parseAll(field: Field | undefined): FilterNode {
    const first = this.#peek();
    if (first?.kind === "and" || first?.kind === "or") {
      const word = this.#textOf(first);
      throw this.#problem(first, `a term is missing on the left of ${word}`, quoteKeyword(word));
    }
    const nodes: FilterNode[] = [];
    for (
      let next = this.#peek();
      next && next.kind !== "or" && next.kind !== "close";
      next = this.#peek()
    ) {
      const operator = this.#take("and");
      if (operator) this.#expectTerm(operator);
      nodes.push(this.#parseTerm(field));
    }
    return field === undefined ? allOf(nodes) : allOf(joinRanges(nodes));
  }

  /** Requires that a term follows `AND`, `OR` or `NOT`. */
  #expectTerm(operator: QueryToken): void {
    const next = this.#peek();
    if (next && !["and", "or", "close"].includes(next.kind)) return;
    const word = this.#textOf(operator);
    const reason = `a term is missing on the right of ${word}`;
    throw this.#problem(operator, reason, quoteKeyword(word), next === undefined);
  }

  #parseTerm(field: Field | undefined): FilterNode {
    let isNegated = false;
    for (let sign = this.#takeSign(); sign; sign = this.#takeSign()) {
      isNegated = !isNegated;
      if (sign.kind === "not") this.#expectTerm(sign);
    }
    const node = this.#parseOperand(field);
    return isNegated ? noneOf(node) : node;
  }

  #takeSign(): QueryToken | undefined {
    return this.#take("not") ?? this.#take("minus");
  }

  #parseOperand(field: Field | undefined): FilterNode {
    const open = this.#take("open");
    if (open) return this.#parseGroup(open, field);
    const name = this.#take("name");
    if (name) return this.#parseField(name);
    if (field) return this.#parseValue(field);
    const token = this.#takeValue()!;
    return textNode(token.kind === "regex" ? token : patternOf(this.#partsOf(token)));
  }

  #parseGroup(open: QueryToken, field: Field | undefined): FilterNode {
    if (++this.#depth > DEPTH_MAX) {
      throw this.#problem(
        open,
        `groups are nested deeper than ${DEPTH_MAX}`,
        "Remove parentheses.",
      );
    }
    const quote = "Close it with ), or quote the text to search for a parenthesis.";
    const next = this.#peek();
    if (!next) throw this.#problem(open, "the group that starts there is not closed", quote, true);
    if (next.kind === "close") {
      throw this.#problem(
        { from: open.from, to: next.to },
        "the group is empty",
        "Remove it, or write terms into it.",
      );
    }
    const node = this.#parseAlternatives(field);
    if (!this.#take("close")) {
      throw this.#problem(open, "the group that starts there is not closed", quote, true);
    }
    this.#depth--;
    return node;
  }

  #parseField({ name, isQuoted, from, to }: Token<"name">): FilterNode {
    const field = { name, isNameQuoted: isQuoted, from };
    const next = this.#peek();
    const isValue = next !== undefined && next.kind !== "close" && (next.from === to || isQuoted);
    if (!isValue) {
      throw this.#problem(
        { from, to },
        "a value is missing after the colon",
        `Write a value such as ${exampleOf(name)}, or quote the term to search for it as text.`,
        next === undefined,
      );
    }
    const open = this.#take("open");
    if (!open) return this.#parseValue({ ...field, isInGroup: false });
    const isSingle = this.#isSingleWord();
    const node = this.#parseGroup(open, { ...field, isInGroup: true });
    // Text such as `error:(timeout)`.
    return isSingle && node.kind === "field" && node.test.kind === "equals"
      ? this.#orText(field, node, this.#previousEnd())
      : node;
  }

  /** Whether the group that has been opened has one word in it. */
  #isSingleWord(): boolean {
    return (
      this.#tokens[this.#index]?.kind === "word" && this.#tokens[this.#index + 1]?.kind === "close"
    );
  }

  #parseValue(field: Field): FilterNode {
    const operator = this.#take("operator");
    const token = this.#peek();
    const isMissing = !token || !isValueToken(token) || (operator && token.from !== operator.to);
    if (operator && isMissing) {
      throw this.#problem(
        { from: field.isInGroup ? operator.from : field.from, to: operator.to },
        `a value is missing after ${operator.operator}`,
        "Write a value, or quote the term to search for it as text.",
        token === undefined,
      );
    }
    const value = this.#takeValue()!;
    const span = { from: field.isInGroup ? value.from : field.from, to: value.to };
    const typed: TypedValue = {
      operator: operator?.operator,
      parts: value.kind === "regex" ? [] : this.#partsOf(value),
      regex: value.kind === "regex" ? value.source : undefined,
      isQuoted: value.kind === "quoted",
      isInGroup: field.isInGroup,
      isAccess: this.#isAccess,
    };
    const node = this.#located(span, () => fieldNode(field, typed));
    if (node.kind !== "field" || field.isInGroup || !mayBeText(node, typed, field)) return node;
    return this.#orText(field, node, value.to);
  }

  #orText(
    { name, isNameQuoted, from }: Omit<Field, "isInGroup">,
    node: FilterNode & { kind: "field" },
    to: number,
  ): FilterNode {
    if (this.#isAccess || (RESERVED_NAMES.has(name) && !isNameQuoted)) return node;
    return { ...node, alsoText: fold(this.#q.slice(from, to)) };
  }

  #partsOf(token: Token<"word" | "quoted">): readonly string[] {
    if (token.kind === "word") return token.parts;
    if (token.isClosed) return [token.value];
    throw this.#problem(
      token,
      "a quote is not closed",
      'Add the closing quote; inside quotes, \\" stands for a quote.',
      true,
    );
  }

  /** Adds the position to an invalid value's reason. */
  #located<T>(span: Span, parse: () => T): T {
    try {
      return parse();
    } catch (error) {
      if (error instanceof InvalidValue) throw this.#problem(span, error.message, error.suggestion);
      throw error;
    }
  }

  #problem(
    { from, to }: Span,
    reason: string,
    suggestion: string,
    isUnfinished = false,
  ): TailgateError {
    const problem = { from, to, reason, suggestion, isUnfinished };
    return invalidTerm(this.#q.slice(from, to), problem);
  }

  #textOf({ from, to }: Span): string {
    return this.#q.slice(from, to);
  }

  #peek(): QueryToken | undefined {
    return this.#tokens[this.#index];
  }

  #previousEnd(): number {
    return this.#tokens[this.#index - 1]!.to;
  }

  #take<K extends QueryToken["kind"]>(kind: K): Token<K> | undefined {
    const token = this.#peek();
    if (token?.kind !== kind) return undefined;
    this.#index++;
    return token as Token<K>;
  }

  #takeValue(): ValueToken | undefined {
    return this.#take("word") ?? this.#take("quoted") ?? this.#take("regex");
  }
}

const TERM_KINDS: ReadonlySet<QueryToken["kind"]> = new Set(["word", "quoted", "regex"]);

function isValueToken(token: QueryToken): token is ValueToken {
  return TERM_KINDS.has(token.kind);
}

function quoteKeyword(word: string): string {
  return `Add the term, or quote the word to search for it: "${word}".`;
}

function exampleOf(name: string): string {
  return EXAMPLES[name] ?? `${name}:abc`;
}

const EXAMPLES: Readonly<Record<string, string>> = {
  level: "level:WARNING",
  type: "type:audit",
  logger: "logger:a.b",
};

function textNode(pattern: TextPattern | Token<"regex"> | undefined): FilterNode {
  if (pattern === undefined) return ALL;
  if (pattern.kind !== "regex") return { kind: "text", pattern };
  return { kind: "text", pattern: { kind: "regex", source: pattern.source } };
}

/** Returns undefined if every text matches. */
function patternOf(parts: readonly string[]): TextPattern | undefined {
  const needed = parts.filter((part) => part !== "").map(fold);
  const [first] = needed;
  if (first === undefined) return undefined;
  return needed.length === 1
    ? { kind: "literal", text: first }
    : { kind: "wildcard", parts: needed };
}

/** Whether the term may be pasted text instead: `name:value`, or JSON. */
function mayBeText(
  { test }: FilterNode & { kind: "field" },
  value: TypedValue,
  { isNameQuoted }: Field,
): boolean {
  if (value.operator !== undefined) return false;
  if (isNameQuoted) return test.kind === "equals" || test.kind === "exact";
  return !value.isQuoted && looksLikeText(test);
}

/** Joins `>5 <9` of one group to one range, so that one element of a list must be within both bounds. */
function joinRanges(nodes: readonly FilterNode[]): FilterNode[] {
  const joined: FilterNode[] = [];
  for (const node of nodes) {
    const last = joined.at(-1);
    const range = last && joinRange(last, node);
    if (range) joined[joined.length - 1] = range;
    else joined.push(node);
  }
  return joined;
}

function joinRange(one: FilterNode, other: FilterNode): FilterNode | undefined {
  if (one.kind !== "field" || other.kind !== "field") return undefined;
  const [test, added] = [one.test, other.test];
  if (test.kind !== "range" && test.kind !== "textRange") return undefined;
  if (added.kind !== test.kind) return undefined;
  const isJoinable =
    (test.min ? !test.max : true) &&
    !(added.min ? test.min : test.max) &&
    !(added.min && added.max);
  return isJoinable ? { ...one, test: { ...test, ...added } as ValueTest } : undefined;
}
