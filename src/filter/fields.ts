/** The look-up of fields by their names, in time proportional to the objects that are visited. */

import type { Envelope, JsonValue } from "../wire/envelope.ts";

/**
 * Returns the values of a field in `data`, in an audit event's metadata and in its details. Of a list on the way, all elements
 * are searched.
 */
export function fieldValues(envelope: Envelope, path: FieldPath): JsonValue[] {
  const data = envelope.data as unknown as JsonValue;
  const values: JsonValue[] = [];
  collect(data, path, values);
  const metadata = member(data, "metadata");
  if (metadata === undefined) return values;
  collect(metadata, path, values);
  collect(member(metadata, "details"), path, values);
  return values;
}

/** Returns the values at a path below an object or a list. */
export function valuesAtPath(root: JsonValue | undefined, path: FieldPath): JsonValue[] {
  const values: JsonValue[] = [];
  collect(root, path, values);
  return values;
}

/** With more dots than this, the object's keys are compared with the path instead of looking up each prefix of the path. */
const PREFIXES_LOOKED_UP_MAX = 4;

/**
 * A field's name: with dots for nested fields, or with dots in the names of members. Its parts are made once, so that looking
 * up a long name costs each object no more than a short one.
 */
export class FieldPath {
  readonly text: string;
  /** The name up to the first dot. */
  readonly first: string;
  /** True if `first` may be the index of a list's element. */
  readonly startsWithIndex: boolean;
  readonly #root: FieldPath;
  readonly #from: number;
  /** Of the root: what follows each dot that was asked for. */
  readonly #tails = new Map<number, FieldPath>();
  #prefixes: readonly FieldPrefix[] | "many" | undefined;

  constructor(text: string, root?: FieldPath, from = 0) {
    this.text = text;
    this.first = text.split(".", 1)[0]!;
    this.startsWithIndex = /^(?:0|[1-9]\d{0,9})$/.test(this.first);
    this.#root = root ?? this;
    this.#from = from;
  }

  /** Returns the path after the dot at that position. */
  after(dot: number): FieldPath {
    const root = this.#root;
    const from = this.#from + dot + 1;
    let tail = root.#tails.get(from);
    if (!tail) root.#tails.set(from, (tail = new FieldPath(this.text.slice(dot + 1), root, from)));
    return tail;
  }

  /** What may be a member with the rest below it, shortest first; `many` if there are too many to look up. */
  get prefixes(): readonly FieldPrefix[] | "many" {
    return (this.#prefixes ??= this.#findPrefixes());
  }

  #findPrefixes(): readonly FieldPrefix[] | "many" {
    const found: FieldPrefix[] = [];
    const { text } = this;
    if (text.startsWith(".")) return found;
    for (let dot = text.indexOf("."); dot >= 0; dot = text.indexOf(".", dot + 1)) {
      if (found.length === PREFIXES_LOOKED_UP_MAX) return "many";
      found.push({ name: text.slice(0, dot), rest: this.after(dot) });
    }
    return found;
  }
}

interface FieldPrefix {
  readonly name: string;
  readonly rest: FieldPath;
}

/**
 * Collects the member with that whole name, else what is below the shortest prefix that leads to anything. Visits every
 * object at most once, because only one path leads to it. Returns whether the path leads to a value.
 */
function collect(root: JsonValue | undefined, path: FieldPath, values: JsonValue[]): boolean {
  if (typeof root !== "object" || root === null) return false;
  if (Array.isArray(root)) return collectOfList(root as readonly JsonValue[], path, values);
  const whole = member(root, path.text);
  if (whole !== undefined) {
    values.push(whole);
    return true;
  }
  const { prefixes } = path;
  return (prefixes === "many" ? memberPrefixes(root, path) : prefixes).some(({ name, rest }) =>
    collect(member(root, name), rest, values),
  );
}

/** An index leads to one element, any other name to all. */
function collectOfList(list: readonly JsonValue[], path: FieldPath, values: JsonValue[]): boolean {
  const { first, text } = path;
  if (path.startsWithIndex && Number(first) < list.length) {
    const element = list[Number(first)]!;
    if (first.length < text.length) return collect(element, path.after(first.length), values);
    values.push(element);
    return true;
  }
  let isFound = false;
  for (const element of list) if (collect(element, path, values)) isFound = true;
  return isFound;
}

/** Returns the prefixes of the path that are members of the object, shortest first. */
function memberPrefixes(root: object, path: FieldPath): FieldPrefix[] {
  return Object.keys(root)
    .filter((key) => key !== "" && path.text[key.length] === "." && path.text.startsWith(key))
    .toSorted((one, other) => one.length - other.length)
    .map((name) => ({ name, rest: path.after(name.length) }));
}

function member(value: JsonValue | undefined, key: string): JsonValue | undefined {
  if (typeof value !== "object" || value === null || !Object.hasOwn(value, key)) return undefined;
  return (value as Record<string, JsonValue>)[key];
}
