import { types } from "node:util";
import { DEPTH_MAX, DEPTH_TEXT, isUnsafeInteger } from "../envelope/json-writer.ts";
import { textOf } from "../wire/errors.ts";
import type { Value } from "../plugin/index.ts";

const CIRCULAR_TEXT = "[circular]";

/**
 * How many values one snapshot takes. Objects that lead to each other have more ways through them than anybody can
 * wait for, and an array without elements may be as long as all memory.
 */
export const VALUES_MAX = 1 << 18;

export const VALUES_TEXT = `[more than ${VALUES_MAX} values]`;

/** How many exceptions behind another one a snapshot takes. */
const CAUSES_MAX = 64;

const CAUSES_TEXT = `[more than ${CAUSES_MAX} causes]`;

/** Where a snapshot is. */
interface Walk {
  /** The objects around the value, the innermost last. */
  readonly ancestors: object[];
  valuesLeft: number;
  causesLeft: number;
}

function walkFrom(ancestors: object[]): Walk {
  return { ancestors, valuesLeft: VALUES_MAX, causesLeft: CAUSES_MAX };
}

/**
 * A snapshot of anything that a caller may log, so that nothing which happens to the value later shows in the record.
 * It never throws: what cannot be read is replaced by a text that says so. Undefined stays undefined. Names are well
 * formed, so that no two of them are the same in JSON; of two that would be, the last value counts.
 */
export function plainValue(value: unknown): Value | undefined {
  return typeof value === "object" && value !== null
    ? snapshotOfObject(value, walkFrom([]))
    : snapshotOfPrimitive(value);
}

/** What is behind an exception, as {@link plainValue} shows it within the exception; never throws. */
export function causesOf(exception: object): [name: string, value: Value][] {
  const walk = walkFrom([exception]);
  const causes: [string, Value][] = [];
  for (const key of causeKeys(exception)) {
    const cause = readable(exception, key);
    // `cause()` of the package verror.
    if (typeof cause === "function") continue;
    const plain = snapshot(cause, walk);
    if (plain !== undefined && plain !== null) causes.push([key, plain]);
  }
  return causes;
}

/** Those under which JavaScript has what is behind an exception, of AggregateError and SuppressedError, too. */
function causeKeys(exception: object): string[] {
  const keys: string[] = [];
  if (isArray(readable(exception, "errors"))) keys.push("errors");
  if (readable(exception, "name") === "SuppressedError") keys.push("error", "suppressed");
  return [...keys, "cause"];
}

/** Also of a proxy that is revoked. */
function isArray(value: unknown): boolean {
  try {
    return Array.isArray(value);
  } catch {
    return false;
  }
}

/** A larger object is left to {@link plainValue}. */
const FLAT_MEMBERS_MAX = 64;

/** A snapshot as well, with an object in the place of a map where `value` is one that holds no other. */
export function snapshotOf(value: unknown): unknown {
  if (typeof value !== "object" || value === null) return plainValue(value);
  return flatCopy(value) ?? plainValue(value);
}

/** Undefined where the object is anything else than a literal with texts, numbers and the like. */
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

/** An Error, of any realm. What cannot be asked, such as a revoked proxy, is none. */
export function isError(value: unknown): value is Error {
  try {
    return types.isNativeError(value) || value instanceof Error;
  } catch {
    return false;
  }
}

function snapshot(value: unknown, walk: Walk): Value | undefined {
  return typeof value === "object" && value !== null
    ? snapshotOfObject(value, walk)
    : snapshotOfPrimitive(value);
}

/** Also of functions, and of null. */
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

function snapshotOfObject(value: object, walk: Walk): Value | undefined {
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

function contents(value: object, walk: Walk): Value | undefined {
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

/** Whether it is an object as a literal makes it: most are, and all other questions take longer. */
function isLiteral(value: object): boolean {
  return (
    Object.getPrototypeOf(value) === Object.prototype &&
    typeof readable(value, "toJSON") !== "function"
  );
}

function list(values: readonly unknown[], walk: Walk): Value[] {
  const copy: Value[] = [];
  for (let index = 0; index < values.length; index++) {
    if (walk.valuesLeft-- <= 0) return [...copy, VALUES_TEXT];
    const plain = snapshot(values[index], walk) ?? null;
    copy.push(plain);
    if (plain === CAUSES_TEXT) return copy;
  }
  return copy;
}

function entries(map: ReadonlyMap<unknown, unknown>, walk: Walk): Value {
  const copy = new Map<string, Value>();
  for (const [key, inner] of map) {
    if (walk.valuesLeft-- <= 0) return copy.set(VALUES_TEXT, null);
    const plain = snapshot(inner, walk);
    if (plain !== undefined) copy.set(textOf(key).toWellFormed(), plain);
  }
  return copy;
}

/** An Error's own enumerable fields, and those that every Error has, which are not enumerable. */
function errorMembers(value: Error, walk: Walk): Value {
  const isCause = walk.ancestors.some((around) => around !== value && isError(around));
  if (isCause && walk.causesLeft-- <= 0) return CAUSES_TEXT;
  const keys = new Set(["name", "message", "stack", ...causeKeys(value), ...Object.keys(value)]);
  return members(value, [...keys], walk);
}

function members(value: object, keys: readonly string[], walk: Walk): Value {
  const copy = new Map<string, Value>();
  for (const key of keys) {
    if (walk.valuesLeft-- <= 0) return copy.set(VALUES_TEXT, null);
    const plain = snapshot(readable(value, key), walk);
    if (plain !== undefined) copy.set(key.toWellFormed(), plain);
  }
  return copy;
}

/** Reads one property; a getter that throws costs that property, not the object around it. */
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
