/**
 * The form in which the journal keeps records: for each lane of a commit one piece of bytes, which has the envelopes
 * as they go to viewers, the OpenTelemetry records as they came, and what it takes to make a batch of both again.
 *
 * Little-endian: the {@link HEAD_CELLS} of the head, four bytes each; the {@link CELLS} of each record, four bytes
 * each; for audit events their hashes, 32 bytes each; the loggers' names as JSON; the frames; the OTLP request.
 */

import type { EnvelopeType, LevelRank } from "../envelope.ts";
import { otlpRequest } from "./otlp-request.ts";
import { ProtobufOrigin } from "./protobuf-origin.ts";
import {
  FRAME_HEAD_BYTES,
  FRAME_HEAD_LARGE_BYTES,
  FRAME_LENGTH_16_MAX,
  RecordBatch,
} from "./record-batch.ts";

const FORMAT = 1;

const HEAD_CELLS = 6;
const HEAD_FORMAT = 0;
const HEAD_RECORDS = 1;
const HEAD_LOGGERS_BYTES = 2;
const HEAD_FRAMES_BYTES = 3;
const HEAD_OTLP_BYTES = 4;
const HEAD_IS_AUDIT = 5;

/** Of a record: its sequence behind that of the commit's first record, its envelope's size, level and logger. */
const CELLS = 4;
const CELL_SEQUENCE = 0;
const CELL_SIZE = 1;
const CELL_RANK = 2;
const CELL_LOGGER = 3;

const CELL_BYTES = 4;
const HASH_BYTES = 32;

/** The timestamp in an envelope's `data`: after `{"timestamp":"`, and always as long (DESIGN "The envelope"). */
const TIMESTAMP_START = 14;
const TIMESTAMP_LENGTH = 27;

/** The records of one lane of a commit, ready to be stored. */
export interface StoredLane {
  readonly type: EnvelopeType;
  readonly records: number;
  /** The earliest and the latest of the envelopes' timestamps, in ms since 1970. */
  readonly timeMin: number;
  readonly timeMax: number;
  readonly bytes: Uint8Array<ArrayBuffer>;
}

/** A lane that was read, with the sequence of its commit's first record. */
export interface ReadLane {
  readonly firstSequence: number;
  readonly appendedAtMs: number;
  readonly bytes: Uint8Array;
}

/** One record among those of several batches. */
interface Place {
  readonly batch: RecordBatch;
  readonly index: number;
}

/** The lanes that the batches have records of; their sequences follow one another. */
export function storedLanes(batches: readonly RecordBatch[]): StoredLane[] {
  const lanes: Record<EnvelopeType, Place[]> = { system_log: [], audit_log: [] };
  for (const batch of batches) {
    for (let index = 0; index < batch.length; index++) {
      lanes[batch.type(index)].push({ batch, index });
    }
  }
  const first = batches[0]!.firstSequence;
  return (["system_log", "audit_log"] as const)
    .filter((type) => lanes[type].length > 0)
    .map((type) => storedLane(type, first, lanes[type], batches));
}

function storedLane(
  type: EnvelopeType,
  firstSequence: number,
  places: readonly Place[],
  batches: readonly RecordBatch[],
): StoredLane {
  const isAudit = type === "audit_log";
  const frames = framesOf(type, batches);
  const framesBytes = frames.reduce((sum, piece) => sum + piece.length, 0);
  const loggers = new Map<string, number>();
  const cells = new Int32Array(CELLS * places.length);
  for (const [place, { batch, index }] of places.entries()) {
    const logger = batch.logger(index);
    if (!loggers.has(logger)) loggers.set(logger, loggers.size);
    cells[CELLS * place + CELL_SEQUENCE] = batch.sequence(index) - firstSequence;
    cells[CELLS * place + CELL_SIZE] = batch.size(index);
    cells[CELLS * place + CELL_RANK] = batch.rank(index);
    cells[CELLS * place + CELL_LOGGER] = loggers.get(logger)!;
  }
  const loggersText = Buffer.from(JSON.stringify([...loggers.keys()]));
  const otlp = otlpRequest(places.length, (place) => {
    const { batch, index } = places[place]!;
    return batch.otlpPieces(index);
  });
  const hashes = isAudit ? places.map(({ batch, index }) => batch.hash(index)).join("") : "";
  const head = new Int32Array(HEAD_CELLS);
  head[HEAD_FORMAT] = FORMAT;
  head[HEAD_RECORDS] = places.length;
  head[HEAD_LOGGERS_BYTES] = loggersText.length;
  head[HEAD_FRAMES_BYTES] = framesBytes;
  head[HEAD_OTLP_BYTES] = otlp.length;
  head[HEAD_IS_AUDIT] = isAudit ? 1 : 0;
  const pieces = [
    bytesOf(head),
    bytesOf(cells),
    Buffer.from(hashes, "hex"),
    loggersText,
    ...frames,
    otlp,
  ];
  return { type, records: places.length, ...timesOf(places), bytes: joined(pieces) };
}

function framesOf(type: EnvelopeType, batches: readonly RecordBatch[]): Uint8Array[] {
  return batches.map((batch) => batch.select((index) => batch.type(index) === type).frames());
}

