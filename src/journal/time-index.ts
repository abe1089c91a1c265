import type { DatabaseSync } from "node:sqlite";
import type { EnvelopeType } from "../plugin/index.ts";

/** The number of commits in a span. */
const SPAN_COMMITS = 256;

/** The number of spans that one search looks into: their times can overlap with the query although no commit's do. */
const SEARCHED_SPANS_MAX = 64;

/** One row for each span: its last sequence, and the earliest and the latest time of its records. */
export const TIME_INDEX_SCHEMA = ["system_log", "audit_log"]
  .map(
    (type) => `CREATE TABLE IF NOT EXISTS ${type}_spans (
      last INTEGER PRIMARY KEY, time_min INTEGER NOT NULL, time_max INTEGER NOT NULL);`,
  )
  .join("\n");

/** A step of a search: a block, or how far the search has come without finding one. */
export type Step = BlockRange | { readonly stoppedAt: number };

/** The sequences of a commit whose records of one type are stored in a block. */
export interface BlockRange {
  readonly first: number;
  readonly last: number;
}

/** Thrown when an index returns an entry that is out of order. */
export class OrderError extends Error {}

interface OpenSpan {
  readonly commits: number;
  readonly min: number;
  readonly max: number;
}

const EMPTY_SPAN: OpenSpan = { commits: 0, min: Infinity, max: -Infinity };

/** The end of the span that has not ended yet. */
const NEWEST = Number.MAX_SAFE_INTEGER;

/**
 * The times of a type's blocks, span by span. Times need not grow with the sequence, so a search cannot bisect; but it
 * skips a span without a matching time in one step, however many records the span has.
 */
export class TimeIndex {
  readonly #statements: ReturnType<typeof prepare>;
  /** The commits after the last span; undefined if that has to be looked up. */
  #open: OpenSpan | undefined;

  constructor(db: DatabaseSync, type: EnvelopeType) {
    this.#statements = prepare(db, type);
  }

  /** Adds a block that was inserted in the same transaction. */
  add(last: number, min: number, max: number): void {
    const before = this.#open ?? this.#lookUp();
    const open = {
      commits: before.commits + 1,
      min: Math.min(before.min, min),
      max: Math.max(before.max, max),
    };
    const isComplete = open.commits >= SPAN_COMMITS;
    if (isComplete) this.#statements.insert.run(last, open.min, open.max);
    this.#open = isComplete ? EMPTY_SPAN : open;
  }

  /** To be called after a transaction was rolled back. */
  reset(): void {
    this.#open = undefined;
  }

  #lookUp(): OpenSpan {
    const found = this.#statements.open.get() as unknown as OpenSpan;
    // It includes the commit that is about to be counted.
    return { ...found, commits: found.commits - 1 };
  }

  deleteBelow(sequence: number): void {
    this.#statements.deleteBelow.run(sequence);
  }

  /** Finds the blocks from `from` on that may have records of that time, oldest first. */
  *upwards(from: number, since: number, until: number): Generator<Step> {
    const { spanFrom, spanBefore, blockUp } = this.#statements;
    let position = from;
    for (let searched = 0; ; searched++) {
      if (searched === SEARCHED_SPANS_MAX) {
        yield { stoppedAt: position - 1 };
        return;
      }
      const end = readLast(spanFrom.get(position, since, until)) ?? NEWEST;
      const start = (readLast(spanBefore.get(end)) ?? 0) + 1;
      position = Math.max(position, start);
      for (let range; (range = readRange(blockUp.get(position, end, since, until)));) {
        if (range.last < position) throw new OrderError();
        yield range;
        position = range.last + 1;
      }
      if (end === NEWEST) return;
      position = end + 1;
    }
  }

  /** Finds the blocks up to `from` that may have records of that time, newest first. */
  *downwards(from: number, since: number, until: number): Generator<Step> {
    const { spanAt, spanUpTo, spanBefore, blockDown } = this.#statements;
    let position = from;
    for (let searched = 0; position > 0; searched++) {
      if (searched === SEARCHED_SPANS_MAX) {
        yield { stoppedAt: position + 1 };
        return;
      }
      const span = readLast(spanAt.get(position));
      const end = span === undefined ? NEWEST : readLast(spanUpTo.get(span, since, until));
      if (end === undefined) return;
      const before = readLast(spanBefore.get(end)) ?? 0;
      position = Math.min(position, end);
      for (let range; (range = readRange(blockDown.get(before + 1, position, since, until)));) {
        if (range.last > position) throw new OrderError();
        yield range;
        position = range.first - 1;
      }
      position = before;
    }
  }
}

function readLast(row: object | undefined): number | undefined {
  return (row as { last: number } | undefined)?.last;
}

/** Reads a row's range. A damaged index entry can have an impossible first sequence. */
export function readRange(row: object | undefined): BlockRange | undefined {
  if (row === undefined) return undefined;
  const { first, last } = row as BlockRange;
  const isPossible = Number.isSafeInteger(first) && first >= 1 && first <= last;
  return { first: isPossible ? first : last, last };
}

function prepare(db: DatabaseSync, type: EnvelopeType) {
  const spans = `${type}_spans`;
  // The index covers the search: the records are not read.
  const blocks = `${type} INDEXED BY ${type}_time`;
  const overlaps = "time_max >= ? AND time_min < ?";
  return {
    insert: db.prepare(
      `INSERT INTO ${spans} (last, time_min, time_max, crc) VALUES (?1, ?2, ?3, checked(?1, ?2, ?3))`,
    ),
    open: db.prepare(`SELECT count(*) AS commits, min(time_min) AS min, max(time_max) AS max
      FROM ${blocks} WHERE last > (SELECT coalesce(max(last), 0) FROM ${spans})`),
    deleteBelow: db.prepare(`DELETE FROM ${spans} WHERE last < ?`),
    spanFrom: db.prepare(
      `SELECT last FROM ${spans} WHERE last >= ? AND ${overlaps} ORDER BY last LIMIT 1`,
    ),
    spanUpTo: db.prepare(
      `SELECT last FROM ${spans} WHERE last <= ? AND ${overlaps} ORDER BY last DESC LIMIT 1`,
    ),
    spanAt: db.prepare(`SELECT last FROM ${spans} WHERE last >= ? ORDER BY last LIMIT 1`),
    spanBefore: db.prepare(`SELECT last FROM ${spans} WHERE last < ? ORDER BY last DESC LIMIT 1`),
    blockUp: db.prepare(
      `SELECT first, last FROM ${blocks} WHERE last BETWEEN ? AND ? AND ${overlaps} ORDER BY last LIMIT 1`,
    ),
    blockDown: db.prepare(
      `SELECT first, last FROM ${blocks} WHERE last BETWEEN ? AND ? AND ${overlaps} ORDER BY last DESC LIMIT 1`,
    ),
  };
}
