import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { MessagePatterns } from "../../src/blocks/patterns.ts";
import { BlockSearch } from "../../src/blocks/search/block-search.ts";
import { exactFilter } from "../../src/blocks/search/exact.ts";
import { FieldPath, fieldValues } from "../../src/filter/fields.ts";
import type { JsonValue } from "../../src/wire/envelope.ts";
import type { FilterNode } from "../../src/wire/query/ast.ts";
import { parseQuery } from "../../src/wire/query/parse.ts";
import { alikeRequest, jsonRequest } from "../encode/generated-request.ts";
import { memoryView, type MemoryView } from "./memory-view.ts";

/** More of them find more: `SEARCH_RUNS=5000`. */
const RUNS = Number(process.env["SEARCH_RUNS"] ?? 150);

const WHOLE = { from: 0, to: Infinity, sinceMicros: undefined, untilMicros: undefined };

/** Names and texts that occur in generated records, and some that do not. */
const name = fc.constantFrom(
  ...["a", "b", "é", "err", "err.code", "exception.message", "exception.type", "service"],
  ...["trace_id", "span_id", "message", "module", "function", "line", "timestamp", "extra_level"],
  ...["extra_id", "extra_extra_level", "event_name", "event.name", "severity_text", "logger.name"],
  ...["name", "label", "id", "level", "a.b", "a.a", "a.0", "resource.service.name", "x"],
);
const word = fc.oneof(
  fc.constantFrom("a", "server", "0", "1", "true", "null", "nul", "2025-10", "é", "orchestrator"),
  fc.constantFrom("NaN", "INFO", "ab", "{", "[", "12", "type", "stack", "142", "spawn"),
  fc.string({ minLength: 1, maxLength: 3 }),
);
const term = fc.oneof(
  word.map((text) => JSON.stringify(text)),
  fc.tuple(name, word).map(([field, text]) => `${field}:${JSON.stringify(text)}`),
  fc.tuple(name, word).map(([field, text]) => `${field}:=${JSON.stringify(text)}`),
  name.map((field) => `${field}:*`),
  fc.tuple(name, fc.integer({ min: -2, max: 200 })).map(([field, n]) => `${field}:>${n}`),
  fc.constantFrom("level:WARNING", "level:=INFO", "logger:orchestrator", "type:system"),
);
const query = fc
  .array(fc.tuple(fc.constantFrom("", "", "-"), term, fc.constantFrom(" ", " OR ")), {
    minLength: 1,
    maxLength: 3,
  })
  .map((terms) =>
    terms
      .map(([minus, text, then], at) => minus + text + (at < terms.length - 1 ? then : ""))
      .join(""),
  );

function nodesOf(texts: readonly string[]): FilterNode[] {
  return texts.flatMap((text) => {
    try {
      return [parseQuery(text)];
    } catch {
      return [];
    }
  });
}

/** Returns the records that match by their envelopes. */
function matchesByEnvelope(view: MemoryView, nodes: readonly FilterNode[]): number[] {
  const filters = nodes.map((node) => exactFilter(node));
  return Array.from({ length: view.length }, (_, index) => index).filter((index) =>
    filters.every((isMatch) => isMatch(view.batch(index), 0)),
  );
}

function minutesByEnvelope(view: MemoryView, matches: readonly number[]): number[][] {
  const minutes: Record<number, number[]> = {};
  for (const index of matches) {
    const minute = Math.floor(Date.parse(view.batch(index).timestamp(0)) / 60_000);
    (minutes[minute] ??= [0, 0, 0, 0, 0])[view.batch(index).rank(0)]!++;
  }
  return Object.entries(minutes).map(([minute, counts]) => [Number(minute), ...counts]);
}

function valuesByEnvelope(
  view: MemoryView,
  matches: readonly number[],
  field: string,
): Map<string, number> {
  const counts = new Map<string, number>();
  const values = matches.flatMap((index) =>
    fieldValues(view.batch(index).envelope(0), new FieldPath(field)),
  );
  for (const value of flat(values)) {
    if (typeof value === "object") continue;
    counts.set(String(value), (counts.get(String(value)) ?? 0) + 1);
  }
  return counts;
}

function flat(values: readonly JsonValue[]): JsonValue[] {
  return values.flatMap((value) => (Array.isArray(value) ? flat(value) : [value]));
}

describe("BlockSearch", () => {
  it("finds the records whose envelopes match", () => {
    fc.assert(
      fc.property(
        fc.oneof(jsonRequest, alikeRequest),
        fc.array(query, { minLength: 1, maxLength: 2 }),
        fc.boolean(),
        fc.constantFrom("system_log" as const, "audit_log" as const),
        fc.subarray(["service.name", "a", "b"]),
        (request, queries, hasCodes, type, resourceMembers) => {
          const nodes = nodesOf(queries);
          const view = memoryView(request, { type, resourceMembers, hasCodes: () => hasCodes });
          if (!view) return;
          const search = new BlockSearch({ ...WHOLE, filters: nodes });
          expect([...search.find(view, "asc")]).toEqual(matchesByEnvelope(view, nodes));
        },
      ),
      { numRuns: RUNS },
    );
  });

  it("counts matches by minute and level, and the values of fields", () => {
    fc.assert(
      fc.property(
        alikeRequest,
        fc.option(query),
        fc.boolean(),
        fc.constantFrom("system_log" as const, "audit_log" as const),
        fc.uniqueArray(name, { maxLength: 3 }),
        (request, text, hasCodes, type, fields) => {
          const nodes = nodesOf(text === null ? [] : [text]);
          const view = memoryView(request, { type, hasCodes: () => hasCodes });
          if (!view) return;
          const matches = matchesByEnvelope(view, nodes);
          const counted = new BlockSearch({ ...WHOLE, filters: nodes }).count(view, {
            fields,
            valuesMax: Infinity,
          });
          const patterns = new MessagePatterns();
          new BlockSearch({ ...WHOLE, filters: nodes }).addPatterns(view, patterns);
          const groups = patterns.top(Infinity);
          expect(groups.reduce((sum, { count }) => sum + count, 0)).toBe(matches.length);
          // Which messages are in a group may depend on their order, but each example is one.
          for (const { example, sequence } of groups) {
            const index = view.sequences.indexOf(sequence);
            expect(example).toBe(view.batch(index).envelope(0).data.message);
          }
          expect(counted.matches).toBe(matches.length);
          expect(counted.minutes).toEqual(minutesByEnvelope(view, matches));
          for (const field of fields) {
            expect(new Map(counted.values[field])).toEqual(valuesByEnvelope(view, matches, field));
          }
        },
      ),
      { numRuns: RUNS },
    );
  });
});
