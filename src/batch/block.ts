/**
 * The form in which the journal keeps records: for each lane of a commit one piece of bytes, which has the envelopes
 * as they go to viewers, the OpenTelemetry records as they came, and what it takes to make a batch of both again.
 *
 * Little-endian: the {@link HEAD_CELLS} of the head, four bytes each; the {@link CELLS} of each record, four bytes
 * each; for audit events their hashes, 32 bytes each; the loggers' names as JSON; the frames; the OTLP request, in which
 * the records may stand in another order.
 */

import type { EnvelopeType, LevelRank } from "../wire/envelope.ts";
import { damagedIn, repaired } from "./damaged-envelope.ts";
import { LaneOtlp } from "./lane-otlp.ts";
import { LaneRecords } from "./lane-records.ts";
import { ProtobufOrigin } from "./origin.ts";
import { frameHeaderBytes, hasLongFrameHeader } from "./frames.ts";
import { RecordBatch } from "./record-batch.ts";
import { TIMESTAMP_LENGTH } from "../envelope/timestamp.ts";

const FORMAT = 2;
/** In it the OTLP request has the records in the lane's order, and their cells do not say so. */
const FORMAT_IN_ORDER = 1;

const HEAD_CELLS = 6;
const HEAD_FORMAT = 0;
const HEAD_RECORDS = 1;
const HEAD_LOGGERS_BYTES = 2;
const HEAD_FRAMES_BYTES = 3;
const HEAD_OTLP_BYTES = 4;
const HEAD_IS_AUDIT = 5;

/**
 * Of a record: its sequence behind that of the commit's first record, its envelope's size, level and logger, and its
 * place in the OTLP request.
 */
const CELLS = 5;
const CELLS_IN_ORDER = 4;
const CELL_SEQUENCE = 0;
const CELL_SIZE = 1;
const CELL_RANK = 2;
const CELL_LOGGER = 3;
const CELL_OTLP = 4;

const CELL_BYTES = 4;
const HASH_BYTES = 32;

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

/**
 * The lanes that the batches have records of; their sequences follow one another. `allocate` gives memory of its own
 * for so many bytes, which can be handed to another thread.
 */
export function storedLanes(
  batches: readonly RecordBatch[],
  allocate: (bytes: number) => Buffer<ArrayBuffer> = (bytes) => Buffer.allocUnsafeSlow(bytes),
): StoredLane[] {
  const lanes: Record<EnvelopeType, LaneRecords> = {
    system_log: new LaneRecords(),
    audit_log: new LaneRecords(),
  };
  for (const batch of batches) {
    for (let index = 0; index < batch.length; index++) lanes[batch.type(index)].add(batch, index);
  }
  const first = batches[0]!.firstSequence;
  return (["system_log", "audit_log"] as const)
    .filter((type) => lanes[type].length > 0)
    .map((type) => storedLane(type, first, lanes[type], batches, allocate));
}

function storedLane(
  type: EnvelopeType,
  firstSequence: number,
  lane: LaneRecords,
  batches: readonly RecordBatch[],
  allocate: (bytes: number) => Buffer<ArrayBuffer>,
): StoredLane {
  const { length: records } = lane;
  const frames = framesOf(type, lane, batches);
  const otlp = new LaneOtlp(lane);
  const { cells, loggers } = cellsOf(lane, firstSequence, otlp.places);
  const hashes = type === "audit_log" ? hashesOf(lane) : Buffer.alloc(0);
  const head = new Int32Array(HEAD_CELLS);
  head[HEAD_FORMAT] = FORMAT;
  head[HEAD_RECORDS] = records;
  head[HEAD_LOGGERS_BYTES] = loggers.length;
  head[HEAD_FRAMES_BYTES] = sizeOf(frames);
  head[HEAD_OTLP_BYTES] = otlp.byteLength;
  head[HEAD_IS_AUDIT] = type === "audit_log" ? 1 : 0;
  const pieces = [bytesOf(head), bytesOf(cells), hashes, loggers, ...frames];
  const bytes = allocate(sizeOf(pieces) + otlp.byteLength);
  let position = 0;
  for (const piece of pieces) {
    bytes.set(piece, position);
    position += piece.length;
  }
  otlp.writeTo(bytes, position);
  return { type, records, ...timesOf(lane), bytes };
}

function framesOf(
  type: EnvelopeType,
  { length }: LaneRecords,
  batches: readonly RecordBatch[],
): Uint8Array[] {
  const isAll = length === batches.reduce((sum, batch) => sum + batch.length, 0);
  return batches.map((batch) =>
    (isAll ? batch : batch.select((index) => batch.type(index) === type)).frames(),
  );
}

