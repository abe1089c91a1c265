import type { LevelRank } from "../wire/envelope.ts";
import { JsonWriter } from "../envelope/json-writer.ts";
import { retainAccepted, type ProtobufOrigin, type Origin } from "./origin.ts";
import type { Steps } from "../otlp/request-limits.ts";
import { FRAME_HEADER_SPACE, frameHeaderBytes, writeFrameHeader } from "../plugin/text-frame.ts";
import { RecordBatch } from "./record-batch.ts";

/** The default size of a slab; a batch never spans two. */
const SLAB_BYTES = 1 << 20;

/** Decides about each audit event that is added. */
export interface AuditGate {
  /** Whether the event, which is the last one of the batch, stays there. */
  admits(batch: RecordBatch, index: number): boolean;
  savepoint(): AuditSavepoint;
  rollback(savepoint: AuditSavepoint): void;
}

/** The number of events that came, and of those that were not admitted. */
export interface AuditSavepoint {
  readonly open: number;
  readonly repeats: number;
}

/**
 * Builds batches. For each record: `begin`, write the envelope with `writer`, then `commit` or `abandon`. `take` returns
 * the batches of what was committed.
 */
export class BatchBuilder {
  readonly writer: JsonWriter;
  #slab: Buffer<ArrayBuffer>;
  #batch: RecordBatch;
  /** Batches whose memory is full. */
  #full: RecordBatch[] = [];
  #fullBytes = 0;
  /** The end of the newest record in the slab. */
  #end = 0;
  readonly #gate: AuditGate | undefined;
  readonly #slabBytes: number;

  /** Without a gate every audit event is admitted. */
  constructor(gate?: AuditGate, slabBytes = SLAB_BYTES) {
    this.#gate = gate;
    this.#slabBytes = slabBytes;
    this.writer = new JsonWriter(slabBytes);
    this.#slab = this.writer.buffer;
    this.#batch = new RecordBatch(this.#slab);
  }

  /** The memory of what was committed and not taken. */
  get memoryBytes(): number {
    return this.#fullBytes + this.#batch.memoryBytes;
  }

  get isEmpty(): boolean {
    return this.#full.length === 0 && this.#batch.length === 0;
  }

  /** The batch whose last record is the newest one. */
  get last(): RecordBatch {
    return this.#batch.length > 0 ? this.#batch : (this.#full.at(-1) ?? this.#batch);
  }

  /** Reserves capacity for that many more records. */
  expect(records: number): void {
    this.#batch.expect(records);
  }

  begin(): void {
    this.writer.begin();
    this.writer.reserve(FRAME_HEADER_SPACE);
    this.writer.position += FRAME_HEADER_SPACE;
  }

  abandon(): void {
    this.writer.position = this.writer.mark;
  }

  /**
   * Adds the record to the batch, unless the gate rejects it. Returns whether its envelope stays where it was written, so
   * that it can be copied from: a large one is moved to make room for its frame header. `isRemade`: whether a system
   * log's envelope can be made again of its origin (envelope/rules.ts).
   */
  commit(
    rank: LevelRank,
    audit: boolean,
    logger: string,
    origin: Origin,
    originIndex: number,
    isRemade = false,
  ): boolean {
    const writtenAt = this.writer.mark + FRAME_HEADER_SPACE;
    const start = this.#writeFrameHeader();
    const { buffer, position } = this.writer;
    if (buffer !== this.#batch.buffer) this.#changeBatch(buffer);
    this.#batch.add(start, position, rank, audit, logger, origin, originIndex, isRemade);
    if (audit && !this.#admitsLast()) return false;
    this.writer.mark = position;
    if (buffer.length > this.#slabBytes) {
      this.#closeLarge(position);
      return false;
    }
    this.#end = position;
    return start === writtenAt;
  }

  /** Gives a record that is larger than a slab its own memory, and continues in the previous slab. */
  #closeLarge(end: number): void {
    const large = this.#batch;
    const buffer = Buffer.allocUnsafeSlow(end);
    large.buffer.copy(buffer, 0, 0, end);
    large.buffer = buffer;
    this.#full.push(large);
    this.#fullBytes += large.memoryBytes;
    this.#batch = new RecordBatch(this.#slab);
    this.writer.continueIn(this.#slab, this.#end);
  }

  /** Asks the gate whether the newest record stays, and removes it if not or if the gate throws. */
  #admitsLast(): boolean {
    if (this.#gate === undefined) return true;
    const index = this.#batch.length - 1;
    let isAdmitted = false;
    try {
      isAdmitted = this.#gate.admits(this.#batch, index);
    } finally {
      if (!isAdmitted) {
        this.#batch.truncate(index);
        this.abandon();
      }
    }
    return isAdmitted;
  }

  /** Writes the header before the envelope and returns where the envelope starts. */
  #writeFrameHeader(): number {
    const { writer } = this;
    const size = writer.position - writer.mark - FRAME_HEADER_SPACE;
    const header = frameHeaderBytes(size);
    if (header > FRAME_HEADER_SPACE) this.#moveEnvelope(header);
    writeFrameHeader(writer.buffer, writer.mark, size);
    return writer.mark + header;
  }

  /** Moves the envelope so that there is room for a longer header. */
  #moveEnvelope(header: number): void {
    const { writer } = this;
    const shift = header - FRAME_HEADER_SPACE;
    writer.reserve(shift);
    const { buffer, mark } = writer;
    buffer.copyWithin(mark + header, mark + FRAME_HEADER_SPACE, writer.position);
    writer.position += shift;
  }

