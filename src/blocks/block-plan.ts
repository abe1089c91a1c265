/**
 * Which blocks can have records that match a search's filters: by what is known of a block from its row, its filter and its
 * directory, in this order. A block that is left out surely has none.
 */

import { wildcardTest } from "../filter/text-search.ts";
import { compileValueTest, type TestValue } from "../filter/value-test.ts";
import { isSameOrChild, LEVELS, type EnvelopeType } from "../wire/envelope.ts";
import { FACETS } from "../wire/fields.ts";
import type { FieldNode, FilterNode, LoggerNode } from "../wire/query/ast.ts";
import type { BlockDirectory, FieldSummary } from "./block-view.ts";
import { mayHave, partOf } from "./gram-filter.ts";
import type { RequiredGram } from "./grams.ts";
import { requiredGrams, type GramRequirement } from "./required-grams.ts";

/** What a row says of its block. */
export interface BlockHead {
  readonly type: EnvelopeType;
  /** The number of records by rank. */
  readonly levels: readonly number[];
}

/** Reads the filters of blocks. */
export interface FilterReader {
  /** Returns a part of the filters of all blocks that have one, by the blocks' ids. */
  ofAll(part: number): ReadonlyMap<number, Uint8Array>;
  /** Returns a part of a block's filter; undefined if it has none, or it is damaged. */
  of(part: number, block: number): Uint8Array | undefined;
}

/** How many records of a block match. */
export type BlockVerdict = "none" | "some" | "all";

/** Counts of a block that its directory tells exactly. */
export interface DirectoryCounts {
  readonly matches: number;
  /** As in the directory; undefined if it does not tell them. */
  readonly minutes: readonly (readonly number[])[] | undefined;
}

export function planBlocks(filters: readonly FilterNode[]): BlockPlan {
  return new BlockPlan(filters);
}

/** With more blocks than that, a part of all filters is read at once. */
const SINGLE_READS_MAX = 40;
/** Parts of all filters that are read at most: what is left after them has frequent words. */
const WHOLE_READS_MAX = 4;

export class BlockPlan {
  readonly #node: FilterNode;
  readonly #grams: GramRequirement | undefined;
  readonly #tests = new Tests();

  constructor(filters: readonly FilterNode[]) {
    this.#node = filters.length === 1 ? filters[0]! : { kind: "and", nodes: filters };
    this.#grams = requiredGrams(this.#node);
  }

  /** Whether filters can leave out blocks, so that {@link candidates} is worth a call. */
  get usesFilters(): boolean {
    return this.#grams !== undefined;
  }

