import { types } from "node:util";
import { DEPTH_MAX, DEPTH_TEXT, isUnsafeInteger } from "../envelope/json-writer.ts";
import { textOf } from "../wire/errors.ts";
import type { Value } from "../plugin/index.ts";

const CIRCULAR_TEXT = "[circular]";

/**
 * The maximum number of values in a snapshot. Objects that refer to each other can have exponentially many paths, and a
 * sparse array can be longer than memory.
 */
export const VALUES_MAX = 1 << 18;

export const VALUES_TEXT = `[more than ${VALUES_MAX} values]`;

/** The maximum number of causes of an exception in a snapshot. */
const CAUSES_MAX = 64;

const CAUSES_TEXT = `[more than ${CAUSES_MAX} causes]`;

interface SnapshotWalk {
  /** The objects that contain the value, the innermost last. */
  readonly ancestors: object[];
  valuesLeft: number;
  causesLeft: number;
}

function walkFrom(ancestors: object[]): SnapshotWalk {
  return { ancestors, valuesLeft: VALUES_MAX, causesLeft: CAUSES_MAX };
}

/**
 * Returns a snapshot of anything that a caller may log, so that later changes to the value have no effect. Never throws:
 * what cannot be read is replaced by a text that says so. Undefined stays undefined. Names are made well-formed, so that
 * they stay distinct in JSON; if two become the same, the last value counts.
 */
export function plainValue(value: unknown): Value | undefined {
  return typeof value === "object" && value !== null
    ? snapshotOfObject(value, walkFrom([]))
    : snapshotOfPrimitive(value);
}

/** Returns the causes of an exception, as {@link plainValue} shows them within it. Never throws. */
export function readCauses(exception: object): [name: string, value: Value][] {
  const walk = walkFrom([exception]);
  const causes: [string, Value][] = [];
  for (const key of listCauseKeys(exception)) {
    const cause = readable(exception, key);
    // The package verror has a method `cause()`.
    if (typeof cause === "function") continue;
    const plain = snapshot(cause, walk);
    if (plain !== undefined && plain !== null) causes.push([key, plain]);
  }
  return causes;
}

/** Returns the properties that hold causes, including those of AggregateError and SuppressedError. */
function listCauseKeys(exception: object): string[] {
  const keys: string[] = [];
  if (isArray(readable(exception, "errors"))) keys.push("errors");
  if (readable(exception, "name") === "SuppressedError") keys.push("error", "suppressed");
  return [...keys, "cause"];
}

/** Returns false for a revoked proxy. */
function isArray(value: unknown): boolean {
  try {
    return Array.isArray(value);
  } catch {
    return false;
  }
}

/** Objects with more members are copied by {@link plainValue}, and their records are encoded at once. */
export const FLAT_MEMBERS_MAX = 64;

/** Like {@link plainValue}, but copies a flat object literal to an object instead of a Map, which is faster. */
export function snapshotOf(value: unknown): unknown {
  if (typeof value !== "object" || value === null) return plainValue(value);
  return flatCopy(value) ?? plainValue(value);
}

/** Returns undefined unless the object is a literal that contains only primitive values. */
function flatCopy(value: object): object | undefined {
  try {
    if (Object.getPrototypeOf(value) !== Object.prototype || Array.isArray(value)) return undefined;
    const copy: Record<string, unknown> = { ...value };
    const keys = Object.keys(copy);
    const isFlat = (key: string): boolean => isPrimitive(copy[key]) && key.isWellFormed();
    return keys.length <= FLAT_MEMBERS_MAX && keys.every(isFlat) ? copy : undefined;
  } catch {
    return undefined;
  }
}

function isPrimitive(value: unknown): boolean {
  switch (typeof value) {
    case "object":
      return value === null;
    case "function":
    case "symbol":
      return false;
    default:
      return true;
  }
}

/** Returns whether a value is an Error of any realm; false for a revoked proxy. */
export function isError(value: unknown): value is Error {
  try {
    return types.isNativeError(value) || value instanceof Error;
  } catch {
    return false;
  }
}

function snapshot(value: unknown, walk: SnapshotWalk): Value | undefined {
  return typeof value === "object" && value !== null
    ? snapshotOfObject(value, walk)
    : snapshotOfPrimitive(value);
}

