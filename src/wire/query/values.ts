/** What the value of a field means: comparisons, ranges, wildcards, levels, types and loggers. */

import { ENVELOPE_TYPES, LEVELS, rankOfName, type LevelRank } from "../envelope.ts";
import type { FilterNode, LevelNode, ValueTest } from "./ast.ts";
import { fold } from "./fold.ts";
import type { Operator } from "./lexer.ts";
import { ALL } from "./nodes.ts";
import { InvalidValue, invalidTerm } from "./problem.ts";

/** A value as it was typed. */
export interface TypedValue {
  readonly operator?: Operator | undefined;
  /** The text between its asterisks; not for regular expressions. */
  readonly parts: readonly string[];
  readonly regex?: string | undefined;
  readonly isQuoted: boolean;
  readonly isInGroup: boolean;
  readonly isAccess: boolean;
}

/** A quoted name is that of a field, whatever it is: `"level":"info"` is JSON. */
export function fieldNode(
  { name, isNameQuoted }: { readonly name: string; readonly isNameQuoted: boolean },
  value: TypedValue,
): FilterNode {
  switch (isNameQuoted ? "" : name) {
    case "type":
      return typeOf(value);
    case "level":
      return levelOf(value);
    case "logger":
      return loggerOf(value);
    default:
      return { kind: "field", name, test: testOf(value) };
  }
}

function testOf(value: TypedValue): ValueTest {
  const { operator, parts, regex, isQuoted, isAccess } = value;
  if (regex !== undefined && operator === undefined) return { kind: "regex", source: regex };
  const text = textOfValue(value);
  if (operator === "=") return { kind: "exact", text };
  if (operator !== undefined) return comparison(operator, text, isQuoted);
  if (parts.length > 1) {
    const inner = parts.slice(1, -1).filter((part) => part !== "");
    const all = [parts[0]!, ...inner, parts.at(-1)!].map(fold);
    return all.every((part) => part === "") ? { kind: "exists" } : { kind: "wildcard", parts: all };
  }
  const range = isQuoted ? undefined : rangeOf(text);
  if (range) return range;
  return isAccess ? { kind: "exact", text } : { kind: "equals", text: fold(text) };
}

function textOfValue({ parts, regex }: TypedValue): string {
  return regex === undefined ? parts.join("*") : `/${regex}/`;
}

/** A quoted bound is text, even if it has digits only. */
function comparison(operator: Exclude<Operator, "=">, text: string, isQuoted: boolean): ValueTest {
  const isInclusive = operator.endsWith("=");
  const side = operator.startsWith(">") ? "min" : "max";
  const value = isQuoted ? undefined : toNumber(text);
  if (value !== undefined) return { kind: "range", [side]: { value, isInclusive } };
  return { kind: "textRange", [side]: { value: text, isInclusive } };
}

