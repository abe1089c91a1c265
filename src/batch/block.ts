/**
 * A block is the form in which the journal stores the records of one type of a commit: one piece of bytes with the
 * OpenTelemetry records as they came, the envelopes that cannot be made of them again, the rules by which the others are
 * made, and what it takes to make a batch of all.
 *
 * Little-endian: the head of {@link HEAD_CELLS} cells of four bytes; the {@link CELLS} of each record, four bytes each;
 * for audit events their hashes, 32 bytes each; the loggers' names as JSON; the rules (envelope/rules.ts); the frames with
 * the stored envelopes; the OTLP request, in which the records may be in another order.
 */

import { RequestBuilder } from "../otlp/encode.ts";
import type { EnvelopeType, LevelRank } from "../wire/envelope.ts";
import { TIMESTAMP_LENGTH } from "../envelope/prefix.ts";
import { findDamaged, repair } from "./damaged-envelope.ts";
import { frameHeaderBytes, hasLongFrameHeader } from "../plugin/text-frame.ts";
import { renderFrames, rulesOf, rulesText, type EnvelopeRules } from "../envelope/rules.ts";
import { ProtobufOrigin, type Origin } from "./origin.ts";
import { RecordBatch } from "./record-batch.ts";

const FORMAT = 3;
/** The format that has all envelopes and no rules. */
const FORMAT_COMPLETE = 2;
/** The same, if the OTLP request has the records in the block's order, and their cells do not say so. */
const FORMAT_IN_ORDER = 1;

const HEAD_CELLS = 7;
const HEAD_CELLS_COMPLETE = 6;
const HEAD_FORMAT = 0;
const HEAD_RECORDS = 1;
const HEAD_LOGGERS_BYTES = 2;
const HEAD_FRAMES_BYTES = 3;
const HEAD_OTLP_BYTES = 4;
const HEAD_IS_AUDIT = 5;
const HEAD_RULES_BYTES = 6;

/**
 * Of a record: its sequence relative to the commit's first record, its envelope's size ({@link RENDERED} if the rules make
 * it), level and logger, and its index in the OTLP request.
 */
const CELLS = 5;
const CELLS_IN_ORDER = 4;
const CELL_SEQUENCE = 0;
const CELL_SIZE = 1;
const CELL_RANK = 2;
const CELL_LOGGER = 3;
const CELL_OTLP = 4;

const RENDERED = 0;

const CELL_BYTES = 4;
const HASH_BYTES = 32;

/** A smaller request is merged with its neighbors: its resource would take too much space. */
const WHOLE_RECORDS_MIN = 32;

/** The records of one type of a commit, ready to be stored. */
export interface Block {
  readonly type: EnvelopeType;
  readonly records: number;
  /** The earliest and the latest of the envelopes' timestamps, in ms since 1970. */
  readonly timeMin: number;
  readonly timeMax: number;
  readonly bytes: Uint8Array<ArrayBuffer>;
}

/** A block that was read. */
export interface StoredBlock {
  /** The sequence of its commit's first record. */
  readonly firstSequence: number;
  readonly appendedAtMs: number;
  /** When each of its records was appended, if they are of several commits; otherwise all were at `appendedAtMs`. */
  readonly appendedTimes?: Float64Array | undefined;
  readonly bytes: Uint8Array<ArrayBuffer>;
}

/**
 * Encodes batches whose sequences follow one another, as one block for each type that they have records of. `allocate`
 * returns memory of its own, which can be transferred to another thread.
 */
export function encodeBlocks(
  batches: readonly RecordBatch[],
  allocate: (bytes: number) => Buffer<ArrayBuffer> = (bytes) => Buffer.allocUnsafeSlow(bytes),
): Block[] {
  const lists: Record<EnvelopeType, RecordList> = {
    system_log: new RecordList(),
    audit_log: new RecordList(),
  };
  for (const batch of batches) {
    for (let index = 0; index < batch.length; index++) lists[batch.type(index)].add(batch, index);
  }
  const first = batches[0]!.firstSequence;
  return (["system_log", "audit_log"] as const)
    .filter((type) => lists[type].length > 0)
    .map((type) => encodeBlock(type, first, lists[type], allocate));
}

/** Records of several batches, in their order. */
class RecordList {
  readonly batches: RecordBatch[] = [];
  /** The index of each in its batch. */
  readonly indexes: number[] = [];

  get length(): number {
    return this.indexes.length;
  }

  add(batch: RecordBatch, index: number): void {
    this.batches.push(batch);
    this.indexes.push(index);
  }
}

