import {
  isAlias,
  isCollection,
  isMap,
  isPair,
  isScalar,
  isSeq,
  LineCounter,
  parseDocument,
  visit,
  type Document,
  type Node,
  type Pair,
} from "yaml";
import { TailgateError, textOf } from "../wire/errors.ts";
import { Problems } from "./problems.ts";

/**
 * Parses the text of a configuration file; messages call it `name`.
 * @throws TailgateError CONFIG_INVALID with line and column.
 */
export function parseConfig(text: string, name: string): Readonly<Record<string, unknown>> {
  const lines = new LineCounter();
  const document = parseDocument(text, { prettyErrors: false, lineCounter: lines, merge: true });
  const problems = new Problems();
  const place: Place = (range) => {
    const { line, col } = lines.linePos(range?.[0] ?? 0);
    return `${name}:${line}:${col}`;
  };
  // The parser continues after an error, and the first one often causes the others.
  for (const { message, pos } of [...document.errors, ...document.warnings].slice(0, ERRORS_MAX)) {
    problems.add(place(pos), message);
  }
  rejectStructure(document, problems, place);
  rejectMerges(document, problems, place);
  problems.throwIfAny(name);
  return asMapping(readValues(document, name), name);
}

const ERRORS_MAX = 5;

type Place = (range: readonly number[] | null | undefined) => string;

/** Rejects what YAML allows and a configuration does not: keys that are not text, values that contain themselves. */
function rejectStructure(document: Document.Parsed, problems: Problems, place: Place): void {
  visit(document, {
    Pair(_, { key }) {
      // The value of a `!!binary` scalar is an object.
      if (isScalar(key) && (key.value === null || typeof key.value !== "object")) return;
      problems.add(place((key as Partial<Node> | null)?.range), "a key must be plain text");
    },
    Alias(_, alias, path) {
      const target = alias.resolve(document);
      if (!path.some((ancestor) => ancestor === target)) return;
      problems.add(place(alias.range), `*${alias.source} is inside the value that it refers to`);
    },
  });
}

/** How many nodes all merges together may copy. Nested merges could otherwise take forever. */
const MERGED_NODES_MAX = 100_000;

/** Rejects merge keys (`<<`, https://yaml.org/type/merge.html) that merge something other than mappings, or too much. */
function rejectMerges(document: Document.Parsed, problems: Problems, place: Place): void {
  const sizes = new Map<unknown, number>();
  let copied = 0;
  visit(document, {
    Pair(_, pair) {
      if (!isMerge(pair)) return;
      const at = place((pair.value as Partial<Node> | null)?.range);
      const sources = mergeSources(pair, document);
      if (!sources.every(isMap)) {
        problems.add(at, "<< must merge a mapping or a list of mappings");
      }
      for (const source of sources) copied += countNodes(source, document, sizes);
      if (copied > MERGED_NODES_MAX) problems.add(at, "<< merges too much");
    },
  });
}

function isMerge({ key }: Pair): boolean {
  return isScalar(key) && typeof key.value === "symbol";
}

function mergeSources({ value }: Pair, document: Document.Parsed): unknown[] {
  const target = resolveAlias(value, document);
  return isSeq(target) ? target.items.map((item) => resolveAlias(item, document)) : [target];
}

function resolveAlias(node: unknown, document: Document.Parsed): unknown {
  return isAlias(node) ? node.resolve(document) : node;
}

/** Returns how many nodes a copy of this one creates, including its own merges. */
function countNodes(node: unknown, document: Document.Parsed, sizes: Map<unknown, number>): number {
  const known = sizes.get(node);
  if (known !== undefined) return known;
  // For a node that contains itself, which is rejected elsewhere.
  sizes.set(node, 1);
  let size = 1;
  for (const item of isCollection(node) ? node.items : []) {
    const inner = isPair(item) ? [item.value] : [item];
    const nodes = isPair(item) && isMerge(item) ? mergeSources(item, document) : inner;
    for (const one of nodes) size += countNodes(one, document, sizes);
  }
  sizes.set(node, size);
  return size;
}

function readValues(document: Document.Parsed, name: string): unknown {
  try {
    return document.toJS();
  } catch (error) {
    // An alias without an anchor, or aliases that expand exponentially.
    throw new TailgateError("CONFIG_INVALID", `${name} is not valid YAML: ${textOf(error)}.`, {
      cause: error,
    });
  }
}

function asMapping(values: unknown, name: string): Readonly<Record<string, unknown>> {
  if (values === null || values === undefined) return {};
  if (typeof values === "object" && !Array.isArray(values)) {
    return values as Record<string, unknown>;
  }
  throw new TailgateError(
    "CONFIG_INVALID",
    `${name} is not a mapping. It has to start with keys such as "port: 8001".`,
  );
}
