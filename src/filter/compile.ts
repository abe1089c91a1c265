/** Makes functions of filters that match records. */

import { LEVELS, isSameOrChild, type JsonValue } from "../wire/envelope.ts";
import type {
  FieldNode,
  FilterNode,
  LoggerNode,
  RegexPattern,
  TextPattern,
  ValueTest,
} from "../wire/query/ast.ts";
import { fold } from "../wire/query/fold.ts";
import { fieldValues, FieldPath, valuesAtPath } from "./fields.ts";
import type { RecordFields } from "./records.ts";
import { compileRegex } from "./regex.ts";
import { literalsOfRegex, type RequiredTexts } from "./regex-literals.ts";
import {
  indexOfText,
  searchText,
  someText,
  VALUE_SEPARATOR,
  wildcardSearch,
  wildcardTest,
} from "./text-search.ts";
import { plainRuns, trigramsOf, trigramsOfAll } from "./trigrams.ts";
import { compileValueTest } from "./value-test.ts";

/** One node of a filter, ready to match records. */
export interface CompiledNode {
  /** How many times it traverses the parsed envelope; 0 if the batch's index suffices. */
  readonly reads: number;
  /** How much of the envelope's text regular expressions are matched with, in instructions for each character. */
  readonly instructions: number;
  /** The envelopes of all records that match contain one of these texts; undefined if that is not known. */
  readonly required?: readonly string[] | undefined;
  matches(records: RecordFields, index: number): boolean;
}

/** @throws TailgateError FILTER_INVALID if a regular expression is invalid or too large */
export function compileNode(node: FilterNode): CompiledNode {
  switch (node.kind) {
    case "all":
      return indexed(() => true);
    case "type":
      return indexed((records, index) => records.type(index) === node.type);
    case "level":
      return levelNode(node.min, node.max);
    case "logger":
      return loggerNode(node);
    case "text":
      return textNode(node.pattern);
    case "field":
      return fieldNode(node);
    case "not": {
      const inner = compileNode(node.node);
      const { reads, instructions } = inner;
      return { reads, instructions, matches: (records, index) => !inner.matches(records, index) };
    }
    case "and": {
      const nodes = byCost(node.nodes.map(compileNode));
      const matches: Match = (records, index) => {
        for (const inner of nodes) if (!inner.matches(records, index)) return false;
        return true;
      };
      return { ...costOf(nodes), required: requiredOfAll(nodes), matches };
    }
    default: {
      const nodes = byCost(node.nodes.map(compileNode));
      const matches: Match = (records, index) => {
        for (const inner of nodes) if (inner.matches(records, index)) return true;
        return false;
      };
      return { ...costOf(nodes), required: requiredOfAny(nodes), matches };
    }
  }
}

type Match = CompiledNode["matches"];

/** Returns the nodes with cheap ones first, otherwise in their order. */
export function byCost(nodes: readonly CompiledNode[]): CompiledNode[] {
  return nodes.toSorted(
    (one, other) => one.instructions - other.instructions || one.reads - other.reads,
  );
}

type Requiring = Pick<CompiledNode, "required">;

/** Searching for more texts takes longer than matching the records one by one. */
const REQUIRED_MAX = 8;

/** Returns what all records contain that match all nodes: what most likely few records contain. */
export function requiredOfAll(nodes: readonly Requiring[]): readonly string[] | undefined {
  const known = nodes.flatMap(({ required }) => (required === undefined ? [] : [required]));
  return known.toSorted((one, other) => shortest(other) - shortest(one))[0];
}

/** Returns what all records contain that match one of the nodes. */
function requiredOfAny(nodes: readonly Requiring[]): readonly string[] | undefined {
  const texts: string[] = [];
  for (const { required } of nodes) {
    if (required === undefined) return undefined;
    texts.push(...required);
  }
  return texts.length > REQUIRED_MAX ? undefined : texts;
}

/** Returns the longest part of texts, all of which an envelope contains, that it contains as it is. */
function requiredText(texts: readonly string[]): readonly string[] | undefined {
  const runs = texts.flatMap(plainRuns);
  const [longest] = runs.toSorted((one, other) => lengthOf(other) - lengthOf(one));
  return longest === undefined ? undefined : [longest];
}

function shortest(texts: readonly string[]): number {
  return Math.min(...texts.map(lengthOf));
}

function lengthOf(text: string): number {
  return text.length;
}

export function costOf(
  nodes: readonly CompiledNode[],
): Pick<CompiledNode, "reads" | "instructions"> {
  return {
    reads: nodes.reduce((sum, { reads }) => sum + reads, 0),
    instructions: nodes.reduce((sum, { instructions }) => sum + instructions, 0),
  };
}

function indexed(matches: Match): CompiledNode {
  return { reads: 0, instructions: 0, matches };
}

function levelNode(min: number, max: number): CompiledNode {
  const levels = LEVELS.slice(min, max + 1);
  const [level] = levels;
  return levels.length === 1
    ? indexed((records, index) => records.level(index) === level)
    : indexed((records, index) => levels.includes(records.level(index)));
}

function loggerNode({ test }: LoggerNode): CompiledNode {
  const isMatch = loggerTest(test);
  return indexed((records, index) => isMatch(records.logger(index)));
}

function loggerTest(test: LoggerNode["test"]): (logger: string) => boolean {
  if (test.kind === "family") return (logger) => isSameOrChild(logger, test.name);
  return wildcardTest(test.parts);
}

