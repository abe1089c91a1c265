/**
 * The layout of a block: what its columns are, and where its parts are in its chunks. It is stored after the directory, both
 * as JSON, compressed.
 */

// Not by name: Node versions without zstd load this module, and then report that they are unsupported.
import zlib from "node:zlib";
import { BLOCK_RECORDS_MAX, DamagedChunkError, type BlockDirectory } from "../block-view.ts";
import { compress, type PartPlace } from "./chunks.ts";
import type { Op } from "./ops.ts";
import type { ColumnHead } from "./splitter.ts";

/** The version of the format. */
export const BLOCK_FORMAT = 1;

/** The parts that each block has; those of the columns follow. */
export const PARTS = {
  sequences: 0,
  appended: 1,
  times: 2,
  /** For each record 0, or its shape and one more. */
  shapes: 3,
  ranks: 4,
  loggers: 5,
  resourceCodes: 6,
  scopeCodes: 7,
  resources: 8,
  scopes: 9,
  /** The records without a shape. */
  exceptions: 10,
  /** Their envelopes; empty if the rules make it. */
  envelopes: 11,
  hashes: 12,
} as const;
export const COLUMN_PARTS = 13;

export interface BlockLayout {
  readonly records: number;
  readonly resources: number;
  readonly scopes: number;
  readonly ops: readonly Op[];
  readonly columns: readonly ColumnHead[];
  /** The number of distinct values of each column; 0 if each value is stored by itself. */
  readonly distinct: readonly number[];
  /** For each shape its operations. */
  readonly shapes: readonly (readonly number[])[];
  /** The sizes of the chunks before they were compressed. */
  readonly sizes: readonly number[];
  readonly places: readonly PartPlace[];
}

type JsonOp = readonly [tag: number, key: string | null, kind: Op["kind"], column: number];
type JsonColumn = readonly [
  place: ColumnHead["place"],
  path: readonly string[],
  kind: ColumnHead["kind"],
  isListed: 0 | 1,
  distinct: number,
];

/** The layout as it is stored. */
interface JsonLayout extends Pick<BlockLayout, "records" | "resources" | "scopes" | "sizes"> {
  readonly ops: readonly JsonOp[];
  readonly columns: readonly JsonColumn[];
  /** For each shape the number of operations that it begins with as the one before, then its others. */
  readonly shapes: readonly (readonly number[])[];
  /** The size of each part, and its chunk; they are in the order of the parts. */
  readonly places: readonly (readonly [chunk: number, size: number])[];
}

const HEAD_BYTES = 8;
/** What is larger cannot be what was written. */
const DIRECTORY_BYTES_MAX = 64 << 20;

/** Returns the bytes of a directory and a layout: their sizes, four bytes each, then both, compressed. */
export function encodeDirectory(directory: BlockDirectory, layout: BlockLayout): Uint8Array {
  const texts = [directory, jsonOf(layout)].map((part) => Buffer.from(JSON.stringify(part)));
  const head = Buffer.alloc(HEAD_BYTES);
  for (const [index, { length }] of texts.entries()) head.writeUInt32LE(length, 4 * index);
  return Buffer.concat([head, compress(Buffer.concat(texts))]);
}

/** What {@link encodeDirectory} has written. The layout, which most searches do not need, is decoded at each call. */
export interface DecodedDirectory {
  readonly directory: BlockDirectory;
  readonly layout: () => BlockLayout;
  /** The size of both as text. */
  readonly bytes: number;
}

/** @throws DamagedChunkError */
export function decodeDirectory(bytes: Uint8Array): DecodedDirectory {
  const { buffer, byteOffset, byteLength } = bytes;
  const all = Buffer.from(buffer, byteOffset, byteLength);
  try {
    const first = all.readUInt32LE(0);
    const size = first + all.readUInt32LE(4);
    if (size > DIRECTORY_BYTES_MAX) throw new RangeError(`it has ${size} bytes`);
    const compressed = all.subarray(HEAD_BYTES);
    const texts =
      compressed.length === size
        ? compressed
        : zlib.zstdDecompressSync(compressed, { chunkSize: size + 64, maxOutputLength: size });
    const directory = JSON.parse(texts.toString("utf8", 0, first)) as BlockDirectory;
    if (directory.format !== BLOCK_FORMAT) {
      throw new RangeError(`its format is ${directory.format}`);
    }
    return { directory, layout: () => layoutOf(texts.toString("utf8", first)), bytes: size };
  } catch (error) {
    throw new DamagedChunkError("the directory of a block cannot be read", { cause: error });
  }
}

function layoutOf(text: string): BlockLayout {
  try {
    const layout = fromJson(JSON.parse(text) as JsonLayout);
    check(layout);
    return layout;
  } catch (error) {
    throw new DamagedChunkError("the layout of a block cannot be read", { cause: error });
  }
}

function jsonOf(layout: BlockLayout): JsonLayout {
  const { records, resources, scopes, sizes, ops, columns, distinct, shapes, places } = layout;
  return {
    records,
    resources,
    scopes,
    sizes,
    ops: ops.map(({ tag, key, kind, column }) => [tag, key ?? null, kind, column]),
    columns: columns.map(({ place, path, kind, isListed }, index) => [
      place,
      path,
      kind,
      isListed ? 1 : 0,
      distinct[index]!,
    ]),
    shapes: shapes.map((shape, index) => {
      const common = commonLength(shape, shapes[index - 1] ?? []);
      return [common, ...shape.slice(common)];
    }),
    places: places.map(([chunk, , size]) => [chunk, size]),
  };
}

function commonLength(one: readonly number[], other: readonly number[]): number {
  let length = 0;
  while (length < one.length && one[length] === other[length]) length++;
  return length;
}

function fromJson(json: JsonLayout): BlockLayout {
  const { records, resources, scopes, sizes } = json;
  let last: readonly number[] = [];
  const shapes = json.shapes.map(
    ([common, ...rest]) => (last = [...last.slice(0, common), ...rest]),
  );
  const ends: number[] = [];
  const places = json.places.map(([chunk, size]): PartPlace => {
    const start = ends[chunk] ?? 0;
    ends[chunk] = start + size;
    return [chunk, start, size];
  });
  return {
    records,
    resources,
    scopes,
    sizes,
    ops: json.ops.map(([tag, key, kind, column]) => ({ tag, key: key ?? undefined, kind, column })),
    columns: json.columns.map(([place, path, kind, isListed]) => ({
      place,
      path,
      kind,
      isListed: isListed === 1,
    })),
    distinct: json.columns.map((column) => column[4]),
    shapes,
    places,
  };
}

/** @throws RangeError */
function check({ records, ops, columns, distinct, shapes }: BlockLayout): void {
  if (!(records >= 1 && records <= BLOCK_RECORDS_MAX)) throw new RangeError(`${records} records`);
  for (const { column } of ops) {
    if (column !== -1 && columns[column] === undefined) throw new RangeError(`column ${column}`);
  }
  for (const count of distinct) {
    if (!(count >= 0 && count <= 1 << 16)) throw new RangeError(`${count} distinct values`);
  }
  for (const shape of shapes) {
    let nesting = 0;
    for (const op of shape) {
      const { kind } = ops[op]!;
      if (kind === "list" || kind === "map") nesting++;
      else if (kind === "close" && --nesting < 0) throw new RangeError("a shape closes too often");
    }
    if (nesting !== 0) throw new RangeError("a shape is not closed");
  }
}
