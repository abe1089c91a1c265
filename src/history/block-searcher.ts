import type { DatabaseSync, StatementSync } from "node:sqlite";
import type { StoredBlock } from "../batch/block.ts";
import { DamagedChunkError, type BlockDirectory, type BlockView } from "../blocks/block-view.ts";
import {
  directoryCounts,
  planBlocks,
  type BlockPlan,
  type FilterReader,
} from "../blocks/block-plan.ts";
import { decodeDirectory, type DecodedDirectory } from "../blocks/columns/layout.ts";
import { openBlock, type MergedBlock } from "../blocks/merged-block.ts";
import { MessagePatterns } from "../blocks/patterns.ts";
import { startsWith, type BlockCounts } from "../blocks/search/block-counts.ts";
import { BlockSearch } from "../blocks/search/block-search.ts";
import { FieldCounts } from "../filter/field-counts.ts";
import type { EnvelopeType, Gap } from "../plugin/index.ts";
import type { BlockRange } from "./block-range.ts";
import type { CountOptions, HistorySearch } from "./history.ts";
import { RecentlyUsed } from "./recently-used.ts";
import { HistoryRows, type BlockRow } from "./rows.ts";
import { TYPES } from "./schema.ts";
import type {
  CountResult,
  CountTask,
  FindResult,
  FindTask,
  PlannedBlock,
  SearchPlan,
} from "./search-tasks.ts";

/** The maximum number of records of a result, and the size at which it ends. */
const RESULT_RECORDS_MAX = 2048;
const RESULT_BYTES_MAX = 4 << 20;

/** The approximate size of the runs in which records are read. The ratio of compression is a guess. */
const RUN_BYTES = 1 << 20;
const RUN_RECORDS_MAX = 1024;
const COMPRESSION = 6;

const MINUTE_MS = 60_000;

/** The patterns of messages that a result has. */
const PATTERNS_MAX = 500;

/** The directories that are kept, because most searches need them, and their size as text: about a third of their memory. */
const DIRECTORIES_MAX = 512;
const DIRECTORIES_BYTES_MAX = 8 << 20;

/** The blocks that are kept open, because the next search or page often needs the same ones, and what was read of them. */
const OPEN_BLOCKS_MAX = 8;
const OPEN_BLOCKS_BYTES_MAX = 12 << 20;

/** A block as it is listed, without reading its row. */
interface ListedBlock extends PlannedBlock {
  readonly timeMin: number;
  readonly timeMax: number;
}

/** A block and its directory. */
interface StoredRow extends DecodedDirectory {
  readonly row: BlockRow;
}

interface Match {
  readonly row: BlockRow;
  readonly view: BlockView;
  readonly index: number;
  readonly sequence: number;
}