function timesOf(places: readonly Place[]): { timeMin: number; timeMax: number } {
  let min = timestampOf(places[0]!);
  let max = min;
  for (const place of places) {
    const timestamp = timestampOf(place);
    if (Buffer.compare(timestamp, min) < 0) min = timestamp;
    if (Buffer.compare(timestamp, max) > 0) max = timestamp;
  }
  return { timeMin: msOf(min), timeMax: msOf(max) };
}

function timestampOf({ batch, index }: Place): Uint8Array {
  return batch.data(index).subarray(TIMESTAMP_START, TIMESTAMP_START + TIMESTAMP_LENGTH);
}

function msOf(timestamp: Uint8Array): number {
  return Date.parse(Buffer.from(timestamp).toString("latin1"));
}

function bytesOf({ buffer, byteOffset, byteLength }: Int32Array): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength);
}

/** In memory of their own, which can be handed to another thread. */
function joined(pieces: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
  let position = 0;
  for (const piece of pieces) {
    bytes.set(piece, position);
    position += piece.length;
  }
  return bytes;
}

/** Where the parts of a lane lie in its bytes. */
class Lane {
  readonly records: number;
  readonly isAudit: boolean;
  readonly loggers: readonly string[];
  readonly frames: Buffer;
  readonly origin: ProtobufOrigin;
  readonly #firstSequence: number;
  readonly #cells: Int32Array;
  readonly #hashes: Buffer;
  /** Where the next frame starts that {@link addTo} copies. */
  #position = 0;
  next = 0;

  /** @throws RangeError where the form is not known, or what is there cannot be it. */
  constructor({ firstSequence, bytes }: ReadLane) {
    const head = cellsAt(bytes, 0, HEAD_CELLS);
    if (head[HEAD_FORMAT] !== FORMAT) {
      throw new RangeError(`stored records have the unknown format ${head[HEAD_FORMAT]}`);
    }
    this.#firstSequence = firstSequence;
    this.records = head[HEAD_RECORDS]!;
    this.isAudit = head[HEAD_IS_AUDIT] === 1;
    let position = HEAD_CELLS * CELL_BYTES;
    const part = (length: number): Buffer => {
      const start = bytes.byteOffset + position;
      position += length;
      return Buffer.from(bytes.buffer, start, length);
    };
    this.#cells = cellsAt(bytes, position, CELLS * this.records);
    position += CELLS * CELL_BYTES * this.records;
    this.#hashes = part(this.isAudit ? HASH_BYTES * this.records : 0);
    this.loggers = JSON.parse(part(head[HEAD_LOGGERS_BYTES]!).toString()) as string[];
    this.frames = part(head[HEAD_FRAMES_BYTES]!);
    this.origin = new ProtobufOrigin(part(head[HEAD_OTLP_BYTES]!), this.records);
  }

  /** The sequence of the next record; Infinity behind the last one. */
  get nextSequence(): number {
    return this.next < this.records ? this.#firstSequence + this.#cell(CELL_SEQUENCE) : Infinity;
  }

  /** Copies the next record's frame to `buffer` and adds the record; answers where its frame ends. */
  addTo(batch: RecordBatch, buffer: Buffer, position: number): number {
    const size = this.#cell(CELL_SIZE);
    const head = size > FRAME_LENGTH_16_MAX ? FRAME_HEAD_LARGE_BYTES : FRAME_HEAD_BYTES;
    this.frames.copy(buffer, position, this.#position, this.#position + head + size);
    const start = position + head;
    const rank = this.#cell(CELL_RANK) as LevelRank;
    const logger = this.loggers[this.#cell(CELL_LOGGER)]!;
    batch.add(start, start + size, rank, this.isAudit, logger, this.origin, this.next);
    if (this.isAudit) batch.seal(batch.length - 1, this.#hash());
    this.#position += head + size;
    this.next++;
    return start + size;
  }

  #cell(cell: number): number {
    return this.#cells[CELLS * this.next + cell]!;
  }

  #hash(): string {
    return this.#hashes.toString("hex", HASH_BYTES * this.next, HASH_BYTES * (this.next + 1));
  }
}

function cellsAt({ buffer, byteOffset }: Uint8Array, position: number, cells: number): Int32Array {
  const start = byteOffset + position;
  return new Int32Array(buffer.slice(start, start + CELL_BYTES * cells));
}

/**
 * One batch of all records of these lanes, in the order of their sequences.
 * @throws RangeError where they cannot be read.
 */
export function readBatch(read: readonly ReadLane[]): RecordBatch {
  const lanes = read.map((lane) => new Lane(lane));
  const records = lanes.reduce((sum, lane) => sum + lane.records, 0);
  const bytes = lanes.reduce((sum, lane) => sum + lane.frames.length, 0);
  const buffer = Buffer.allocUnsafeSlow(bytes);
  const batch = new RecordBatch(buffer);
  const sequences = new Float64Array(records);
  let position = 0;
  while (batch.length < records) {
    let next = lanes[0]!;
    for (const lane of lanes) if (lane.nextSequence < next.nextSequence) next = lane;
    sequences[batch.length] = next.nextSequence;
    position = next.addTo(batch, buffer, position);
  }
  batch.firstSequence = sequences[0]!;
  batch.appendedAtMs = read[0]!.appendedAtMs;
  batch.sequences = sequences;
  return batch;
}
