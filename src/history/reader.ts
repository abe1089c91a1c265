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
/** Approximately. */
const PAGE_BYTES = 512 << 10;

/** How many times smaller records are as they are stored: a guess. */
const COMPRESSION = 6;

/** The blocks that are kept open, because the next page is in them as well. */
const OPEN_BLOCKS_MAX = 4;

const MS_MICROS = 1_000;

interface OpenBlock {
  readonly view: MergedBlock;
  /** The approximate size of a record. */
  readonly recordBytes: number;
}

/** Records of a block that a page may have, in the order of the query. */
interface Segment extends OpenBlock {
  readonly place: BlockPlace;
  readonly indexes: readonly number[];
  /** How many of them the page has. */
  length: number;
}

/** Records of one type that a page may have, and how far they were looked for. */
interface Walk {
  readonly segments: readonly Segment[];
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
    let limit = isUpwards ? merged : 1;
    const walks: Walk[] = [];
    for (const type of types) {
      const walk = this.#walk(type, query, limit);
      walks.push(walk);
      limit = walk.end;
    }
    const edge = choose(walks, limit, isUpwards) ?? limit;
    const range = isUpwards ? { from, to: edge } : { from: edge, to: from };
    const { blocks, gaps } = readSegments(
      walks.flatMap(({ segments }) => segments),
      query.isWithoutRequests,
    );
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

  /** Forgets the blocks that are kept open, which take much memory. */
  closeBlocks(): void {
    this.#open.clear();
  }

  /** Finds enough records of a type for a page, up to `limit`. */
  #walk(type: EnvelopeType, query: HistoryQuery, limit: number): Walk {
    const isUpwards = query.order === "asc";
    const floor = this.rows.floor(type);
    const range = isUpwards
      ? { from: Math.max(query.from, floor), to: limit }
      : { from: Math.max(limit, floor), to: query.from };
    const segments: Segment[] = [];
    const gaps: Gap[] = [];
    let left = PAGE_RECORDS;
    let bytes = 0;
    for (const place of this.rows.places(type, range, query.order)) {
      if (!overlaps(place, query)) continue;
      const block = this.#openAt(place);
      if (block === undefined) {
        gaps.push({ from: place.from, to: place.to, type, reason: "damaged" });
        if (gaps.length < PAGE_RECORDS_MIN) continue;
        const end = isUpwards ? Math.min(place.to, limit) : Math.max(place.from, limit);
        return { segments, gaps, end };
      }
      const indexes = matching(block.view, range, query, left);
      if (indexes.length === 0) continue;
      segments.push({ ...block, place, indexes, length: 0 });
      left -= indexes.length;
      bytes += indexes.length * block.recordBytes;
      if (left > 0 && bytes < PAGE_BYTES) continue;
      return { segments, gaps, end: block.view.sequences[indexes.at(-1)!]! };
    }
    return { segments, gaps, end: limit };
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
      const open = { view, recordBytes: (COMPRESSION * stored) / records };
      this.#open.set(id, open);
      for (const oldest of this.#open.keys()) {
        if (this.#open.size > OPEN_BLOCKS_MAX) this.#open.delete(oldest);
      }
      return open;
    } catch (error) {
      if (!(error instanceof DamagedChunkError)) throw error;
      return undefined;
    }
  }
}

/**
 * Chooses the first records for a page, up to `limit`. Returns the sequence of the last one if the page has no room for the
 * others.
 */
function choose(walks: readonly Walk[], limit: number, isUpwards: boolean): number | undefined {
  const sign = isUpwards ? 1 : -1;
  const cursors = walks.map(({ segments }) => new SegmentCursor(segments));
  let records = 0;
  let bytes = 0;
  let last: number | undefined;
  for (;;) {
    let next: SegmentCursor | undefined;
    for (const cursor of cursors) {
      const { sequence } = cursor;
      if (sequence === undefined || sign * (sequence - limit) > 0) continue;
      if (next === undefined || sign * (sequence - next.sequence!) < 0) next = cursor;
    }
    if (next === undefined) return undefined;
    if (records >= PAGE_RECORDS || (bytes >= PAGE_BYTES && records >= PAGE_RECORDS_MIN))
      return last;
    last = next.sequence;
    records++;
    bytes += next.take();
  }
}

/** The next record of segments to choose. */
class SegmentCursor {
  /** Undefined after the last one. */
  sequence: number | undefined;
  readonly #segments: readonly Segment[];
  #segment = 0;

  constructor(segments: readonly Segment[]) {
    this.#segments = segments;
    this.#find();
  }

  /** Chooses it; returns about how large it is. */
  take(): number {
    const segment = this.#segments[this.#segment]!;
    segment.length++;
    if (segment.length === segment.indexes.length) this.#segment++;
    this.#find();
    return segment.recordBytes;
  }

  #find(): void {
    const segment = this.#segments[this.#segment];
    this.sequence = segment?.view.sequences[segment.indexes[segment.length]!];
  }
}

interface Found {
  readonly blocks: StoredBlock[];
  readonly gaps: Gap[];
}

/** Reads the chosen records; those that are damaged are gaps. */
function readSegments(segments: readonly Segment[], isWithoutRequest = false): Found {
  const found: Found = { blocks: [], gaps: [] };
  for (const { view, place, indexes, length } of segments) {
    const chosen = indexes.slice(0, length).sort((one, other) => one - other);
    readInto(view, place.type, chosen, isWithoutRequest, found);
  }
  return found;
}

/** Reads records of one block; those that are damaged are gaps, and all others are read. */
function readInto(
  view: MergedBlock,
  type: EnvelopeType,
  indexes: readonly number[],
  isWithoutRequest: boolean,
  { blocks, gaps }: Found,
): void {
  if (indexes.length === 0) return;
  try {
    blocks.push(view.read(indexes, { isWithoutRequest }));
  } catch (error) {
    if (!(error instanceof DamagedChunkError)) throw error;
    const damaged = new Set(error.records ?? indexes);
    const lost = indexes.filter((index) => damaged.has(index));
    if (lost.length === 0) throw error;
    for (const index of lost) addToGaps(gaps, view.sequences[index]!, type);
    const others = indexes.filter((index) => !damaged.has(index));
    readInto(view, type, others, isWithoutRequest, { blocks, gaps });
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

/** Returns the first records of a block that a page may have, in the order of the query. */
function matching(
  { sequences, times }: MergedBlock,
  { from, to }: { readonly from: number; readonly to: number },
  { order, sinceMs = -Infinity, untilMs = Infinity }: HistoryQuery,
  recordsMax: number,
): number[] {
  const found: number[] = [];
  const isUpwards = order === "asc";
  const step = isUpwards ? 1 : -1;
  let index = isUpwards ? firstFrom(sequences, from) : firstFrom(sequences, to + 1) - 1;
  for (; found.length < recordsMax && index >= 0 && index < sequences.length; index += step) {
    const sequence = sequences[index]!;
    if (sequence < from || sequence > to) break;
    const time = times[index]! / MS_MICROS;
    if (time >= sinceMs && time < untilMs) found.push(index);
  }
  return found;
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
