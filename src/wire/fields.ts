/** Fields of envelopes: the facets that records are counted by, and the look-up of `field:value` terms. */

import type { Envelope, JsonValue } from "./envelope.ts";

/** The fields whose values are counted, under the names that the filter language has for them. */
export const FACETS = ["logger", "action", "instance_id", "service"] as const;

export type Facet = (typeof FACETS)[number];

/** Returns a record's value of the facet; undefined if it has none or if the value is not a string. */
export function facetValue({ type, data }: Envelope, facet: Facet): string | undefined {
  const own = (data as { readonly [field: string]: unknown })[facet];
  const value = own ?? (type === "audit_log" ? data.metadata?.[facet] : undefined);
  return typeof value === "string" ? value : undefined;
}

/**
 * Returns the values of a field in `data`, in an audit event's metadata and in its details. Dots in the path separate
 * nested fields; keys that contain dots take precedence.
 */
export function fieldValues(envelope: Envelope, path: string): JsonValue[] {
  const data = envelope.data as unknown as JsonValue;
  const metadata = member(data, "metadata");
  return [data, metadata, member(metadata, "details")]
    .map((root) => valueAtPath(root, path))
    .filter((value) => value !== undefined);
}

/** With more dots than this, the object's keys are compared with the path instead of looking up each prefix of the path. */
const PREFIXES_LOOKED_UP_MAX = 4;

/**
 * Returns the value at `path.slice(from)`: the member with that whole name, else the value below the shortest prefix
 * that leads to one. Visits every object at most once, because only one path leads to it.
 */
export function valueAtPath(
  root: JsonValue | undefined,
  path: string,
  from = 0,
): JsonValue | undefined {
  if (typeof root !== "object" || root === null) return undefined;
  const whole = member(root, from === 0 ? path : path.slice(from));
  if (whole !== undefined) return whole;
  for (const end of prefixEnds(root, path, from)) {
    const found = valueAtPath(member(root, path.slice(from, end)), path, end + 1);
    if (found !== undefined) return found;
  }
  return undefined;
}

/** Returns the ends of the non-empty prefixes of the path that may be keys of the object, shortest first. */
function prefixEnds(root: object, path: string, from: number): number[] {
  const ends: number[] = [];
  let dot = path.indexOf(".", from);
  if (dot === from) return ends;
  // Keys of an array have no dots.
  const endsMax = Array.isArray(root) ? 1 : PREFIXES_LOOKED_UP_MAX;
  while (dot >= 0 && ends.length < endsMax) {
    ends.push(dot);
    dot = path.indexOf(".", dot + 1);
  }
  return dot < 0 || Array.isArray(root) ? ends : keyEnds(root, path, from);
}

function keyEnds(root: object, path: string, from: number): number[] {
  return Object.keys(root)
    .filter((key) => key !== "" && path[from + key.length] === "." && path.startsWith(key, from))
    .map((key) => from + key.length)
    .toSorted((one, other) => one - other);
}

function member(value: JsonValue | undefined, key: string): JsonValue | undefined {
  if (typeof value !== "object" || value === null || !Object.hasOwn(value, key)) return undefined;
  return (value as Record<string, JsonValue>)[key];
}

/** Returns whether the text is the value, or its JSON if the value is not a string. Reads no more of the value than the text's length. */
export function isValueText(value: JsonValue, text: string): boolean {
  if (typeof value === "string") return value === text;
  return jsonEnd(value, text, 0) === text.length;
}

/** Returns the end of the value's JSON at `start` of the text; -1 if the text is different there. */
function jsonEnd(value: JsonValue, text: string, start: number): number {
  if (typeof value !== "object" || value === null) return primitiveEnd(value, text, start);
  const isArray = Array.isArray(value);
  if (text[start] !== (isArray ? "[" : "{")) return -1;
  const members: Iterable<[string | number, JsonValue]> = isArray
    ? value.entries()
    : Object.entries(value);
  let end = start + 1;
  let separator = "";
  for (const [key, inner] of members) {
    if (!text.startsWith(separator, end)) return -1;
    end += separator.length;
    if (!isArray) {
      end = primitiveEnd(key, text, end);
      if (end < 0 || text[end++] !== ":") return -1;
    }
    end = jsonEnd(inner, text, end);
    if (end < 0) return -1;
    separator = ",";
  }
  return text[end] === (isArray ? "]" : "}") ? end + 1 : -1;
}

function primitiveEnd(value: JsonValue | number, text: string, start: number): number {
  if (typeof value === "string" && value.length > text.length - start) return -1;
  const json = JSON.stringify(value);
  return text.startsWith(json, start) ? start + json.length : -1;
}