/** Handles functions and null too. */
function snapshotOfPrimitive(value: unknown): Value | undefined {
  switch (typeof value) {
    case "number":
      return isUnsafeInteger(value) ? BigInt(value) : value;
    case "string":
    case "boolean":
    case "bigint":
    case "undefined":
      return value;
    case "symbol":
      return String(value);
    case "function":
      return `[function ${textOf(readable(value, "name"))}]`;
    default:
      return null;
  }
}

function snapshotOfObject(value: object, walk: SnapshotWalk): Value | undefined {
  const { ancestors } = walk;
  if (ancestors.includes(value)) return CIRCULAR_TEXT;
  if (ancestors.length >= DEPTH_MAX) return DEPTH_TEXT;
  if (walk.valuesLeft <= 0) return VALUES_TEXT;
  ancestors.push(value);
  try {
    return contents(value, walk);
  } catch (error) {
    return unreadable(error);
  } finally {
    ancestors.pop();
  }
}

function contents(value: object, walk: SnapshotWalk): Value | undefined {
  if (Array.isArray(value)) return list(value, walk);
  if (value instanceof Uint8Array) return Uint8Array.from(value);
  if (value instanceof Map) return entries(value, walk);
  if (value instanceof Set) return list([...value], walk);
  if (ArrayBuffer.isView(value)) {
    return Uint8Array.from(new Uint8Array(value.buffer, value.byteOffset, value.byteLength));
  }
  if (isLiteral(value)) return members(value, Object.keys(value), walk);
  if (value instanceof ArrayBuffer) return new Uint8Array(value.slice(0));
  if (types.isBoxedPrimitive(value)) return snapshot(value.valueOf(), walk);
  if (isError(value)) return errorMembers(value, walk);
  const toJson = readable(value, "toJSON");
  if (typeof toJson === "function") return snapshot(toJson.call(value, ""), walk);
  return members(value, Object.keys(value), walk);
}

/** Checked first: most objects are literals, and the other checks are slower. */
function isLiteral(value: object): boolean {
  return (
    Object.getPrototypeOf(value) === Object.prototype &&
    typeof readable(value, "toJSON") !== "function"
  );
}

function list(values: readonly unknown[], walk: SnapshotWalk): Value[] {
  const copy: Value[] = [];
  for (let index = 0; index < values.length; index++) {
    if (walk.valuesLeft-- <= 0) return [...copy, VALUES_TEXT];
    const plain = snapshot(values[index], walk) ?? null;
    copy.push(plain);
    if (plain === CAUSES_TEXT) return copy;
  }
  return copy;
}

function entries(map: ReadonlyMap<unknown, unknown>, walk: SnapshotWalk): Value {
  const copy = new Map<string, Value>();
  for (const [key, inner] of map) {
    if (walk.valuesLeft-- <= 0) return copy.set(VALUES_TEXT, null);
    const plain = snapshot(inner, walk);
    if (plain !== undefined) copy.set(textOf(key).toWellFormed(), plain);
  }
  return copy;
}

/** Copies an Error's own properties, and the non-enumerable ones that every Error has. */
function errorMembers(value: Error, walk: SnapshotWalk): Value {
  const isCause = walk.ancestors.some((around) => around !== value && isError(around));
  if (isCause && walk.causesLeft-- <= 0) return CAUSES_TEXT;
  const standard = ["name", "message", "stack", ...listCauseKeys(value)];
  return members(value, [...new Set([...standard, ...Object.keys(value)])], walk);
}

function members(value: object, keys: readonly string[], walk: SnapshotWalk): Value {
  const copy = new Map<string, Value>();
  for (const key of keys) {
    if (walk.valuesLeft-- <= 0) return copy.set(VALUES_TEXT, null);
    const plain = snapshot(readable(value, key), walk);
    if (plain !== undefined) copy.set(key.toWellFormed(), plain);
  }
  return copy;
}

/** Reads one property. If a getter throws, the text that says so replaces only that property. */
export function readable(holder: object, key: string): unknown {
  try {
    return (holder as Record<string, unknown>)[key];
  } catch (error) {
    return unreadable(error);
  }
}

function unreadable(error: unknown): string {
  return `[not readable: ${textOf(error)}]`;
}
