/**
 * How the records of the journal become WebSocket frames: one envelope per frame for plain clients, batches with
 * sequences and control messages for `tailgate.v1`. Encoders have no state, so that clients can share what they encode.
 */

import { getDefaultHighWaterMark } from "node:stream";
import {
  frameHeaderBytes,
  textFrame,
  writeFrameHeader,
  type Batch,
  type GapMessage,
  type ServerMessage,
} from "tailgate/plugin";

/** A range of the journal as one client gets it. */
interface Range {
  readonly from: number;
  readonly to: number;
  /** The records that the client gets; undefined if there are none. */
  readonly records: Batch | undefined;
  /** True if the records are a selection of those in the range. */
  readonly isFiltered: boolean;
  readonly gaps: readonly GapMessage[];
  readonly durable: number;
}

/** Whole frames, small enough to be written at once. */
export interface Chunk {
  /** The client's position after these frames. */
  readonly to: number;
  readonly frames: number;
  readonly bytes: Uint8Array;
}

export interface Encoder {
  /**
   * True if messages state the range of sequences that they cover, with its gaps. Otherwise clients get records only, and
   * cannot be told about gaps.
   */
  readonly reportsGaps: boolean;
  encode(range: Range): Chunk[];
  /** Encodes a control message; returns undefined if the protocol has none. */
  encodeMessage(message: ServerMessage): Uint8Array | undefined;
}

/** Encodes each envelope as one text frame. A chunk fits into a buffer of `bufferBytesMax` bytes whose socket is not full. */
export function createPlainEncoder(bufferBytesMax: number): Encoder {
  const chunkBytesMax = bufferBytesMax - getDefaultHighWaterMark(false);
  return {
    reportsGaps: false,
    encode({ to, records, isFiltered }) {
      if (records === undefined || records.length === 0) return [];
      const bytes = isFiltered ? detached(records.frames()) : records.frames();
      if (bytes.length <= chunkBytesMax) return [{ to, frames: records.length, bytes }];
      return splitFrames(bytes, records, to, chunkBytesMax);
    },
    encodeMessage: () => undefined,
  };
}

/**
 * Returns a copy of frames that are a view of a larger buffer. Records share large buffers with their neighbors; a few
 * selected ones that wait in a socket must not retain all of it.
 */
function detached(bytes: Uint8Array): Uint8Array {
  if (bytes.length === bytes.buffer.byteLength) return bytes;
  const copy = Buffer.allocUnsafeSlow(bytes.length);
  copy.set(bytes);
  return copy;
}

function splitFrames(
  bytes: Uint8Array,
  records: Batch,
  to: number,
  chunkBytesMax: number,
): Chunk[] {
  const chunks: Chunk[] = [];
  let start = 0;
  for (let first = 0, end = 0; first < records.length; first = end) {
    let length = frameBytes(records.size(end++));
    while (end < records.length) {
      const next = length + frameBytes(records.size(end));
      if (next > chunkBytesMax) break;
      length = next;
      end++;
    }
    chunks.push({
      to: end === records.length ? to : records.sequence(end - 1),
      frames: end - first,
      bytes: bytes.subarray(start, start + length),
    });
    start += length;
  }
  return chunks;
}

/** Encodes ranges as `tailgate.v1` batch messages, each preceded by the gaps in its range. */
export const batchEncoder: Encoder = {
  reportsGaps: true,
  encode(range) {
    const { records, to } = range;
    const chunks: Chunk[] = [];
    const length = records?.length ?? 0;
    let { from } = range;
    let first = 0;
    do {
      const end = batchEnd(records, first);
      const batchTo = end === length ? to : records!.sequence(end - 1);
      chunks.push(encodeBatch({ ...range, from, to: batchTo }, first, end));
      from = batchTo + 1;
      first = end;
    } while (first < length);
    return chunks;
  },
  encodeMessage: (message) => textFrame(JSON.stringify(message)),
};

/** A batch message gets no further envelope after its envelopes have reached this size. */
const ENVELOPES_BYTES_MAX = 60 << 10;

function batchEnd(records: Batch | undefined, first: number): number {
  if (records === undefined) return 0;
  let end = first;
  let bytes = 0;
  while (end < records.length) {
    bytes += records.size(end);
    if (bytes > ENVELOPES_BYTES_MAX && end > first) break;
    end++;
  }
  return end;
}

const TAIL = "]}";
const COMMA = 0x2c;

/** Encodes the records with indexes from `first` up to, but not including, `end`. Envelopes are copied, never parsed. */
function encodeBatch(
  { from, to, records, gaps, durable }: Range,
  first: number,
  end: number,
): Chunk {
  const gapFrames = gaps
    .filter((gap) => gap.from <= to && gap.to >= from)
    .map((gap) => ({ ...gap, from: Math.max(gap.from, from), to: Math.min(gap.to, to) }))
    .map((gap) => textFrame(JSON.stringify(gap)));
  const gapBytes = gapFrames.reduce((sum, { length }) => sum + length, 0);
  const sequences = sequencesField(records, first, end, to - from + 1);
  const head = `{"type":"batch","from":${from},"to":${to},"durable":${Math.min(durable, to)}${sequences},"envelopes":[`;
  const length = head.length + envelopesBytes(records, first, end) + TAIL.length;
  const bytes = Buffer.allocUnsafeSlow(gapBytes + frameBytes(length));
  let position = 0;
  for (const frame of gapFrames) position += frame.copy(bytes, position);
  position = writeFrameHeader(bytes, position, length);
  position += bytes.write(head, position, "latin1");
  for (let index = first; index < end; index++) {
    if (index > first) bytes[position++] = COMMA;
    const envelope = records!.bytes(index);
    bytes.set(envelope, position);
    position += envelope.length;
  }
  bytes.write(TAIL, position, "latin1");
  return { to, frames: gapFrames.length + 1, bytes };
}

function envelopesBytes(records: Batch | undefined, first: number, end: number): number {
  let bytes = Math.max(0, end - first - 1);
  for (let index = first; index < end; index++) bytes += records!.size(index);
  return bytes;
}

/** Returns "" if there is one record for each sequence of the range, or none at all. */
function sequencesField(
  records: Batch | undefined,
  first: number,
  end: number,
  rangeLength: number,
): string {
  if (end === first || end - first === rangeLength) return "";
  const sequences = Array.from({ length: end - first }, (_, offset) =>
    records!.sequence(first + offset),
  );
  return `,"sequences":[${sequences.join(",")}]`;
}

/** Returns the size of a frame with its header. */
function frameBytes(payloadBytes: number): number {
  return frameHeaderBytes(payloadBytes) + payloadBytes;
}
