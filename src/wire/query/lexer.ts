/**
 * Splits the text of a filter into tokens: once from left to right, in linear time. It accepts every text, so that half-typed
 * filters can be highlighted; the parser rejects what has no meaning.
 */

import { FACETS } from "../fields.ts";

/** A range of the filter's text, in UTF-16 code units; `to` is exclusive. */
export interface Span {
  readonly from: number;
  readonly to: number;
}

export type QueryToken =
  /** Parentheses of a group, the minus of a negated term, and `AND`, `OR`, `NOT`. */
  | (Span & { readonly kind: "open" | "close" | "minus" | "and" | "or" | "not" })
  /** A field's name with its colon. What follows belongs to it: an operator, a value or a group. */
  | (Span & { readonly kind: "name"; readonly name: string; readonly isQuoted: boolean })
  | (Span & { readonly kind: "operator"; readonly operator: Operator })
  /** Text without quotes. `parts` are what is between its asterisks. */
  | (Span & { readonly kind: "word"; readonly parts: readonly string[] })
  | (Span & { readonly kind: "quoted"; readonly value: string; readonly isClosed: boolean })
  /** `source` has no escaped slashes. */
  | (Span & { readonly kind: "regex"; readonly source: string });

export type Operator = "=" | ">" | ">=" | "<" | "<=";

/** Returns the tokens of a filter, in order. White space is between them. */
export function tokensOf(text: string): QueryToken[] {
  return new Lexer(text).run();
}

const SPACE = /\s/;
const OPERATOR = /[<>]=?|=/y;
/** Text in angle brackets, as in `err:<nil>`, is no comparison. */
const BRACKETED = /^<.+>$/;
/** A number or a word of JSON, up to what can follow it there. */
const JSON_LITERAL = /(?:-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null)(?=[\s,}\])]|$)/y;
const KEYWORDS = { AND: "and", OR: "or", NOT: "not" } as const;

class Lexer {
  readonly #text: string;
  readonly #tokens: QueryToken[] = [];
  /** The open groups; true for those of a field, as in `field:(a OR b)`, and groups inside them. */
  readonly #groups: boolean[] = [];
  /** The position after which no regular expression can end, once that is known. */
  #noSlashFrom = Infinity;

  constructor(text: string) {
    this.#text = text;
  }

