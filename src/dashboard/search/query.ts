/** The text of the search box: how it is colored, and how it is completed. Its language is in src/wire/query. */

import { LEVELS } from "../../wire/envelope.ts";
import { formatName, formatValue } from "../../wire/query/format.ts";
import { literalsToHighlight } from "../../wire/query/highlight.ts";
import { tokensOf, type QueryToken, type Span } from "../../wire/query/lexer.ts";
import { parseQuery } from "../../wire/query/parse.ts";

/** Returns the texts that are searched for, folded; none if the filter is not valid. */
export function searchedTexts(text: string): string[] {
  try {
    return literalsToHighlight(parseQuery(text));
  } catch {
    return [];
  }
}

/** A piece of the text, with the kind of its token; spaces have none. */
interface Segment {
  readonly text: string;
  readonly kind: QueryToken["kind"] | undefined;
  /** Whether it is part of what is wrong. */
  readonly isWrong: boolean;
}

/** Returns the pieces of a text, which make up all of it. */
export function segmentsOf(text: string, wrong: Span | undefined): Segment[] {
  const tokens = tokensOf(text);
  const inner = tokens.flatMap(({ from, to }) => [from, to]);
  const edges = [0, ...inner, wrong?.from ?? 0, wrong?.to ?? 0, text.length];
  const sorted = [...new Set(edges)].toSorted((one, other) => one - other);
  return sorted.slice(0, -1).map((from, index) => {
    const to = sorted[index + 1]!;
    const token = tokens.find((one) => one.from <= from && to <= one.to);
    const isWrong = wrong !== undefined && wrong.from <= from && to <= wrong.to;
    return { text: text.slice(from, to), kind: token?.kind, isWrong };
  });
}

export interface Completion {
  readonly label: string;
  /** How many records have it, if that is known. */
  readonly records: number | undefined;
  /** The whole text after the completion, and where the caret is then. */
  readonly text: string;
  readonly caret: number;
  /** True for the name of a field, which needs a value next. */
  readonly isField: boolean;
}

/** A name or a value that can be suggested. */
export interface Suggestion {
  readonly text: string;
  readonly records?: number | undefined;
}

/** Field names and values that can be suggested, the most useful first. */
interface KnownFields {
  readonly fields: readonly Suggestion[];
  values(field: string): readonly Suggestion[];
}

/** What is typed at the caret. */
interface TypedPlace extends Span {
  /** The field whose value it is; undefined for a field's name or text. */
  readonly field: string | undefined;
  /** Without quotes. */
  readonly typed: string;
  readonly isQuoted: boolean;
  readonly isInGroup: boolean;
  readonly hasOperator: boolean;
}

const COMPLETIONS_MAX = 12;

/** Returns the completions of the word at the caret. */
export function completeQuery(text: string, caret: number, known: KnownFields): Completion[] {
  const place = placeAt(text, caret);
  const { field, typed, from, to, isInGroup } = place;
  const insert = (
    { text: label, records }: Suggestion,
    term: string,
    isField: boolean,
  ): Completion => {
    const head = text.slice(0, from) + term + (isField || isInGroup ? "" : " ");
    const tail = isInGroup ? text.slice(to) : text.slice(to).trimStart();
    return { label, records, text: head + tail, caret: head.length, isField };
  };
  if (field !== undefined) {
    return findMatching(valuesOf(place, known), typed).map((value) =>
      insert(value, valueTerm(place, value.text), false),
    );
  }
  if (place.isQuoted) return [];
  const names = known.fields.filter(({ text: name }) => name !== "");
  return findMatching(names, typed).map((name) =>
    insert({ ...name, text: `${name.text}:` }, `${formatName(name.text)}:`, true),
  );
}

