/** Says what a valid filter may mean that its author did not mean. */

import { closestMatch } from "leven";
import { LEVELS, rankOfName } from "../envelope.ts";
import { RESERVED_NAMES, tokensOf, type QueryToken, type Span } from "./lexer.ts";
import { problemOfQuery } from "./parse.ts";

export interface Hint extends Span {
  /** Whole sentences. */
  readonly text: string;
}

/**
 * Returns hints for a filter, in the order of its terms; none if it is invalid. `knownFields`: the names of the fields that
 * stored records have, if they are known.
 */
export function hintsOf(q: string, knownFields?: readonly string[]): Hint[] {
  if (problemOfQuery(q)) return [];
  const tokens = tokensOf(q);
  return tokens.flatMap((token, index) => {
    const place = { q, tokens, index };
    const text =
      keywordHint(place) ?? levelHint(place) ?? flagsHint(place) ?? fieldHint(place, knownFields);
    return text === undefined ? [] : [{ from: token.from, to: token.to, text }];
  });
}

interface Place {
  readonly q: string;
  readonly tokens: readonly QueryToken[];
  readonly index: number;
}

function textAt({ q, tokens, index }: Place, offset = 0): string {
  const token = tokens[index + offset];
  return token ? q.slice(token.from, token.to) : "";
}

/** `or` between two terms. */
function keywordHint(place: Place): string | undefined {
  const { tokens, index } = place;
  const { kind, from } = tokens[index]!;
  const [before, after] = [tokens[index - 1], tokens[index + 1]];
  if (kind !== "word" || !after || before?.to === from) return undefined;
  const word = textAt(place);
  switch (word) {
    case "or":
      return before && '"or" is searched as text. Write OR in capitals to match either term.';
    case "and":
      return before && '"and" is searched as text. Terms side by side must all match.';
    case "not":
      return '"not" is searched as text. Write NOT in capitals, or a minus before the term.';
    default:
      return undefined;
  }
}

/** `-level:INFO` leaves out more than INFO. */
function levelHint(place: Place): string | undefined {
  const { tokens, index } = place;
  const [sign, name, value] = tokens.slice(index, index + 3);
  const isNegated = sign?.kind === "minus" || sign?.kind === "not";
  if (!isNegated || name?.kind !== "name" || name.name !== "level" || name.isQuoted)
    return undefined;
  if (value?.kind !== "word" && value?.kind !== "quoted") return undefined;
  const level = textAt(place, 2).replaceAll('"', "");
  const rank = rankOfName(level);
  if (rank === undefined) return undefined;
  const rest =
    rank === 0
      ? "no level is left"
      : `only ${list(LEVELS.slice(0, rank))} ${rank === 1 ? "is" : "are"} left`;
  return `level:${level} means ${level} and above, so that ${rest}. To leave out ${level} alone, write -level:=${level}.`;
}

function list(words: readonly string[]): string {
  return words.length === 1 ? words[0]! : `${words.slice(0, -1).join(", ")} and ${words.at(-1)}`;
}

/** `/regex/i` */
function flagsHint(place: Place): string | undefined {
  const text = textAt(place);
  const isText =
    place.tokens[place.index]!.kind === "word" && /^\/.+\/(?:g|i|m|s|gi|ig)$/.test(text);
  if (!isText) return undefined;
  const regex = text.slice(0, text.lastIndexOf("/") + 1);
  return `This is searched as text. Regular expressions have no flags and ignore case: ${regex}`;
}

/** A field that no stored record has. */
function fieldHint(place: Place, knownFields: readonly string[] | undefined): string | undefined {
  const token = place.tokens[place.index]!;
  if (token.kind !== "name" || !knownFields) return undefined;
  const { name, isQuoted } = token;
  if (!isQuoted && BUILT_IN.has(name.toLowerCase()) && !BUILT_IN.has(name)) {
    return `Field names are in lower case here: ${name.toLowerCase()}:`;
  }
  if (BUILT_IN.has(name) || OTHER_PLACES.test(name) || isKnown(name, knownFields)) return undefined;
  const meant = closestField(name, knownFields);
  // Pasted text often has colons.
  const isText = textAt(place, 1) !== "" && mayBePasted(place);
  if (isText && meant === undefined) return undefined;
  const suggestion = meant === undefined ? "" : ` Did you mean ${meant}?`;
  return `No stored record has the field ${name}.${suggestion}`;
}

const BUILT_IN: ReadonlySet<string> = new Set([...RESERVED_NAMES, "event_name"]);

/** Attributes of resources and scopes are not among the fields of records. */
const OTHER_PLACES = /^(?:resource|scope)\./;

/** What the names of known fields leave out. */
const LEFT_OUT = /^(?:metadata\.)?(?:details\.)?/;

/** What the names of known fields do not have: the index of a list's element. */
const OF_LIST = /\.\d+(?:\.|$)/;

function isKnown(name: string, knownFields: readonly string[]): boolean {
  const short = name.replace(LEFT_OUT, "");
  return (
    OF_LIST.test(name) ||
    knownFields.some(
      (known) =>
        known === name ||
        known === short ||
        known.startsWith(`${name}.`) ||
        known.startsWith(`${short}.`) ||
        known.endsWith(`.${name}`),
    )
  );
}

function mayBePasted({ tokens, index }: Place): boolean {
  const next = tokens[index + 1];
  return next?.kind === "word" || next?.kind === "regex";
}

function closestField(name: string, knownFields: readonly string[]): string | undefined {
  const plain = simplify(name);
  const same = knownFields.find((known) => simplify(known) === plain);
  // A word of three letters has a neighbor at every turn.
  return (
    same ?? (name.length < 4 ? undefined : closestMatch(name, knownFields, { maxDistance: 2 }))
  );
}

/** `instanceId` and `instance_id` are the same. */
function simplify(name: string): string {
  return name.toLowerCase().replaceAll(/[_.\s-]/g, "");
}
