/**
 * The layout of a block, little-endian: the head of {@link HEAD_CELLS} cells of four bytes; the {@link CELLS} of each
 * record, four bytes each; for audit events their hashes, 32 bytes each; the loggers' names as JSON; the rules
 * (envelope/rules.ts); the frames with the stored envelopes; the OTLP request, in which the records may be in another order.
 */

import { rulesOf, type EnvelopeRules } from "../envelope/rules.ts";
import type { StoredBlock } from "./block.ts";
import type { LevelRank } from "../wire/envelope.ts";

export const FORMAT = 3;
/** The format that has all envelopes and no rules. */
export const FORMAT_COMPLETE = 2;
/** The same, if the OTLP request has the records in the block's order, and their cells do not say so. */
const FORMAT_IN_ORDER = 1;

export const HEAD_CELLS = 7;
export const HEAD_CELLS_COMPLETE = 6;
export const HEAD_FORMAT = 0;
export const HEAD_RECORDS = 1;
export const HEAD_LOGGERS_BYTES = 2;
export const HEAD_FRAMES_BYTES = 3;
export const HEAD_OTLP_BYTES = 4;
export const HEAD_IS_AUDIT = 5;
export const HEAD_RULES_BYTES = 6;

/**
 * Of a record: its sequence relative to the commit's first record, its envelope's size ({@link RENDERED} if the rules make
 * it), level and logger, and its index in the OTLP request.
 */
export const CELLS = 5;
const CELLS_IN_ORDER = 4;
export const CELL_SEQUENCE = 0;
export const CELL_SIZE = 1;
export const CELL_RANK = 2;
export const CELL_LOGGER = 3;
export const CELL_OTLP = 4;

export const RENDERED = 0;

const CELL_BYTES = 4;
const HASH_BYTES = 32;

/** A block as it is stored: what its parts say of each record, without making envelopes. */
export class BlockLayout {
  /** The number of records. */
  readonly length: number;
  readonly isAudit: boolean;
  readonly loggers: readonly string[];
  /** The rules that make the envelopes that are not stored; undefined if all are stored. */
  readonly rules: EnvelopeRules | undefined;
  /** The frames with the stored envelopes. */
  readonly frames: Buffer<ArrayBuffer>;
  readonly request: Buffer<ArrayBuffer>;
  readonly #firstSequence: number;
  readonly #cells: Int32Array;
  readonly #cellsOfRecord: number;
  readonly #hashes: Buffer;

  /** @throws RangeError if the format is unknown or the bytes do not match it. */
  constructor({ firstSequence, bytes }: StoredBlock) {
    const [format] = readCells(bytes, HEAD_FORMAT, 1);
    if (format !== FORMAT && format !== FORMAT_COMPLETE && format !== FORMAT_IN_ORDER) {
      throw new RangeError(`stored records have the unknown format ${format}`);
    }
    const headCells = format === FORMAT ? HEAD_CELLS : HEAD_CELLS_COMPLETE;
    const head = readCells(bytes, 0, headCells);
    this.#cellsOfRecord = format === FORMAT_IN_ORDER ? CELLS_IN_ORDER : CELLS;
    this.#firstSequence = firstSequence;
    this.length = head[HEAD_RECORDS]!;
    this.isAudit = head[HEAD_IS_AUDIT] === 1;
    let position = headCells * CELL_BYTES;
    const part = (length: number): Buffer<ArrayBuffer> => {
      const start = bytes.byteOffset + position;
      position += length;
      return Buffer.from(bytes.buffer, start, length);
    };
    this.#cells = readCells(bytes, position, this.#cellsOfRecord * this.length);
    position += CELL_BYTES * this.#cells.length;
    this.#hashes = part(this.isAudit ? HASH_BYTES * this.length : 0);
    this.loggers = JSON.parse(part(head[HEAD_LOGGERS_BYTES]!).toString()) as string[];
    const rules = part(format === FORMAT ? head[HEAD_RULES_BYTES]! : 0);
    this.frames = part(head[HEAD_FRAMES_BYTES]!);
    this.request = part(head[HEAD_OTLP_BYTES]!);
    if (position !== bytes.length) {
      throw new RangeError(`stored records have ${bytes.length} bytes instead of ${position}`);
    }
    this.rules = rules.length === 0 ? undefined : rulesOf(rules.toString());
  }

  sequence(record: number): number {
    return this.#firstSequence + this.#cell(record, CELL_SEQUENCE);
  }

  /** Returns the size of the record's envelope; {@link RENDERED} if the rules make it. */
  size(record: number): number {
    return this.#cell(record, CELL_SIZE);
  }

  rank(record: number): LevelRank {
    return this.#cell(record, CELL_RANK) as LevelRank;
  }

  logger(record: number): string {
    return this.loggers[this.#cell(record, CELL_LOGGER)]!;
  }

  /** Returns the record's index in {@link request}. */
  otlpIndex(record: number): number {
    return this.#cellsOfRecord === CELLS ? this.#cell(record, CELL_OTLP) : record;
  }

  /** Returns the hash of an audit event. */
  hash(record: number): string {
    return this.#hashes.toString("hex", HASH_BYTES * record, HASH_BYTES * (record + 1));
  }

  hashBytes(record: number): Uint8Array {
    return this.#hashes.subarray(HASH_BYTES * record, HASH_BYTES * (record + 1));
  }

  #cell(record: number, cell: number): number {
    return this.#cells[this.#cellsOfRecord * record + cell]!;
  }
}

function readCells(
  { buffer, byteOffset }: Uint8Array,
  position: number,
  cells: number,
): Int32Array {
  const start = byteOffset + position;
  return new Int32Array(buffer.slice(start, start + CELL_BYTES * cells));
}
