/** Evaluates filters on envelopes. */

import type { RecordBatch } from "../../batch/record-batch.ts";
import type { Envelope, JsonValue } from "../../wire/envelope.ts";
import { fieldValues, valueAtPath } from "../../wire/fields.ts";
import type { FieldNode, FilterNode } from "../../wire/query/ast.ts";
import { isLoggerMatch, Matchers } from "./node-evaluator.ts";
import { matchesJson, type ValueMatcher } from "./value-matcher.ts";

export type ExactFilter = (batch: RecordBatch, index: number) => boolean;

export function exactFilter(node: FilterNode, matchers: Matchers): ExactFilter {
  switch (node.kind) {
    case "all":
      return () => true;
    case "and": {
      const filters = node.nodes.map((inner) => exactFilter(inner, matchers));
      return (batch, index) => filters.every((filter) => filter(batch, index));
    }
    case "or": {
      const filters = node.nodes.map((inner) => exactFilter(inner, matchers));
      return (batch, index) => filters.some((filter) => filter(batch, index));
    }
    case "not": {
      const filter = exactFilter(node.node, matchers);
      return (batch, index) => !filter(batch, index);
    }
    case "type":
      return (batch, index) => batch.type(index) === node.type;
    case "level":
      return (batch, index) => batch.rank(index) >= node.min && batch.rank(index) <= node.max;
    case "logger":
      return (batch, index) => isLoggerMatch(batch.logger(index), node.test);
    case "text": {
      const matcher = matchers.text(node)!;
      return (batch, index) => hasText(batch.envelope(index), matcher);
    }
    default:
      return fieldFilter(node, matchers);
  }
}

function fieldFilter(node: FieldNode, matchers: Matchers): ExactFilter {
  const matcher = matchers.field(node);
  const text = matchers.text(node);
  return (batch, index) => {
    const envelope = batch.envelope(index);
    if (fieldValues(envelope, node.name).some((value) => matchesJson(matcher, value))) return true;
    if (node.name.startsWith("resource.")) {
      const value = valueAtPath(
        batch.resourceAttributes(index),
        node.name.slice("resource.".length),
      );
      if (value !== undefined && matchesJson(matcher, value)) return true;
    }
    return text !== undefined && hasText(envelope, text);
  };
}

function hasText({ data }: Envelope, matcher: ValueMatcher): boolean {
  return hasMatch(data as unknown as JsonValue, matcher);
}

function hasMatch(value: JsonValue, matcher: ValueMatcher): boolean {
  if (typeof value !== "object" || value === null) return matcher.matches(value);
  return Object.values(value).some((inner) => hasMatch(inner, matcher));
}
