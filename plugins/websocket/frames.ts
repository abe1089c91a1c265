import type { Batch } from "tailgate/plugin";
import type { Matcher, Wanted } from "./matcher.ts";

/** What a filter lets through of a batch. */
export interface Frames {
  readonly records: Batch;
  /** One unmasked text frame for each of the records. */
  readonly bytes: Uint8Array;
  /** The sequence after the whole batch. */
  readonly next: number;
}

/** `records`: what a filter lets through of the batch. */
export function framesOf(batch: Batch, records: Batch): Frames {
  return { records, bytes: detached(records.frames()), next: nextAfter(batch) };
}

/** All of the batch, without a copy. */
export function framesOfAll(batch: Batch): Frames {
  return { records: batch, bytes: batch.frames(), next: nextAfter(batch) };
}

function nextAfter(batch: Batch): number {
  return batch.sequence(batch.length - 1) + 1;
}

/**
 * Neighbouring records share large pieces of memory, which stay as long as one of them does. A few out of many must
 * not keep all of it while they wait in a socket; those from several places are a copy already.
 */
function detached(bytes: Uint8Array): Uint8Array {
  if (bytes.length === bytes.buffer.byteLength) return bytes;
  const copy = Buffer.allocUnsafeSlow(bytes.length);
  copy.set(bytes);
  return copy;
}

/** A batch on its way to all clients: what a filter lets through is worked out once. */
export class Flush {
  readonly first: number;
  readonly #batch: Batch;
  readonly #matcher: Matcher;
  readonly #framesByKey = new Map<string, Frames | undefined>();
  /** Filters that let everything through have it together. */
  #copyOfAll: Uint8Array | undefined;

  constructor(batch: Batch, matcher: Matcher) {
    this.first = batch.sequence(0);
    this.#batch = batch;
    this.#matcher = matcher;
  }

  /** Returns undefined if matching the filter would exceed the time budget of this turn. */
  frames(filter: Wanted): Frames | undefined {
    const { key } = filter;
    let frames = this.#framesByKey.get(key);
    if (!frames && !this.#framesByKey.has(key)) {
      frames = key === "" ? framesOfAll(this.#batch) : this.#matching(filter);
      this.#framesByKey.set(key, frames);
    }
    return frames;
  }

  #matching(filter: Wanted): Frames | undefined {
    const batch = this.#batch;
    const records = this.#matcher.matchNow(batch, filter);
    if (records === batch) return { records, bytes: this.#allCopied(), next: nextAfter(batch) };
    return records && framesOf(batch, records);
  }

  #allCopied(): Uint8Array {
    this.#copyOfAll ??= detached(this.#batch.frames());
    return this.#copyOfAll;
  }
}

/** Whole frames from `start` on, as many as `bytesMax` takes but at least one. */
export function pieceOf(
  frames: Uint8Array,
  start: number,
  bytesMax: number,
): { end: number; count: number } {
  let end = frameEnd(frames, start);
  let count = 1;
  while (end < frames.length) {
    const nextEnd = frameEnd(frames, end);
    if (nextEnd - start > bytesMax) break;
    end = nextEnd;
    count++;
  }
  return { end, count };
}

/** Where the unmasked frame that begins at `start` ends (RFC 6455, 5.2). */
function frameEnd(frames: Uint8Array, start: number): number {
  const view = new DataView(frames.buffer, frames.byteOffset + start);
  const length = view.getUint8(1);
  if (length === LENGTH_16) return start + 4 + view.getUint16(2);
  if (length === LENGTH_64) return start + 10 + Number(view.getBigUint64(2));
  return start + 2 + length;
}

/** Length fields that say: two bytes follow, eight bytes follow. */
const LENGTH_16 = 126;
const LENGTH_64 = 127;