function textNode(pattern: TextPattern): CompiledNode {
  switch (pattern.kind) {
    case "literal":
      return literalNode(pattern.text);
    case "wildcard": {
      const isMatch = wildcardSearch(pattern.parts);
      const trigrams = trigramsOfAll(pattern.parts);
      return {
        reads: 2,
        instructions: 0,
        required: requiredText(pattern.parts),
        // The values side by side have a match if one of them has one.
        matches: (records, index) =>
          records.mayHaveTrigrams?.(index, trigrams) !== false &&
          mayContain(records, index, pattern.parts) &&
          isMatch(searchText(records.envelope(index))) &&
          someText(records.envelope(index), (text) => isMatch(fold(text))),
      };
    }
    default: {
      const regex = compileRegex(pattern);
      const texts = textsOfRegex(pattern);
      const trigrams = trigramsOfAll(texts);
      return {
        reads: 1,
        instructions: regex.instructions,
        required: requiredText(texts),
        matches: (records, index) =>
          records.mayHaveTrigrams?.(index, trigrams) !== false &&
          someText(records.envelope(index), regex.test),
      };
    }
  }
}

function literalNode(text: string): CompiledNode {
  const search = indexOfText(text);
  const isIn = (value: string): boolean => search(value, 0) >= 0;
  const isWithinValue = !text.includes(VALUE_SEPARATOR);
  const trigrams = trigramsOf(text);
  return {
    reads: isWithinValue ? 1 : 2,
    instructions: 0,
    required: requiredText([text]),
    matches: (records, index) =>
      records.mayHaveTrigrams?.(index, trigrams) !== false &&
      records.mayContain?.(index, text) !== false &&
      isIn(searchText(records.envelope(index))) &&
      (isWithinValue || someText(records.envelope(index), (value) => isIn(fold(value)))),
  };
}

function mayContain(records: RecordFields, index: number, texts: readonly string[]): boolean {
  return texts.every((text) => records.mayContain?.(index, text) !== false);
}

const RESOURCE = "resource.";
const SCOPE = "scope.";

function fieldNode({ name, test, alsoText }: FieldNode): CompiledNode {
  const passes = compileValueTest(test);
  const instructions = test.kind === "regex" ? compileRegex(test).instructions : 0;
  const path = new FieldPath(name);
  const [names, values] = [namesOf(name), textsOf(test)];
  const trigrams = trigramsOfAll([...names, ...values]);
  const isField: Match = (records, index) =>
    records.mayHaveTrigrams?.(index, trigrams) !== false &&
    (records.testField?.(index, name, passes) ??
      fieldValues(records.envelope(index), path).some(passes));
  const shared = sharedAttributes(name);
  const field: CompiledNode = {
    reads: shared ? 2 : 1,
    instructions,
    // Many records have the name.
    required: shared ? undefined : (requiredText(values) ?? requiredText(names)),
    matches: shared
      ? (records, index) =>
          valuesAtPath(shared.read(records, index), shared.path).some(passes) ||
          isField(records, index)
      : isField,
  };
  if (alsoText === undefined) return field;
  const text = literalNode(alsoText);
  return {
    ...costOf([field, text]),
    required: requiredOfAny([field, text]),
    matches: (records, index) => field.matches(records, index) || text.matches(records, index),
  };
}

/** Returns what the names of members contain that lead to the field, but for indexes of lists. */
function namesOf(name: string): string[] {
  return name
    .split(".")
    .filter((part) => !/^\d+$/.test(part))
    .map(fold);
}

/** Returns folded texts that a value contains that passes the test; it is a string then, or a list of strings. */
function textsOf(test: ValueTest): readonly string[] {
  switch (test.kind) {
    case "equals":
      return JSON_START.test(test.text) ? [] : [test.text];
    case "exact":
      return JSON_START.test(test.text) ? [] : [fold(test.text)];
    case "wildcard":
      return test.parts.filter((part) => !JSON_PUNCTUATION.test(part));
    case "regex":
      return textsOfRegex(test).filter((part) => !JSON_PUNCTUATION.test(part));
    default:
      return [];
  }
}

/** Returns folded texts that every value contains that has a match. */
export function textsOfRegex({ source, assumesMatch = false }: RegexPattern): string[] {
  return assumesMatch ? [] : textsOfAll(literalsOfRegex(source)).map(fold);
}

function textsOfAll(required: RequiredTexts): string[] {
  if (required.kind === "text") return [required.text];
  return required.kind === "and" ? required.parts.flatMap(textsOfAll) : [];
}

/** Maps and lists are compared by their JSON, in which JavaScript may change numbers and the order of members. */
const JSON_START = /^[[{]/;
const JSON_PUNCTUATION = /[[\]{},:]/;

/** Returns where a field of the resource or of the scope is looked up; undefined for other fields. */
function sharedAttributes(name: string): SharedAttributes | undefined {
  if (name.startsWith(RESOURCE)) {
    return { path: new FieldPath(name.slice(RESOURCE.length)), read: readResource };
  }
  if (name.startsWith(SCOPE)) {
    return { path: new FieldPath(name.slice(SCOPE.length)), read: readScope };
  }
  return undefined;
}

interface SharedAttributes {
  readonly path: FieldPath;
  readonly read: (records: RecordFields, index: number) => JsonAttributes | undefined;
}

function readResource(records: RecordFields, index: number): JsonAttributes | undefined {
  return records.resourceAttributes?.(index);
}

function readScope(records: RecordFields, index: number): JsonAttributes | undefined {
  return records.scopeAttributes?.(index);
}

type JsonAttributes = Readonly<Record<string, JsonValue>>;
