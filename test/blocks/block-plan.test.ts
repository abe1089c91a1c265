import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { indexOfBlock } from "../../src/blocks/block-index.ts";
import { directoryCounts, planBlocks, type FilterReader } from "../../src/blocks/block-plan.ts";
import type { BlockDirectory } from "../../src/blocks/block-view.ts";
import { exactFilter } from "../../src/blocks/search/exact.ts";
import type { JsonValue, LevelRank } from "../../src/wire/envelope.ts";
import { CountedField } from "../../src/filter/counted-field.ts";
import type { FilterNode, ValueTest } from "../../src/wire/query/ast.ts";
import { fold } from "../../src/wire/query/fold.ts";
import { parseQuery } from "../../src/wire/query/parse.ts";
import { alikeRequest, jsonRequest, type JsonRequest } from "../encode/generated-request.ts";
import { markedRequest } from "./marked-request.ts";
import { memoryView, type MemoryView } from "./memory-view.ts";

/** More of them find more: `SEARCH_RUNS=5000`. */
const RUNS = Number(process.env["SEARCH_RUNS"] ?? 60);

/** Of blocks that are searched for each of their values. */
const MARKED_RUNS = Math.ceil(RUNS / 5);

const BLOCK = 7;

interface Indexed {
  readonly view: MemoryView;
  readonly directory: BlockDirectory;
  readonly filter: readonly Uint8Array[];
  /** The names and the texts of all values of envelopes. */
  readonly leaves: readonly Leaf[];
}

interface Leaf {
  readonly name: string;
  readonly text: string;
}

function indexed(view: MemoryView): Indexed {
  const { directory, filter } = indexOfBlock(view, view.directory);
  const leaves = Array.from({ length: view.length }, (_, index) => index).flatMap((index) =>
    leavesOf(view.batch(index).envelope(0).data as unknown as JsonValue, ""),
  );
  return { view, directory, filter, leaves };
}

function leavesOf(value: JsonValue, name: string): Leaf[] {
  if (typeof value !== "object" || value === null) return [{ name, text: String(value) }];
  const isList = Array.isArray(value);
  return Object.entries(value).flatMap(([key, inner]: [string, JsonValue]) =>
    leavesOf(inner, isList ? name : name === "" ? key : `${name}.${key}`),
  );
}

function readerOf(filter: readonly Uint8Array[]): FilterReader {
  return {
    ofAll: (part) => new Map(filter.length > 0 ? [[BLOCK, filter[part]!]] : []),
    of: (part) => filter[part],
  };
}

/** Makes choices of numbers from 0 to 1. */
class Choices {
  readonly #numbers: readonly number[];
  #next = 0;

  constructor(numbers: readonly number[]) {
    this.#numbers = numbers;
  }

