import type { Batch } from "tailgate/plugin";

/** What an envelope has around its `data`. */
const BEFORE_BYTES = '{"type":"system_log","data":'.length;
const BEHIND_BYTES = "}".length;

/**
 * Where the `data` of a batch of system logs lies in its frames, record by record: a piece of memory of its own for
 * each would cost twice as much as copying it.
 */
export class FramedData {
  readonly frames: Buffer;
  /** Of the current record's `data`. */
  start = 0;
  end = 0;
  readonly #batch: Batch;
  #frameEnd = 0;

  constructor(batch: Batch) {
    this.#batch = batch;
    this.frames = bufferOf(batch.frames());
  }

  /** Goes on to the next record, which is `index`; the first one is 0. */
  goTo(index: number): void {
    const size = this.#batch.size(index);
    const envelope = this.#frameEnd + headBytesOf(size);
    this.#frameEnd = envelope + size;
    this.start = envelope + BEFORE_BYTES;
    this.end = this.#frameEnd - BEHIND_BYTES;
  }
}

/** The head of an unmasked frame has the shortest form that tells its length (RFC 6455, 5.2). */
function headBytesOf(size: number): number {
  if (size < 126) return 2;
  return size <= 0xffff ? 4 : 10;
}

/** The same memory. */
export function bufferOf({ buffer, byteOffset, byteLength }: Uint8Array): Buffer {
  return Buffer.from(buffer, byteOffset, byteLength);
}
