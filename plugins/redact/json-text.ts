/** JSON within texts, as values of a record. */

import type { Value, ValueMap } from "tailgate/plugin";

/** Deeper JSON is treated as a plain text. */
const DEPTH_MAX = 100;

const OPENING = new Set(["{", "["]);

/** Returns whether a text may be an object or an array in JSON. */
export function looksLikeJson(text: string): boolean {
  return OPENING.has(text.trimStart()[0] ?? "");
}

/** Returns the value of a text that is JSON; undefined if it is not. */
export function parseJson(text: string): Value | undefined {
  try {
    return toValue(JSON.parse(text, exactIntegers), 0);
  } catch {
    return undefined;
  }
}

/** Integers that JavaScript's numbers cannot hold are read as bigints. */
function exactIntegers(_key: string, value: unknown, context?: { source?: string }): unknown {
  if (typeof value !== "number" || Number.isSafeInteger(value)) return value;
  const source = context?.source ?? "";
  return /^-?\d+$/.test(source) ? BigInt(source) : value;
}

/** @throws RangeError if the value is nested too deeply. */
function toValue(json: unknown, depth: number): Value {
  if (depth > DEPTH_MAX) throw new RangeError("too deep");
  if (Array.isArray(json)) return json.map((item) => toValue(item, depth + 1));
  if (typeof json !== "object" || json === null) return json as Value;
  const map: ValueMap = new Map();
  for (const [key, value] of Object.entries(json)) map.set(key, toValue(value, depth + 1));
  return map;
}

/** Returns a value as JSON. Bytes are base64. */
export function formatJson(value: Value): string {
  if (value instanceof Map) {
    const members = [...value].map(([key, item]) => `${JSON.stringify(key)}:${formatJson(item)}`);
    return `{${members.join(",")}}`;
  }
  if (Array.isArray(value)) return `[${value.map(formatJson).join(",")}]`;
  if (value instanceof Uint8Array) return JSON.stringify(Buffer.from(value).toString("base64"));
  return typeof value === "bigint" ? String(value) : JSON.stringify(value);
}