function sizeOf(pieces: readonly Uint8Array[]): number {
  return pieces.reduce((sum, piece) => sum + piece.length, 0);
}

function cellsOf(
  { length, batches, indexes }: LaneRecords,
  firstSequence: number,
  otlpPlaces: Int32Array,
): { cells: Int32Array; loggers: Uint8Array } {
  const loggers = new Map<string, number>();
  const cells = new Int32Array(CELLS * length);
  // Most records have the logger of the one before.
  let logger: string | undefined;
  let loggerPlace = 0;
  for (let place = 0; place < length; place++) {
    const batch = batches[place]!;
    const index = indexes[place]!;
    if (batch.logger(index) !== logger) {
      logger = batch.logger(index);
      loggerPlace = loggers.get(logger) ?? loggers.size;
      loggers.set(logger, loggerPlace);
    }
    const cell = CELLS * place;
    cells[cell + CELL_SEQUENCE] = batch.sequence(index) - firstSequence;
    cells[cell + CELL_SIZE] = batch.size(index);
    cells[cell + CELL_RANK] = batch.rank(index);
    cells[cell + CELL_LOGGER] = loggerPlace;
    cells[cell + CELL_OTLP] = otlpPlaces[place]!;
  }
  return { cells, loggers: Buffer.from(JSON.stringify([...loggers.keys()])) };
}

function hashesOf({ batches, indexes }: LaneRecords): Buffer {
  return Buffer.from(batches.map((batch, place) => batch.hash(indexes[place]!)).join(""), "hex");
}

function timesOf(lane: LaneRecords): { timeMin: number; timeMax: number } {
  let min = 0;
  let max = 0;
  for (let place = 1; place < lane.length; place++) {
    // Most come in order of time.
    if (compareTimes(lane, place, max) >= 0) max = place;
    else if (compareTimes(lane, place, min) < 0) min = place;
  }
  return { timeMin: timeOf(lane, min), timeMax: timeOf(lane, max) };
}

/** As texts of the same length, where they are: a piece of its own for each would cost more than comparing them. */
function compareTimes({ batches, indexes }: LaneRecords, one: number, other: number): number {
  const { buffer } = batches[one]!;
  const { buffer: otherBuffer } = batches[other]!;
  const start = batches[one]!.timestampStart(indexes[one]!);
  const otherStart = batches[other]!.timestampStart(indexes[other]!);
  for (let offset = 0; offset < TIMESTAMP_LENGTH; offset++) {
    const difference = buffer[start + offset]! - otherBuffer[otherStart + offset]!;
    if (difference !== 0) return difference;
  }
  return 0;
}

/** In ms since 1970. A timestamp that is none must not keep the commit from being stored: its arrival stands for it. */
function timeOf({ batches, indexes }: LaneRecords, place: number): number {
  const batch = batches[place]!;
  const time = Date.parse(batch.timestamp(indexes[place]!));
  return Number.isNaN(time) ? batch.appendedAtMs : time;
}

function bytesOf({ buffer, byteOffset, byteLength }: Int32Array): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength);
}

/** What a batch that is read has for each record. */
interface Columns {
  readonly sequences: Float64Array;
  readonly times: Float64Array;
}

/** Where the parts of a lane lie in its bytes. */
class Lane {
  readonly records: number;
  readonly isAudit: boolean;
  readonly loggers: readonly string[];
  readonly frames: Buffer;
  readonly origin: ProtobufOrigin;
  readonly #firstSequence: number;
  readonly #appendedAtMs: number;
  readonly #cells: Int32Array;
  readonly #cellsOfRecord: number;
  readonly #hashes: Buffer;
  /** Where the next record's frame starts. */
  #position = 0;
  next = 0;
  /** Whether an envelope has the large head of a frame. */
  hasLarge = false;

  /** @throws RangeError where the form is not known, or what is there cannot be it. */
  constructor({ firstSequence, appendedAtMs, bytes }: ReadLane) {
    const head = cellsAt(bytes, 0, HEAD_CELLS);
    const format = head[HEAD_FORMAT]!;
    if (format !== FORMAT && format !== FORMAT_IN_ORDER) {
      throw new RangeError(`stored records have the unknown format ${format}`);
    }
    this.#cellsOfRecord = format === FORMAT_IN_ORDER ? CELLS_IN_ORDER : CELLS;
    this.#firstSequence = firstSequence;
    this.#appendedAtMs = appendedAtMs;
    this.records = head[HEAD_RECORDS]!;
    this.isAudit = head[HEAD_IS_AUDIT] === 1;
    let position = HEAD_CELLS * CELL_BYTES;
    const part = (length: number): Buffer => {
      const start = bytes.byteOffset + position;
      position += length;
      return Buffer.from(bytes.buffer, start, length);
    };
    this.#cells = cellsAt(bytes, position, this.#cellsOfRecord * this.records);
    position += CELL_BYTES * this.#cells.length;
    this.#hashes = part(this.isAudit ? HASH_BYTES * this.records : 0);
    this.loggers = JSON.parse(part(head[HEAD_LOGGERS_BYTES]!).toString()) as string[];
    this.frames = part(head[HEAD_FRAMES_BYTES]!);
    this.origin = new ProtobufOrigin(part(head[HEAD_OTLP_BYTES]!), this.records);
    if (position !== bytes.length) {
      throw new RangeError(`stored records have ${bytes.length} bytes in place of ${position}`);
    }
  }

