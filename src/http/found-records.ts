import type { Batch } from "../plugin.ts";
import type { Sink } from "./journal-walk.ts";

/** An answer with so many bytes takes no further record. */
const ANSWER_BYTES_MAX = 8 << 20;

/** The records of one answer. */
export class FoundRecords implements Sink {
  /** Each as JSON: the envelope with its sequence in front. */
  readonly records: Uint8Array[] = [];
  readonly readsEnvelopes = false;
  readonly #limit: number;
  #bytes = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  get isFull(): boolean {
    return this.records.length >= this.#limit || this.#bytes >= ANSWER_BYTES_MAX;
  }

  /** A copy: what it is a part of can be a thousand times as large. */
  take(batch: Batch, index: number): void {
    // All of the envelope but its opening brace is taken as it is.
    const head = Buffer.from(`{"sequence":${batch.sequence(index)},`);
    const record = Buffer.concat([head, batch.bytes(index).subarray(1)]);
    this.records.push(record);
    this.#bytes += record.length;
  }
}
