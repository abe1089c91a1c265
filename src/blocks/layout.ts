/** How the streams of a block are stored in chunks. */

import { constants, zstdCompressSync, zstdDecompressSync } from "node:zlib";
import type { ColumnForm } from "./column-builder.ts";
import type { BlockDirectory } from "./block-view.ts";
import { DamagedChunkError } from "./block-view.ts";
import type { NodeKind, Wrapping } from "./shape.ts";

/** The streams that each block has; those of the columns follow. */
export const STREAMS = {
  /** For each record the number of sequences between the one before and its own. */
  sequences: 0,
  /** Append times in milliseconds, as differences to the one before. */
  appended: 1,
  ranks: 2,
  loggers: 3,
  /** The shape plus one; 0 for a record without. */
  shapes: 4,
  resources: 5,
  scopes: 6,
  /** The index of each record whose envelope does not have the time of its OTLP form, and its time in microseconds. */
  times: 7,
  /** The records without a shape, each after its size. */
  records: 8,
  /** The envelopes that are stored: the number of records in between, the size, the bytes. */
  envelopes: 9,
  hashes: 10,
  /** The distinct resources and scopes, each after its size. */
  distinctResources: 11,
  distinctScopes: 12,
} as const;

export const FIXED_STREAMS = Object.keys(STREAMS).length;

/** A node: wrapping, kind, tag, key, parent. */
export type StoredNode = readonly [Wrapping, NodeKind, number, string, number];
/** A column: form, number of values, number of distinct ones, number of streams. */
export type StoredColumn = readonly [ColumnForm, number, number, number];

/** What a block's directory has beside what searches read of it. */
export interface BlockLayout {
  readonly length: number;
  readonly nodes: readonly StoredNode[];
  /** For each node. */
  readonly columns: readonly StoredColumn[];
  readonly shapes: readonly (readonly number[])[];
  /** For each stream its chunk, and its size. */
  readonly streams: readonly (readonly [chunk: number, bytes: number])[];
  /** For each chunk its size before compression, and whether it is compressed. */
  readonly chunks: readonly (readonly [bytes: number, isCompressed: 0 | 1])[];
  readonly resources: number;
  readonly scopes: number;
}

export interface StoredDirectory {
  readonly layout: BlockLayout;
  readonly directory: BlockDirectory;
}

/** A smaller stream shares a chunk with others: reading a chunk takes some 20 us. */
const OWN_CHUNK_BYTES_MIN = 4 << 10;
const CHUNKS_MAX = 256;
/** The shared chunks: of the streams that each block has, and of columns. */
const SHARED_CHUNKS = 2;

/** Incompressible chunks, as of ids, are faster to read as they are. */
const COMPRESSED_SHARE_MAX = 0.95;
const COMPRESSION = { [constants.ZSTD_c_compressionLevel]: 1 };

/** Limits what is allocated for a damaged directory. */
const DIRECTORY_BYTES_MAX = 64 << 20;

/** Returns the chunks of the streams, and where each stream is. */
export function packStreams(streams: readonly Buffer[]): {
  readonly chunks: Uint8Array[];
  readonly layout: Pick<BlockLayout, "streams" | "chunks">;
} {
  const groups: Buffer[][] = Array.from({ length: SHARED_CHUNKS }, () => []);
  const places = streams.map((stream, index) => {
    let chunk = index < FIXED_STREAMS ? 0 : 1;
    if (stream.length >= OWN_CHUNK_BYTES_MIN && groups.length < CHUNKS_MAX)
      chunk = groups.push([]) - 1;
    groups[chunk]!.push(stream);
    return [chunk, stream.length] as const;
  });
  const chunks: Uint8Array[] = [];
  const sizes: (readonly [number, 0 | 1])[] = [];
  for (const group of groups) {
    const bytes = group.length === 1 ? group[0]! : Buffer.concat(group);
    const compressed = compress(bytes);
    const isSmaller = compressed.length <= COMPRESSED_SHARE_MAX * bytes.length;
    chunks.push(isSmaller ? compressed : Buffer.from(bytes));
    sizes.push([bytes.length, isSmaller ? 1 : 0]);
  }
  return { chunks, layout: { streams: places, chunks: sizes } };
}

/** Reads streams of which chunks are read once. */
export class StreamSource {
  readonly #layout: BlockLayout;
  readonly #readChunk: (index: number) => Uint8Array;
  readonly #chunks = new Map<number, Buffer>();
  readonly #starts: readonly number[];

  constructor(layout: BlockLayout, readChunk: (index: number) => Uint8Array) {
    this.#layout = layout;
    this.#readChunk = readChunk;
    const used = new Map<number, number>();
    this.#starts = layout.streams.map(([chunk, bytes]) => {
      const start = used.get(chunk) ?? 0;
      used.set(chunk, start + bytes);
      return start;
    });
  }

  /** @throws DamagedChunkError */
  read(stream: number): Buffer {
    const [chunk, bytes] = this.#layout.streams[stream]!;
    if (bytes === 0) return Buffer.alloc(0);
    const start = this.#starts[stream]!;
    return this.#chunk(chunk).subarray(start, start + bytes);
  }

  #chunk(index: number): Buffer {
    let chunk = this.#chunks.get(index);
    if (chunk === undefined) {
      const [bytes, isCompressed] = this.#layout.chunks[index]!;
      const stored = this.#readChunk(index);
      chunk =
        isCompressed === 1
          ? decompress(stored, bytes)
          : Buffer.from(stored.buffer, stored.byteOffset, stored.byteLength);
      if (chunk.length !== bytes)
        throw new DamagedChunkError(`chunk ${index} has ${chunk.length} bytes instead of ${bytes}`);
      this.#chunks.set(index, chunk);
    }
    return chunk;
  }
}

export function encodeDirectory(stored: StoredDirectory): Uint8Array {
  const json = Buffer.from(JSON.stringify(stored));
  const size = Buffer.alloc(4);
  size.writeUInt32LE(json.length);
  return Buffer.concat([size, compress(json)]);
}

/** @throws DamagedChunkError */
export function decodeDirectory(bytes: Uint8Array): StoredDirectory {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const size = bytes.length < 4 ? Infinity : view.getUint32(0, true);
  if (size > DIRECTORY_BYTES_MAX) throw new DamagedChunkError("a block's directory is damaged");
  return JSON.parse(decompress(bytes.subarray(4), size).toString()) as StoredDirectory;
}

/** With room for this much, zstd needs no buffer of its own (ZSTD_COMPRESSBOUND in zstd.h). */
function compress(bytes: Uint8Array): Buffer {
  return zstdCompressSync(bytes, {
    chunkSize: bytes.length + (bytes.length >> 8) + 512,
    params: COMPRESSION,
  });
}

/** @throws DamagedChunkError */
function decompress(bytes: Uint8Array, size: number): Buffer {
  try {
    // With room for one byte more, zlib notices the end without another chunk.
    return zstdDecompressSync(bytes, {
      chunkSize: Math.max(size + 1, 64),
      maxOutputLength: Math.max(size, 1),
    });
  } catch (error) {
    throw new DamagedChunkError("a chunk cannot be decompressed", { cause: error });
  }
}