function encodeBlock(
  type: EnvelopeType,
  firstSequence: number,
  list: RecordList,
  allocate: (bytes: number) => Buffer<ArrayBuffer>,
): Block {
  const { length: records } = list;
  const otlp = new BlockRequest(list);
  const { rules, isStored } = storedFrames(list, otlp);
  const frames = framesOf(list, isStored);
  const { cells, loggers } = encodeCells(list, firstSequence, otlp.indexes, isStored);
  const hashes = type === "audit_log" ? encodeHashes(list) : Buffer.alloc(0);
  const head = new Int32Array(HEAD_CELLS);
  head[HEAD_FORMAT] = FORMAT;
  head[HEAD_RECORDS] = records;
  head[HEAD_LOGGERS_BYTES] = loggers.length;
  head[HEAD_FRAMES_BYTES] = totalLength(frames);
  head[HEAD_OTLP_BYTES] = otlp.byteLength;
  head[HEAD_IS_AUDIT] = type === "audit_log" ? 1 : 0;
  head[HEAD_RULES_BYTES] = rules.length;
  const parts = [bytesOf(head), bytesOf(cells), hashes, loggers, rules, ...frames];
  const bytes = allocate(totalLength(parts) + otlp.byteLength);
  let position = 0;
  for (const part of parts) {
    bytes.set(part, position);
    position += part.length;
  }
  otlp.writeTo(bytes, position);
  return { type, records, ...timeRangeOf(list), bytes };
}

/** Returns the rules of a block, and for each record whether its envelope is stored because they do not make it. */
function storedFrames(
  { length, batches, indexes }: RecordList,
  otlp: BlockRequest,
): { rules: Uint8Array; isStored: Uint8Array } {
  const isStored = new Uint8Array(length).fill(1);
  let text: string | undefined;
  // Most records have the same rules as the one before.
  let known: EnvelopeRules | undefined;
  for (let item = 0; item < length; item++) {
    const rules = batches[item]!.rules(indexes[item]!);
    if (rules === undefined || otlp.rebuilt.has(item)) continue;
    // Other rules are those of another configuration, which a reload may have brought in between.
    if (rules !== known && rulesText(rules) !== (text ??= rulesText(rules))) continue;
    known = rules;
    isStored[item] = 0;
  }
  return { rules: Buffer.from(text ?? ""), isStored };
}

/** Returns the stored frames, as few pieces as possible. */
function framesOf({ length, batches, indexes }: RecordList, isStored: Uint8Array): Uint8Array[] {
  const frames: Uint8Array[] = [];
  for (let item = isStored.indexOf(1); item >= 0; item = isStored.indexOf(1, item)) {
    const batch = batches[item]!;
    const first = indexes[item]!;
    let end = first;
    do {
      item++;
      end++;
    } while (
      item < length &&
      isStored[item] === 1 &&
      batches[item] === batch &&
      indexes[item] === end
    );
    frames.push(batch.framesBetween(first, end));
  }
  return frames;
}

function totalLength(parts: readonly Uint8Array[]): number {
  return parts.reduce((sum, part) => sum + part.length, 0);
}

function encodeCells(
  { length, batches, indexes }: RecordList,
  firstSequence: number,
  otlpIndexes: Int32Array,
  isStored: Uint8Array,
): { cells: Int32Array; loggers: Uint8Array } {
  const loggers = new Map<string, number>();
  const cells = new Int32Array(CELLS * length);
  // Most records have the same logger as the one before.
  let logger: string | undefined;
  let loggerIndex = 0;
  for (let item = 0; item < length; item++) {
    const batch = batches[item]!;
    const index = indexes[item]!;
    if (batch.logger(index) !== logger) {
      logger = batch.logger(index);
      loggerIndex = loggers.get(logger) ?? loggers.size;
      loggers.set(logger, loggerIndex);
    }
    const cell = CELLS * item;
    cells[cell + CELL_SEQUENCE] = batch.sequence(index) - firstSequence;
    cells[cell + CELL_SIZE] = isStored[item] === 0 ? RENDERED : batch.size(index);
    cells[cell + CELL_RANK] = batch.rank(index);
    cells[cell + CELL_LOGGER] = loggerIndex;
    cells[cell + CELL_OTLP] = otlpIndexes[item]!;
  }
  return { cells, loggers: Buffer.from(JSON.stringify([...loggers.keys()])) };
}

function encodeHashes({ batches, indexes }: RecordList): Buffer {
  return Buffer.from(batches.map((batch, item) => batch.hash(indexes[item]!)).join(""), "hex");
}

