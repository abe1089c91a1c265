import type { Op } from "./ops.ts";

/** A shape with where the values of its records are. */
export interface Shape {
  readonly ops: readonly number[];
  /** The columns of its values, in the order of a record. */
  readonly columns: Uint16Array;
  /** For each of them, where the value of the shape's first record is in the column; those of the others follow. */
  readonly slots: Int32Array;
}

/** The records of each shape. */
interface Members {
  /** By shape, the records without one first. */
  readonly records: readonly Uint16Array[];
  readonly of: Int16Array;
  readonly rank: Uint16Array;
}

/** Which values of columns belong to which records: in a column, those of a shape and of a place in it follow each other. */
export class ShapeIndex {
  readonly shapes: readonly Shape[];
  /** The number of values of each column. */
  readonly lengths: Uint32Array;
  readonly #codes: ArrayLike<number>;
  /** The number of records of each shape, the records without one first. */
  readonly #counts: Uint32Array;
  #members: Members | undefined;

  /** `codes`: for each record 0, or its shape and one more. */
  constructor(
    ops: readonly Op[],
    shapes: readonly (readonly number[])[],
    columns: number,
    codes: ArrayLike<number>,
  ) {
    this.#codes = codes;
    const counts = new Uint32Array(shapes.length + 1);
    for (let record = 0; record < codes.length; record++) counts[codes[record]!]!++;
    this.#counts = counts;
    const lengths = new Uint32Array(columns);
    this.shapes = shapes.map((shape, index) => {
      const valued: number[] = [];
      for (const op of shape) if (ops[op]!.column >= 0) valued.push(ops[op]!.column);
      const slots = new Int32Array(valued.length);
      for (const [slot, column] of valued.entries()) {
        slots[slot] = lengths[column]!;
        lengths[column]! += counts[index + 1]!;
      }
      return { ops: shape, columns: Uint16Array.from(valued), slots };
    });
    this.lengths = lengths;
  }

  /** For each record its shape; -1 if it has none. */
  get of(): Int16Array {
    return this.#membersOnce.of;
  }

  /** For each record its index in those of its shape. */
  get rank(): Uint16Array {
    return this.#membersOnce.rank;
  }

  /** The records that have no shape. */
  get exceptions(): Uint16Array {
    return this.#counts[0] === 0 ? NO_RECORDS : this.#membersOnce.records[0]!;
  }

  /** Returns the records of a shape. */
  recordsOfShape(shape: number): Uint16Array {
    return this.#membersOnce.records[shape + 1]!;
  }

  /** Returns for each value of a column the index of its record. */
  recordsOf(column: number): Uint16Array {
    const records = new Uint16Array(this.lengths[column]!);
    for (let shape = 0; shape < this.shapes.length; shape++) {
      const { columns, slots } = this.shapes[shape]!;
      for (
        let slot = columns.indexOf(column);
        slot >= 0;
        slot = columns.indexOf(column, slot + 1)
      ) {
        records.set(this.recordsOfShape(shape), slots[slot]);
      }
    }
    return records;
  }

  get #membersOnce(): Members {
    if (this.#members) return this.#members;
    const codes = this.#codes;
    const records = Array.from(this.#counts, (count) => new Uint16Array(count));
    const of = new Int16Array(codes.length);
    const rank = new Uint16Array(codes.length);
    const counts = new Uint32Array(records.length);
    for (let record = 0; record < codes.length; record++) {
      const code = codes[record]!;
      const position = counts[code]!++;
      records[code]![position] = record;
      of[record] = code - 1;
      rank[record] = position;
    }
    return (this.#members = { records, of, rank });
  }
}

const NO_RECORDS = new Uint16Array();
