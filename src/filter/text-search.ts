/** Full-text search in values and envelopes, in time proportional to the text whatever is searched for. */

import type { Envelope, JsonValue } from "../wire/envelope.ts";
import { fold } from "../wire/query/fold.ts";

/** Returns where a text starts in another, from a position on; -1 if it is not there. */
export type IndexOfText = (text: string, from: number) => number;

/**
 * V8 searches in linear time for texts of up to this length (its Boyer-Moore tables cover the last 250 characters). A
 * longer text could cost its whole length for each character of the record.
 */
const NATIVE_SEARCH_CHARACTERS_MAX = 250;

/** Returns a search for a text of any length, which takes linear time. */
export function indexOfText(wanted: string): IndexOfText {
  if (wanted.length <= NATIVE_SEARCH_CHARACTERS_MAX) {
    return (text, from) => text.indexOf(wanted, from);
  }
  const prefix = wanted.slice(0, NATIVE_SEARCH_CHARACTERS_MAX);
  let borders: Int32Array | undefined;
  return (text, from) => {
    const start = text.indexOf(prefix, from);
    return start < 0 ? -1 : indexFrom(start, text, wanted, (borders ??= borderLengths(wanted)));
  };
}

/** Returns, for each prefix of the text, the length of its longest proper prefix that is also its suffix (Knuth-Morris-Pratt). */
export function borderLengths(text: ArrayLike<unknown>): Int32Array {
  const borders = new Int32Array(text.length);
  let border = 0;
  for (let index = 1; index < text.length; index++) {
    while (border > 0 && text[index] !== text[border]) border = borders[border - 1]!;
    if (text[index] === text[border]) border++;
    borders[index] = border;
  }
  return borders;
}

function indexFrom(start: number, text: string, wanted: string, borders: Int32Array): number {
  let matched = 0;
  for (let index = start; index < text.length; index++) {
    const code = text.charCodeAt(index);
    while (matched > 0 && code !== wanted.charCodeAt(matched)) matched = borders[matched - 1]!;
    if (code === wanted.charCodeAt(matched)) matched++;
    if (matched === wanted.length) return index + 1 - matched;
  }
  return -1;
}

/** Returns whether a folded text contains folded parts, in this order, with anything between them. */
export function wildcardSearch(parts: readonly string[]): (text: string) => boolean {
  const find = endOfParts(parts);
  return (text) => find(text, 0) >= 0;
}

/** Returns whether a folded text is the parts, of which the first and the last may be empty, with anything between them. */
export function wildcardTest(parts: readonly string[]): (text: string) => boolean {
  const first = parts[0]!;
  const last = parts.at(-1)!;
  if (parts.length === 1) return (text) => text === first;
  const findInner = endOfParts(parts.slice(1, -1));
  return (text) => {
    if (!text.startsWith(first) || !text.endsWith(last)) return false;
    const end = findInner(text, first.length);
    return end >= 0 && end + last.length <= text.length;
  };
}

/** The first match of each part leaves the most text to the next ones. */
function endOfParts(parts: readonly string[]): IndexOfText {
  const searches = parts.map((part) => ({ length: part.length, search: indexOfText(part) }));
  return (text, from) => {
    let end = from;
    for (const { length, search } of searches) {
      const start = search(text, end);
      if (start < 0) return -1;
      end = start + length;
    }
    return end;
  };
}

/** What is between the values in {@link searchText}. */
export const VALUE_SEPARATOR = "\n";

/** The cache lets several filters share the text of one envelope. */
const searchTexts = new WeakMap<Envelope, string>();

/** Returns the text of all values of an envelope, folded. */
export function searchText(envelope: Envelope): string {
  let text = searchTexts.get(envelope);
  if (text === undefined) {
    const parts: string[] = [];
    someText(envelope, (part) => {
      parts.push(part);
      return false;
    });
    text = fold(parts.join(VALUE_SEPARATOR));
    searchTexts.set(envelope, text);
  }
  return text;
}

/** Returns whether the text of any value of an envelope, which is not folded, passes a test. */
export function someText(envelope: Envelope, passes: (text: string) => boolean): boolean {
  return someTextOf(envelope.data as unknown as JsonValue, passes);
}

function someTextOf(value: JsonValue, passes: (text: string) => boolean): boolean {
  if (typeof value !== "object" || value === null) return passes(String(value));
  for (const inner of Object.values(value)) if (someTextOf(inner, passes)) return true;
  return false;
}
