import { Readable } from "node:stream";

/** What is handed to a socket at a time, so that it shows whether its client reads. Smaller answers need no stream. */
export const WRITE_BYTES_MAX = 64 << 10;

/** A stream that goes on when the client has read what it has. */
export function streamOf(pieces: Iterable<Buffer>): Readable {
  return Readable.from(pieces, { objectMode: false, highWaterMark: WRITE_BYTES_MAX });
}

/** The same bytes in pieces of that size. */
export function* slicesOf(bytes: Buffer): Generator<Buffer> {
  for (let start = 0; start < bytes.length; start += WRITE_BYTES_MAX) {
    yield bytes.subarray(start, start + WRITE_BYTES_MAX);
  }
}
