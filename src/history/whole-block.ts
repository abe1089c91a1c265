/**
 * The plainest form of a merged block: pieces of the block in the form of a commit, one in a chunk, after a chunk with the
 * sequences and the times of all records.
 */

import { constants, zstdCompressSync, zstdDecompressSync } from "node:zlib";
import { encodeBlocks, type StoredBlock } from "../batch/block.ts";
import { ProtobufOrigin } from "../batch/origin.ts";
import { RecordBatch } from "../batch/record-batch.ts";
import type { BlockRecord, EncodedBlock } from "../blocks/encoded-block.ts";
import { rulesOf, type EnvelopeRules } from "../envelope/rules.ts";
import { buildRequest } from "../otlp/encode.ts";
import { frameHeaderBytes, writeFrameHeader } from "../plugin/text-frame.ts";
import { LEVELS, type EnvelopeType } from "../wire/envelope.ts";

const PIECE_RECORDS = 1024;
const MS_MICROS = 1_000;
const COMPRESSION = { params: { [constants.ZSTD_c_compressionLevel]: 1 } };

/** Encodes records of one type, at least one, in ascending order. */
export function encodeBlock(
  type: EnvelopeType,
  rules: string,
  records: readonly BlockRecord[],
): EncodedBlock {
  const numbers = Float64Array.from([
    ...records.map(({ sequence }) => sequence),
    ...records.map(({ timeMicros }) => timeMicros),
    ...records.map(({ appendedAtMs }) => appendedAtMs),
  ]);
  const pieces: Uint8Array[] = [];
  for (let start = 0; start < records.length; start += PIECE_RECORDS) {
    pieces.push(encodePiece(type, rulesOf(rules), records.slice(start, start + PIECE_RECORDS)));
  }
  const times = records.map(({ timeMicros }) => timeMicros / MS_MICROS);
  const appended = records.map(({ appendedAtMs }) => appendedAtMs);
  return {
    length: records.length,
    firstSequence: records[0]!.sequence,
    lastSequence: records.at(-1)!.sequence,
    timeMin: Math.floor(least(times)),
    timeMax: Math.floor(-least(times.map((time) => -time))),
    appendedMin: least(appended),
    appendedMax: -least(appended.map((time) => -time)),
    levels: LEVELS.map((_, level) => records.filter(({ rank }) => rank === level).length),
    rules,
    directory: Buffer.from(JSON.stringify({ records: records.length })),
    chunks: [new Uint8Array(numbers.buffer), ...pieces].map((piece) =>
      zstdCompressSync(piece, COMPRESSION),
    ),
    filter: [],
  };
}

function least(numbers: readonly number[]): number {
  return numbers.reduce((one, other) => Math.min(one, other), Infinity);
}

function encodePiece(
  type: EnvelopeType,
  rules: EnvelopeRules,
  records: readonly BlockRecord[],
): Uint8Array {
  const request = buildRequest(records.length, (index) => records[index]!.otlp);
  const origin = new ProtobufOrigin(request, records.length, { rules });
  const sizes = records.map(({ envelope }) => envelope?.length ?? 0);
  const bytes = sizes.reduce((sum, size) => sum + frameHeaderBytes(size) + size, 0);
  const batch = new RecordBatch(Buffer.allocUnsafe(bytes), records.length);
  let position = 0;
  for (const [index, { rank, logger, envelope, hash }] of records.entries()) {
    const size = sizes[index]!;
    const start = writeFrameHeader(batch.buffer, position, size);
    if (envelope !== undefined) batch.buffer.set(envelope, start);
    position = start + size;
    const isAudit = type === "audit_log";
    batch.add(start, position, rank, isAudit, logger, origin, index, envelope === undefined);
    if (hash !== undefined) batch.seal(index, hash);
  }
  batch.firstSequence = records[0]!.sequence;
  batch.sequences = Float64Array.from(records, ({ sequence }) => sequence);
  return encodeBlocks([batch])[0]!.bytes;
}

/** A block that was read in part. */
export class WholeBlock {
  readonly sequences: Float64Array;
  readonly times: Float64Array;
  readonly #appended: Float64Array;
  readonly #chunk: (index: number) => Uint8Array;

  constructor(length: number, chunk: (index: number) => Uint8Array) {
    const bytes = Uint8Array.from(zstdDecompressSync(chunk(0)));
    const numbers = new Float64Array(bytes.buffer);
    this.sequences = numbers.subarray(0, length);
    this.times = numbers.subarray(length, 2 * length);
    this.#appended = numbers.subarray(2 * length);
    this.#chunk = chunk;
  }

  get length(): number {
    return this.sequences.length;
  }

  /** Returns the blocks that have these records, and others beside them. `indexes`: ascending. */
  read(indexes: readonly number[]): StoredBlock[] {
    const pieces = new Set(indexes.map((index) => Math.floor(index / PIECE_RECORDS)));
    return [...pieces].map((piece) => {
      const start = PIECE_RECORDS * piece;
      const appendedTimes = this.#appended.slice(start, start + PIECE_RECORDS);
      return {
        firstSequence: this.sequences[start]!,
        appendedAtMs: appendedTimes[0]!,
        appendedTimes,
        bytes: Uint8Array.from(zstdDecompressSync(this.#chunk(1 + piece))),
      };
    });
  }
}
