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
  type Pair,
} from "yaml";
import { TailgateError, textOf } from "../wire/errors.ts";
import { Problems } from "./problems.ts";

/**
 * Parses the text of a configuration file; `name` stands for it in messages.
 * @throws TailgateError CONFIG_INVALID with line and column.
 */
export function parseConfig(text: string, name: string): Readonly<Record<string, unknown>> {
  const lines = new LineCounter();
  const document = parseDocument(text, { prettyErrors: false, lineCounter: lines, merge: true });
  const problems = new Problems();
  const place = (offset: number): string => {
    const { line, col } = lines.linePos(offset);
    return `${name}:${line}:${col}`;
  };
  // The parser goes on after an error, and the first one is often the reason of the others.
  for (const { message, pos } of [...document.errors, ...document.warnings].slice(0, ERRORS_MAX)) {
    problems.add(place(pos[0]), message);
  }
  refuseOddStructure(document, problems, place);
  refuseOddMerges(document, problems, place);
  problems.throwIfAny(name);
  return mapping(valuesOf(document, name), name);
}

const ERRORS_MAX = 5;

/** What YAML can say and a configuration cannot: keys that are no texts, values that contain themselves. */
function refuseOddStructure(
  document: Document.Parsed,
  problems: Problems,
  place: (offset: number) => string,
): void {
  visit(document, {
    Pair(_, { key }) {
      // `!!binary` makes a scalar of bytes.
      if (isScalar(key) && (key.value === null || typeof key.value !== "object")) return;
      const range = (key as { range?: readonly number[] | null } | null)?.range;
      problems.add(place(range?.[0] ?? 0), "a key must be a plain text");
    },
    Alias(_, alias, path) {
      const target = alias.resolve(document);
      if (!path.some((ancestor) => ancestor === target)) return;
      problems.add(
        place(alias.range?.[0] ?? 0),
        `*${alias.source} stands inside of what it repeats`,
      );
    },
  });
}

/** How many nodes all merges together may copy: some that merge each other would else take for ever. */
const MERGED_NODES_MAX = 100_000;

/** Merge keys, `<<: *base` or `<<: [*one, *other]` (https://yaml.org/type/merge.html), that merge no mappings, or too much. */
function refuseOddMerges(
  document: Document.Parsed,
  problems: Problems,
  place: (offset: number) => string,
): void {
  const sizes = new Map<unknown, number>();
  let copied = 0;
  visit(document, {
    Pair(_, pair) {
      if (!isMerge(pair)) return;
      const offset = (pair.value as { range?: readonly number[] | null } | null)?.range?.[0] ?? 0;
      const sources = sourcesOf(pair, document);
      if (!sources.every(isMap)) {
        problems.add(place(offset), "<< takes a mapping, or a list of mappings");
      }
      for (const source of sources) copied += sizeOf(source, document, sizes);
      if (copied > MERGED_NODES_MAX) problems.add(place(offset), "<< merges too much");
    },
  });
}

function isMerge({ key }: Pair): boolean {
  return isScalar(key) && typeof key.value === "symbol";
}

/** The nodes that a merge key names, without their aliases. */
function sourcesOf({ value }: Pair, document: Document.Parsed): unknown[] {
  const target = targetOf(value, document);
  return isSeq(target) ? target.items.map((item) => targetOf(item, document)) : [target];
}

function targetOf(node: unknown, document: Document.Parsed): unknown {
  return isAlias(node) ? node.resolve(document) : node;
}

/** How many nodes a copy of this one makes, with those that it merges itself. */
function sizeOf(node: unknown, document: Document.Parsed, sizes: Map<unknown, number>): number {
  const known = sizes.get(node);
  if (known !== undefined) return known;
  // For a node that stands inside of itself, which is refused.
  sizes.set(node, 1);
  let size = 1;
  for (const item of isCollection(node) ? node.items : []) {
    const inner = isPair(item) && isMerge(item) ? sourcesOf(item, document) : membersOf(item);
    for (const one of inner) size += sizeOf(one, document, sizes);
  }
  sizes.set(node, size);
  return size;
}

function membersOf(item: unknown): unknown[] {
  return isPair(item) ? [item.value] : [item];
}

function valuesOf(document: Document.Parsed, name: string): unknown {
  try {
    return document.toJS();
  } catch (error) {
    // An alias without its anchor, or aliases that multiply beyond all measure.
    throw new TailgateError("CONFIG_INVALID", `${name} is not valid YAML: ${textOf(error)}.`, {
      cause: error,
    });
  }
}

function mapping(values: unknown, name: string): Readonly<Record<string, unknown>> {
  if (values === null || values === undefined) return {};
  if (typeof values === "object" && !Array.isArray(values)) {
    return values as Record<string, unknown>;
  }
  throw new TailgateError(
    "CONFIG_INVALID",
    `${name} does not hold a mapping: at its top are keys such as "port: 8001".`,
  );
}
