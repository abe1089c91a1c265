import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { MessagePatterns } from "../../src/blocks/patterns.ts";
import { BlockSearch } from "../../src/blocks/search/block-search.ts";
import { CountedField } from "../../src/filter/counted-field.ts";
import type { FilterNode } from "../../src/wire/query/ast.ts";
import { alikeRequest, jsonRequest } from "../encode/generated-request.ts";
import { filterNode, samplesOf } from "../filter/arbitraries.ts";
import { referenceMatches, type ReferenceRecord } from "../filter/reference.ts";
import { memoryView, type MemoryView } from "./memory-view.ts";

/** More of them find more: `SEARCH_RUNS=5000`. */
const RUNS = Number(process.env["SEARCH_RUNS"] ?? 60);

const WHOLE = { from: 0, to: Infinity, sinceMicros: undefined, untilMicros: undefined };

/** Names that are shown in envelopes in another way than attributes are. */
const NAMES = [
  ...["err", "err.code", "exception.message", "exception.type", "service", "trace_id", "span_id"],
  ...["module", "function", "line", "timestamp", "extra_level", "extra_id", "extra_extra_level"],
  ...["event_name", "event.name", "severity_text", "logger.name", "name", "label", "id", "a.b"],
  ...["a.0", "a", "b", "é", "resource.service.name", "resource.a", "scope.a", "x"],
];
/** Names of what is counted as well. */
const COUNTED = [...NAMES, "type", "level", "logger", "action", "instance_id", "metadata"];
const TEXTS = [
  "orchestrator",
  "NaN",
  "true",
  "null",
  "2025-10",
  "INFO",
  "142",
  "spawn",
  "{}",
  "[]",
];

interface SearchCase {
  readonly view: MemoryView;
  readonly nodes: readonly FilterNode[];
}

const options = fc.record({
  type: fc.constantFrom("system_log" as const, "system_log" as const, "audit_log" as const),
  resourceMembers: fc.subarray(["service.name", "a", "b"]),
  hasCodes: fc.boolean().map((has) => () => has),
});

/** Blocks with filters of the whole grammar, many of which match some of their records. */
const searchCase: fc.Arbitrary<SearchCase> = fc
  .tuple(fc.oneof(jsonRequest, alikeRequest), options)
  .map(([request, given]) => memoryView(request, given))
  .filter((view) => view !== undefined)
  .chain((view) => {
    const { names, texts, loggers } = samplesOf(recordsOf(view));
    const samples = { names: [...names, ...NAMES], texts: [...texts, ...TEXTS], loggers };
    return fc.record({
      view: fc.constant(view),
      nodes: fc.array(filterNode(samples), { maxLength: 2 }),
    });
  });

function recordsOf(view: MemoryView): ReferenceRecord[] {
  return Array.from({ length: view.length }, (_, index) => {
    const batch = view.batch(index);
    return {
      envelope: batch.envelope(0),
      logger: batch.logger(0),
      resource: batch.resourceAttributes(0),
      scope: batch.scopeAttributes(0),
    };
  });
}

/** Returns the records that match by their envelopes. */
function matchesByEnvelope({ view, nodes }: SearchCase): number[] {
  return recordsOf(view).flatMap((record, index) =>
    nodes.every((node) => referenceMatches(node, record)) ? [index] : [],
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
  const counted = new CountedField(field);
  for (const value of matches.flatMap((index) => counted.valuesOf(view.batch(index), 0))) {
    counts.set(value, (counts.get(value) ?? 0) + 1);
  }
  return counts;
}

describe("BlockSearch", () => {
  it("finds the records whose envelopes match", () => {
    fc.assert(
      fc.property(
        searchCase,
        fc.constantFrom("asc" as const, "desc" as const),
        fc.nat(4),
        (given, order, limit) => {
          const { view, nodes } = given;
          const matches = matchesByEnvelope(given);
          const search = new BlockSearch({ ...WHOLE, filters: nodes });
          expect([...search.find(view, order)]).toEqual(matches);
          expect([...search.find(view, order, limit)]).toEqual(
            order === "asc"
              ? matches.slice(0, limit)
              : matches.slice(matches.length - Math.min(limit, matches.length)),
          );
        },
      ),
      { numRuns: RUNS },
    );
  });

  it("counts matches by minute and level, the values of fields, and messages", () => {
    fc.assert(
      fc.property(searchCase, fc.subarray(COUNTED, { maxLength: 3 }), (given, fields) => {
        const { view, nodes } = given;
        const matches = matchesByEnvelope(given);
        const search = new BlockSearch({ ...WHOLE, filters: nodes });
        const counted = search.count(view, { fields, valuesMax: Infinity });
        expect(counted.matches).toBe(matches.length);
        expect(counted.minutes).toEqual(minutesByEnvelope(view, matches));
        for (const field of fields) {
          expect(new Map(counted.values[field])).toEqual(valuesByEnvelope(view, matches, field));
        }
        const patterns = new MessagePatterns();
        search.addPatterns(view, patterns);
        const groups = patterns.top(Infinity);
        expect(groups.reduce((sum, { count }) => sum + count, 0)).toBe(matches.length);
        // Which messages are in a group may depend on their order, but each example is one.
        for (const { example, sequence } of groups) {
          const index = view.sequences.indexOf(sequence);
          expect(example).toBe(view.batch(index).envelope(0).data.message);
        }
      }),
      { numRuns: RUNS },
    );
  });
});
