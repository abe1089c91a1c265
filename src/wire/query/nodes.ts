/** Builds filters of filters, and compares them. */

import type { EnvelopeType } from "../envelope.ts";
import type { FilterNode, LevelNode, RegexPattern, ValueTest } from "./ast.ts";

export const ALL: FilterNode = { kind: "all" };

/** Matches no record. */
export const NONE: FilterNode = { kind: "not", node: ALL };

export function allOf(nodes: readonly FilterNode[]): FilterNode {
  const parts = nodes.flatMap((node) => (node.kind === "and" ? node.nodes : [node]));
  const needed = parts.filter(({ kind }) => kind !== "all");
  if (needed.length <= 1) return needed[0] ?? ALL;
  return { kind: "and", nodes: needed };
}

export function anyOf(nodes: readonly FilterNode[]): FilterNode {
  const parts = nodes.flatMap((node) => (node.kind === "or" ? node.nodes : [node]));
  if (parts.some(({ kind }) => kind === "all")) return ALL;
  return parts.length === 1 ? parts[0]! : { kind: "or", nodes: parts };
}

/** Has no `not` if the opposite is a level or a type as well, because those are cheap to look up. */
export function noneOf(node: FilterNode): FilterNode {
  switch (node.kind) {
    case "not":
      return node.node;
    case "type":
      return { kind: "type", type: OTHER_TYPE[node.type] };
    case "level":
      return otherLevels(node) ?? { kind: "not", node };
    default:
      return { kind: "not", node };
  }
}

const OTHER_TYPE: Readonly<Record<EnvelopeType, EnvelopeType>> = {
  audit_log: "system_log",
  system_log: "audit_log",
};

function otherLevels({ min, max }: LevelNode): FilterNode | undefined {
  if (min === 0 && max === 4) return NONE;
  if (min === 0) return { kind: "level", min: (max + 1) as LevelNode["min"], max: 4 };
  if (max === 4) return { kind: "level", min: 0, max: (min - 1) as LevelNode["max"] };
  return undefined;
}

/** Returns how many terms a filter has. */
export function countTerms(node: FilterNode): number {
  switch (node.kind) {
    case "all":
      return 0;
    case "not":
      return countTerms(node.node);
    case "and":
    case "or":
      return node.nodes.reduce((sum, inner) => sum + countTerms(inner), 0);
    default:
      return 1;
  }
}

/**
 * Returns a text that is equal for filters that differ only in the order or the repetition of terms, and for no filters
 * that differ in meaning. "" is the filter that matches everything.
 */
export function canonicalKey(node: FilterNode): string {
  const simple = simplified(node);
  return simple.kind === "all" ? "" : keyOf(simple);
}

/** Writes what can be written in several ways in one. */
function simplified(node: FilterNode): FilterNode {
  switch (node.kind) {
    case "and":
      return allOf(node.nodes.map(simplified));
    case "or":
      return anyOf(node.nodes.map(simplified));
    case "not":
      return noneOf(simplified(node.node));
    case "field": {
      const { alsoText: text, ...field } = node;
      if (text === undefined) return node;
      return anyOf([field, { kind: "text", pattern: { kind: "literal", text } }]);
    }
    default:
      return node;
  }
}

/** The keys of terms are JSON, so that text in them cannot look like the punctuation between them. */
function keyOf(node: FilterNode): string {
  switch (node.kind) {
    case "all":
      return "*";
    case "and":
    case "or": {
      const keys = [...new Set(node.nodes.map(keyOf))].toSorted();
      return keys.length === 1 ? keys[0]! : `${node.kind}(${keys.join(",")})`;
    }
    case "not":
      return `-${keyOf(node.node)}`;
    case "text": {
      const { pattern } = node;
      return toKey("text", pattern.kind, "parts" in pattern ? pattern.parts : patternText(pattern));
    }
    case "field":
      return toKey("field", node.name, ...testKey(node.test));
    case "type":
      return toKey("type", node.type);
    case "level":
      return toKey("level", node.min, node.max);
    default:
      return toKey("logger", node.test.kind === "family" ? node.test.name : node.test.parts);
  }
}

function patternText(pattern: { text: string } | RegexPattern): unknown {
  return "text" in pattern ? pattern.text : regexKey(pattern);
}

function regexKey({ source, assumesMatch = false }: RegexPattern): unknown {
  return assumesMatch ? { source, assumesMatch } : source;
}

function testKey(test: ValueTest): unknown[] {
  switch (test.kind) {
    case "equals":
    case "exact":
      return [test.kind, test.text];
    case "wildcard":
      return [test.kind, test.parts];
    case "exists":
      return [test.kind];
    case "range":
    case "textRange":
      return [test.kind, ...boundKey(test.min), ...boundKey(test.max)];
    default:
      return [test.kind, regexKey(test)];
  }
}

function boundKey(bound: { value: unknown; isInclusive: boolean } | undefined): unknown[] {
  return bound ? [bound.value, bound.isInclusive] : [null, null];
}

function toKey(...parts: readonly unknown[]): string {
  return JSON.stringify(parts);
}
