import type { RecordBatch } from "./record-batch.ts";

/** Records of several batches, in their order. */
export class LaneRecords {
  readonly batches: RecordBatch[] = [];
  /** The place of each in its batch. */
  readonly indexes: number[] = [];

  get length(): number {
    return this.indexes.length;
  }

  add(batch: RecordBatch, index: number): void {
    this.batches.push(batch);
    this.indexes.push(index);
  }
}
