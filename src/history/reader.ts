import type { DatabaseSync } from "node:sqlite";
import type { StoredBlock } from "../batch/block.ts";
import { DamagedChunkError } from "../blocks/block-view.ts";
import { openBlock, type MergedBlock } from "../blocks/merged-block.ts";
import { ENVELOPE_TYPES, type EnvelopeType } from "../wire/envelope.ts";
import type { Gap } from "../plugin/index.ts";
import type { HistoryPage, HistoryQuery } from "./history.ts";
import { HistoryRows, type BlockPlace } from "./rows.ts";

/** The number of records of a page; fewer if they are large. */
const PAGE_RECORDS = 1024;
const PAGE_RECORDS_MIN = 16;
const PAGE_BYTES = 512 << 10;

/** How many times smaller records are as they are stored: a guess. */
const COMPRESSION = 6;

/** The blocks that are kept open, because the next page is in them as well. */
const OPEN_BLOCKS_MAX = 4;

const MS_MICROS = 1_000;

interface OpenBlock {
  readonly view: MergedBlock;
  readonly pageRecords: number;
}

/** A record of a page. */
interface Found {
  readonly block: OpenBlock;
  readonly place: BlockPlace;
  readonly index: number;
  readonly sequence: number;
}

/** Records of one type of a page, and how far they were looked for. */
interface Walk {
  readonly found: readonly Found[];
  readonly end: number;
  readonly gaps: readonly Gap[];
}

/** Reads pages of the history through any connection. */
export class HistoryReader {
  readonly rows: HistoryRows;
  readonly #open = new Map<number, OpenBlock>();

  constructor(db: DatabaseSync) {
    this.rows = new HistoryRows(db);
  }

  read(query: HistoryQuery): HistoryPage {
    const { from, order } = query;
    const { merged } = this.rows;
    if (from < 1 || from > merged) return { from, to: from - 1, blocks: [], gaps: [] };
    const isUpwards = order === "asc";
    const types = query.type === undefined ? ENVELOPE_TYPES : [query.type];
    const walks = types.map((type) => this.#walk(type, query, merged));
    const ends = walks.map(({ end }) => end);
    const limit = isUpwards ? Math.min(...ends) : Math.max(...ends);
    const isWithin = (sequence: number): boolean =>
      isUpwards ? sequence <= limit : sequence >= limit;
    const found = walks.flatMap((walk) => walk.found).filter(({ sequence }) => isWithin(sequence));
    found.sort((one, other) => one.sequence - other.sequence);
    if (!isUpwards) found.reverse();
    const size = Math.min(...found.map(({ block }) => block.pageRecords), PAGE_RECORDS);
    const edge = found.length > size ? found[size - 1]!.sequence : limit;
    const range = isUpwards ? { from, to: edge } : { from: edge, to: from };
    const { blocks, gaps } = this.#readRecords(found.slice(0, size));
    const damaged = [...walks.flatMap((walk) => walk.gaps), ...gaps]
      .map((gap) => ({
        ...gap,
        from: Math.max(gap.from, range.from),
        to: Math.min(gap.to, range.to),
      }))
      .filter((gap) => gap.from <= gap.to);
    const all = [...this.rows.gaps(range, query.type), ...damaged];
    return { ...range, blocks, gaps: all.sort((one, other) => one.from - other.from) };
  }

  /** Finds enough records of a type for a page. */
  #walk(type: EnvelopeType, query: HistoryQuery, merged: number): Walk {
    const isUpwards = query.order === "asc";
    const floor = this.rows.floor(type);
    const range = isUpwards
      ? { from: Math.max(query.from, floor), to: merged }
      : { from: floor, to: query.from };
    const found: Found[] = [];
    const gaps: Gap[] = [];
    for (const place of this.rows.places(type, range, query.order)) {
      if (!overlaps(place, query)) continue;
      const block = this.#openAt(place);
      if (block === undefined) {
        gaps.push({ from: place.from, to: place.to, type, reason: "damaged" });
        if (gaps.length < PAGE_RECORDS_MIN) continue;
      } else {
        for (const index of matching(block.view, range, query)) {
          found.push({ block, place, index, sequence: block.view.sequences[index]! });
        }
        if (found.length < block.pageRecords) continue;
        return { found, gaps, end: found.at(-1)!.sequence };
      }
      return { found, gaps, end: isUpwards ? place.to : place.from };
    }
    return { found, gaps, end: isUpwards ? merged : 1 };
  }

