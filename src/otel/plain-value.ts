import { types } from "node:util";
import { DEPTH_MAX, DEPTH_TEXT, isUnsafeInteger } from "../encode/json-writer.ts";
import { textOf } from "../errors.ts";
import type { Value } from "../plugin.ts";

const CIRCULAR_TEXT = "[circular]";

/**
 * A snapshot of anything that a caller may log, so that nothing which happens to the value later shows in the record.
 * It never throws: what cannot be read is replaced by a text that says so. Undefined stays undefined. Names are well
 * formed, so that no two of them are the same in JSON; of two that would be, the last value counts.
 */
export function plainValue(value: unknown): Value | undefined {
  return snapshot(value, []);
}

/** An Error, of any realm. What cannot be asked, such as a revoked proxy, is none. */
export function isError(value: unknown): value is Error {
  try {
    return types.isNativeError(value) || value instanceof Error;
  } catch {
    return false;
  }
}

function snapshot(value: unknown, ancestors: object[]): Value | undefined {
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
      return `[function ${readable(value, "name") as string}]`;
    default:
      return value === null ? null : snapshotOfObject(value as object, ancestors);
  }
}

function snapshotOfObject(value: object, ancestors: object[]): Value | undefined {
  if (ancestors.includes(value)) return CIRCULAR_TEXT;
  if (ancestors.length >= DEPTH_MAX) return DEPTH_TEXT;
  ancestors.push(value);
  try {
    return contents(value, ancestors);
  } catch (error) {
    return unreadable(error);
  } finally {
    ancestors.pop();
  }
}

function contents(value: object, ancestors: object[]): Value | undefined {
  if (Array.isArray(value)) return list(value, ancestors);
  if (value instanceof Uint8Array) return Uint8Array.from(value);
  if (value instanceof Map) return entries(value, ancestors);
  if (value instanceof Set) return list([...value], ancestors);
  if (ArrayBuffer.isView(value)) {
    return Uint8Array.from(new Uint8Array(value.buffer, value.byteOffset, value.byteLength));
  }
  if (value instanceof ArrayBuffer) return new Uint8Array(value.slice(0));
  if (types.isBoxedPrimitive(value)) return snapshot(value.valueOf(), ancestors);
  if (isError(value)) return errorMembers(value, ancestors);
  const toJson = readable(value, "toJSON");
  if (typeof toJson === "function") return snapshot(toJson.call(value, ""), ancestors);
  return members(value, Object.keys(value), ancestors);
}

function list(values: readonly unknown[], ancestors: object[]): Value[] {
  return Array.from(values, (inner) => snapshot(inner, ancestors) ?? null);
}

function entries(map: ReadonlyMap<unknown, unknown>, ancestors: object[]): Value {
  const copy = new Map<string, Value>();
  for (const [key, inner] of map) {
    const plain = snapshot(inner, ancestors);
    if (plain !== undefined) copy.set(textOf(key).toWellFormed(), plain);
  }
  return copy;
}

/** An Error's own enumerable fields, and those that every Error has, which are not enumerable. */
function errorMembers(value: Error, ancestors: object[]): Value {
  const keys = new Set(["name", "message", "stack", "cause", ...Object.keys(value)]);
  return members(value, [...keys], ancestors);
}

function members(value: object, keys: readonly string[], ancestors: object[]): Value {
  const copy = new Map<string, Value>();
  for (const key of keys) {
    const plain = snapshot(readable(value, key), ancestors);
    if (plain !== undefined) copy.set(key.toWellFormed(), plain);
  }
  return copy;
}

/** Reads one property; a getter that throws costs that property, not the object around it. */
function readable(holder: object, key: string): unknown {
  try {
    return (holder as Record<string, unknown>)[key];
  } catch (error) {
    return unreadable(error);
  }
}

function unreadable(error: unknown): string {
  return `[not readable: ${textOf(error)}]`;
}
