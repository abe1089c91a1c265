/** Says in words which records a filter matches. */

import { LEVELS } from "../envelope.ts";
import type {
  FieldNode,
  FilterNode,
  LevelNode,
  LoggerNode,
  TextPattern,
  ValueTest,
} from "./ast.ts";

/** Returns a sentence such as `Records with level WARNING or above whose text contains "timeout".` */
export function explainQuery(node: FilterNode): string {
  const terms = node.kind === "and" ? node.nodes : [node];
  const types = terms.filter((term) => term.kind === "type");
  const levels = terms.filter((term) => term.kind === "level");
  const others = terms.filter((term) => !["type", "level", "all"].includes(term.kind));
  const [type] = types;
  if (types.some((other) => other.type !== type!.type)) return "No record is of both types.";
  const subject = type ? SUBJECTS[type.type] : "Records";
  const level = levels.length === 0 ? "" : ` with level ${levels.map(levelWords).join(" and ")}`;
  const conditions = clauses(others);
  if (level === "" && conditions.length === 0)
    return type ? `All ${lowerFirst(subject)}.` : "All records.";
  return `${subject}${level}${conditions.length === 0 ? "" : ` where ${list(conditions)}`}.`;
}

const SUBJECTS = { system_log: "System logs", audit_log: "Audit events" } as const;

function lowerFirst(text: string): string {
  return text[0]!.toLowerCase() + text.slice(1);
}

/** Joins with commas, because conditions can have an "or" in them. */
function list(conditions: readonly string[]): string {
  if (conditions.length <= 2) return conditions.join(" and ");
  return `${conditions.slice(0, -1).join(", ")}, and ${conditions.at(-1)}`;
}

/** @param isPart whether other conditions stand beside it. */
function clause(node: FilterNode, isPart: boolean): string {
  switch (node.kind) {
    case "all":
      return "anything matches";
    case "and": {
      const text = list(clauses(node.nodes));
      return isPart ? `(${text})` : text;
    }
    case "or": {
      const text = alternatives(node.nodes);
      return isPart ? `(${text})` : text;
    }
    case "not":
      return negated(node.node);
    default:
      return termWords(node, false);
  }
}

/** Says `the text contains "a" and "b"` instead of repeating it. */
function clauses(nodes: readonly FilterNode[]): string[] {
  const texts = nodes.flatMap((node) =>
    node.kind === "text" && node.pattern.kind === "literal" ? [quoted(node.pattern.text)] : [],
  );
  const others = nodes.filter((node) => node.kind !== "text" || node.pattern.kind !== "literal");
  const all = others.map((node) => clause(node, nodes.length > 1));
  return texts.length === 0 ? all : [...all, `the text contains ${list(texts)}`];
}

/** Says `the level is INFO or ERROR` instead of repeating the field. */
function alternatives(nodes: readonly FilterNode[]): string {
  const all = nodes.map((inner) => clause(inner, true));
  const [start] = /^the (?:text contains|level is|logger is) |^\S+ is /.exec(all[0]!) ?? [""];
  const rests = all.map((one) => (one.startsWith(start) ? one.slice(start.length) : undefined));
  const isShared =
    start !== "" && rests.every((rest) => rest && !rest.startsWith("not ") && !rest.endsWith(")"));
  return isShared ? start + rests.join(" or ") : all.join(" or ");
}

function negated(node: FilterNode): string {
  switch (node.kind) {
    case "all":
      return "nothing matches";
    case "and":
    case "or":
      return `not ${clause(node, true)}`;
    case "not":
      return clause(node.node, true);
    default:
      return termWords(node, true);
  }
}

type TermNode = Exclude<FilterNode, { kind: "all" | "and" | "or" | "not" }>;