function timeRangeOf(list: RecordList): { timeMin: number; timeMax: number } {
  let min = 0;
  let max = 0;
  for (let item = 1; item < list.length; item++) {
    // Most records come in order of time.
    if (compareTimes(list, item, max) >= 0) max = item;
    else if (compareTimes(list, item, min) < 0) min = item;
  }
  return { timeMin: timeOf(list, min), timeMax: timeOf(list, max) };
}

/** Compares the timestamps' text in place: a string for each would cost more than the comparison. */
function compareTimes({ batches, indexes }: RecordList, one: number, other: number): number {
  const { buffer } = batches[one]!;
  const { buffer: otherBuffer } = batches[other]!;
  const start = batches[one]!.timestampStart(indexes[one]!);
  const end = start + TIMESTAMP_LENGTH;
  const shift = batches[other]!.timestampStart(indexes[other]!) - start;
  for (let offset = start; offset < end; offset++) {
    const difference = buffer[offset]! - otherBuffer[offset + shift]!;
    if (difference !== 0) return difference;
  }
  return 0;
}

/** In ms since 1970. An invalid timestamp must not prevent the commit: the append time replaces it. */
function timeOf({ batches, indexes }: RecordList, item: number): number {
  const batch = batches[item]!;
  const time = Date.parse(batch.timestamp(indexes[item]!));
  return Number.isNaN(time) ? batch.appendedAtMs : time;
}

function bytesOf({ buffer, byteOffset, byteLength }: Int32Array): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength);
}

/** A part of the request that is a request by itself: concatenated, they are one. */
interface RequestPart {
  readonly byteLength: number;
  writeTo(bytes: Uint8Array, position: number): void;
}

/**
 * The OpenTelemetry records of a block as one ExportLogsServiceRequest. A request of which the block has all records is
 * copied as it came; of other requests it has the block's records.
 */
class BlockRequest {
  /** For each record of the block its index in the request. */
  readonly indexes: Int32Array;
  readonly byteLength: number;
  /** The records of the block whose origins cannot be read, so that they were rebuilt from their envelopes. */
  readonly rebuilt = new Set<number>();
  readonly #parts: RequestPart[] = [];

  constructor(list: RecordList) {
    const { batches, indexes, length } = list;
    this.indexes = new Int32Array(length);
    let loose = 0;
    for (let start = 0; start < length;) {
      const origin = batches[start]!.origin(indexes[start]!);
      let end = start + 1;
      while (end < length && batches[end]!.origin(indexes[end]!) === origin) end++;
      if (isWhole(origin, end - start)) {
        this.#addLoose(list, loose, start);
        this.#addWhole(list, start, end, origin.request!);
        loose = end;
      }
      start = end;
    }
    this.#addLoose(list, loose, length);
    this.byteLength = this.#parts.reduce((sum, part) => sum + part.byteLength, 0);
  }

  writeTo(bytes: Uint8Array, position: number): void {
    let start = position;
    for (const part of this.#parts) {
      part.writeTo(bytes, start);
      start += part.byteLength;
    }
  }

  #addWhole(
    { batches, indexes }: RecordList,
    start: number,
    end: number,
    request: Uint8Array,
  ): void {
    for (let item = start; item < end; item++) {
      this.indexes[item] = start + batches[item]!.originIndex(indexes[item]!);
    }
    this.#parts.push({
      byteLength: request.length,
      writeTo: (bytes, position) => bytes.set(request, position),
    });
  }

  #addLoose({ batches, indexes }: RecordList, start: number, end: number): void {
    if (start === end) return;
    for (let item = start; item < end; item++) this.indexes[item] = item;
    this.#parts.push(
      new RequestBuilder(end - start, (item) =>
        batches[start + item]!.encodedRecord(indexes[start + item]!, () =>
          this.rebuilt.add(start + item),
        ),
      ),
    );
  }
}

/** No record is in a block twice, so with as many records as in the request, the block has all of them. */
function isWhole({ request, records }: Origin, count: number): boolean {
  return request !== undefined && count === records && count >= WHOLE_RECORDS_MIN;
}

/**
 * Decodes blocks into one batch of all their records, in the order of their sequences. Envelopes that an older Tailgate
 * has damaged are repaired; `onRepaired` gets the sequences of their records.
 * @throws RangeError if they cannot be read.
 */
