import type { DatabaseSync } from "node:sqlite";
import { DamagedChunkError } from "../blocks/block-view.ts";
import type { EnvelopeType, Gap } from "../plugin/index.ts";
import type { BlockRange } from "./block-range.ts";
import { checksum, CHUNKS_MAX, TYPES } from "./schema.ts";

/** The position of a block, without its directory. */
export interface BlockPlace extends BlockRange {
  readonly id: number;
  readonly type: EnvelopeType;
  /** The times of the envelopes, in milliseconds since 1970. */
  readonly timeMin: number;
  readonly timeMax: number;
}

/** A block without its chunks and its filter. */
export interface BlockRow extends BlockPlace {
  readonly records: number;
  readonly appendedMin: number;
  readonly appendedMax: number;
  /** The number of records by rank. */
  readonly levels: readonly number[];
  readonly rules: string;
  /** The size of all that is stored of it. */
  readonly stored: number;
  readonly directory: Uint8Array;
}

/** The columns of a row that its checksum covers, beside the directory. */
export type BlockHead = Omit<BlockRow, "directory" | "type"> & { readonly type: number };

export function blockChecksum(head: BlockHead, directory: Uint8Array): number {
  const { id, type, from, to, records, timeMin, timeMax, appendedMin, appendedMax } = head;
  const numbers = [id, type, from, to, records, timeMin, timeMax, appendedMin, appendedMax];
  return checksum("block", [...numbers, head.levels, head.rules, head.stored], directory);
}

/**
 * Reads the tables of history.db through any connection. What is not as it was written is never returned: rows of blocks
 * and chunks throw DamagedChunkError, a part of a filter is then undefined.
 */
export class HistoryRows {
  readonly #statements: ReturnType<typeof prepare>;

  constructor(db: DatabaseSync) {
    this.#statements = prepare(db);
  }

  /** The sequence up to which the journal is merged. */
  get merged(): number {
    return this.#state("merged");
  }

  /** The smallest sequence from which on all records of a type are retained. */
  floor(type: EnvelopeType): number {
    return this.#state(`floor.${type}`);
  }