  #changeBatch(buffer: Buffer<ArrayBuffer>): void {
    this.#fullBytes += this.#batch.memoryBytes;
    if (this.#batch.length > 0) this.#full.push(this.#batch);
    this.#batch = new RecordBatch(buffer);
    if (buffer.length > this.#slabBytes) return;
    this.#batch.unusedBytes += this.#slab.length - this.#end;
    this.#slab = buffer;
  }

  /** Returns a state to which {@link rollback} can return, unless something is taken in between. */
  savepoint(): Savepoint {
    return {
      batch: this.#batch,
      length: this.#batch.length,
      buffer: this.writer.buffer,
      position: this.writer.position,
      slab: this.#slab,
      end: this.#end,
      full: this.#full.length,
      fullBytes: this.#fullBytes,
      audit: this.#gate?.savepoint(),
    };
  }

  /** Removes what was committed since the savepoint: a request is accepted as a whole or not at all. */
  rollback(savepoint: Savepoint): void {
    this.#batch = savepoint.batch;
    this.#batch.truncate(savepoint.length);
    this.#full.length = savepoint.full;
    this.#fullBytes = savepoint.fullBytes;
    this.#slab = savepoint.slab;
    this.#end = savepoint.end;
    this.writer.continueIn(savepoint.buffer, savepoint.position);
    if (savepoint.audit) this.#gate?.rollback(savepoint.audit);
  }

  /** Returns the number of records that were committed since the savepoint. */
  countSince({ batch, length, full }: Savepoint): number {
    if (batch === this.#batch) return batch.length - length;
    const batches = [...this.#full.slice(full), this.#batch];
    return batches.reduce((sum, end) => sum + end.length - (end === batch ? length : 0), 0);
  }

  /**
   * Declares that only what was committed since the savepoint was accepted of a request: `bytes` of it. The rest of the
   * request is released or accounted for.
   */
  *retainAccepted(
    { batch, length, full }: Savepoint,
    request: ProtobufOrigin,
    bytes: number,
  ): Steps<void> {
    const batches = [...this.#full.slice(full), this.#batch];
    const ends = batches.map((end) => ({ batch: end, first: end === batch ? length : 0 }));
    yield* retainAccepted(ends, request, bytes);
    this.#fullBytes = this.#full.reduce((sum, { memoryBytes }) => sum + memoryBytes, 0);
  }

  /** Does the same as {@link take} when nothing more will be encoded: no unused memory remains. */
  end(): RecordBatch[] {
    if (this.#batch.length > 0) {
      const buffer = Buffer.allocUnsafeSlow(this.#end);
      this.#slab.copy(buffer, 0, 0, this.#end);
      this.#batch.buffer = buffer;
    }
    return this.take();
  }

  /** Returns what was committed since the last call, in order. */
  take(): RecordBatch[] {
    const taken = this.#full;
    if (this.#batch.length > 0) {
      taken.push(this.#batch);
      // A turn of the event loop is much like the previous one.
      this.#batch = new RecordBatch(this.writer.buffer, this.#batch.length);
    }
    this.#full = [];
    this.#fullBytes = 0;
    return taken;
  }
}

export interface Savepoint {
  readonly batch: RecordBatch;
  readonly length: number;
  /** Where the next record goes: not the batch's own memory if a record that did not fit was abandoned. */
  readonly buffer: Buffer<ArrayBuffer>;
  readonly position: number;
  readonly slab: Buffer<ArrayBuffer>;
  readonly end: number;
  readonly full: number;
  readonly fullBytes: number;
  readonly audit: AuditSavepoint | undefined;
}