  below(count: number): number {
    return Math.floor(this.#numbers[this.#next++ % this.#numbers.length]! * count);
  }

  of<T>(values: readonly T[]): T {
    return values[this.below(values.length)]!;
  }
}

const choices = fc
  .array(fc.nat(999_999), { minLength: 30, maxLength: 60 })
  .map((numbers) => new Choices(numbers.map((number) => number / 1e6)));

const ABSENT: readonly Leaf[] = [
  { name: "absent", text: "not in any record" },
  { name: "a", text: "12345678" },
  { name: "extra_extra_level", text: "-1" },
  { name: "err.message", text: "Error" },
  { name: "exception.message", text: "message" },
  { name: "details.x", text: "Infinity" },
];

/** Returns a filter that one of the block's records probably matches. */
function nodeOf(leaves: readonly Leaf[], choose: Choices, depth = 0): FilterNode {
  const { name, text } = choose.of(choose.below(6) === 0 ? ABSENT : leaves);
  const from = choose.below(text.length + 1);
  const part = text.slice(from, from + choose.below(text.length - from + 1));
  const folded = fold(part);
  const inner = (): FilterNode => nodeOf(leaves, choose, depth + 1);
  const number = Number(text);
  const kinds: readonly (() => FilterNode)[] = [
    () => ({ kind: "text", pattern: { kind: "literal", text: folded } }),
    () => ({ kind: "text", pattern: { kind: "literal", text: fold(text.toUpperCase()) } }),
    () => wildcard(folded, fold(text.slice(from + part.length + 1))),
    () => ({ kind: "text", pattern: { kind: "regex", source: escaped(part.slice(0, 30)) } }),
    () => ({ kind: "field", name, test: { kind: "equals", text: fold(text) } }),
    () => ({ kind: "field", name, test: { kind: "exact", text } }),
    () => ({ kind: "field", name, test: { kind: "exact", text: part }, alsoText: folded }),
    () => ({ kind: "field", name, test: { kind: "wildcard", parts: ["", folded, ""] } }),
    () => ({
      kind: "field",
      name,
      test: { kind: "wildcard", parts: [fold(text.slice(0, from)), ""] },
    }),
    () => ({ kind: "field", name, test: { kind: "exists" } }),
    () => ({ kind: "field", name: name.split(".", 1)[0]!, test: { kind: "exists" } }),
    () => ({ kind: "field", name, test: { kind: "regex", source: escaped(part.slice(0, 30)) } }),
    () => range(name, Number.isNaN(number) ? 1 : number, choose),
    () => ({
      kind: "field",
      name,
      test: { kind: "textRange", min: { value: part, isInclusive: choose.below(2) === 0 } },
    }),
    () => {
      const min = choose.below(5) as LevelRank;
      return { kind: "level", min, max: choose.of([min, 4]) };
    },
    () => ({ kind: "logger", test: { kind: "family", name: text } }),
    () => ({ kind: "type", type: choose.of(["system_log", "audit_log"]) }),
    () => parseQuery(choose.of(["level:WARNING", "-level:INFO", "logger:orchestrator", "a:1"])),
  ];
  const groups: readonly (() => FilterNode)[] = [
    () => ({ kind: "not", node: inner() }),
    () => ({ kind: "and", nodes: [inner(), inner()] }),
    () => ({ kind: "or", nodes: [inner(), inner()] }),
  ];
  return choose.of(depth < 3 ? [...kinds, ...groups, ...groups] : kinds)();
}

function wildcard(first: string, second: string): FilterNode {
  const parts = [first, second].filter((part) => part !== "");
  if (parts.length === 0) return { kind: "all" };
  return { kind: "text", pattern: { kind: "wildcard", parts } };
}

function range(name: string, bound: number, choose: Choices): FilterNode {
  const side = { value: bound, isInclusive: choose.below(2) === 0 };
  const test = choose.of([{ min: side }, { max: side }, { min: side, max: side }]);
  return { kind: "field", name, test: { kind: "range", ...test } };
}

function escaped(text: string): string {
  return text.replaceAll(/[\\^$.|?*+()[\]{}]/g, "\\$&");
}

function blockOf(request: fc.Arbitrary<JsonRequest>): fc.Arbitrary<MemoryView | undefined> {
  return fc
    .record({
      request,
      type: fc.constantFrom("system_log" as const, "audit_log" as const),
      resourceMembers: fc.subarray(["service.name", "a", "b"]),
      hasCodes: fc.boolean(),
    })
    .map(({ request: given, hasCodes, ...options }) =>
      memoryView(given, { ...options, hasCodes: () => hasCodes }),
    );
}

const block = blockOf(fc.oneof(jsonRequest, alikeRequest));
const markedBlock = blockOf(markedRequest).filter((view) => view !== undefined);

/** A value of an envelope: a leaf, or an object with its JSON. */
interface MarkedValue extends Leaf {
  readonly isObject: boolean;
}

function markedValuesOf(value: JsonValue, name = ""): MarkedValue[] {
  if (typeof value !== "object" || value === null) {
    return [{ name, text: String(value), isObject: false }];
  }
  const isList = Array.isArray(value);
  const inner = Object.entries(value).flatMap(([key, member]: [string, JsonValue]) =>
    markedValuesOf(member, isList ? name : name === "" ? key : `${name}.${key}`),
  );
  if (isList || name === "") return inner;
  return [{ name, text: JSON.stringify(value), isObject: true }, ...inner];
}

/** The names by which a value is found. */
function namesOf(name: string): string[] {
  return ["", "metadata.", "metadata.details."]
    .filter((prefix) => name.startsWith(prefix))
    .map((prefix) => name.slice(prefix.length));
}

/** Filters of all kinds that the record with this value matches. */
function nodesFor({ name, text, isObject }: MarkedValue): FilterNode[] {
  const folded = fold(text);
  const middle = folded.length >> 1;
  const inner = folded.slice(1, -1);
  const number = Number(text);
  const texts = isObject
    ? []
    : [folded, fold(text.toUpperCase()), inner, folded.slice(middle), folded.slice(0, middle)];
  const tests: ValueTest[] = [
    { kind: "exists" },
    { kind: "equals", text: folded },
    { kind: "exact", text },
    { kind: "wildcard", parts: [folded.slice(0, middle), ""] },
    { kind: "wildcard", parts: ["", folded.slice(middle)] },
    { kind: "wildcard", parts: [folded.slice(0, 1), inner, ""] },
    { kind: "regex", source: escaped(text.slice(0, 60)) },
    { kind: "textRange", min: { value: text, isInclusive: true } },
    ...(Number.isNaN(number) ? [] : [{ kind: "range" as const, min: inclusive(number) }]),
    ...(Number.isNaN(number) ? [] : [{ kind: "range" as const, max: inclusive(number) }]),
  ];
  return [
    ...texts.map((one): FilterNode => ({ kind: "text", pattern: { kind: "literal", text: one } })),
    ...(isObject ? [] : [wildcard(folded.slice(0, middle), folded.slice(middle + 1))]),
    ...namesOf(name).flatMap((one) =>
      tests.map((test): FilterNode => ({ kind: "field", name: one, test })),
    ),
  ];
}

function inclusive(value: number): { value: number; isInclusive: boolean } {
  return { value, isInclusive: true };
}

function matchesOf(view: MemoryView, node: FilterNode): number[] {
  const { isMatch } = exactFilter(node);
  return Array.from({ length: view.length }, (_, index) => index).filter((index) =>
    isMatch(view.batch(index), 0),
  );
}

function minutesOf(view: MemoryView, matches: readonly number[]): number[][] {
  const minutes: Record<number, number[]> = {};
  for (const index of matches) {
    const minute = Math.floor(Date.parse(view.batch(index).timestamp(0)) / 60_000);
    (minutes[minute] ??= [0, 0, 0, 0, 0])[view.batch(index).rank(0)]!++;
  }
  return Object.entries(minutes).map(([minute, counts]) => [Number(minute), ...counts]);
}

function valuesOf(view: MemoryView, name: string): Map<string, number> {
  const counts = new Map<string, number>();
  const field = new CountedField(name);
  for (let index = 0; index < view.length; index++) {
    for (const value of field.valuesOf(view.batch(index), 0)) {
      counts.set(value, (counts.get(value) ?? 0) + 1);
    }
  }
  return counts;
}

describe("BlockPlan", () => {
  it("leaves out no block that has a match, and counts exactly what it counts", () => {
    fc.assert(
      fc.property(block, choices, (view, choose) => {
        if (!view) return;
        const { directory, filter, leaves } = indexed(view);
        for (let count = 0; count < 8; count++) {
          const node = nodeOf(leaves, choose);
          const plan = planBlocks([node]);
          const matches = matchesOf(view, node);
          const decided = plan.decide(view.type, directory);
          const counted = plan.count(view.type, directory);
          const levels = [0, 1, 2, 3, 4].map(
            (rank) => view.ranks.filter((at) => at === rank).length,
          );
          if (matches.length > 0) {
            expect(plan.mayMatch({ type: view.type, levels })).toBe(true);
            expect(plan.candidates([BLOCK], readerOf(filter))).toEqual([BLOCK]);
            expect(decided).not.toBe("none");
          }
          if (matches.length < view.length) expect(decided).not.toBe("all");
          if (counted) expect(counted.matches).toBe(matches.length);
          if (counted?.minutes) expect(counted.minutes).toEqual(minutesOf(view, matches));
        }
      }),
      { numRuns: RUNS },
    );
  });

  it("leaves out no block for any value of any type that only one record has", () => {
    let matched = 0;
    fc.assert(
      fc.property(markedBlock, (view) => {
        const { directory, filter } = indexed(view);
        for (let index = 0; index < view.length; index++) {
          const batch = view.batch(index);
          const values = markedValuesOf(batch.envelope(0).data as unknown as JsonValue);
          for (const node of values.flatMap(nodesFor)) {
            if (!exactFilter(node).isMatch(batch, 0)) continue;
            matched++;
            const plan = planBlocks([node]);
            const found = plan.candidates([BLOCK], readerOf(filter));
            expect([node, found]).toEqual([node, [BLOCK]]);
            expect([node, plan.decide(view.type, directory)]).not.toEqual([node, "none"]);
          }
        }
      }),
      // A smaller seed is no simpler.
      { numRuns: MARKED_RUNS, endOnFailure: true },
    );
    expect(matched).toBeGreaterThan(100 * MARKED_RUNS);
  });

  it("leaves out a block for a value that none of its records has", () => {
    fc.assert(
      fc.property(markedBlock, markedBlock, (view, other) => {
        const { filter } = indexed(view);
        const { leaves } = indexed(other);
        const absent = leaves.filter(({ text }) => {
          const node: FilterNode = { kind: "text", pattern: { kind: "literal", text: fold(text) } };
          return /[a-z]{12}|^[a-f0-9]{16}/i.test(text) && matchesOf(view, node).length === 0;
        });
        const left = absent.filter(({ text }) => {
          const node: FilterNode = { kind: "text", pattern: { kind: "literal", text: fold(text) } };
          return planBlocks([node]).candidates([BLOCK], readerOf(filter)).length > 0;
        });
        expect(left.length).toBeLessThanOrEqual(absent.length / 4);
      }),
      // A smaller seed is no simpler.
      { numRuns: MARKED_RUNS, endOnFailure: true },
    );
  });

  it("tells the values of fields exactly, if it does", () => {
    fc.assert(
      fc.property(block, choices, (view, choose) => {
        if (!view) return;
        const { directory, leaves } = indexed(view);
        for (let count = 0; count < 8; count++) {
          const { name } = choose.of(choose.below(6) === 0 ? ABSENT : leaves);
          const values = directoryCounts(view.type, directory, name);
          if (values) expect(new Map(values)).toEqual(valuesOf(view, name));
        }
      }),
      { numRuns: RUNS },
    );
  });
});