  /** Whether any record of a block can match, as far as its row tells. */
  mayMatch(head: BlockHead): boolean {
    return this.#verdicts(cellsOfHead(head), head.type, undefined).some(
      ({ verdict }) => verdict > NO,
    );
  }

  /** Returns those of some blocks whose filters do not exclude that a record matches, in their order. */
  candidates(ids: readonly number[], reader: FilterReader): number[] {
    if (!this.#grams) return [...ids];
    return new FilterScan(reader).remaining(this.#grams, ids);
  }

  /** Tells how many records of a block match, as far as its directory tells. */
  decide(type: EnvelopeType, directory: BlockDirectory): BlockVerdict {
    const verdicts = this.#verdicts(cellsOf(directory), type, directory);
    if (verdicts.every(({ verdict }) => verdict === NO)) return "none";
    return verdicts.every(({ verdict }) => verdict === ALL) ? "all" : "some";
  }

  /** Counts the matches of a whole block by its directory; undefined if it does not tell. */
  count(type: EnvelopeType, directory: BlockDirectory): DirectoryCounts | undefined {
    const verdicts = this.#verdicts(cellsOf(directory), type, directory);
    if (verdicts.some(({ verdict }) => verdict === SOME)) return undefined;
    const matches = verdicts.filter(({ verdict }) => verdict === ALL);
    return {
      matches: matches.reduce((sum, { records }) => sum + records, 0),
      minutes: minutesOf(directory, verdicts),
    };
  }

  #verdicts(
    cells: readonly Cell[],
    type: EnvelopeType,
    directory: BlockDirectory | undefined,
  ): readonly (Cell & { readonly verdict: Verdict })[] {
    const evaluator = new DirectoryEvaluator(type, directory, this.#tests);
    return cells.map((cell) => ({ ...cell, verdict: evaluator.verdict(this.#node, cell) }));
  }
}

/** The records of a block with one logger and one level. */
interface Cell {
  /** Undefined if it may be any. */
  readonly logger: string | undefined;
  readonly rank: number;
  readonly records: number;
}

function cellsOfHead({ levels }: BlockHead): Cell[] {
  return [...levels.entries()]
    .filter(([, records]) => records > 0)
    .map(([rank, records]) => ({ logger: undefined, rank, records }));
}

function cellsOf({ loggers, loggerLevels }: BlockDirectory): Cell[] {
  return loggers.flatMap((logger, index) =>
    [...loggerLevels[index]!.entries()]
      .filter(([, records]) => records > 0)
      .map(([rank, records]) => ({ logger, rank, records })),
  );
}

/** Returns the minutes' counts of the records that match; undefined if only some loggers' records of a level do. */
function minutesOf(
  { minutes }: BlockDirectory,
  verdicts: readonly (Cell & { readonly verdict: Verdict })[],
): number[][] | undefined {
  const ofRank = LEVELS.map((_, rank) => verdicts.filter((cell) => cell.rank === rank));
  if (ofRank.some((cells) => cells.some(({ verdict }) => verdict !== cells[0]!.verdict))) {
    return undefined;
  }
  return minutes
    .map(([minute, ...counts]) => [
      minute!,
      ...counts.map((count, rank) => (ofRank[rank]![0]?.verdict === ALL ? count : 0)),
    ])
    .filter(([, ...counts]) => counts.some((count) => count > 0));
}

/** How many records of a cell match: numbers, so that AND is the least and OR the greatest of them. */
type Verdict = typeof NO | typeof SOME | typeof ALL;
const NO = 0;
const SOME = 1;
const ALL = 2;

class DirectoryEvaluator {
  readonly #type: EnvelopeType;
  readonly #directory: BlockDirectory | undefined;
  readonly #tests: Tests;
  readonly #fields = new Map<FieldNode, Verdict>();

  constructor(type: EnvelopeType, directory: BlockDirectory | undefined, tests: Tests) {
    this.#type = type;
    this.#directory = directory;
    this.#tests = tests;
  }

  verdict(node: FilterNode, cell: Cell): Verdict {
    switch (node.kind) {
      case "all":
        return ALL;
      case "and": {
        let least: Verdict = ALL;
        for (const inner of node.nodes)
          least = Math.min(least, this.verdict(inner, cell)) as Verdict;
        return least;
      }
      case "or": {
        let greatest: Verdict = NO;
        for (const inner of node.nodes) {
          greatest = Math.max(greatest, this.verdict(inner, cell)) as Verdict;
        }
        return greatest;
      }
      case "not":
        return (ALL - this.verdict(node.node, cell)) as Verdict;
      case "type":
        return node.type === this.#type ? ALL : NO;
      case "level":
        return cell.rank >= node.min && cell.rank <= node.max ? ALL : NO;
      case "logger":
        if (cell.logger === undefined) return SOME;
        return this.#tests.ofLogger(node)(cell.logger) ? ALL : NO;
      case "text":
        return SOME;
      default:
        return this.#field(node);
    }
  }

  /** The same for all cells. */
  #field(node: FieldNode): Verdict {
    let verdict = this.#fields.get(node);
    if (verdict === undefined) this.#fields.set(node, (verdict = this.#ofField(node)));
    return verdict;
  }

  #ofField(node: FieldNode): Verdict {
    if (node.alsoText !== undefined || !this.#directory) return SOME;
    const summaries = summariesOf(this.#directory, node.name);
    if (!summaries) return SOME;
    return summaries.some((summary) => this.#mayMatch(node, summary)) ? SOME : NO;
  }

  #mayMatch(node: FieldNode, summary: FieldSummary): boolean {
    const { test } = node;
    if (test.kind === "exists") return true;
    const { min, max, values, types } = summary;
    // The JSON of objects and lists is not there.
    const isComplete = !types.includes("list") && !types.includes("other");
    if (test.kind === "range") {
      if (min !== undefined && test.max && min > test.max.value) return false;
      if (max !== undefined && test.min && max < test.min.value) return false;
    }
    if (!values || !isComplete) return true;
    const passes = this.#tests.ofField(node);
    return values.some(([value]) => passes(value));
  }
}

/** The tests of a plan's nodes, made once for all blocks. */
class Tests {
  readonly #fields = new Map<FieldNode, TestValue>();
  readonly #loggers = new Map<LoggerNode, (name: string) => boolean>();

  ofField(node: FieldNode): TestValue {
    let test = this.#fields.get(node);
    if (!test) this.#fields.set(node, (test = compileValueTest(node.test)));
    return test;
  }

  ofLogger(node: LoggerNode): (name: string) => boolean {
    let test = this.#loggers.get(node);
    if (!test) this.#loggers.set(node, (test = loggerTest(node)));
    return test;
  }
}

function loggerTest({ test }: LoggerNode): (name: string) => boolean {
  return test.kind === "family"
    ? (name) => isSameOrChild(name, test.name)
    : wildcardTest(test.parts);
}

/** Names of the resource's and the scope's attributes, which directories do not have, and of elements of lists. */
const NOT_LISTED = /^(?:resource|scope)\.|(?:^|\.)(?:\d+|length)(?:\.|$)/;

/** What may be left out of a field's name. */
const PREFIXES = ["", "metadata.", "metadata.details."];

/**
 * Returns all that a directory has of the fields that a name denotes, with the objects that have members; undefined if it
 * does not tell.
 */
function summariesOf({ fields }: BlockDirectory, name: string): FieldSummary[] | undefined {
  if (!fields || NOT_LISTED.test(name)) return undefined;
  const names = PREFIXES.map((prefix) => prefix + name);
  const found: FieldSummary[] = [];
  for (const field of fields) {
    if (names.includes(field.name)) found.push(field);
    else if (names.some((whole) => field.name.startsWith(`${whole}.`))) {
      found.push({ name, types: ["other"], records: field.records });
    }
  }
  return found;
}

/**
 * Returns the values of a field with the number of records of each, of a whole block; none if no record has it. Undefined
 * if the directory does not tell.
 */
function directoryValues(
  directory: BlockDirectory,
  name: string,
): readonly (readonly [value: string, records: number])[] | undefined {
  const summaries = summariesOf(directory, name);
  if (!summaries || summaries.length === 0) return summaries && [];
  const [only] = summaries;
  return summaries.length === 1 ? only!.values : undefined;
}

/**
 * Returns the values by which the records of a whole block are counted ({@link CountedField}) with the number of records of
 * each; undefined if the directory does not tell.
 */
export function directoryCounts(
  type: EnvelopeType,
  directory: BlockDirectory,
  name: string,
): readonly (readonly [value: string, records: number])[] | undefined {
  const { loggers, loggerLevels } = directory;
  switch (name) {
    case "type":
      return [[type, sumOf(loggerLevels.map((counts) => sumOf(counts)))]];
    case "level":
      return LEVELS.map((level, rank): [string, number] => [
        level,
        sumOf(loggerLevels.map((counts) => counts[rank]!)),
      ]).filter(([, records]) => records > 0);
    case "logger":
      return loggers.map((logger, index) => [logger, sumOf(loggerLevels[index]!)]);
  }
  if (FACETS.some((facet) => facet === name)) {
    const found = summariesOf(directory, name);
    const wanted = type === "audit_log" ? [name, `metadata.${name}`] : [name];
    const isOwn = (summary: FieldSummary): boolean =>
      wanted.includes(summary.name) && summary.types.every((one) => one === "string");
    if (!found?.every(isOwn)) return undefined;
  }
  return directoryValues(directory, name);
}

function sumOf(counts: readonly number[]): number {
  return counts.reduce((sum, one) => sum + one, 0);
}

/** Tests the grams of blocks. */
class FilterScan {
  readonly #reader: FilterReader;
  readonly #wholes = new Map<number, ReadonlyMap<number, Uint8Array>>();

  constructor(reader: FilterReader) {
    this.#reader = reader;
  }

  remaining(required: GramRequirement, ids: readonly number[]): number[] {
    switch (required.kind) {
      case "grams":
        return this.#withGrams(required.grams, ids);
      case "and": {
        let left = [...ids];
        for (const part of required.parts) left = this.remaining(part, left);
        return left;
      }
      default: {
        const found = new Set<number>();
        for (const part of required.parts) {
          const rest = ids.filter((id) => !found.has(id));
          for (const id of this.remaining(part, rest)) found.add(id);
        }
        return ids.filter((id) => found.has(id));
      }
    }
  }

  #withGrams(grams: readonly RequiredGram[], ids: readonly number[]): number[] {
    let left = [...ids];
    for (const gram of this.#inOrder(grams)) {
      const part = partOf(gram);
      const whole = this.#wholes.get(part) ?? this.#readWhole(part, left.length);
      // The rest of the grams is only worth reading for few blocks.
      if (!whole && left.length > SINGLE_READS_MAX) continue;
      left = left.filter((id) => {
        const bytes = whole ? whole.get(id) : this.#reader.of(part, id);
        return bytes === undefined || mayHave(bytes, gram);
      });
    }
    return left;
  }

  /** Returns the grams that every filter tells of first, and of these the ones whose parts are read already. */
  #inOrder(grams: readonly RequiredGram[]): readonly RequiredGram[] {
    const cost = (gram: RequiredGram): number =>
      2 * gram.needs + (this.#wholes.has(partOf(gram)) ? 0 : 1);
    return grams.toSorted((one, other) => cost(one) - cost(other));
  }

  #readWhole(part: number, blocks: number): ReadonlyMap<number, Uint8Array> | undefined {
    if (blocks <= SINGLE_READS_MAX || this.#wholes.size >= WHOLE_READS_MAX) return undefined;
    const whole = this.#reader.ofAll(part);
    this.#wholes.set(part, whole);
    return whole;
  }
}
