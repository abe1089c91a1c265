import type { LogEntry, MissingRange } from "../../client/index.ts";
import type { JsonValue } from "../../wire/envelope.ts";

/** A gap: a range of sequences that cannot be shown. */
export interface GapRow {
  readonly gap: MissingRange;
}

/** The gateway reassigned these sequences: the records that had them before were never stored and are not shown. */
export interface ResetRow {
  readonly reset: { readonly from: number; readonly to: number; readonly reason: string };
}

/** One line of a panel. */
export type PanelRow = LogEntry | GapRow | ResetRow;

export function isEntry(row: PanelRow): row is LogEntry {
  return "envelope" in row;
}

export function isGap(row: PanelRow): row is GapRow {
  return "gap" in row;
}

export function firstSequence(row: PanelRow): number {
  if (isEntry(row)) return row.sequence;
  return isGap(row) ? row.gap.from : row.reset.from;
}

/** Returns the sequence after which the list continues. */
export function lastSequence(row: PanelRow): number {
  if (isEntry(row)) return row.sequence;
  return isGap(row) ? row.gap.to : row.reset.from - 1;
}

/** Returns records and the gaps between them, ordered by sequence. */
export function toRows(entries: readonly LogEntry[], gaps: readonly MissingRange[]): PanelRow[] {
  const rows: PanelRow[] = [...entries, ...gaps.map((gap) => ({ gap }))];
  return rows.toSorted((one, other) => firstSequence(one) - firstSequence(other));
}

export interface WindowLimits {
  readonly rowsMax: number;
  /** Approximate memory, in characters; see {@link weightOf}. */
  readonly weightMax: number;
}

/**
 * A contiguous range of the log, bounded in size. Each row has an ordinal that does not change while the row is in the
 * window: prepending rows lowers the first ordinal, so a list can tell how far the rows in view have moved.
 */
export class RowWindow {
  readonly #limits: WindowLimits;
  #rows: PanelRow[] = [];
  /** Rows before this index have already been removed. */
  #start = 0;
  #weight = 0;
  /** The ordinal of the first row. */
  first = 0;

  constructor(limits: WindowLimits) {
    this.#limits = limits;
  }

  get length(): number {
    return this.#rows.length - this.#start;
  }

  at(index: number): PanelRow | undefined {
    return index < 0 ? undefined : this.#rows[this.#start + index];
  }

  get last(): PanelRow | undefined {
    return this.at(this.length - 1);
  }

  indexOf(row: PanelRow): number {
    const index = this.#rows.indexOf(row, this.#start);
    return index < 0 ? -1 : index - this.#start;
  }

  findIndex(isMatch: (row: PanelRow) => boolean): number {
    for (let index = 0; index < this.length; index++) if (isMatch(this.at(index)!)) return index;
    return -1;
  }

  append(rows: readonly PanelRow[]): void {
    for (const row of rows) {
      this.#rows.push(row);
      this.#weight += weightOf(row);
    }
  }

  prepend(rows: readonly PanelRow[]): void {
    this.#rows = [...rows, ...this.#rows.slice(this.#start)];
    this.#start = 0;
    this.first -= rows.length;
    this.#addWeight(rows, 1);
  }

  /** Replaces one row. */
  replace(index: number, rows: readonly PanelRow[]): void {
    const removed = this.#rows.splice(this.#start + index, 1, ...rows);
    this.#addWeight(rows, 1);
    this.#addWeight(removed, -1);
  }

  /** Removes and returns rows from the end for as long as they match. */
  dropEnd(isMatch: (row: PanelRow) => boolean): PanelRow[] {
    const dropped: PanelRow[] = [];
    while (this.length > 0 && isMatch(this.last!)) dropped.push(this.#rows.pop()!);
    this.#addWeight(dropped, -1);
    return dropped;
  }

  clear(): void {
    this.first += this.length;
    this.#rows = [];
    this.#start = 0;
    this.#weight = 0;
  }

  /** Removes and returns up to `count` rows from the start. */
  shift(count: number): PanelRow[] {
    const rows = this.#rows.slice(this.#start, this.#start + count);
    this.#start += rows.length;
    this.first += rows.length;
    this.#addWeight(rows, -1);
    if (this.#start * 2 > this.#rows.length) {
      this.#rows.splice(0, this.#start);
      this.#start = 0;
    }
    return rows;
  }

  /** Removes rows from the start until the limits are met; returns how many. */
  trimStart(): number {
    let weight = this.#weight;
    let count = 0;
    while (this.#isOver(this.length - count, weight)) weight -= weightOf(this.at(count++)!);
    if (count > 0) this.shift(count);
    return count;
  }

  /** Removes rows from the end until the limits are met; returns how many. */
  trimEnd(): number {
    let count = 0;
    for (; this.#isOver(this.length, this.#weight); count++) {
      this.#addWeight([this.#rows.pop()!], -1);
    }
    return count;
  }

  /** A single row is retained no matter how large it is. */
  #isOver(length: number, weight: number): boolean {
    return length > 1 && (length > this.#limits.rowsMax || weight > this.#limits.weightMax);
  }

  #addWeight(rows: readonly PanelRow[], sign: 1 | -1): void {
    for (const row of rows) this.#weight += sign * weightOf(row);
  }
}

/** The overhead of a row beside its texts, in characters. */
const ROW_WEIGHT = 200;

/** Returns about how much memory a row takes, in characters: a single record can have a megabyte. */
function weightOf(row: PanelRow): number {
  return ROW_WEIGHT + (isEntry(row) ? weightOfValue(row.envelope.data as unknown as JsonValue) : 0);
}

function weightOfValue(value: JsonValue): number {
  if (typeof value === "string") return value.length;
  if (typeof value !== "object" || value === null) return 1;
  let weight = 0;
  for (const inner of Object.values(value)) weight += 16 + weightOfValue(inner);
  return weight;
}
