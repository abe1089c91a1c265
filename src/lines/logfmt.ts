/** Logfmt: `level=info msg="listening on 8001" addr=127.0.0.1`. */

import type { ValueMap } from "../plugin/record.ts";

const SPACE = 0x20;
const EQUALS = 0x3d;
const QUOTE = 0x22;
const BACKSLASH = 0x5c;

const ESCAPES: Readonly<Record<string, string>> = { n: "\n", r: "\r", t: "\t", b: "\b", f: "\f" };

/**
 * Parses a line of `key=value` pairs. Values are texts; a key without a value is true, and the last of a repeated key
 * counts. Undefined if the line is anything else: it needs at least two pairs, and with `allowsBareKeys` false, no other words.
 */
export function parseLogfmt(text: string, allowsBareKeys: boolean): ValueMap | undefined {
  const pairs: ValueMap = new Map();
  let pairCount = 0;
  let at = skipSpaces(text, 0);
  while (at < text.length) {
    const keyEnd = endOfKey(text, at);
    if (keyEnd === at) return undefined;
    const key = text.slice(at, keyEnd);
    if (text.charCodeAt(keyEnd) !== EQUALS) {
      if (!allowsBareKeys) return undefined;
      pairs.set(key, true);
      at = skipSpaces(text, keyEnd);
      continue;
    }
    const value = readValue(text, keyEnd + 1);
    if (value === undefined) return undefined;
    pairs.set(key, value.text);
    pairCount++;
    at = skipSpaces(text, value.end);
  }
  return pairCount >= 2 ? pairs : undefined;
}

function skipSpaces(text: string, start: number): number {
  let at = start;
  while (at < text.length && text.charCodeAt(at) <= SPACE) at++;
  return at;
}

function endOfKey(text: string, start: number): number {
  let at = start;
  while (at < text.length && isKeyCode(text.charCodeAt(at))) at++;
  return at;
}

/** Everything but white space, `=` and quotes; braces and brackets mark other formats. */
function isKeyCode(code: number): boolean {
  return code > SPACE && code !== EQUALS && code !== QUOTE && code !== 0x7b && code !== 0x5b;
}

interface ReadValue {
  readonly text: string;
  readonly end: number;
}

function readValue(text: string, start: number): ReadValue | undefined {
  if (text.charCodeAt(start) === QUOTE) return readQuoted(text, start);
  let end = start;
  while (end < text.length && text.charCodeAt(end) > SPACE) {
    if (text.charCodeAt(end) === QUOTE) return undefined;
    end++;
  }
  return { text: text.slice(start, end), end };
}

/** Reads a text in quotes, with the escapes of JSON and Go. */
function readQuoted(text: string, start: number): ReadValue | undefined {
  const parts: string[] = [];
  let copied = start + 1;
  for (let at = copied; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === QUOTE) {
      parts.push(text.slice(copied, at));
      const isEnd = at + 1 === text.length || text.charCodeAt(at + 1) <= SPACE;
      return isEnd ? { text: parts.join(""), end: at + 1 } : undefined;
    }
    if (code !== BACKSLASH) continue;
    parts.push(text.slice(copied, at));
    const escaped = readEscape(text, at + 1);
    parts.push(escaped.text);
    copied = escaped.end;
    at = copied - 1;
  }
  return undefined;
}

function readEscape(text: string, start: number): ReadValue {
  const character = text.charAt(start);
  const digits = character === "u" ? 4 : character === "x" ? 2 : 0;
  const hex = text.slice(start + 1, start + 1 + digits);
  if (digits > 0 && hex.length === digits && /^[\da-f]+$/i.test(hex)) {
    return { text: String.fromCharCode(parseInt(hex, 16)), end: start + 1 + digits };
  }
  return { text: ESCAPES[character] ?? character, end: start + 1 };
}
