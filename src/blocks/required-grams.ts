/** Which grams a block must have for any record to match a filter. */

import type { FieldNode, FilterNode, RegexPattern, TextPattern } from "../wire/query/ast.ts";
import { fold } from "../wire/query/fold.ts";
import { gramsOf, type RequiredGram } from "./grams.ts";
import { literalsOfRegex, type RequiredTexts } from "../filter/regex-literals.ts";

/** Grams that a block must have: of an AND all, of an OR those of one of its parts. Undefined if nothing is required. */
export type GramRequirement =
  | { readonly kind: "grams"; readonly grams: readonly RequiredGram[] }
  | { readonly kind: "and" | "or"; readonly parts: readonly GramRequirement[] };

export function requiredGrams(node: FilterNode): GramRequirement | undefined {
  switch (node.kind) {
    case "and":
      return allOf(node.nodes.map(requiredGrams));
    case "or":
      return oneOf(node.nodes.map(requiredGrams));
    case "text":
      return ofPattern(node.pattern);
    case "field":
      return ofField(node);
    default:
      return undefined;
  }
}

function allOf(parts: readonly (GramRequirement | undefined)[]): GramRequirement | undefined {
  const required = parts.filter((part) => part !== undefined);
  return required.length > 1 ? { kind: "and", parts: required } : required[0];
}

function oneOf(parts: readonly (GramRequirement | undefined)[]): GramRequirement | undefined {
  const required = parts.filter((part) => part !== undefined);
  if (required.length < parts.length) return undefined;
  return required.length > 1 ? { kind: "or", parts: required } : required[0];
}

function ofText(text: string): GramRequirement | undefined {
  const grams = gramsOf(text);
  return grams.length > 0 ? { kind: "grams", grams } : undefined;
}

function ofPattern(pattern: TextPattern): GramRequirement | undefined {
  switch (pattern.kind) {
    case "literal":
      return ofText(pattern.text);
    case "wildcard":
      return allOf(pattern.parts.map(ofText));
    default:
      return ofRegex(pattern);
  }
}

function ofRegex({ source, assumesMatch = false }: RegexPattern): GramRequirement | undefined {
  return assumesMatch ? undefined : ofRequiredTexts(literalsOfRegex(source));
}

function ofRequiredTexts(texts: RequiredTexts): GramRequirement | undefined {
  switch (texts.kind) {
    case "text":
      // Before it is folded, what follows may change the last character: it may be an accent.
      return ofText(fold(texts.text.slice(0, -1)));
    case "and":
      return allOf(texts.parts.map(ofRequiredTexts));
    default:
      return oneOf(texts.parts.map(ofRequiredTexts));
  }
}

/** Values of other fields are texts that the filter does not have. */
const SHARED = /^(?:resource|scope)\./;

/** The JSON of an object or a list, which has other texts than its values. */
const JSON_START = /^[{[]/;

function ofField({ name, test, alsoText }: FieldNode): GramRequirement | undefined {
  const field = SHARED.test(name) ? undefined : ofTest(test);
  return alsoText === undefined ? field : oneOf([field, ofText(alsoText)]);
}

function ofTest(test: FieldNode["test"]): GramRequirement | undefined {
  switch (test.kind) {
    case "equals":
    case "exact":
      return JSON_START.test(test.text) ? undefined : ofText(fold(test.text));
    case "wildcard": {
      const [first = ""] = test.parts;
      return first === "" || JSON_START.test(first) ? undefined : allOf(test.parts.map(ofText));
    }
    default:
      return undefined;
  }
}