function termWords(node: TermNode, isNegated: boolean): string {
  const is = isNegated ? "is not" : "is";
  switch (node.kind) {
    case "text":
      return `the text ${patternWords(node.pattern, isNegated)}`;
    case "field":
      return fieldWords(node, isNegated);
    case "type":
      return `it ${is} ${node.type === "audit_log" ? "an audit event" : "a system log"}`;
    case "level":
      return `the level ${is} ${levelWords(node)}`;
    default:
      return `the logger ${loggerWords(node, isNegated)}`;
  }
}

function patternWords(pattern: TextPattern, isNegated: boolean): string {
  const [contains, matches] = isNegated
    ? ["does not contain", "does not match"]
    : ["contains", "matches"];
  switch (pattern.kind) {
    case "literal":
      return `${contains} ${quoted(pattern.text)}`;
    case "wildcard":
      return `${contains} ${pattern.parts.map(quoted).join(", then ")}`;
    default:
      return `${matches} /${pattern.source}/`;
  }
}

function levelWords({ min, max }: LevelNode): string {
  const [low, high] = [LEVELS[min], LEVELS[max]];
  if (min === max) return low;
  if (max === 4) return min === 0 ? "DEBUG or above" : `${low} or above`;
  return min === 0 ? `${high} or below` : `${low} to ${high}`;
}

function loggerWords({ test }: LoggerNode, isNegated: boolean): string {
  const is = isNegated ? "is not" : "is";
  if (test.kind === "family") {
    return isNegated ? `is neither ${test.name} nor below it` : `is ${test.name} or below it`;
  }
  return test.parts.length === 1
    ? `${is} exactly ${test.parts[0]}`
    : wildcardWords(test.parts, isNegated);
}

function fieldWords({ name, test, alsoText }: FieldNode, isNegated: boolean): string {
  const field = `${/^[^\s"]+$/.test(name) ? name : quoted(name)} ${testWords(test, isNegated)}`;
  if (alsoText === undefined) return field;
  return isNegated
    ? `${field} (nor the text contains ${quoted(alsoText)})`
    : `${field} (or the text contains ${quoted(alsoText)})`;
}

function testWords(test: ValueTest, isNegated: boolean): string {
  const is = isNegated ? "is not" : "is";
  switch (test.kind) {
    case "equals":
      return `${is} ${quoted(test.text)}`;
    case "exact":
      return `${is} exactly ${quoted(test.text)}`;
    case "wildcard":
      return wildcardWords(test.parts, isNegated);
    case "exists":
      return isNegated ? "is missing" : "is there";
    case "range":
      return `${is} ${rangeWords(test, String)}`;
    case "textRange":
      return `${is} ${rangeWords(test, quoted)}`;
    default:
      return `${isNegated ? "does not match" : "matches"} /${test.source}/`;
  }
}

function wildcardWords(parts: readonly string[], isNegated: boolean): string {
  const [start = "", end = ""] = [parts[0], parts.at(-1)];
  const verb = (word: string): string => (isNegated ? `does not ${word}` : `${word}s`);
  if (parts.length === 2 && end === "") return `${verb("start")} with ${quoted(start)}`;
  if (parts.length === 2 && start === "") return `${verb("end")} with ${quoted(end)}`;
  if (parts.length === 3 && start === "" && end === "")
    return `${verb("contain")} ${quoted(parts[1]!)}`;
  return `${isNegated ? "does not match" : "matches"} ${quoted(parts.join("*"))}`;
}

interface Bound<T> {
  readonly value: T;
  readonly isInclusive: boolean;
}

function rangeWords<T>(
  { min, max }: { readonly min?: Bound<T>; readonly max?: Bound<T> },
  words: (value: T) => string,
): string {
  if (min?.isInclusive && max?.isInclusive)
    return `from ${words(min.value)} to ${words(max.value)}`;
  const low = min && `${min.isInclusive ? "at least" : "above"} ${words(min.value)}`;
  const high = max && `${max.isInclusive ? "at most" : "below"} ${words(max.value)}`;
  return [low, high].filter((part) => part !== undefined).join(" and ");
}

function quoted(text: string): string {
  return JSON.stringify(text);
}
