/** What a filter searches for in texts, to highlight it there. */

import type { FilterNode, TextPattern } from "./ast.ts";

/**
 * Returns the texts, folded, of which a matching record can contain any: of text that is searched for, and of terms that may
 * be a field or text. Regular expressions and what is under a `NOT` are left out.
 */
export function literalsToHighlight(node: FilterNode): string[] {
  switch (node.kind) {
    case "and":
    case "or":
      return [...new Set(node.nodes.flatMap(literalsToHighlight))];
    case "text":
      return literalsOf(node.pattern);
    case "field":
      return node.alsoText === undefined ? [] : [node.alsoText];
    default:
      return [];
  }
}

function literalsOf(pattern: TextPattern): string[] {
  switch (pattern.kind) {
    case "literal":
      return [pattern.text];
    case "wildcard":
      return [...pattern.parts];
    default:
      return [];
  }
}
