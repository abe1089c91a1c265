import { LEVELS } from "../../wire/envelope.ts";
import { isFieldName, termOf, unquoted, wordsOf } from "./query.ts";

const OPTIONS_MAX = 12;

/** What the filter language gives a meaning of its own. */
const TYPES = ["system", "audit"];

/** What the records have that are loaded. */
export interface Known {
  readonly fields: readonly string[];
  values(field: string): readonly string[];
}

export interface Option {
  /** As it is shown. */
  readonly label: string;
  /** The text of the box with it. */
  readonly text: string;
  /** Where the caret is then. */
  readonly caret: number;
  /** A field's name: its value is to follow. */
  readonly isField: boolean;
}

/** What the word at the caret can become. */
export function completionsOf(text: string, caret: number, known: Known): Option[] {
  const word = wordsOf(text).find(({ from, to }) => from <= caret && caret <= to);
  const [from, to] = word ? [word.from, word.to] : [caret, caret];
  const typed = text.slice(from, caret);
  const [, minus, field, start] = /^(-?)(?:([^\s":]+):)?([^]*)$/.exec(typed)!;
  const insert = (label: string, term: string, isField: boolean): Option => {
    const head = text.slice(0, from) + minus! + term + (isField ? "" : " ");
    const tail = text.slice(to).trimStart();
    return { label, text: head + tail, caret: head.length, isField };
  };
  if (field !== undefined) {
    return matching(valuesOf(field, known), unquoted(start!)).map((value) =>
      insert(value, termOf(field, value), false),
    );
  }
  if (start!.startsWith('"')) return [];
  return matching(known.fields.filter(isFieldName), start!).map((name) =>
    insert(`${name}:`, `${name}:`, true),
  );
}

function valuesOf(field: string, known: Known): readonly string[] {
  if (field === "level") return [...LEVELS, ...LEVELS.map((level) => `=${level}`)];
  return field === "type" ? TYPES : known.values(field);
}

/** Those that begin with it come first, then those that have it elsewhere. */
function matching(all: readonly string[], start: string): string[] {
  const wanted = start.toLowerCase();
  const found = all.filter((one) => one.toLowerCase().includes(wanted));
  const isFirst = (one: string): boolean => one.toLowerCase().startsWith(wanted);
  return [...found.filter(isFirst), ...found.filter((one) => !isFirst(one))].slice(0, OPTIONS_MAX);
}
