import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { BlockSearch } from "../../src/blocks/search/block-search.ts";
import { exactFilter } from "../../src/blocks/search/exact.ts";
import { Matchers } from "../../src/blocks/search/node-evaluator.ts";
import type { FilterNode } from "../../src/wire/query/ast.ts";
import { parseQuery } from "../../src/wire/query/parse.ts";
import { alikeRequest, jsonRequest } from "../encode/generated-request.ts";
import { memoryView, type MemoryView } from "./memory-view.ts";

/** More of them find more: `SEARCH_RUNS=5000`. */
const RUNS = Number(process.env["SEARCH_RUNS"] ?? 300);

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
  const filters = nodes.map((node) => exactFilter(node, new Matchers()));
  return Array.from({ length: view.length }, (_, index) => index).filter((index) =>
    filters.every((isMatch) => isMatch(view.batch(index), 0)),
  );
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
});
