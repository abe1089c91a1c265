/** Full-text search in envelopes, in time proportional to the text whatever is searched for. */

import type { Envelope, JsonValue } from "./envelope.ts";

/**
 * V8 searches in linear time for texts of up to this length (its Boyer-Moore tables cover the last 250 characters). A
 * longer text could cost its whole length for each character of the record.
 */
const NATIVE_SEARCH_CHARACTERS_MAX = 250;

export function createTextSearch(wanted: string): (text: string) => boolean {
  if (wanted.length <= NATIVE_SEARCH_CHARACTERS_MAX) return (text) => text.includes(wanted);
  const prefix = wanted.slice(0, NATIVE_SEARCH_CHARACTERS_MAX);
  let borders: Int32Array | undefined;
  return (text) => {
    const start = text.indexOf(prefix);
    return start >= 0 && includesFrom(start, text, wanted, (borders ??= borderLengths(wanted)));
  };
}

/** Returns, for each prefix of the text, the length of its longest proper prefix that is also its suffix (Knuth-Morris-Pratt). */
function borderLengths(text: string): Int32Array {
  const borders = new Int32Array(text.length);
  let border = 0;
  for (let index = 1; index < text.length; index++) {
    while (border > 0 && text[index] !== text[border]) border = borders[border - 1]!;
    if (text[index] === text[border]) border++;
    borders[index] = border;
  }
  return borders;
}

function includesFrom(start: number, text: string, wanted: string, borders: Int32Array): boolean {
  let matched = 0;
  for (let index = start; index < text.length; index++) {
    const code = text.charCodeAt(index);
    while (matched > 0 && code !== wanted.charCodeAt(matched)) matched = borders[matched - 1]!;
    if (code === wanted.charCodeAt(matched)) matched++;
    if (matched === wanted.length) return true;
  }
  return false;
}

/** The cache lets several filters share the text of one envelope. */
const searchTexts = new WeakMap<Envelope, string>();

/** Returns all values of an envelope as one lower-case text. */
export function searchText(envelope: Envelope): string {
  let text = searchTexts.get(envelope);
  if (text === undefined) {
    const parts: string[] = [];
    collectTexts(envelope.data as unknown as JsonValue, parts);
    text = parts.join("\n").toLowerCase();
    searchTexts.set(envelope, text);
  }
  return text;
}

function collectTexts(value: JsonValue, parts: string[]): void {
  if (typeof value !== "object" || value === null) parts.push(String(value));
  else for (const inner of Object.values(value)) collectTexts(inner, parts);
}