export function decodeBlocks(
  blocks: readonly StoredBlock[],
  onRepaired?: (sequences: readonly number[]) => void,
): RecordBatch {
  const readers = blocks.map((block) => new BlockReader(block));
  const records = readers.reduce((sum, reader) => sum + reader.records, 0);
  const batch = new RecordBatch(memoryFor(readers), records);
  const columns = { sequences: new Float64Array(records), times: new Float64Array(records) };
  for (let position = 0; batch.length < records;) {
    const { next, limit } = nextOf(readers);
    position = next.addBefore(limit, batch, position, columns);
  }
  batch.firstSequence = columns.sequences[0]!;
  batch.sequences = columns.sequences;
  batch.appendedAtMs = columns.times[0]!;
  batch.appendedTimes = columns.times;
  // Only next to a large envelope others were damaged: checking all of them would slow down every replay.
  const damaged = readers.some(({ hasLarge }) => hasLarge) ? findDamaged(batch) : [];
  if (damaged.length === 0) return batch;
  onRepaired?.(damaged.map((index) => batch.sequence(index)));
  return repair(batch, damaged);
}

/** The frames of a single block stay where they are. */
function memoryFor(readers: readonly BlockReader[]): Buffer<ArrayBuffer> {
  if (readers.length === 1) return readers[0]!.frames;
  return Buffer.allocUnsafeSlow(readers.reduce((sum, { frames }) => sum + frames.length, 0));
}

/** Returns the block with the next record, and the sequence at which it is another block's turn. */
function nextOf(readers: readonly BlockReader[]): { next: BlockReader; limit: number } {
  let next = readers[0]!;
  let limit = Infinity;
  for (const reader of readers.slice(1)) {
    if (reader.nextSequence < next.nextSequence) {
      limit = next.nextSequence;
      next = reader;
    } else limit = Math.min(limit, reader.nextSequence);
  }
  return { next, limit };
}

/** Reads the records of a block one after the other. */
class BlockReader {
  readonly records: number;
  readonly isAudit: boolean;
  readonly loggers: readonly string[];
  /** The frames of all records. */
  readonly frames: Buffer<ArrayBuffer>;
  readonly origin: ProtobufOrigin;
  readonly #firstSequence: number;
  readonly #appendedAtMs: number;
  readonly #appendedTimes: Float64Array | undefined;
  readonly #cells: Int32Array;
  readonly #cellsOfRecord: number;
  readonly #hashes: Buffer;
  /** For each record whether its envelope was made again; undefined if none was. */
  readonly #isRendered: Uint8Array | undefined;
  /** Where the next record's frame starts. */
  #position = 0;
  next = 0;
  /** Whether a stored envelope is so large that it has the long frame header. */
  hasLarge = false;

  /** @throws RangeError if the format is unknown or the bytes do not match it. */
  constructor({ firstSequence, appendedAtMs, appendedTimes, bytes }: StoredBlock) {
    const [format] = readCells(bytes, HEAD_FORMAT, 1);
    if (format !== FORMAT && format !== FORMAT_COMPLETE && format !== FORMAT_IN_ORDER) {
      throw new RangeError(`stored records have the unknown format ${format}`);
    }
    const headCells = format === FORMAT ? HEAD_CELLS : HEAD_CELLS_COMPLETE;
    const head = readCells(bytes, 0, headCells);
    this.#cellsOfRecord = format === FORMAT_IN_ORDER ? CELLS_IN_ORDER : CELLS;
    this.#firstSequence = firstSequence;
    this.#appendedAtMs = appendedAtMs;
    this.#appendedTimes = appendedTimes;
    this.records = head[HEAD_RECORDS]!;
    this.isAudit = head[HEAD_IS_AUDIT] === 1;
    let position = headCells * CELL_BYTES;
    const part = (length: number): Buffer<ArrayBuffer> => {
      const start = bytes.byteOffset + position;
      position += length;
      return Buffer.from(bytes.buffer, start, length);
    };
    this.#cells = readCells(bytes, position, this.#cellsOfRecord * this.records);
    position += CELL_BYTES * this.#cells.length;
    this.#hashes = part(this.isAudit ? HASH_BYTES * this.records : 0);
    this.loggers = JSON.parse(part(head[HEAD_LOGGERS_BYTES]!).toString()) as string[];
    const rulesBytes = part(format === FORMAT ? head[HEAD_RULES_BYTES]! : 0);
    const frames = part(head[HEAD_FRAMES_BYTES]!);
    const request = part(head[HEAD_OTLP_BYTES]!);
    if (position !== bytes.length) {
      throw new RangeError(`stored records have ${bytes.length} bytes instead of ${position}`);
    }
    const rules = rulesBytes.length === 0 ? undefined : rulesOf(rulesBytes.toString());
    this.origin = new ProtobufOrigin(request, this.records, { rules });
    this.#isRendered = rules && this.#renderedRecords();
    this.frames = this.#isRendered === undefined ? frames : this.#render(request, frames, rules!);
  }

