import type { Op } from "./ops.ts";

/** A shape with where the values of its records are. */
export interface Shape {
  readonly ops: readonly number[];
  /** The columns of its values, in the order of a record. */
  readonly columns: readonly number[];
  /** For each of them, where the value of the shape's first record is in the column; those of the others follow. */
  readonly slots: Int32Array;
  /** The indexes of its records. */
  readonly records: Uint16Array;
}

/** Which values of columns belong to which records: in a column, those of a shape and of a place in it follow each other. */
export class ShapeIndex {
  readonly shapes: readonly Shape[];
  /** For each record its shape; -1 if it has none. */
  readonly of: Int16Array;
  /** For each record its index in those of its shape. */
  readonly rank: Uint16Array;
  /** The number of values of each column. */
  readonly lengths: Uint32Array;
  /** The records that have no shape. */
  readonly exceptions: Uint16Array;

  /** `codes`: for each record 0, or its shape and one more. */
  constructor(
    ops: readonly Op[],
    shapes: readonly (readonly number[])[],
    columns: number,
    codes: ArrayLike<number>,
  ) {
    const records = codes.length;
    const counts = new Uint32Array(shapes.length + 1);
    for (let record = 0; record < records; record++) counts[codes[record]!]!++;
    const members = Array.from(counts, (count) => new Uint16Array(count));
    this.of = new Int16Array(records);
    this.rank = new Uint16Array(records);
    counts.fill(0);
    for (let record = 0; record < records; record++) {
      const code = codes[record]!;
      const rank = counts[code]!++;
      members[code]![rank] = record;
      this.of[record] = code - 1;
      this.rank[record] = rank;
    }
    this.exceptions = members[0]!;
    const lengths = new Uint32Array(columns);
    this.shapes = shapes.map((shape, index) => {
      const own = members[index + 1]!;
      const valued = shape.map((op) => ops[op]!.column).filter((column) => column >= 0);
      const slots = Int32Array.from(valued, (column) => {
        const first = lengths[column]!;
        lengths[column]! += own.length;
        return first;
      });
      return { ops: shape, columns: valued, slots, records: own };
    });
    this.lengths = lengths;
  }

  /** Returns for each value of a column the index of its record. */
  recordsOf(column: number): Uint16Array {
    const records = new Uint16Array(this.lengths[column]!);
    for (const { columns, slots, records: own } of this.shapes) {
      for (let slot = 0; slot < columns.length; slot++) {
        if (columns[slot] === column) records.set(own, slots[slot]);
      }
    }
    return records;
  }
}