  run(): QueryToken[] {
    let at = this.#skipSpace(0);
    while (at < this.#text.length) at = this.#skipSpace(this.#readTerm(at));
    return this.#tokens;
  }

  #readTerm(at: number): number {
    const character = this.#text[at];
    if (character === ")" && this.#groups.length > 0) return this.#close(at);
    if (character === "(" && !this.#text.startsWith("()", at))
      return this.#open(at, this.#isInField());
    if (character === "-" && this.#isMinus(at)) {
      this.#tokens.push({ kind: "minus", from: at, to: at + 1 });
      return this.#text[at + 1] === "(" ? at + 1 : this.#readOperand(at + 1);
    }
    const keyword = this.#keywordAt(at);
    if (keyword === undefined) return this.#readOperand(at);
    this.#tokens.push({ kind: KEYWORDS[keyword], from: at, to: at + keyword.length });
    return at + keyword.length;
  }

  /** The minus of `->`, `--flag` and a lone one is text. */
  #isMinus(at: number): boolean {
    return !this.#isEnd(at + 1) && !/[->]/.test(this.#text[at + 1]!);
  }

  #keywordAt(at: number): keyof typeof KEYWORDS | undefined {
    for (const keyword of ["AND", "OR", "NOT"] as const) {
      if (!this.#text.startsWith(keyword, at)) continue;
      const end = at + keyword.length;
      if (this.#isEnd(end) || '("'.includes(this.#text[end]!)) return keyword;
    }
    return undefined;
  }

  #readOperand(at: number): number {
    if (this.#isInField()) return this.#readValue(at);
    return this.#text[at] === '"' ? this.#readQuotedTerm(at) : this.#readBareTerm(at);
  }

  /** `"text"`, or `"name":` and its value. */
  #readQuotedTerm(at: number): number {
    const { value, end, isClosed } = this.#quotedAt(at);
    const valueAt = isClosed && value !== "" ? this.#valueOfQuotedName(end) : undefined;
    if (valueAt === undefined) return this.#readQuoted(at);
    this.#tokens.push({ kind: "name", from: at, to: end + 1, name: value, isQuoted: true });
    JSON_LITERAL.lastIndex = valueAt;
    const literal = JSON_LITERAL.exec(this.#text)?.[0];
    return literal === undefined
      ? this.#readValue(valueAt)
      : this.#pushWord(valueAt, valueAt + literal.length, [literal]);
  }

  /** Between colon and value, only JSON has spaces: `"key": "value"`. */
  #valueOfQuotedName(colon: number): number | undefined {
    if (this.#text[colon] !== ":") return undefined;
    if (!this.#isEnd(colon + 1)) return colon + 1;
    const at = this.#skipSpace(colon + 1);
    if (at === colon + 1) return undefined;
    JSON_LITERAL.lastIndex = at;
    return this.#text[at] === '"' || JSON_LITERAL.test(this.#text) ? at : undefined;
  }

  /** A word, a regular expression, or a name and its value. */
  #readBareTerm(at: number): number {
    const colon = this.#colonOf(at);
    if (colon === undefined) return this.#readValueText(at, this.#wordAt(at));
    const name = this.#text.slice(at, colon);
    if (this.#isEnd(colon + 1) && !RESERVED_NAMES.has(name))
      return this.#readValueText(at, this.#wordAt(at));
    this.#tokens.push({ kind: "name", from: at, to: colon + 1, name, isQuoted: false });
    if (this.#isEnd(colon + 1)) return colon + 1;
    return this.#readValue(colon + 1, countOpen(name));
  }

  /** Returns the first colon of a word that starts here, if text is before it. */
  #colonOf(at: number): number | undefined {
    if (this.#regexEnd(at) !== undefined) return undefined;
    let open = 0;
    for (let index = at; !this.#isWordEnd(index, open); index++) {
      const character = this.#text[index];
      if (character === ":") return index > at ? index : undefined;
      if (character === "*" && this.#text[index + 1] === '"') return undefined;
      open = nest(open, character!);
    }
    return undefined;
  }

  /** @param open how many parentheses are open in the name before. */
  #readValue(at: number, open = 0): number {
    if (this.#text[at] === "(" && open === 0 && !this.#text.startsWith("()", at)) {
      return this.#open(at, true);
    }
    const word = this.#wordAt(at, open);
    OPERATOR.lastIndex = at;
    const operator = OPERATOR.exec(this.#text)?.[0] as Operator | undefined;
    if (operator === undefined || BRACKETED.test(this.#text.slice(at, word.end))) {
      return this.#readValueText(at, word);
    }
    const end = at + operator.length;
    this.#tokens.push({ kind: "operator", from: at, to: end, operator });
    if (this.#isEnd(end)) return end;
    return this.#readValueText(end, this.#wordAt(end, open));
  }

  #readValueText(at: number, word: Word): number {
    if (this.#text[at] === '"') return this.#readQuoted(at);
    const end = this.#regexEnd(at);
    if (end === undefined) return this.#pushWord(at, word.end, word.parts);
    const source = withoutEscapedSlashes(this.#text.slice(at + 1, end - 1));
    this.#tokens.push({ kind: "regex", from: at, to: end, source });
    return end;
  }

  #readQuoted(at: number): number {
    const { value, end, isClosed } = this.#quotedAt(at);
    if (this.#text[end] === "*") {
      const word = this.#wordAt(at);
      return this.#pushWord(at, word.end, word.parts);
    }
    this.#tokens.push({ kind: "quoted", from: at, to: end, value, isClosed });
    return end;
  }

  #pushWord(from: number, to: number, parts: readonly string[]): number {
    this.#tokens.push({ kind: "word", from, to, parts });
    return to;
  }

  /**
   * Returns the word that starts here: up to a space, a quote, or the parenthesis that closes a group. It owns its balanced
   * parentheses. Quoted text next to an asterisk belongs to it.
   */
  #wordAt(at: number, openBefore = 0): Word {
    const parts: string[] = [];
    let [part, open, index] = ["", openBefore, at];
    let start = at;
    for (;;) {
      const character = this.#text[index];
      const isJoined = index === at || this.#text[index - 1] === "*";
      if (character === '"' && isJoined) {
        const { value, end, isClosed } = this.#quotedAt(index);
        if (!isClosed) break;
        part += this.#text.slice(start, index) + value;
        [start, index] = [end, end];
        if (this.#text[end] !== "*") break;
        continue;
      }
      if (this.#isWordEnd(index, open)) break;
      open = nest(open, character!);
      index++;
      if (character !== "*") continue;
      parts.push(part + this.#text.slice(start, index - 1));
      [part, start] = ["", index];
    }
    parts.push(part + this.#text.slice(start, index));
    return { end: index, parts };
  }

  #isWordEnd(index: number, open: number): boolean {
    const character = this.#text[index];
    if (character === ")") return open === 0 && this.#groups.length > 0;
    return character === undefined || character === '"' || SPACE.test(character);
  }

  /** Whether no value can follow here. */
  #isEnd(index: number): boolean {
    const character = this.#text[index];
    if (character === ")") return this.#groups.length > 0;
    return character === undefined || SPACE.test(character);
  }

  /** Inside quotes, `\"` is a quote and `\\` a backslash; any other backslash stands for itself. */
  #quotedAt(at: number): { value: string; end: number; isClosed: boolean } {
    let value = "";
    let start = at + 1;
    for (let index = start; index < this.#text.length; index++) {
      const character = this.#text[index];
      if (character === '"') {
        return { value: value + this.#text.slice(start, index), end: index + 1, isClosed: true };
      }
      if (character !== "\\") continue;
      index++;
      if (this.#text[index] !== '"' && this.#text[index] !== "\\") continue;
      value += this.#text.slice(start, index - 1);
      start = index;
    }
    return { value: value + this.#text.slice(start), end: this.#text.length, isClosed: false };
  }

  /** Returns the end of the regular expression that starts here; undefined if it is a path or other text. */
  #regexEnd(at: number): number | undefined {
    if (this.#text[at] !== "/" || at >= this.#noSlashFrom) return undefined;
    let index = at + 1;
    while (index < this.#text.length && this.#text[index] !== "/") {
      index += this.#text[index] === "\\" ? 2 : 1;
    }
    if (index >= this.#text.length) this.#noSlashFrom = at;
    const isRegex = index < this.#text.length && index > at + 1 && this.#isEnd(index + 1);
    return isRegex ? index + 1 : undefined;
  }

  #open(at: number, isInField: boolean): number {
    this.#groups.push(isInField);
    this.#tokens.push({ kind: "open", from: at, to: at + 1 });
    return at + 1;
  }

  #close(at: number): number {
    this.#groups.pop();
    this.#tokens.push({ kind: "close", from: at, to: at + 1 });
    return at + 1;
  }

  #isInField(): boolean {
    return this.#groups.at(-1) ?? false;
  }

  #skipSpace(from: number): number {
    let at = from;
    while (at < this.#text.length && SPACE.test(this.#text[at]!)) at++;
    return at;
  }
}

interface Word {
  readonly end: number;
  readonly parts: readonly string[];
}

function countOpen(text: string): number {
  let open = 0;
  for (const character of text) open = nest(open, character);
  return open;
}

function nest(open: number, character: string): number {
  if (character === "(") return open + 1;
  return character === ")" && open > 0 ? open - 1 : open;
}

function withoutEscapedSlashes(source: string): string {
  return source.replaceAll(/\\([^])/g, (escape, character: string) =>
    character === "/" ? "/" : escape,
  );
}

/** Names that always denote a field, never text: `action:` without a value is an error. */
export const RESERVED_NAMES: ReadonlySet<string> = new Set([
  "type",
  "level",
  ...FACETS,
  "trace_id",
  "span_id",
]);