  /** Returns an open block; undefined if it is damaged. */
  #openAt({ id }: BlockPlace): OpenBlock | undefined {
    const known = this.#open.get(id);
    if (known !== undefined) {
      this.#open.delete(id);
      this.#open.set(id, known);
      return known;
    }
    try {
      const row = this.rows.block(id);
      const { records, stored } = row;
      const view = openBlock(row, row.directory, (index) => this.rows.chunk(id, index));
      // Without them no record can be found; they are read only once.
      view.sequences.at(0);
      const fitting = Math.ceil(PAGE_BYTES / ((COMPRESSION * stored) / records));
      const pageRecords = Math.max(PAGE_RECORDS_MIN, Math.min(PAGE_RECORDS, fitting));
      this.#open.set(id, { view, pageRecords });
      for (const oldest of this.#open.keys()) {
        if (this.#open.size > OPEN_BLOCKS_MAX) this.#open.delete(oldest);
      }
      return { view, pageRecords };
    } catch (error) {
      if (!(error instanceof DamagedChunkError)) throw error;
      return undefined;
    }
  }

  /** Reads records of several blocks; those that are damaged are gaps. */
  #readRecords(found: readonly Found[]): { blocks: StoredBlock[]; gaps: Gap[] } {
    const byBlock = Map.groupBy(found, ({ place }) => place.id);
    const blocks: StoredBlock[] = [];
    const gaps: Gap[] = [];
    for (const records of byBlock.values()) {
      records.sort((one, other) => one.index - other.index);
      readInto(records, blocks, gaps);
    }
    return { blocks, gaps };
  }
}

/** Reads records of one block; those that are damaged are gaps, and all others are read. */
function readInto(records: readonly Found[], blocks: StoredBlock[], gaps: Gap[]): void {
  const [first] = records;
  if (first === undefined) return;
  try {
    blocks.push(first.block.view.read(records.map(({ index }) => index)));
  } catch (error) {
    if (!(error instanceof DamagedChunkError)) throw error;
    const damaged = new Set(error.records ?? records.map(({ index }) => index));
    const lost = records.filter(({ index }) => damaged.has(index));
    if (lost.length === 0) throw error;
    for (const { sequence, place } of lost) addToGaps(gaps, sequence, place.type);
    const others = records.filter(({ index }) => !damaged.has(index));
    readInto(others, blocks, gaps);
  }
}

function addToGaps(gaps: Gap[], sequence: number, type: EnvelopeType): void {
  const last = gaps.at(-1);
  const isNext = last?.to === sequence - 1 && last.type === type;
  const from = isNext ? gaps.pop()!.from : sequence;
  gaps.push({ from, to: sequence, type, reason: "damaged" });
}

function overlaps({ timeMin, timeMax }: BlockPlace, { sinceMs, untilMs }: HistoryQuery): boolean {
  return (
    (sinceMs === undefined || timeMax >= sinceMs) && (untilMs === undefined || timeMin < untilMs)
  );
}

/** Yields the records of a block that a page may have, in the order of the query. */
function* matching(
  { sequences, times }: MergedBlock,
  { from, to }: { readonly from: number; readonly to: number },
  { order, sinceMs = -Infinity, untilMs = Infinity }: HistoryQuery,
): Generator<number> {
  let left = PAGE_RECORDS;
  const isUpwards = order === "asc";
  const start = isUpwards ? firstFrom(sequences, from) : firstFrom(sequences, to + 1) - 1;
  for (
    let index = start;
    left > 0 && index >= 0 && index < sequences.length;
    index += isUpwards ? 1 : -1
  ) {
    const sequence = sequences[index]!;
    if (sequence < from || sequence > to) return;
    const time = times[index]! / MS_MICROS;
    if (time < sinceMs || time >= untilMs) continue;
    left--;
    yield index;
  }
}

/** Returns the index of the first sequence that is not below `from`. */
function firstFrom(sequences: Float64Array, from: number): number {
  let low = 0;
  let high = sequences.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sequences[middle]! < from) low = middle + 1;
    else high = middle;
  }
  return low;
}
