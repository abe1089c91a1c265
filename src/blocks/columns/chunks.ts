/**
 * The parts of a block are put into chunks, which are what is read at once: small ones share a chunk, as each costs a query.
 * A chunk is compressed unless that saves nothing.
 */

// Not by name: Node versions without zstd load this module, and then report that they are unsupported.
import zlib from "node:zlib";
import { DamagedChunkError } from "../block-view.ts";
import { FormatError } from "./values.ts";

const CHUNKS_MAX = 256;
/** A smaller part shares a chunk with others. */
const PART_BYTES_MIN = 4 << 10;
/** What is larger cannot be what was written. */
const CHUNK_BYTES_MAX = 1 << 30;

/** A higher level costs more than the disk space that it saves is worth. */
const COMPRESSION = { [zlib.constants.ZSTD_c_compressionLevel]: 1 };
const COMPRESSED_SHARE_MAX = 0.97;

/** The position of a part: the chunk, and its position and size in it. */
export type PartPlace = readonly [chunk: number, start: number, size: number];

export interface Packed {
  readonly chunks: Uint8Array[];
  /** The sizes of the chunks before they were compressed. */
  readonly sizes: number[];
  readonly places: PartPlace[];
}

export function pack(parts: readonly Buffer[]): Packed {
  const bySize = [...parts.keys()].toSorted(
    (one, other) => parts[other]!.length - parts[one]!.length,
  );
  const alone = bySize.filter((part) => parts[part]!.length >= PART_BYTES_MIN);
  const own = new Set(alone.slice(0, CHUNKS_MAX - 1));
  const shared = [...parts.keys()].filter((part) => !own.has(part));
  const groups = [shared, ...[...own].toSorted((one, other) => one - other).map((part) => [part])];
  const places: PartPlace[] = [];
  const raw = groups.map((group, chunk) => {
    let start = 0;
    for (const part of group) {
      const size = parts[part]!.length;
      places[part] = [chunk, start, size];
      start += size;
    }
    const [first, ...others] = group;
    if (first !== undefined && others.length === 0) return parts[first]!;
    return Buffer.concat(group.map((part) => parts[part]!));
  });
  return { chunks: raw.map(compress), sizes: raw.map(({ length }) => length), places };
}

export function compress(bytes: Buffer): Uint8Array {
  const compressed = zlib.zstdCompressSync(bytes, {
    chunkSize: bytes.length + (bytes.length >> 8) + 512,
    params: COMPRESSION,
  });
  // The bytes may be in memory that is used again.
  return compressed.length <= COMPRESSED_SHARE_MAX * bytes.length ? compressed : Buffer.from(bytes);
}

/** @throws DamagedChunkError */
function decompress(bytes: Uint8Array, size: number): Buffer {
  if (!(size <= CHUNK_BYTES_MAX)) throw new DamagedChunkError(`a chunk has ${size} bytes`);
  if (bytes.length === size) return Buffer.from(bytes.buffer, bytes.byteOffset, size);
  let raw: Buffer | undefined;
  try {
    // With room for one byte more, zlib notices the end without allocating another chunk.
    raw = zlib.zstdDecompressSync(bytes, {
      chunkSize: Math.max(64, size + 1),
      maxOutputLength: size,
    });
  } catch (error) {
    throw new DamagedChunkError("a chunk cannot be decompressed", { cause: error });
  }
  if (raw.length !== size) throw new DamagedChunkError("a chunk has another size");
  return raw;
}

/** Reads parts; a chunk is read and decompressed once. */
export class PartReader {
  readonly #places: readonly PartPlace[];
  readonly #sizes: readonly number[];
  readonly #readChunk: (index: number) => Uint8Array;
  readonly #chunks = new Map<number, Buffer>();
  /** The size of the chunks that were read, decompressed. */
  bytes = 0;

  constructor(
    { places, sizes }: { readonly places: readonly PartPlace[]; readonly sizes: readonly number[] },
    readChunk: (index: number) => Uint8Array,
  ) {
    this.#places = places;
    this.#sizes = sizes;
    this.#readChunk = readChunk;
  }

  /** @throws DamagedChunkError */
  part(index: number): Buffer {
    const [chunk, start, size] = this.#places[index] ?? [];
    if (chunk === undefined) throw new FormatError(`there is no part ${index}`);
    let bytes = this.#chunks.get(chunk);
    if (bytes === undefined) {
      bytes = decompress(this.#readChunk(chunk), this.#sizes[chunk] ?? NaN);
      this.#chunks.set(chunk, bytes);
      this.bytes += bytes.length;
    }
    return bytes.subarray(start, start! + size!);
  }
}
