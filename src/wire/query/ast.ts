/**
 * A filter as a tree, as the parser makes it of text and as everything that evaluates filters reads it. It is plain data, so
 * it can be sent to another thread. Texts that are compared ignoring case are folded already (see fold.ts).
 */

import type { EnvelopeType, LevelRank } from "../envelope.ts";

export type FilterNode =
  | AllNode
  | GroupNode
  | NotNode
  | TextNode
  | FieldNode
  | TypeNode
  | LevelNode
  | LoggerNode;

/** Matches every record. */
interface AllNode {
  readonly kind: "all";
}

/** Matches records that match all of its nodes (`and`) or at least one of them (`or`); it has two or more. */
interface GroupNode {
  readonly kind: "and" | "or";
  readonly nodes: readonly FilterNode[];
}

/** Matches records that its node does not match. */
interface NotNode {
  readonly kind: "not";
  readonly node: FilterNode;
}

/** Matches records of which any value contains a match of the pattern. */
interface TextNode {
  readonly kind: "text";
  readonly pattern: TextPattern;
}

/** What is searched for in the text of a value, at any position, ignoring case. */
export type TextPattern =
  /** `text` is folded. */
  | { readonly kind: "literal"; readonly text: string }
  /** Folded texts, in this order, with anything between them: `time*out` has two. None of them is empty. */
  | { readonly kind: "wildcard"; readonly parts: readonly string[] }
  | RegexPattern;

/** A regular expression in the syntax of RE2 (https://github.com/google/re2/wiki/Syntax), which ignores case. */
export interface RegexPattern {
  readonly kind: "regex";
  readonly source: string;
  /**
   * Values are matched up to a maximum length (src/filter/regex.ts). True if a longer one counts as a match if its beginning has
   * none: in a filter that limits what may be read, below a negation.
   */
  readonly assumesMatch?: boolean | undefined;
}

/**
 * Matches records with a field of which a value passes the test; of a list, any element. `name` is as typed: with dots for
 * nested fields, or a name that contains dots; `resource.` and `scope.` lead to the resource and the scope.
 */
export interface FieldNode {
  readonly kind: "field";
  readonly name: string;
  readonly test: ValueTest;
  /**
   * The term as it was typed, folded: records of which a value contains it match as well, because pasted text often has
   * colons (`http://10.0.0.5:8080/x`, `12:30:45`). Absent if the term only compares a field.
   */
  readonly alsoText?: string | undefined;
}

export type ValueTest =
  /** The value, ignoring case; of a number its shortest decimal form, of an object or list its JSON. `text` is folded. */
  | { readonly kind: "equals"; readonly text: string }
  /** The value exactly. */
  | { readonly kind: "exact"; readonly text: string }
  /** The whole value is the folded parts, in this order, with anything between them; the first or the last may be empty. */
  | { readonly kind: "wildcard"; readonly parts: readonly string[] }
  /** Any value other than null, empty lists and maps included. */
  | { readonly kind: "exists" }
  /** Numbers, and texts that are numbers, within the bounds; at least one bound is there. */
  | { readonly kind: "range"; readonly min?: NumberBound; readonly max?: NumberBound }
  /** Strings within the bounds, compared by their code points, as for times; at least one bound is there. */
  | { readonly kind: "textRange"; readonly min?: TextBound; readonly max?: TextBound }
  /** A match anywhere in the value. */
  | RegexPattern;

export interface NumberBound {
  readonly value: number;
  readonly isInclusive: boolean;
}

export interface TextBound {
  readonly value: string;
  readonly isInclusive: boolean;
}

/** Matches records of one type. */
interface TypeNode {
  readonly kind: "type";
  readonly type: EnvelopeType;
}

/** Matches records whose level is within the bounds, both inclusive: ranks in `LEVELS`. */
export interface LevelNode {
  readonly kind: "level";
  readonly min: LevelRank;
  readonly max: LevelRank;
}

/** Matches the records of some loggers. */
export interface LoggerNode {
  readonly kind: "logger";
  readonly test:
    /** That logger and its children, comparing case. */
    | { readonly kind: "family"; readonly name: string }
    /** The name is the parts with anything between them, comparing case; the first or the last may be empty. */
    | { readonly kind: "wildcard"; readonly parts: readonly string[] };
}