/** Searches blocks through a connection of its own, in the calling thread. */
export class BlockSearcher {
  readonly #rows: HistoryRows;
  readonly #list: StatementSync;
  /** All blocks, if the index is damaged: nothing checks it otherwise. */
  readonly #checked: readonly (ListedBlock & { readonly type: EnvelopeType })[] | undefined;
  readonly #stored = new RecentlyUsed<StoredRow>(
    DIRECTORIES_MAX,
    DIRECTORIES_BYTES_MAX,
    ({ bytes }) => bytes,
  );
  readonly #open = new RecentlyUsed<MergedBlock>(
    OPEN_BLOCKS_MAX,
    OPEN_BLOCKS_BYTES_MAX,
    ({ retainedBytes }) => retainedBytes,
  );

  readonly #filters: FilterReader;

  constructor(db: DatabaseSync) {
    const rows = new HistoryRows(db);
    this.#rows = rows;
    this.#filters = {
      ofAll: (part) => rows.filterParts(part),
      of: (part, block) => rows.filterPart(part, block),
    };
    this.#checked = isIndexSound(db) ? undefined : [...checkedBlocks(db, rows)];
    this.#list = db.prepare(`SELECT id, first AS "from", last AS "to", time_min AS timeMin,
      time_max AS timeMax FROM block INDEXED BY block_type
      WHERE type = ? AND last >= ? AND first <= ?`);
  }

  plan(search: HistorySearch): SearchPlan {
    const { from, to, order, type, sinceMicros, untilMicros } = search;
    const since = sinceMicros === undefined ? -Infinity : Math.floor(sinceMicros / 1000);
    const until = untilMicros === undefined ? Infinity : untilMicros / 1000;
    const listed = (type === undefined ? TYPES : [type])
      .flatMap((one) => this.#listed(one, from, to))
      .filter(({ timeMin, timeMax }) => timeMax >= since && timeMin < until);
    const plan = planOf(search);
    const candidates = plan.usesFilters
      ? new Set(
          plan.candidates(
            listed.map(({ id }) => id),
            this.#filters,
          ),
        )
      : undefined;
    const timeMin = listed.reduce((least, block) => Math.min(least, block.timeMin), Infinity);
    const timeMax = listed.reduce((most, block) => Math.max(most, block.timeMax), -Infinity);
    return {
      blocks: listed
        .filter(({ id }) => candidates?.has(id) ?? true)
        .map(({ id, from: first, to: last }) => ({ id, from: first, to: last }))
        .sort((one, other) => (order === "asc" ? one.from - other.from : other.to - one.to)),
      gaps: this.#rows.gaps({ from, to }, type),
      timeMin: Math.max(timeMin, since),
      timeMax: Math.min(timeMax, until),
    };
  }

  #listed(type: EnvelopeType, from: number, to: number): readonly ListedBlock[] {
    if (this.#checked === undefined) {
      return this.#list.all(TYPES.indexOf(type), from, to) as unknown as ListedBlock[];
    }
    return this.#checked.filter(
      (block) => block.type === type && block.to >= from && block.from <= to,
    );
  }

  /** Returns undefined if a block is not there any more. */
  find({ search, range, blocks, limit }: FindTask): FindResult | undefined {
    const { order } = search;
    const blockSearch = new BlockSearch({ ...search, ...range });
    const limitMax = Math.min(limit, RESULT_RECORDS_MAX);
    const plan = planOf(search);
    const gaps: Gap[] = [];
    let matches: Match[] = [];
    for (const block of blocks) {
      const last = matches[limitMax - 1];
      if (last && isAfter(order === "asc" ? block.from : block.to, last.sequence, order)) break;
      const isThere = this.#use(block, range, gaps, (stored) => {
        const { row, directory } = stored;
        if (plan.decide(row.type, directory) === "none") return;
        const view = this.#view(stored);
        for (const index of blockSearch.find(view, order, limitMax)) {
          matches.push({ row, view, index, sequence: view.sequences[index]! });
        }
      });
      if (!isThere) return undefined;
      matches.sort((one, other) => (isAfter(one.sequence, other.sequence, order) ? 1 : -1));
      matches = matches.slice(0, limitMax);
    }
    const read = readMatches(matches);
    // A block that is gone by now is not damaged.
    if (read.gaps.length > 0 && !blocks.every(({ id }) => this.#rows.has(id))) return undefined;
    // A limit or the size of the result ends the range with the last match.
    const isWhole = read.records === matches.length && matches.length < limitMax;
    const last = matches[read.records - 1]?.sequence;
    const covered = isWhole
      ? range
      : order === "asc"
        ? { from: range.from, to: last! }
        : { from: last!, to: range.to };
    return {
      range: covered,
      gaps: gapsIn([...gaps, ...read.gaps], covered),
      matches: read.records - read.gaps.length,
      blocks: read.blocks,
    };
  }

  /** Returns undefined if a block is not there any more. */
  count(task: CountTask): CountResult | undefined {
    const { search, range, blocks, options } = task;
    const blockSearch = new BlockSearch({ ...search, ...range });
    const gaps: Gap[] = [];
    const plan = planOf(search);
    const sums = new CountSums(task);
    const fields = new FieldCounts();
    const patterns = new MessagePatterns();
    for (const block of blocks) {
      const isThere = this.#use(block, range, gaps, (stored) => {
        const { row, directory } = stored;
        const verdict = plan.decide(row.type, directory);
        if (verdict === "none") return;
        const isWhole = isAllOf(row, search, range);
        if (options.instead === "patterns") {
          sums.matches += blockSearch.addPatterns(this.#view(stored), patterns);
        } else if (options.instead === "fields") {
          if (isWhole && verdict === "all" && directory.fields) {
            for (const field of directory.fields) fields.add(field);
            sums.matches += row.records;
          } else sums.matches += blockSearch.addFields(this.#view(stored), fields);
        } else {
          const { periodMs } = task;
          sums.add(
            (isWhole && periodMs === MINUTE_MS
              ? countsOfDirectory(plan, row.type, directory, options)
              : undefined) ?? blockSearch.count(this.#view(stored), { ...options, periodMs }),
          );
        }
      });
      if (!isThere) return undefined;
    }
    return {
      range,
      gaps,
      ...sums.result(),
      fields: fields.mostFrequent(),
      patterns: patterns.top(PATTERNS_MAX),
    };
  }

  /**
   * Searches a block. What is damaged is a gap. Returns false if the block is not there any more.
   */
  #use(
    { id, from, to }: PlannedBlock,
    range: BlockRange,
    gaps: Gap[],
    search: (stored: StoredRow) => void,
  ): boolean {
    let type: EnvelopeType | undefined;
    try {
      const stored = this.#block(id);
      type = stored.row.type;
      search(stored);
    } catch (error) {
      if (!(error instanceof DamagedChunkError)) throw error;
      if (!this.#rows.has(id)) return false;
      gaps.push(...gapsIn([{ from, to, type, reason: "damaged" }], range));
    }
    return true;
  }

  #block(id: number): StoredRow {
    return this.#stored.get(id, () => {
      const row = this.#rows.block(id);
      return { row, ...decodeDirectory(row.directory) };
    });
  }

  #view(stored: StoredRow): MergedBlock {
    const { row } = stored;
    const readChunk = (index: number): Uint8Array => this.#rows.chunk(row.id, index);
    return this.#open.get(row.id, () => openBlock(row, stored, readChunk));
  }
}

const LISTED = `type, last AS "to", first AS "from", time_min AS timeMin, time_max AS timeMax, id`;
const BY_TABLE = `SELECT ${LISTED} FROM block NOT INDEXED`;
const BY_INDEX = `SELECT ${LISTED} FROM block INDEXED BY block_type WHERE type >= 0`;

/** Whether the index has what the table has. True as well if the table cannot be read: then blocks are found by the index. */
function isIndexSound(db: DatabaseSync): boolean {
  try {
    const sql = `SELECT 1 FROM (${BY_TABLE} EXCEPT ${BY_INDEX}) UNION ALL SELECT 1 FROM (${BY_INDEX} EXCEPT ${BY_TABLE})`;
    return db.prepare(sql).get() === undefined;
  } catch {
    return true;
  }
}

/** Yields the blocks that the table has; of a damaged row, what the index says of it. */
function* checkedBlocks(
  db: DatabaseSync,
  rows: HistoryRows,
): Generator<ListedBlock & { readonly type: EnvelopeType }> {
  const indexed = new Map(listedBy(db, BY_INDEX).map((block) => [block.id, block]));
  for (const listed of listedBy(db, BY_TABLE)) {
    try {
      yield rows.block(listed.id);
    } catch (error) {
      if (!(error instanceof DamagedChunkError)) throw error;
      const { type, ...block } = indexed.get(listed.id) ?? listed;
      yield { ...block, type: TYPES[type]! };
    }
  }
}

function listedBy(db: DatabaseSync, sql: string): (ListedBlock & { readonly type: number })[] {
  return db.prepare(sql).all() as unknown as (ListedBlock & { readonly type: number })[];
}

/**
 * Returns the plan that leaves out blocks. For a client that may not read all records it is that of the access filter alone:
 * the time of the response would reveal what is in blocks that the client may not read.
 */
function planOf({ filters }: HistorySearch): BlockPlan {
  return planBlocks(filters.slice(0, 1));
}

/** Whether a search is for all records of a block, as far as its range and times tell. */
function isAllOf(
  { from, to, timeMin, timeMax }: BlockRow,
  { filters, sinceMicros, untilMicros }: HistorySearch,
  range: BlockRange,
): boolean {
  if (filters.length > 1 || from < range.from || to > range.to) return false;
  const isSince = sinceMicros === undefined || 1_000 * timeMin >= sinceMicros;
  return isSince && (untilMicros === undefined || 1_000 * (timeMax + 1) <= untilMicros);
}

/** Returns the counts of a whole block if its directory tells them. */
function countsOfDirectory(
  plan: BlockPlan,
  type: EnvelopeType,
  directory: BlockDirectory,
  { fields, prefix }: CountOptions,
): BlockCounts | undefined {
  const counted = plan.count(type, directory);
  if (counted?.minutes === undefined) return undefined;
  const { matches, minutes } = counted;
  if (fields.length > 0 && plan.decide(type, directory) !== "all") return undefined;
  const values: [string, readonly (readonly [string, number])[]][] = [];
  for (const name of fields) {
    const found = directoryCounts(type, directory, name);
    if (found === undefined) return undefined;
    values.push([name, prefix === undefined ? found : found.filter(startsWith(prefix))]);
  }
  return { matches, minutes, values: Object.fromEntries(values) };
}

function isAfter(sequence: number, other: number, order: HistorySearch["order"]): boolean {
  return order === "asc" ? sequence > other : sequence < other;
}

/** Returns the parts of gaps that are in a range. */
function gapsIn(gaps: readonly Gap[], { from, to }: BlockRange): Gap[] {
  return gaps
    .map((gap) => ({ ...gap, from: Math.max(gap.from, from), to: Math.min(gap.to, to) }))
    .filter((gap) => gap.from <= gap.to);
}

/** Adds up the counts of blocks. */
class CountSums {
  readonly #task: CountTask;
  readonly #times = new Map<number, number[]>();
  readonly #values: readonly { readonly name: string; readonly sums: Map<string, number> }[];
  matches = 0;

  constructor(task: CountTask) {
    this.#task = task;
    this.#values = task.options.fields.map((name) => ({ name, sums: new Map() }));
  }

  add({ matches, minutes, values }: BlockCounts): void {
    const { periodMs, options } = this.#task;
    this.matches += matches;
    for (const [period, ...byRank] of minutes) this.#addTime(period! * periodMs, byRank);
    for (const { name, sums } of this.#values) addValues(sums, values[name]!, options.valuesMax);
  }

  #addTime(startMs: number, byRank: readonly number[]): void {
    const sums = this.#times.get(startMs);
    if (sums === undefined) this.#times.set(startMs, [...byRank]);
    else for (const [rank, count] of byRank.entries()) sums[rank]! += count;
  }

  result(): Pick<CountResult, "matches" | "times" | "values"> {
    return {
      matches: this.matches,
      times: [...this.#times].map(([start, byRank]) => [start, ...byRank]),
      values: Object.fromEntries(this.#values.map(({ name, sums }) => [name, [...sums]])),
    };
  }
}

function addValues(
  sums: Map<string, number>,
  values: readonly (readonly [value: string, count: number])[],
  valuesMax: number,
): void {
  for (const [value, count] of values) {
    const sum = sums.get(value);
    if (sum !== undefined || sums.size < valuesMax) sums.set(value, (sum ?? 0) + count);
  }
}

interface ReadRecords {
  /** How many of the matches were read, or cannot be: the first ones. */
  readonly records: number;
  readonly blocks: readonly StoredBlock[];
  /** A gap for each record that cannot be read. */
  readonly gaps: readonly Gap[];
}

/** Reads the first of some matches, as many as a result has room for. */
function readMatches(matches: readonly Match[]): ReadRecords {
  const blocks: StoredBlock[] = [];
  const gaps: Gap[] = [];
  let bytes = 0;
  let records = 0;
  while (records < matches.length && bytes < RESULT_BYTES_MAX) {
    const end = endOfRun(matches, records);
    const first = blocks.length;
    readRun(matches.slice(records, end), blocks, gaps);
    for (const block of blocks.slice(first)) bytes += block.bytes.length;
    records = end;
  }
  return { records, blocks, gaps };
}

/** Returns the end of a run of matches that are in the same block and have about RUN_BYTES. */
function endOfRun(matches: readonly Match[], start: number): number {
  const { row } = matches[start]!;
  const bytes = (COMPRESSION * row.stored) / row.records;
  const end = start + Math.max(1, Math.min(RUN_RECORDS_MAX, Math.floor(RUN_BYTES / bytes)));
  const other = matches.slice(start, end).findIndex((match) => match.row !== row);
  return other < 0 ? Math.min(end, matches.length) : start + other;
}

/** Reads records of one block; if they cannot be read together, each half by itself. */
function readRun(run: readonly Match[], blocks: StoredBlock[], gaps: Gap[]): void {
  const { view, row, sequence } = run[0]!;
  const indexes = run.map(({ index }) => index).sort((one, other) => one - other);
  try {
    blocks.push(view.read(indexes));
  } catch (error) {
    if (!(error instanceof DamagedChunkError)) throw error;
    if (run.length === 1) {
      gaps.push({ from: sequence, to: sequence, type: row.type, reason: "damaged" });
      return;
    }
    const middle = run.length >> 1;
    readRun(run.slice(0, middle), blocks, gaps);
    readRun(run.slice(middle), blocks, gaps);
  }
}
