/** Writes filters as text that the parser reads back. */

import { LEVELS } from "../envelope.ts";
import type {
  FieldNode,
  FilterNode,
  LevelNode,
  LoggerNode,
  TextPattern,
  ValueTest,
} from "./ast.ts";
import { fold } from "./fold.ts";
import { RESERVED_NAMES } from "./lexer.ts";
import { allOf, canonicalKey } from "./nodes.ts";
import { parseQuery, problemOfQuery } from "./parse.ts";
import { looksLikeText } from "./values.ts";

/** Returns the text of a filter; "" matches everything. */
export function formatQuery(node: FilterNode): string {
  return node.kind === "all" ? "" : formatNode(node);
}

/** Returns the term that finds the records with this value of a field, ignoring case. */
export function formatTerm(name: string, value: string): string {
  switch (name) {
    case "level":
      return `level:=${value}`;
    case "type":
    case "logger":
      return `${name}:${quoteValue(value)}`;
    default:
      return formatField({ kind: "field", name, test: { kind: "equals", text: value } });
  }
}

/** Returns the name of a field as it stands before its colon. */
export function formatName(name: string): string {
  return isPlainName(name) || SPECIAL_NAMES.has(name) ? name : quote(name);
}

/** Returns the value of a field as it stands behind the colon, or in the field's group. */
export function formatValue(name: string, value: string, isInGroup: boolean): string {
  // Elsewhere, the text would match as well.
  const mayBePlain = isInGroup || RESERVED_NAMES.has(name);
  return mayBePlain && !value.startsWith("-") ? quoteValue(value) : quote(value);
}

function formatNode(node: FilterNode): string {
  switch (node.kind) {
    case "all":
      return "*";
    case "and":
      return node.nodes.map((inner) => inGroup(inner, inner.kind === "or")).join(" ");
    case "or":
      return node.nodes.map(formatNode).join(" OR ");
    case "not": {
      const { kind } = node.node;
      const text = inGroup(node.node, kind === "and" || kind === "or" || kind === "not");
      // Arrows and flags are text.
      return /^[->]/.test(text) ? `NOT ${text}` : `-${text}`;
    }
    case "text":
      return formatPattern(node.pattern);
    case "field":
      return formatField(node);
    case "type":
      return `type:${node.type === "audit_log" ? "audit" : "system"}`;
    case "level":
      return formatLevel(node);
    default:
      return formatLogger(node);
  }
}

function inGroup(node: FilterNode, isGroup: boolean): string {
  // `-(x OR y)` can be an alternative to a field or its text.
  const text = formatNode(node);
  return isGroup || isAlternative(node) ? `(${text})` : text;
}

/** Whether the term has to be written as two, joined by `OR`. */
function isAlternative(node: FilterNode): boolean {
  return node.kind === "field" && node.alsoText !== undefined && pastedTerm(node) === undefined;
}

function formatPattern(pattern: TextPattern): string {
  switch (pattern.kind) {
    case "literal":
      return quoteText(pattern.text);
    case "wildcard":
      return pattern.parts.map(quotePart).join("*");
    default:
      return formatRegex(pattern.source);
  }
}

function formatLevel({ min, max }: LevelNode): string {
  if (min === max) return `level:=${LEVELS[min]}`;
  if (max === 4) return `level:${LEVELS[min]}`;
  return min === 0 ? `level:<=${LEVELS[max]}` : `level:${LEVELS[min]}..${LEVELS[max]}`;
}

function formatLogger({ test }: LoggerNode): string {
  if (test.kind === "family") return `logger:${quoteValue(test.name)}`;
  return test.parts.length === 1
    ? `logger:=${quote(test.parts[0]!)}`
    : `logger:${test.parts.map(quotePart).join("*")}`;
}

function formatField(node: FieldNode): string {
  if (node.alsoText === undefined) return formatFieldAlone(node);
  return pastedTerm(node) ?? `${formatFieldAlone(node)} OR ${quoteText(node.alsoText)}`;
}

