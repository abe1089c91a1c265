/** Where the words of a filter's text stand; the parser itself is src/filter.ts. */

import { textsToHighlight } from "../../wire/filter.ts";

export interface Word {
  readonly from: number;
  readonly to: number;
  readonly text: string;
}

/** What stands between spaces that are in no quotes; the last one may not be complete. */
const WORD = /(?:"(?:[^"\\]|\\[^])*(?:"|\\?$)|[^\s"])+/g;

export function wordsOf(text: string): Word[] {
  return [...text.matchAll(WORD)].map(({ index, 0: word }) => ({
    from: index,
    to: index + word.length,
    text: word,
  }));
}

/** A term that finds the records whose field has this value. */
export function termOf(field: string, value: string): string {
  return `${field}:${quoted(value)}`;
}

function quoted(value: string): string {
  return value === "" || /[\s"]/.test(value) ? `"${value.replaceAll(/["\\]/g, "\\$&")}"` : value;
}

/** A name with a space, a quote or a colon cannot be written in the language. */
export function isFieldName(name: string): boolean {
  return name !== "" && !/[\s":]/.test(name) && !name.startsWith("-");
}

export function hasTerm(text: string, term: string): boolean {
  return wordsOf(text).some((word) => word.text === term);
}

/** Puts a term in the place of those that ask for another value of its field; takes it out where it is there. */
export function chooseTerm(text: string, field: string, term: string): string {
  const words = wordsOf(text).map((word) => word.text);
  const others = words.filter((word) => !word.startsWith(`${field}:`));
  return (words.includes(term) ? others : [...others, term]).join(" ");
}

/** The texts that are looked for, in lower case; none if the filter is not valid. */
export function searchedTexts(text: string): string[] {
  try {
    return textsToHighlight(text).map((sought) => sought.toLowerCase());
  } catch {
    return [];
  }
}

/** Of a value that may not be closed yet. */
export function unquoted(text: string): string {
  if (!text.startsWith('"')) return text;
  return text
    .slice(1)
    .replaceAll(/\\(["\\])|"$/g, (_, character: string | undefined) => character ?? "");
}
