import { constants, zstdCompressSync, zstdDecompressSync } from "node:zlib";

/**
 * A row of the journal has a lane as it was made, which begins with the number of its form, or begins with this mark:
 * behind it come the lane's size, four bytes too, and the lane, compressed.
 */
const PACKED = 0x5a67_6c54;
const HEAD_BYTES = 8;

/** To compress less takes longer than to write it. */
const PACKED_BYTES_MIN = 16 << 10;

/** What a higher level saves of the disk costs more than it saves (test/bench/README.md). */
const PARAMS = { [constants.ZSTD_c_compressionLevel]: 1 };

/** The lane as it is to be stored: as it is, where it is small or does not get smaller. */
export function packedLane(lane: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  if (lane.length < PACKED_BYTES_MIN) return lane;
  const frame = zstdCompressSync(lane, { chunkSize: frameBytesMax(lane.length), params: PARAMS });
  if (HEAD_BYTES + frame.length >= lane.length) return lane;
  const bytes = Buffer.allocUnsafeSlow(HEAD_BYTES + frame.length);
  bytes.writeUInt32LE(PACKED, 0);
  bytes.writeUInt32LE(lane.length, 4);
  bytes.set(frame, HEAD_BYTES);
  return bytes;
}

/** With room for so much zstd works without buffers of its own (ZSTD_COMPRESSBOUND in zstd.h). */
function frameBytesMax(laneBytes: number): number {
  return laneBytes + (laneBytes >> 8) + 512;
}

/**
 * The lane that was stored as these bytes, in memory of its own.
 * @throws where they are no such lane.
 */
export function unpackedLane(bytes: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  const { buffer, byteOffset, byteLength } = bytes;
  const head = new DataView(buffer, byteOffset, byteLength);
  if (byteLength < HEAD_BYTES || head.getUint32(0, true) !== PACKED) return bytes;
  const size = head.getUint32(4, true);
  // With room for one byte more zlib sees without another piece of memory that it is at the end.
  const lane = zstdDecompressSync(bytes.subarray(HEAD_BYTES), {
    chunkSize: size + 1,
    maxOutputLength: size,
  });
  if (lane.length !== size) throw new RangeError(`${lane.length} bytes where ${size} were packed`);
  // Where it is a part of Node's pool, it cannot be handed to another thread.
  return lane.buffer.byteLength === size + 1 ? lane : new Uint8Array(lane);
}
