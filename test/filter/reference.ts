/**
 * What filters mean, written straight from their specification (docs/reference/filters.md) and as plainly as possible: an
 * oracle for everything that evaluates filters. Ignoring case is what regular expressions with the flags `iu` do.
 */

import { LEVELS, type Envelope, type JsonValue } from "../../src/wire/envelope.ts";
import type { FilterNode, TextPattern, ValueTest } from "../../src/wire/query/ast.ts";

/** A record with everything that filters read. */
export interface ReferenceRecord {
  readonly envelope: Envelope;
  readonly logger: string;
  readonly resource?: Readonly<Record<string, JsonValue>>;
  /** The attributes of the scope, and its name and version. */
  readonly scope?: Readonly<Record<string, JsonValue>>;
}

/** Returns whether a record matches. Regular expressions must mean the same in JavaScript. */
export function referenceMatches(node: FilterNode, record: ReferenceRecord): boolean {
  const { type, data } = record.envelope;
  switch (node.kind) {
    case "all":
      return true;
    case "and":
      return node.nodes.every((inner) => referenceMatches(inner, record));
    case "or":
      return node.nodes.some((inner) => referenceMatches(inner, record));
    case "not":
      return !referenceMatches(node.node, record);
    case "type":
      return type === node.type;
    case "level": {
      const rank = LEVELS.indexOf(data.level);
      return rank >= node.min && rank <= node.max;
    }
    case "logger": {
      const { test } = node;
      if (test.kind === "wildcard") return wildcard(test.parts, "u").test(record.logger);
      return record.logger === test.name || record.logger.startsWith(`${test.name}.`);
    }
    case "text":
      return hasText(data as unknown as JsonValue, searchOf(node.pattern));
    default: {
      const values = fieldValues(record, node.name);
      if (values.some((value) => passes(node.test, value))) return true;
      const { alsoText } = node;
      return (
        alsoText !== undefined &&
        hasText(data as unknown as JsonValue, searchOf({ kind: "literal", text: alsoText }))
      );
    }
  }
}

function fieldValues({ envelope, resource, scope }: ReferenceRecord, name: string): JsonValue[] {
  const data = envelope.data as unknown as JsonValue;
  const metadata = member(data, "metadata");
  const roots: [JsonValue | undefined, string][] = [
    [data, name],
    [metadata, name],
    [member(metadata, "details"), name],
  ];
  if (name.startsWith("resource.")) roots.push([resource, name.slice("resource.".length)]);
  if (name.startsWith("scope.")) roots.push([scope, name.slice("scope.".length)]);
  return roots.flatMap(([root, path]) => referenceLookUp(root, path));
}

/** Returns the values at a path. It takes up to 2^dots steps. */
export function referenceLookUp(root: JsonValue | undefined, path: string): readonly JsonValue[] {
  if (Array.isArray(root)) {
    const list = root as readonly JsonValue[];
    const [first = "", ...rest] = path.split(".");
    if (!Object.keys(list).includes(first))
      return list.flatMap((element) => referenceLookUp(element, path));
    const element = list[Number(first)]!;
    return rest.length === 0 ? [element] : referenceLookUp(element, rest.join("."));
  }
  const whole = member(root, path);
  if (whole !== undefined) return [whole];
  for (let dot = path.indexOf("."); dot > 0; dot = path.indexOf(".", dot + 1)) {
    const found = referenceLookUp(member(root, path.slice(0, dot)), path.slice(dot + 1));
    if (found.length > 0) return found;
  }
  return [];
}

function member(value: JsonValue | undefined, key: string): JsonValue | undefined {
  if (typeof value !== "object" || value === null || !Object.hasOwn(value, key)) return undefined;
  return (value as Record<string, JsonValue>)[key];
}

function passes(test: ValueTest, value: JsonValue): boolean {
  if (test.kind === "exists") return value !== null;
  const isList = Array.isArray(value);
  if (isList && (value as readonly JsonValue[]).some((element) => passes(test, element)))
    return true;
  const text = typeof value === "string" ? value : JSON.stringify(value);
  switch (test.kind) {
    case "equals":
      return wildcard([test.text], "iu").test(text.normalize("NFC"));
    case "exact":
      return text === test.text;
    case "wildcard":
      return !isList && wildcard(test.parts, "iu").test(text.normalize("NFC"));
    case "regex":
      return !isList && new RegExp(test.source, "iu").test(text.normalize("NFC"));
    case "range": {
      const isNumber = typeof value === "number" || (typeof value === "string" && isNumeric(value));
      return isNumber && isWithin(test, (bound) => Number(value) - bound);
    }
    default:
      return typeof value === "string" && isWithin(test, (bound) => compare(value, bound));
  }
}

function isNumeric(text: string): boolean {
  return /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text);
}

interface Bounds<T> {
  readonly min?: { readonly value: T; readonly isInclusive: boolean };
  readonly max?: { readonly value: T; readonly isInclusive: boolean };
}

/** @param differenceTo is the order of the value relative to a bound. */
function isWithin<T>({ min, max }: Bounds<T>, differenceTo: (bound: T) => number): boolean {
  const [above, below] = [
    min ? differenceTo(min.value) : Infinity,
    max ? differenceTo(max.value) : -Infinity,
  ];
  return (
    (above > 0 || (above === 0 && min!.isInclusive)) &&
    (below < 0 || (below === 0 && max!.isInclusive))
  );
}

function compare(one: string, other: string): number {
  const [ones, others] = [one, other].map((text) => Array.from(text, (c) => c.codePointAt(0)!));
  for (const [index, code] of ones!.entries()) {
    if (code !== others![index]) return code - (others![index] ?? -1);
  }
  return ones!.length - others!.length;
}

function hasText(value: JsonValue, search: RegExp): boolean {
  if (typeof value !== "object" || value === null)
    return search.test(String(value).normalize("NFC"));
  return Object.values(value).some((inner) => hasText(inner, search));
}

function searchOf(pattern: TextPattern): RegExp {
  switch (pattern.kind) {
    case "literal":
      return new RegExp(escaped(pattern.text), "iu");
    case "wildcard":
      return new RegExp(pattern.parts.map(escaped).join("[^]*"), "iu");
    default:
      return new RegExp(pattern.source, "iu");
  }
}

function wildcard(parts: readonly string[], flags: string): RegExp {
  return new RegExp(`^${parts.map(escaped).join("[^]*")}$`, flags);
}

function escaped(text: string): string {
  return text.replaceAll(/[\\^$.*+?()[\]{}|/]/g, "\\$&");
}