const NUMBER = /^[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?$/i;

function toNumber(text: string): number | undefined {
  const value = NUMBER.test(text) ? Number(text) : NaN;
  // No negative zero.
  return Number.isFinite(value) ? value + 0 : undefined;
}

/** Returns the test of `100..500`, `100..` and `..500`. Paths such as `../x` are no ranges, nor is text with an ellipsis. */
function rangeOf(text: string): ValueTest | undefined {
  const dots = text.indexOf("..");
  if (dots < 0 || text.length === 2) return undefined;
  const [from, to] = [text.slice(0, dots), text.slice(dots + 2)];
  if (NO_BOUND.test(from) || NO_BOUND.test(to)) return undefined;
  const [min, max] = [toNumber(from), toNumber(to)];
  const isNumeric = (from === "" || min !== undefined) && (to === "" || max !== undefined);
  if (!isNumeric) return { kind: "textRange", ...boundsOf(from || undefined, to || undefined) };
  if (min !== undefined && max !== undefined && min > max) {
    throw new InvalidValue(
      `no number is in ${text}`,
      `Write the smaller bound first: ${to}..${from}.`,
    );
  }
  return { kind: "range", ...boundsOf(min, max) };
}

const NO_BOUND = /^\.|\.\.|[/\\]/;

function boundsOf<T>(min: T | undefined, max: T | undefined): Bounds<T> {
  return {
    ...(min !== undefined && { min: { value: min, isInclusive: true } }),
    ...(max !== undefined && { max: { value: max, isInclusive: true } }),
  };
}

interface Bounds<T> {
  readonly min?: { readonly value: T; readonly isInclusive: boolean };
  readonly max?: { readonly value: T; readonly isInclusive: boolean };
}

/**
 * Returns the filter of a parameter `level`: a level and more severe ones, or a comparison such as `=WARNING`.
 * @throws TailgateError FILTER_INVALID
 */
export function levelFilter(text: string): FilterNode {
  return parameter("level", text);
}

/**
 * Returns the filter of a parameter `type`: `audit`, `audit_log`, `system` or `system_log`.
 * @throws TailgateError FILTER_INVALID
 */
export function typeFilter(text: string): FilterNode {
  return parameter("type", text);
}

/** Returns the filter of a parameter `logger`: the name of a logger, which matches its children, too. */
export function loggerFilter(name: string): FilterNode {
  return { kind: "logger", test: { kind: "family", name } };
}

function parameter(name: "level" | "type", text: string): FilterNode {
  const operator = /^(?:[<>]=?|=)/.exec(text)?.[0] as Operator | undefined;
  const value = text.slice(operator?.length ?? 0);
  try {
    const typed = { operator, parts: [value], isQuoted: false, isInGroup: false, isAccess: false };
    return fieldNode({ name, isNameQuoted: false }, typed);
  } catch (error) {
    if (!(error instanceof InvalidValue)) throw error;
    const { message: reason, suggestion } = error;
    throw invalidTerm(`${name}:${text}`, { reason, suggestion });
  }
}

function typeOf(value: TypedValue): FilterNode {
  if (isEverything(value)) return ALL;
  const name = textOfValue(value).toLowerCase();
  const type = ENVELOPE_TYPES.find((known) => known === name || known === `${name}_log`);
  const isComparison = value.operator !== undefined && value.operator !== "=";
  if (type && !isComparison) return { kind: "type", type };
  throw new InvalidValue(
    "the type must be system_log or audit_log",
    "Write type:audit or type:system.",
  );
}

function isEverything({ parts, operator }: TypedValue): boolean {
  return operator === undefined && parts.length > 1 && parts.every((part) => part === "");
}

const RANK_MAX: LevelRank = 4;

/** A level alone stands for itself and more severe ones; in a group, as in `level:(INFO OR ERROR)`, for itself. */
function levelOf(value: TypedValue): FilterNode {
  if (isEverything(value)) return ALL;
  const { operator, isInGroup, isQuoted } = value;
  const text = textOfValue(value);
  const range = operator === undefined && !isQuoted ? /^(.*?)\.\.(.*)$/.exec(text) : null;
  if (range) return levelRange(range[1]!, range[2]!);
  const rank = toRank(text);
  switch (operator) {
    case undefined:
      return { kind: "level", min: rank, max: isInGroup ? rank : RANK_MAX };
    case "=":
      return { kind: "level", min: rank, max: rank };
    case ">=":
      return { kind: "level", min: rank, max: RANK_MAX };
    case "<=":
      return { kind: "level", min: 0, max: rank };
    case ">":
      return levelsBetween(rank + 1, RANK_MAX, `no level is above ${LEVELS[rank]}`);
    default:
      return levelsBetween(0, rank - 1, `no level is below ${LEVELS[rank]}`);
  }
}

function levelRange(from: string, to: string): FilterNode {
  if (from === "" && to === "") throw unknownLevel("..");
  const min = from === "" ? 0 : toRank(from);
  const max = to === "" ? RANK_MAX : toRank(to);
  if (min > max) {
    throw new InvalidValue(
      `no level is in ${from}..${to}`,
      `Write the less severe one first: ${to}..${from}.`,
    );
  }
  return { kind: "level", min, max };
}

function levelsBetween(min: number, max: number, reason: string): LevelNode {
  if (min > max) throw new InvalidValue(reason, `The levels are ${LEVELS.join(", ")}.`);
  return { kind: "level", min: min as LevelRank, max: max as LevelRank };
}

function toRank(text: string): LevelRank {
  const rank = rankOfName(text);
  if (rank === undefined) throw unknownLevel(text);
  return rank;
}

function unknownLevel(text: string): InvalidValue {
  const upper = text.toUpperCase();
  const meant =
    upper === "" ? undefined : LEVELS.find((level) => level.startsWith(upper.slice(0, 3)));
  return new InvalidValue(
    `the level must be one of ${LEVELS.join(", ")}`,
    meant === undefined ? "" : `Did you mean ${meant}?`,
  );
}

function loggerOf(value: TypedValue): FilterNode {
  if (isEverything(value)) return ALL;
  const { operator, parts, regex, isQuoted } = value;
  if (regex !== undefined) return { kind: "field", name: "logger", test: testOf(value) };
  if (operator === "=")
    return { kind: "logger", test: { kind: "wildcard", parts: [textOfValue(value)] } };
  if (operator !== undefined) {
    throw new InvalidValue(
      "loggers cannot be compared by size",
      "Write logger:NAME or logger:PREFIX*.",
    );
  }
  if (parts.length === 1 || isQuoted) return loggerFilter(textOfValue(value));
  const inner = parts.slice(1, -1).filter((part) => part !== "");
  return {
    kind: "logger",
    test: { kind: "wildcard", parts: [parts[0]!, ...inner, parts.at(-1)!] },
  };
}

/** Whether pasted text such as `file:/tmp/` or `src:a/*.ts` looks like this test, too. */
export function looksLikeText(test: ValueTest): boolean {
  switch (test.kind) {
    case "equals":
    case "exact":
      return true;
    case "wildcard":
      return test.parts.some((part) => /[/\\:]/.test(part));
    case "regex":
      return !/[\\^$*+?()[\]{}|]/.test(test.source);
    case "textRange":
      return !/^\d/.test((test.min ?? test.max)!.value);
    default:
      return false;
  }
}