/** Returns what is typed at the caret, and up to where it would be replaced. */
export function placeAt(text: string, caret: number): TypedPlace {
  const before = tokensOf(text.slice(0, caret));
  const last = before.at(-1);
  const isAtLast = last?.to === caret;
  const nothing = { from: caret, to: caret, typed: "", isQuoted: false, hasOperator: false };
  if (isAtLast && last.kind === "name") return { ...nothing, field: last.name, isInGroup: false };
  if (isAtLast && last.kind === "word") {
    // A name without a value is text for the parser.
    const name = unfinishedName(text, before);
    const group = groupField(before);
    if (name !== undefined && group === undefined)
      return { ...nothing, field: name, isInGroup: false };
  }
  if (isAtLast && last.kind === "operator") {
    const owner = ownerOf(before, before.length - 1);
    return {
      ...nothing,
      field: owner,
      isInGroup: groupField(before) !== undefined,
      hasOperator: true,
    };
  }
  const isTyped = isAtLast && (last.kind === "word" || last.kind === "quoted");
  const group = groupField(before);
  if (!isTyped) return { ...nothing, field: group, isInGroup: group !== undefined };
  const owner = ownerOf(before, before.length - 1);
  const whole = tokensOf(text).find(({ from }) => from === last.from);
  const isWhole = whole?.kind === last.kind;
  return {
    from: last.from,
    to: isWhole ? Math.max(caret, whole.to) : caret,
    field: owner ?? group,
    typed: last.kind === "quoted" ? last.value : text.slice(last.from, last.to),
    isQuoted: last.kind === "quoted",
    isInGroup: group !== undefined,
    hasOperator: before.at(-2)?.kind === "operator" && before.at(-2)!.to === last.from,
  };
}

/** Returns the name in the last token, or in the one before its colon. */
function unfinishedName(text: string, tokens: readonly QueryToken[]): string | undefined {
  const [previous, last] = [tokens.at(-2), tokens.at(-1)!];
  const word = text.slice(last.from, last.to);
  if (word === ":" && previous?.kind === "quoted" && previous.to === last.from)
    return previous.value;
  return /^([^\s":]+):$/.exec(word)?.[1];
}

/** Returns the field that a value or an operator follows. */
function ownerOf(tokens: readonly QueryToken[], index: number): string | undefined {
  const token = tokens[index]!;
  const previous = tokens[index - 1];
  if (previous?.to !== token.from) return undefined;
  if (previous.kind === "name") return previous.name;
  return previous.kind === "operator"
    ? (ownerOf(tokens, index - 1) ?? groupField(tokens))
    : undefined;
}

/** Returns the field of the innermost group that is open at the end. */
function groupField(tokens: readonly QueryToken[]): string | undefined {
  const groups: (string | undefined)[] = [];
  for (const [index, { kind, from }] of tokens.entries()) {
    if (kind === "close") groups.pop();
    if (kind !== "open") continue;
    const previous = tokens[index - 1];
    const isOwned = previous?.kind === "name" && previous.to === from;
    groups.push(isOwned ? previous.name : groups.at(-1));
  }
  return groups.at(-1);
}

function valuesOf(place: TypedPlace, known: KnownFields): readonly Suggestion[] {
  const { field, isInGroup, hasOperator } = place;
  if (field === "level") {
    const only = isInGroup || hasOperator ? [] : LEVELS.map((level) => `=${level}`);
    return [...LEVELS, ...only].map((text) => ({ text }));
  }
  return field === "type" ? [{ text: "system" }, { text: "audit" }] : known.values(field!);
}

function valueTerm({ field, isInGroup }: TypedPlace, value: string): string {
  return field === "level" ? value : formatValue(field!, value, isInGroup);
}

/** Returns those that start with the text first, then those that contain it. */
function findMatching(all: readonly Suggestion[], typed: string): Suggestion[] {
  const wanted = typed.toLowerCase();
  const found = all.filter(({ text }) => text.toLowerCase().includes(wanted));
  const isFirst = ({ text }: Suggestion): boolean => text.toLowerCase().startsWith(wanted);
  const sorted = [...found.filter(isFirst), ...found.filter((one) => !isFirst(one))];
  return sorted.slice(0, COMPLETIONS_MAX);
}
