/** JSON as programs write it into their logs, as values of records. */

import type { Value, ValueMap } from "../plugin/record.ts";

/** Values nested deeper than this become {@link DEPTH_TEXT}, as everywhere in the gateway. */
const DEPTH_MAX = 100;
const DEPTH_TEXT = `[nested deeper than ${DEPTH_MAX} levels]`;

const INT64_MIN = -(2n ** 63n);
const INT64_MAX = 2n ** 63n - 1n;

/** So many digits may be an integer that a double cannot represent. */
const MANY_DIGITS = /\d{16}/;

const INTEGER = /^-?\d+$/;

const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;

/** What Python's json module writes for numbers that JSON does not have. */
const NON_FINITE = ["NaN", "Infinity", "-Infinity"] as const;

type Reviver = (
  this: unknown,
  key: string,
  value: unknown,
  context?: { source?: string },
) => unknown;

/**
 * Parses a JSON object. Large integers are exact (a bigint, or a text beyond 64 bits), NaN and Infinity become texts, the
 * last of a repeated key counts, and any key is allowed, `__proto__` included. Undefined if it is no JSON object.
 */
export function parseJsonObject(text: string): ValueMap | undefined {
  const json = parseJson(text);
  if (typeof json !== "object" || json === null || Array.isArray(json)) return undefined;
  return toMap(json, 1);
}

function parseJson(text: string): unknown {
  try {
    return parseExactly(text);
  } catch {
    const quoted = quoteNonFinite(text);
    if (quoted === undefined) return undefined;
    try {
      return parseExactly(quoted);
    } catch {
      return undefined;
    }
  }
}

function parseExactly(text: string): unknown {
  // The stack of a reviver is as deep as the value is nested; that of the parser is not.
  const isPlain = !MANY_DIGITS.test(text) || isDeep(text);
  return isPlain ? JSON.parse(text) : JSON.parse(text, exactInteger);
}

/** Whether more brackets and braces are open at once than any log has, also within strings. */
function isDeep(text: string): boolean {
  let depth = 0;
  for (let index = 0; index < text.length && depth < 2 * DEPTH_MAX; index++) {
    const code = text.charCodeAt(index);
    if (code === OPEN_BRACE || code === OPEN_BRACKET) depth++;
    else if (code === CLOSE_BRACE || code === CLOSE_BRACKET) depth--;
  }
  return depth >= 2 * DEPTH_MAX;
}

const exactInteger: Reviver = (_key, value, context) => {
  const isLarge = typeof value === "number" && !Number.isSafeInteger(value);
  if (!isLarge || context?.source === undefined || !INTEGER.test(context.source)) return value;
  const exact = BigInt(context.source);
  return exact >= INT64_MIN && exact <= INT64_MAX ? exact : context.source;
};

function toMap(json: object, depth: number): ValueMap {
  const map: ValueMap = new Map();
  for (const [key, value] of Object.entries(json)) map.set(key, toValue(value, depth));
  return map;
}

/** `depth`: in how many lists and maps the value is. */
function toValue(json: unknown, depth: number): Value {
  if (typeof json !== "object" || json === null) return json as Value;
  if (depth >= DEPTH_MAX) return DEPTH_TEXT;
  if (Array.isArray(json)) return json.map((element) => toValue(element, depth + 1));
  return toMap(json, depth + 1);
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const CAPITAL_N = 0x4e;
const CAPITAL_I = 0x49;
const MINUS = 0x2d;

/** Puts NaN, Infinity and -Infinity outside of strings in quotes; undefined if there are none. */
function quoteNonFinite(text: string): string | undefined {
  const parts: string[] = [];
  let copied = 0;
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index);
    if (code === QUOTE) index = endOfString(text, index);
    if (code !== CAPITAL_N && code !== CAPITAL_I && code !== MINUS) continue;
    const name = NON_FINITE.find((candidate) => text.startsWith(candidate, index));
    if (name === undefined) continue;
    parts.push(text.slice(copied, index), `"${name}"`);
    copied = index + name.length;
    index = copied - 1;
  }
  return copied === 0 ? undefined : parts.join("") + text.slice(copied);
}

/** Returns the index of the quote that ends the string; the text's length if none does. */
function endOfString(text: string, start: number): number {
  for (let index = start + 1; index < text.length; index++) {
    const code = text.charCodeAt(index);
    if (code === QUOTE) return index;
    if (code === BACKSLASH) index++;
  }
  return text.length;
}
