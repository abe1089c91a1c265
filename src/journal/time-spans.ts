import type { DatabaseSync, StatementSync } from "node:sqlite";
import type { EnvelopeType } from "../plugin/index.ts";

/** So many commits make a span. */
const SPAN_ROWS = 256;

/** One search looks into so many spans: their times can overlap with what is wanted although no commit's do. */
const SEARCHED_SPANS_MAX = 64;

/** One row for each span: its last sequence, and the earliest and the latest time of its records. */
export const SPANS_SCHEMA = ["system_log", "audit_log"]
  .map(
    (type) => `CREATE TABLE IF NOT EXISTS ${type}_spans (
      last INTEGER PRIMARY KEY, time_min INTEGER NOT NULL, time_max INTEGER NOT NULL);`,
  )
  .join("\n");

/** A step of a search: where a commit lies, or how far the search has come without finding one. */
export type Step = Place | { readonly stoppedAt: number };

/** Where a lane's records of one commit are. */
export interface Place {
  readonly first: number;
  readonly last: number;
}

/** Thrown when an index answers a search with an entry that is not where it should be. */
export class OrderError extends Error {}

interface OpenSpan {
  readonly rows: number;
  readonly min: number;
  readonly max: number;
}

/**
 * The times of a lane's commits, span by span. Time need not grow with the sequence, so there is no order to look for
 * a time in; but a span without the time that is looked for is passed over in one step, however many records it has.
 */
export class TimeSpans {
  readonly #statements: SpanStatements;
  /** Of the commits behind the last span; undefined where that is to be looked up. */
  #open: OpenSpan | undefined;

  constructor(db: DatabaseSync, type: EnvelopeType) {
    this.#statements = spanStatements(db, type);
  }

  /** Takes a commit that has been inserted, in the same transaction. */
  add(last: number, min: number, max: number): void {
    const before = this.#open ?? this.#lookUp();
    const open = {
      rows: before.rows + 1,
      min: Math.min(before.min, min),
      max: Math.max(before.max, max),
    };
    if (open.rows >= SPAN_ROWS) this.#statements.insert.run(last, open.min, open.max);
    this.#open = open.rows >= SPAN_ROWS ? NO_ROWS : open;
  }

  /** To be called when a transaction was undone. */
  forget(): void {
    this.#open = undefined;
  }

  #lookUp(): OpenSpan {
    const found = this.#statements.open.get() as unknown as OpenSpan;
    // The commit that is about to be counted is among them.
    return { ...found, rows: found.rows - 1 };
  }

  deleteBelow(sequence: number): void {
    this.#statements.deleteBelow.run(sequence);
  }

  /** The commits that end at `from` or later and may have records of that time, the oldest first. */
  *upwards(from: number, since: number, until: number): Generator<Step> {
    const { spanFrom, spanBefore, commitUp } = this.#statements;
    let position = from;
    for (let searched = 0; ; searched++) {
      if (searched === SEARCHED_SPANS_MAX) {
        yield { stoppedAt: position - 1 };
        return;
      }
      const end = lastOf(spanFrom.get(position, since, until)) ?? NEWEST;
      const start = (lastOf(spanBefore.get(end)) ?? 0) + 1;
      position = Math.max(position, start);
      for (let place; (place = placeOf(commitUp.get(position, end, since, until)));) {
        if (place.last < position) throw new OrderError();
        yield place;
        position = place.last + 1;
      }
      if (end === NEWEST) return;
      position = end + 1;
    }
  }

  /** The commits that end at `from` or earlier and may have records of that time, the newest first. */
  *downwards(from: number, since: number, until: number): Generator<Step> {
    const { spanAt, spanUpTo, spanBefore, commitDown } = this.#statements;
    let position = from;
    for (let searched = 0; position > 0; searched++) {
      if (searched === SEARCHED_SPANS_MAX) {
        yield { stoppedAt: position + 1 };
        return;
      }
      const holder = lastOf(spanAt.get(position));
      const end = holder === undefined ? NEWEST : lastOf(spanUpTo.get(holder, since, until));
      if (end === undefined) return;
      const before = lastOf(spanBefore.get(end)) ?? 0;
      position = Math.min(position, end);
      for (let place; (place = placeOf(commitDown.get(before + 1, position, since, until)));) {
        if (place.last > position) throw new OrderError();
        yield place;
        position = place.first - 1;
      }
      position = before;
    }
  }
}

const NO_ROWS: OpenSpan = { rows: 0, min: Infinity, max: -Infinity };

/** Where no span has ended yet. */
const NEWEST = Number.MAX_SAFE_INTEGER;

function lastOf(row: object | undefined): number | undefined {
  return (row as { last: number } | undefined)?.last;
}

/** A damaged index entry can say that a commit begins where it cannot. */
export function placeOf(row: object | undefined): Place | undefined {
  if (row === undefined) return undefined;
  const { first, last } = row as Place;
  const isPossible = Number.isSafeInteger(first) && first >= 1 && first <= last;
  return { first: isPossible ? first : last, last };
}

interface SpanStatements {
  readonly insert: StatementSync;
  readonly open: StatementSync;
  readonly deleteBelow: StatementSync;
  readonly spanFrom: StatementSync;
  readonly spanUpTo: StatementSync;
  readonly spanAt: StatementSync;
  readonly spanBefore: StatementSync;
  readonly commitUp: StatementSync;
  readonly commitDown: StatementSync;
}

function spanStatements(db: DatabaseSync, type: EnvelopeType): SpanStatements {
  const spans = `${type}_spans`;
  // The index has all that the search needs: the records are not read.
  const commits = `${type} INDEXED BY ${type}_time`;
  const overlaps = "time_max >= ? AND time_min < ?";
  return {
    insert: db.prepare(
      `INSERT INTO ${spans} (last, time_min, time_max, crc) VALUES (?1, ?2, ?3, checked(?1, ?2, ?3))`,
    ),
    open: db.prepare(`SELECT count(*) AS rows, min(time_min) AS min, max(time_max) AS max
      FROM ${commits} WHERE last > (SELECT coalesce(max(last), 0) FROM ${spans})`),
    deleteBelow: db.prepare(`DELETE FROM ${spans} WHERE last < ?`),
    spanFrom: db.prepare(
      `SELECT last FROM ${spans} WHERE last >= ? AND ${overlaps} ORDER BY last LIMIT 1`,
    ),
    spanUpTo: db.prepare(
      `SELECT last FROM ${spans} WHERE last <= ? AND ${overlaps} ORDER BY last DESC LIMIT 1`,
    ),
    spanAt: db.prepare(`SELECT last FROM ${spans} WHERE last >= ? ORDER BY last LIMIT 1`),
    spanBefore: db.prepare(`SELECT last FROM ${spans} WHERE last < ? ORDER BY last DESC LIMIT 1`),
    commitUp: db.prepare(
      `SELECT first, last FROM ${commits} WHERE last BETWEEN ? AND ? AND ${overlaps} ORDER BY last LIMIT 1`,
    ),
    commitDown: db.prepare(
      `SELECT first, last FROM ${commits} WHERE last BETWEEN ? AND ? AND ${overlaps} ORDER BY last DESC LIMIT 1`,
    ),
  };
}
