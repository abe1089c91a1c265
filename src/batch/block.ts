/**
 * A block is the form in which the journal stores the records of one type of a commit: one piece of bytes with the
 * OpenTelemetry records as they came, the envelopes that cannot be made of them again, the rules by which the others are
 * made, and what it takes to make a batch of all (block-layout.ts).
 */

import { RequestBuilder, type RequestPart } from "../otlp/encode.ts";
import type { EnvelopeType } from "../wire/envelope.ts";
import {
  BlockLayout,
  CELL_LOGGER,
  CELL_OTLP,
  CELL_RANK,
  CELL_SEQUENCE,
  CELL_SIZE,
  CELLS,
  FORMAT,
  HEAD_CELLS,
  HEAD_FORMAT,
  HEAD_FRAMES_BYTES,
  HEAD_IS_AUDIT,
  HEAD_LOGGERS_BYTES,
  HEAD_OTLP_BYTES,
  HEAD_RECORDS,
  HEAD_RULES_BYTES,
  RENDERED,
} from "./block-layout.ts";
import { TIMESTAMP_LENGTH } from "../envelope/prefix.ts";
import { DeferredOrigin } from "./deferred-origin.ts";
import { findDamaged, repair } from "./damaged-envelope.ts";
import { frameHeaderBytes, hasLongFrameHeader } from "../plugin/text-frame.ts";
import { renderFrames, rulesText, type EnvelopeRules } from "../envelope/rules.ts";
import { ProtobufOrigin, type Origin } from "./origin.ts";
import { RecordBatch } from "./record-batch.ts";

/** Fewer records of a request are merged with their neighbors, if any: their resource would take too much space. */
const SHARED_RECORDS_MIN = 32;
/** So do few records of a large request, through all of which it takes longer to go. */
const SHARED_SPARSELY_MAX = 16;

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
  /**
   * Called when the OTLP request is needed; gets the one that the block has, which is empty if it was left out, and returns
   * one with all records of the block, in its order if it was left out.
   */
  readonly onRequest?: ((request: Uint8Array) => Uint8Array) | undefined;
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

/** The rules of commits as text: they change only with the configuration. */
const texts = new WeakMap<EnvelopeRules, string>();

function textOfRules(rules: EnvelopeRules): string {
  let text = texts.get(rules);
  if (text === undefined) {
    text = rulesText(rules);
    texts.set(rules, text);
  }
  return text;
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
    if (rules !== known && textOfRules(rules) !== (text ??= textOfRules(rules))) continue;
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
  const { batches, indexes, length } = list;
  let min = 0;
  let max = 0;
  let batch = batches[0]!;
  let view = viewOf(batch.buffer);
  let minView = view;
  let maxView = view;
  let minStart = batch.timestampStart(indexes[0]!);
  let maxStart = minStart;
  for (let item = 1; item < length; item++) {
    if (batches[item] !== batch) {
      batch = batches[item]!;
      view = viewOf(batch.buffer);
    }
    const start = batch.timestampStart(indexes[item]!);
    // Most records come in order of time.
    if (compareTimes(view, start, maxView, maxStart) >= 0) {
      max = item;
      maxView = view;
      maxStart = start;
    } else if (compareTimes(view, start, minView, minStart) < 0) {
      min = item;
      minView = view;
      minStart = start;
    }
  }
  return { timeMin: timeOf(list, min), timeMax: timeOf(list, max) };
}

function viewOf({ buffer, byteOffset, byteLength }: Uint8Array): DataView {
  return new DataView(buffer, byteOffset, byteLength);
}

/** Compares the timestamps' text in place: a string for each would cost more than the comparison. */
function compareTimes(view: DataView, start: number, otherView: DataView, other: number): number {
  for (let offset = 0; ; offset = Math.min(offset + WORD_BYTES, LAST_WORD)) {
    const difference = view.getUint32(start + offset) - otherView.getUint32(other + offset);
    if (difference !== 0 || offset === LAST_WORD) return difference;
  }
}

const WORD_BYTES = 4;
/** The last word of a timestamp overlaps the one before. */
const LAST_WORD = TIMESTAMP_LENGTH - WORD_BYTES;

/** In ms since 1970. An invalid timestamp must not prevent the commit: the append time replaces it. */
function timeOf({ batches, indexes }: RecordList, item: number): number {
  const batch = batches[item]!;
  const time = Date.parse(batch.timestamp(indexes[item]!));
  return Number.isNaN(time) ? batch.appendedAtMs : time;
}

function bytesOf({ buffer, byteOffset, byteLength }: Int32Array): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength);
}

/**
 * The OpenTelemetry records of a block as one ExportLogsServiceRequest. A request of which the block has all records is
 * copied as it came; of other requests it has the block's records, in the order of the request: those of a scope are then
 * together, and their bytes too.
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
      const positions =
        end - start < Math.min(SHARED_RECORDS_MIN, length)
          ? undefined
          : positionsIn(origin, list, start, end);
      const part = positions && requestPart(origin, positions, end - start);
      if (part !== undefined) {
        this.#addLoose(list, loose, start);
        for (let item = start; item < end; item++) {
          this.indexes[item] = start + positions![batches[item]!.originIndex(indexes[item]!)]!;
        }
        this.#parts.push(part);
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

  #addLoose({ batches, indexes }: RecordList, start: number, end: number): void {
    if (start === end) return;
    for (let item = start; item < end; item++) this.indexes[item] = item;
    this.#parts.push(
      RequestBuilder.of(end - start, (item) =>
        batches[start + item]!.encodedRecord(indexes[start + item]!, () =>
          this.rebuilt.add(start + item),
        ),
      ),
    );
  }
}

/**
 * Returns for each record of a request its position among those that a block has, from `start` to `end`, in the order of
 * the request; -1 for the others. Undefined if the records did not come in a request, or are few of it.
 */