  #renderedRecords(): Uint8Array | undefined {
    const isRendered = new Uint8Array(this.records);
    for (let index = 0; index < this.records; index++) {
      const size = this.#cells[CELLS * index + CELL_SIZE];
      isRendered[index] = size === RENDERED ? 1 : 0;
    }
    return isRendered.includes(1) ? isRendered : undefined;
  }

  /** Makes the envelopes that are not stored, and returns the frames of all records. */
  #render(
    request: Uint8Array,
    stored: Buffer<ArrayBuffer>,
    rules: EnvelopeRules,
  ): Buffer<ArrayBuffer> {
    const cells = this.#cells;
    const isRendered = this.#isRendered!;
    const indexes: number[] = [];
    for (let record = 0; record < this.records; record++) {
      if (isRendered[record] === 1) indexes.push(cells[CELLS * record + CELL_OTLP]!);
    }
    const { bytes, sizes } = renderFrames(request, indexes, rules);
    let next = 0;
    for (let record = 0; record < this.records; record++) {
      if (isRendered[record] === 1) cells[CELLS * record + CELL_SIZE] = sizes[next++]!;
    }
    return indexes.length === this.records ? bytes : this.#merged(bytes, stored);
  }

  /** Puts the frames that were made and those that were stored in the order of the records. */
  #merged(rendered: Buffer, stored: Buffer): Buffer<ArrayBuffer> {
    const frames = Buffer.allocUnsafeSlow(rendered.length + stored.length);
    const from = [stored, rendered];
    const positions = [0, 0];
    let at = 0;
    for (let record = 0; record < this.records; record++) {
      const source = this.#isRendered![record]!;
      const size = this.#cells[CELLS * record + CELL_SIZE]!;
      const start = positions[source]!;
      const end = start + frameHeaderBytes(size) + size;
      from[source]!.copy(frames, at, start, end);
      positions[source] = end;
      at += end - start;
    }
    return frames;
  }

  /** The sequence of the next record; Infinity after the last one. */
  get nextSequence(): number {
    return this.next < this.records ? this.#firstSequence + this.#cell(CELL_SEQUENCE) : Infinity;
  }

  /**
   * Adds the records from the next one up to the sequence `limit`. Their frames start at `position` in the batch's
   * memory, to which they are copied unless they are there already. Returns where they end.
   */
  addBefore(
    limit: number,
    batch: RecordBatch,
    position: number,
    { sequences, times }: Record<"sequences" | "times", Float64Array>,
  ): number {
    const first = this.#position;
    const firstIndex = batch.length;
    const firstRecord = this.next;
    const shift = position - first;
    do {
      const size = this.#cell(CELL_SIZE);
      const isRendered = this.#isRendered?.[this.next] === 1;
      if (!isRendered && hasLongFrameHeader(size)) this.hasLarge = true;
      const start = this.#position + frameHeaderBytes(size);
      this.#position = start + size;
      sequences[batch.length] = this.nextSequence;
      this.#add(batch, shift + start, shift + this.#position, isRendered);
      this.next++;
    } while (this.nextSequence < limit);
    if (this.#appendedTimes === undefined) {
      times.fill(this.#appendedAtMs, firstIndex, batch.length);
    } else times.set(this.#appendedTimes.subarray(firstRecord, this.next), firstIndex);
    if (batch.buffer !== this.frames) {
      this.frames.copy(batch.buffer, position, first, this.#position);
    }
    return shift + this.#position;
  }

  #add(batch: RecordBatch, start: number, end: number, isRendered: boolean): void {
    const rank = this.#cell(CELL_RANK) as LevelRank;
    const logger = this.loggers[this.#cell(CELL_LOGGER)]!;
    const otlpIndex = this.#cellsOfRecord === CELLS ? this.#cell(CELL_OTLP) : this.next;
    batch.add(start, end, rank, this.isAudit, logger, this.origin, otlpIndex, isRendered);
    if (this.isAudit) batch.seal(batch.length - 1, this.#hash());
  }

  #cell(cell: number): number {
    return this.#cells[this.#cellsOfRecord * this.next + cell]!;
  }

  #hash(): string {
    return this.#hashes.toString("hex", HASH_BYTES * this.next, HASH_BYTES * (this.next + 1));
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
