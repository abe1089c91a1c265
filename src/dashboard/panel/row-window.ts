import { weightOf, type Row } from "./rows.ts";

export interface WindowLimits {
  readonly rowsMax: number;
  /** In about characters, see {@link weightOf}. */
  readonly weightMax: number;
}

/**
 * A piece of the log without holes, bounded at both ends. Each row has an ordinal that stays the same while the row is
 * here: rows in front lower the first ordinal, so that a list knows by how much what is being read has moved.
 */
export class RowWindow {
  readonly #limits: WindowLimits;
  #rows: Row[] = [];
  /** Rows before this index are gone already. */
  #start = 0;
  #weight = 0;
  #first = 0;

  constructor(limits: WindowLimits) {
    this.#limits = limits;
  }

  get length(): number {
    return this.#rows.length - this.#start;
  }

  /** The ordinal of the first row. */
  get first(): number {
    return this.#first;
  }

  at(index: number): Row | undefined {
    return index < 0 ? undefined : this.#rows[this.#start + index];
  }

  get last(): Row | undefined {
    return this.at(this.length - 1);
  }

  indexOf(row: Row): number {
    const index = this.#rows.indexOf(row, this.#start);
    return index < 0 ? -1 : index - this.#start;
  }

  findIndex(wanted: (row: Row) => boolean): number {
    for (let index = 0; index < this.length; index++) if (wanted(this.at(index)!)) return index;
    return -1;
  }

  append(rows: readonly Row[]): void {
    for (const row of rows) {
      this.#rows.push(row);
      this.#weight += weightOf(row);
    }
  }

  prepend(rows: readonly Row[]): void {
    this.#rows = [...rows, ...this.#rows.slice(this.#start)];
    this.#start = 0;
    this.#first -= rows.length;
    this.#weigh(rows, 1);
  }

  /** Puts rows in the place of one. */
  replace(index: number, rows: readonly Row[]): void {
    const gone = this.#rows.splice(this.#start + index, 1, ...rows);
    this.#weigh(rows, 1);
    this.#weigh(gone, -1);
  }

  /** Drops the rows at the end that fit; answers them. */
  dropEnd(isUnwanted: (row: Row) => boolean): Row[] {
    const dropped: Row[] = [];
    while (this.length > 0 && isUnwanted(this.last!)) dropped.push(this.#rows.pop()!);
    this.#weigh(dropped, -1);
    return dropped;
  }

  clear(): void {
    this.#first += this.length;
    this.#rows = [];
    this.#start = 0;
    this.#weight = 0;
  }

  /** Takes up to so many rows out at the beginning. */
  shift(count: number): Row[] {
    const rows = this.#rows.slice(this.#start, this.#start + count);
    this.#start += rows.length;
    this.#first += rows.length;
    this.#weigh(rows, -1);
    if (this.#start * 2 > this.#rows.length) {
      this.#rows.splice(0, this.#start);
      this.#start = 0;
    }
    return rows;
  }

  /** Drops what is too much at the beginning; answers how many rows. */
  trimStart(): number {
    let weight = this.#weight;
    let count = 0;
    while (this.#isOver(this.length - count, weight)) weight -= weightOf(this.at(count++)!);
    if (count > 0) this.shift(count);
    return count;
  }

  /** Drops what is too much at the end; answers how many rows. */
  trimEnd(): number {
    let count = 0;
    for (; this.#isOver(this.length, this.#weight); count++) {
      this.#weigh([this.#rows.pop()!], -1);
    }
    return count;
  }

  /** One row is kept however large it is. */
  #isOver(length: number, weight: number): boolean {
    return length > 1 && (length > this.#limits.rowsMax || weight > this.#limits.weightMax);
  }

  #weigh(rows: readonly Row[], sign: 1 | -1): void {
    for (const row of rows) this.#weight += sign * weightOf(row);
  }
}