  #state(name: string): number {
    const row = this.#statements.state.get(name) as { value: number; crc: number } | undefined;
    if (row === undefined || checksum("state", [name, row.value]) !== row.crc) {
      throw new DamagedChunkError(`the state "${name}" of the history is damaged`);
    }
    return row.value;
  }

  /** Returns the block with that sequence or, if there is none, the next one in that order. */
  nearest(type: EnvelopeType, sequence: number, order: "asc" | "desc"): BlockPlace | undefined {
    const { from, upTo } = this.#statements;
    const number = TYPES.indexOf(type);
    const next = placeOf(from.get(number, sequence), type);
    if (order === "asc" || (next !== undefined && next.from <= sequence)) return next;
    return placeOf(upTo.get(number, sequence), type);
  }

  /** Yields the blocks of a type that have sequences of a range, in that order. */
  *places(
    type: EnvelopeType,
    { from, to }: BlockRange,
    order: "asc" | "desc" = "asc",
  ): Generator<BlockPlace> {
    const isUpwards = order === "asc";
    for (let next = isUpwards ? from : to; next >= from && next <= to;) {
      const place = this.nearest(type, next, order);
      if (place === undefined || place.from > to || place.to < from) return;
      yield place;
      next = isUpwards ? place.to + 1 : place.from - 1;
    }
  }

  /** @throws DamagedChunkError also if the block is not there any more. */
  block(id: number): BlockRow {
    const row = this.#read(`block ${id}`, () => this.#statements.block.get(id));
    const { type, directory, levels, crc, ...rest } = row as unknown as RawBlock;
    if (directory instanceof Uint8Array && typeof levels === "string") {
      const counts = levelsOf(levels);
      const head = { ...rest, type, levels: counts };
      if (blockChecksum(head, directory) === crc) {
        return { ...rest, levels: counts, type: TYPES[type]!, directory };
      }
    }
    throw new DamagedChunkError(`block ${id} of the history is damaged`);
  }

  /** Returns what decides whether a block has expired. The times of its records stand in for a damaged row. */
  expiry({ id, timeMax }: BlockPlace): { readonly appendedMax: number; readonly stored: number } {
    try {
      const { appendedMax, stored } = this.block(id);
      return { appendedMax, stored };
    } catch (error) {
      if (!(error instanceof DamagedChunkError)) throw error;
      return { appendedMax: timeMax, stored: 0 };
    }
  }

  has(id: number): boolean {
    return this.#statements.has.get(id) !== undefined;
  }

  /** @throws DamagedChunkError */
  chunk(block: number, index: number): Uint8Array<ArrayBuffer> {
    const id = CHUNKS_MAX * block + index;
    const row = this.#read(`chunk ${id}`, () => this.#statements.chunk.get(id));
    if (
      !(row["bytes"] instanceof Uint8Array) ||
      checksum("chunk", [id], row["bytes"]) !== row["crc"]
    ) {
      throw new DamagedChunkError(`chunk ${index} of block ${block} of the history is damaged`);
    }
    return row["bytes"] as Uint8Array<ArrayBuffer>;
  }

  /** Returns a part of a block's filter; undefined if there is none or it is damaged: the block has to be searched. */
  filterPart(part: number, block: number): Uint8Array<ArrayBuffer> | undefined {
    try {
      const row = this.#statements.filter.get(part, block);
      const bytes = row?.["bytes"];
      if (!(bytes instanceof Uint8Array)) return undefined;
      return checksum("filter", [part, block], bytes) === row!["crc"] ? bytes : undefined;
    } catch {
      return undefined;
    }
  }

  /** Returns a part of the filters of all blocks, but those that are damaged, by the ids of the blocks. */
  filterParts(part: number): Map<number, Uint8Array> {
    const parts = new Map<number, Uint8Array>();
    for (const row of this.#statements.filters.iterate(part)) {
      const { block, crc, bytes } = row as { block: number; crc: number; bytes: unknown };
      if (!(bytes instanceof Uint8Array)) continue;
      if (checksum("filter", [part, block], bytes) === crc) parts.set(block, bytes);
    }
    return parts;
  }

  /** Returns what is missing of a range: what has expired, and what could not be read when it was merged. */
  gaps({ from, to }: BlockRange, type?: EnvelopeType): Gap[] {
    const gaps: Gap[] = [];
    for (const one of type === undefined ? TYPES : [type]) {
      gaps.push({ from: 1, to: this.floor(one) - 1, type: one, reason: "retention" });
      for (const row of this.#statements.gaps.all(TYPES.indexOf(one), from, to)) {
        const { first, last } = row as { first: number; last: number };
        gaps.push({ from: first, to: last, type: one, reason: "damaged" });
      }
    }
    return gaps
      .map((gap) => ({ ...gap, from: Math.max(gap.from, from), to: Math.min(gap.to, to) }))
      .filter((gap) => gap.from <= gap.to)
      .sort((one, other) => one.from - other.from);
  }

  /** The size of all blocks of a type, from the block `id` on. */
  storedBytes(type: EnvelopeType): number {
    return this.#statements.stored.get(TYPES.indexOf(type))!["stored"] as number;
  }

  #read(what: string, get: () => object | undefined): Record<string, unknown> {
    let row: object | undefined;
    try {
      row = get();
    } catch (error) {
      throw new DamagedChunkError(`${what} of the history cannot be read`, { cause: error });
    }
    if (row === undefined) throw new DamagedChunkError(`${what} of the history is missing`);
    return row as Record<string, unknown>;
  }
}

type RawBlock = Omit<BlockHead, "levels"> & {
  readonly levels: unknown;
  readonly crc: number;
  readonly directory: unknown;
};

function levelsOf(text: string): number[] {
  try {
    return JSON.parse(text) as number[];
  } catch {
    return [];
  }
}

function placeOf(row: object | undefined, type: EnvelopeType): BlockPlace | undefined {
  return row && { ...(row as Omit<BlockPlace, "type">), type };
}

function prepare(db: DatabaseSync) {
  const place = 'id, first AS "from", last AS "to", time_min AS timeMin, time_max AS timeMax';
  const blocks = "block INDEXED BY block_type WHERE type = ?";
  return {
    state: db.prepare("SELECT value, crc FROM state WHERE name = ?"),
    from: db.prepare(`SELECT ${place} FROM ${blocks} AND last >= ? ORDER BY last LIMIT 1`),
    upTo: db.prepare(`SELECT ${place} FROM ${blocks} AND last < ? ORDER BY last DESC LIMIT 1`),
    block: db.prepare(`SELECT block.${place}, type, records, appended_min AS appendedMin,
      appended_max AS appendedMax, levels, text AS rules, stored, crc, directory
      FROM block JOIN rules ON rules.id = block.rules WHERE block.id = ?`),
    has: db.prepare("SELECT 1 FROM block WHERE id = ?"),
    chunk: db.prepare("SELECT crc, bytes FROM chunk WHERE id = ?"),
    filter: db.prepare("SELECT crc, bytes FROM filter WHERE part = ? AND block = ?"),
    filters: db.prepare("SELECT block, crc, bytes FROM filter WHERE part = ?"),
    gaps: db.prepare("SELECT first, last FROM gap WHERE type = ? AND last >= ? AND first <= ?"),
    stored: db.prepare("SELECT coalesce(sum(stored), 0) AS stored FROM block WHERE type = ?"),
  };
}