function positionsIn(
  { records }: Origin,
  { batches, indexes }: RecordList,
  start: number,
  end: number,
): Int32Array | undefined {
  if (records === undefined || records > SHARED_SPARSELY_MAX * (end - start)) return undefined;
  const positions = new Int32Array(records).fill(-1);
  for (let item = start; item < end; item++) {
    positions[batches[item]!.originIndex(indexes[item]!)] = 0;
  }
  let length = 0;
  for (let record = 0; record < records; record++) {
    if (positions[record] === 0) positions[record] = length++;
  }
  return positions;
}

/** Returns the records with a position as a request: the request itself if these are all. */
function requestPart(
  origin: Origin,
  positions: Int32Array,
  count: number,
): RequestPart | undefined {
  const { request } = origin;
  // No record is in a block twice.
  if (request === undefined || count < positions.length) return origin.part?.(positions);
  return {
    byteLength: request.length,
    writeTo: (bytes, start) => bytes.set(request, start),
  };
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
  /** The frames of all records. */
  readonly frames: Buffer<ArrayBuffer>;
  readonly #layout: BlockLayout;
  readonly #origin: Origin;
  readonly #appendedAtMs: number;
  readonly #appendedTimes: Float64Array | undefined;
  /** The sizes of the envelopes. */
  readonly #sizes: Int32Array;
  /** Where the next record's frame starts. */
  #position = 0;
  #next = 0;
  /** Whether a stored envelope is so large that it has the long frame header. */
  hasLarge = false;

  /** @throws RangeError if the format is unknown or the bytes do not match it. */
  constructor(block: StoredBlock) {
    const layout = new BlockLayout(block);
    const { length, request, rules } = layout;
    this.#layout = layout;
    this.#appendedAtMs = block.appendedAtMs;
    this.#appendedTimes = block.appendedTimes;
    const { onRequest } = block;
    this.#origin =
      onRequest === undefined
        ? new ProtobufOrigin(request, length, { rules })
        : new DeferredOrigin(() => onRequest(request), {
            records: length,
            recordBytes: Math.ceil(request.length / length),
            rules,
          });
    this.#sizes = Int32Array.from({ length }, (_, record) => layout.size(record));
    this.frames = rules === undefined ? layout.frames : this.#render(rules);
  }

  /** The number of records. */
  get records(): number {
    return this.#layout.length;
  }

  /** Makes the envelopes that are not stored, and returns the frames of all records. */
  #render(rules: EnvelopeRules): Buffer<ArrayBuffer> {
    const { length, request } = this.#layout;
    const indexes: number[] = [];
    for (let record = 0; record < length; record++) {
      if (this.#isRendered(record)) indexes.push(this.#layout.otlpIndex(record));
    }
    const { bytes, sizes } = renderFrames(request, indexes, rules);
    let next = 0;
    for (let record = 0; record < length; record++) {
      if (this.#isRendered(record)) this.#sizes[record] = sizes[next++]!;
    }
    return indexes.length === length ? bytes : this.#merged(bytes);
  }

  #isRendered(record: number): boolean {
    return this.#layout.size(record) === RENDERED;
  }

  /** Puts the frames that were made and those that were stored in the order of the records. */
  #merged(rendered: Buffer): Buffer<ArrayBuffer> {
    const { frames: stored, length } = this.#layout;
    const frames = Buffer.allocUnsafeSlow(rendered.length + stored.length);
    let renderedAt = 0;
    let storedAt = 0;
    for (let record = 0; record < length; record++) {
      const size = this.#sizes[record]!;
      const bytes = frameHeaderBytes(size) + size;
      const at = renderedAt + storedAt;
      if (this.#isRendered(record)) {
        rendered.copy(frames, at, renderedAt, renderedAt + bytes);
        renderedAt += bytes;
      } else {
        stored.copy(frames, at, storedAt, storedAt + bytes);
        storedAt += bytes;
      }
    }
    return frames;
  }

  /** The sequence of the next record; Infinity after the last one. */
  get nextSequence(): number {
    return this.#next < this.records ? this.#layout.sequence(this.#next) : Infinity;
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
    const firstRecord = this.#next;
    const shift = position - first;
    do {
      const size = this.#sizes[this.#next]!;
      if (hasLongFrameHeader(size) && !this.#isRendered(this.#next)) this.hasLarge = true;
      const start = this.#position + frameHeaderBytes(size);
      this.#position = start + size;
      sequences[batch.length] = this.nextSequence;
      this.#add(batch, shift + start, shift + this.#position);
      this.#next++;
    } while (this.nextSequence < limit);
    if (this.#appendedTimes === undefined) {
      times.fill(this.#appendedAtMs, firstIndex, batch.length);
    } else times.set(this.#appendedTimes.subarray(firstRecord, this.#next), firstIndex);
    if (batch.buffer !== this.frames) {
      this.frames.copy(batch.buffer, position, first, this.#position);
    }
    return shift + this.#position;
  }

  #add(batch: RecordBatch, start: number, end: number): void {
    const layout = this.#layout;
    const record = this.#next;
    batch.add(
      start,
      end,
      layout.rank(record),
      layout.isAudit,
      layout.logger(record),
      this.#origin,
      layout.otlpIndex(record),
      this.#isRendered(record),
    );
    if (layout.isAudit) batch.seal(batch.length - 1, layout.hash(record));
  }
}