/** Returns the term that also matches its own text, if that is the text that the node has. */
function pastedTerm(node: FieldNode): string | undefined {
  const { name, test, alsoText = "" } = node;
  for (const typedName of [name, quote(name)]) {
    const start = `${fold(typedName)}:`;
    if (!alsoText.startsWith(start)) continue;
    const value = valueAsTyped(test, alsoText.slice(start.length));
    if (value !== undefined && isRead(`${typedName}:${value}`, node))
      return `${typedName}:${value}`;
  }
  return undefined;
}

/** Whether a term is read as that node wherever it stands: at the end of a group, and before a slash, which may end an expression. */
function isRead(term: string, node: FieldNode): boolean {
  const slash = { kind: "text", pattern: { kind: "literal", text: "a/" } } as const;
  return isReadAs(`(${term})`, node) && isReadAs(`(${term} a/)`, allOf([node, slash]));
}

function isReadAs(q: string, node: FilterNode): boolean {
  return !problemOfQuery(q) && canonicalKey(parseQuery(q)) === canonicalKey(node);
}

/** @param folded the value as it was typed, folded. */
function valueAsTyped(test: ValueTest, folded: string): string | undefined {
  switch (test.kind) {
    case "equals":
    case "wildcard":
      return folded;
    case "textRange":
      return `${test.min?.value ?? ""}..${test.max?.value ?? ""}`;
    case "regex":
      return formatRegex(test.source);
    default:
      return undefined;
  }
}

function formatFieldAlone({ name, test }: FieldNode): string {
  const isPlain = isPlainName(name);
  const field = isPlain ? `${name}:` : `${quote(name)}:`;
  switch (test.kind) {
    case "equals": {
      if (!isPlain) return `${field}(${quote(test.text)})`;
      return field + (RESERVED_NAMES.has(name) ? quoteValue(test.text) : quote(test.text));
    }
    case "exact":
      return `${field}=${quote(test.text)}`;
    case "wildcard": {
      const { parts } = test;
      const value = parts.length === 1 ? quote(parts[0]!) : parts.map(quotePart).join("*");
      return field + fieldOnly(value, test);
    }
    case "exists":
      return `${field}*`;
    case "range":
      return field + formatRange(test, String);
    case "textRange":
      return field + formatRange(test, quote);
    default:
      return field + fieldOnly(formatRegex(test.source), test);
  }
}

/** In a group, a value never stands for text. */
function fieldOnly(value: string, test: ValueTest): string {
  return looksLikeText(test) ? `(${value})` : value;
}

interface Bound<T> {
  readonly value: T;
  readonly isInclusive: boolean;
}

interface Range<T> {
  readonly min?: Bound<T>;
  readonly max?: Bound<T>;
}

function formatRange<T>({ min, max }: Range<T>, format: (value: T) => string): string {
  const low = min && `>${min.isInclusive ? "=" : ""}${format(min.value)}`;
  const high = max && `<${max.isInclusive ? "=" : ""}${format(max.value)}`;
  return low && high ? `(${low} ${high})` : (low ?? high ?? "*");
}

function formatRegex(source: string): string {
  return `/${source.replaceAll(/\\[^]|\//g, (found) => (found === "/" ? "\\/" : found))}/`;
}

/** Whether the name of a field needs no quotes, and means a field without them. */
function isPlainName(name: string): boolean {
  return /^[^\s":()*/>-][^\s":()*]*$/.test(name) && !SPECIAL_NAMES.has(name);
}

function quoteText(text: string): string {
  return /^[^\s"*():/>-][^\s"*():]*$/.test(text) && !KEYWORDS.has(text) ? text : quote(text);
}

/** Values may have colons, and start with a minus, but an operator or a range must be quoted. */
function quoteValue(text: string): string {
  const isPlain = /^[^\s"*()<>=/][^\s"*()]*$/.test(text) && !text.includes("..");
  return isPlain ? text : quote(text);
}

/** Quotes a part of a word with asterisks. */
function quotePart(part: string): string {
  return part === "" || /^[\w.@#]+$/.test(part) ? part : quote(part);
}

function quote(text: string): string {
  return `"${text.replaceAll(/["\\]/g, "\\$&")}"`;
}

/** Names that mean more than a field of that name. */
const SPECIAL_NAMES: ReadonlySet<string> = new Set(["level", "type", "logger"]);

const KEYWORDS: ReadonlySet<string> = new Set(["AND", "OR", "NOT"]);