  /** The sequence of the next record; Infinity behind the last one. */
  get nextSequence(): number {
    return this.next < this.records ? this.#firstSequence + this.#cell(CELL_SEQUENCE) : Infinity;
  }

  /**
   * Adds the next record and those behind it before the sequence `limit`; answers where their frames end, which start
   * at `position` in the batch's memory, and are copied to it where they are not there already.
   */
  addBefore(
    limit: number,
    batch: RecordBatch,
    position: number,
    { sequences, times }: Columns,
  ): number {
    const first = this.#position;
    const shift = position - first;
    do {
      const size = this.#cell(CELL_SIZE);
      if (hasLongFrameHeader(size)) this.hasLarge = true;
      const start = this.#position + frameHeaderBytes(size);
      this.#position = start + size;
      sequences[batch.length] = this.nextSequence;
      times[batch.length] = this.#appendedAtMs;
      this.#add(batch, shift + start, shift + this.#position);
      this.next++;
    } while (this.nextSequence < limit);
    if (batch.buffer !== this.frames) {
      this.frames.copy(batch.buffer, position, first, this.#position);
    }
    return shift + this.#position;
  }

  #add(batch: RecordBatch, start: number, end: number): void {
    const rank = this.#cell(CELL_RANK) as LevelRank;
    const logger = this.loggers[this.#cell(CELL_LOGGER)]!;
    const place = this.#cellsOfRecord === CELLS ? this.#cell(CELL_OTLP) : this.next;
    batch.add(start, end, rank, this.isAudit, logger, this.origin, place);
    if (this.isAudit) batch.seal(batch.length - 1, this.#hash());
  }

  #cell(cell: number): number {
    return this.#cells[this.#cellsOfRecord * this.next + cell]!;
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
 * One batch of all records of these lanes, in the order of their sequences. Envelopes that an older Tailgate has damaged
 * are repaired; `tell` is told the sequences of their records.
 * @throws RangeError where they cannot be read.
 */
export function readBatch(
  read: readonly ReadLane[],
  tell?: (repaired: readonly number[]) => void,
): RecordBatch {
  const lanes = read.map((lane) => new Lane(lane));
  const records = lanes.reduce((sum, lane) => sum + lane.records, 0);
  const batch = new RecordBatch(memoryFor(lanes), records);
  const columns = { sequences: new Float64Array(records), times: new Float64Array(records) };
  for (let position = 0; batch.length < records;) {
    const { next, limit } = nextOf(lanes);
    position = next.addBefore(limit, batch, position, columns);
  }
  batch.firstSequence = columns.sequences[0]!;
  batch.sequences = columns.sequences;
  batch.appendedAtMs = columns.times[0]!;
  batch.appendedTimes = columns.times;
  // Only next to a large envelope others were damaged: looking at all of them would slow down every replay.
  const damaged = lanes.some(({ hasLarge }) => hasLarge) ? damagedIn(batch) : [];
  if (damaged.length === 0) return batch;
  tell?.(damaged.map((index) => batch.sequence(index)));
  return repaired(batch, damaged);
}

/** The frames of a single lane stay where they are. */
function memoryFor(lanes: readonly Lane[]): Buffer {
  if (lanes.length === 1) return lanes[0]!.frames;
  return Buffer.allocUnsafeSlow(lanes.reduce((sum, { frames }) => sum + frames.length, 0));
}

/** The lane with the next record, and the sequence at which another one has its turn. */
function nextOf(lanes: readonly Lane[]): { next: Lane; limit: number } {
  let next = lanes[0]!;
  let limit = Infinity;
  for (const lane of lanes.slice(1)) {
    if (lane.nextSequence < next.nextSequence) {
      limit = next.nextSequence;
      next = lane;
    } else limit = Math.min(limit, lane.nextSequence);
  }
  return { next, limit };
}
