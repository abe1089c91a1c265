import type { LevelRank } from "../wire/envelope.ts";
import { JsonWriter } from "../envelope/json-writer.ts";
import { keepOnly, type ProtobufOrigin, type Origin } from "./origin.ts";
import type { Steps } from "../otlp/request-limits.ts";
import { FRAME_HEADER_SPACE, frameHeaderBytes, writeFrameHeader } from "./frames.ts";
import { RecordBatch } from "./record-batch.ts";

/** Memory is taken in pieces of this size, if no other is given; a batch never spans two. */
const SLAB_BYTES = 1 << 20;

/** Looks at each audit event that comes into the open batch. */
export interface AuditGate {
  /** Whether the event, the last one of the batch, is to stay there. */
  admits(batch: RecordBatch, index: number): boolean;
  savepoint(): AuditSavepoint;
  rollback(savepoint: AuditSavepoint): void;
}

/** How many events have come, and how many of them were not admitted. */
export interface AuditSavepoint {
  readonly open: number;
  readonly repeats: number;
}

/**
 * The batch that records are being encoded into. For each record: `begin`, write the envelope with `writer`, then
 * `commit` or `abandon`. `take` hands over what was committed.
 */
export class BatchBuilder {
  readonly writer: JsonWriter;
  #slab: Buffer;
  #batch: RecordBatch;
  /** Batches whose memory is full. */
  #full: RecordBatch[] = [];
  #fullBytes = 0;
  /** Where the newest record in the slab ends. */
  #end = 0;
  readonly #gate: AuditGate | undefined;
  readonly #slabBytes: number;

  /** Without a gate every audit event stays. */
  constructor(gate?: AuditGate, slabBytes = SLAB_BYTES) {
    this.#gate = gate;
    this.#slabBytes = slabBytes;
    this.writer = new JsonWriter(slabBytes);
    this.#slab = this.writer.buffer;
    this.#batch = new RecordBatch(this.#slab);
  }

  /** Memory of all that was committed and not taken. */
  get memoryBytes(): number {
    return this.#fullBytes + this.#batch.memoryBytes;
  }

  get isEmpty(): boolean {
    return this.#full.length === 0 && this.#batch.length === 0;
  }

  /** The batch that the newest record is in, as its last one. */
  get last(): RecordBatch {
    return this.#batch.length > 0 ? this.#batch : (this.#full.at(-1) ?? this.#batch);
  }

  /** Makes room for so many records more. */
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
   * Adds the record to the batch, unless the gate refuses it. Returns whether its envelope stays where it was written,
   * so that it can be copied from: a large one is moved to make room for its frame's head.
   */
  commit(
    rank: LevelRank,
    audit: boolean,
    logger: string,
    origin: Origin,
    originIndex: number,
  ): boolean {
    const writtenAt = this.writer.mark + FRAME_HEADER_SPACE;
    const start = this.#writeFrameHeader();
    const { buffer, position } = this.writer;
    if (buffer !== this.#batch.buffer) this.#changeBatch(buffer);
    this.#batch.add(start, position, rank, audit, logger, origin, originIndex);
    if (audit && !this.#admitsLast()) return false;
    this.writer.mark = position;
    if (buffer.length > this.#slabBytes) {
      this.#closeLarge(position);
      return false;
    }
    this.#end = position;
    return start === writtenAt;
  }

  /** Gives a record that is larger than a slab memory of its size, and goes on in the slab before it. */
  #closeLarge(end: number): void {
    const large = this.#batch;
    const buffer = Buffer.allocUnsafeSlow(end);
    large.buffer.copy(buffer, 0, 0, end);
    large.moveTo(buffer);
    this.#full.push(large);
    this.#fullBytes += large.memoryBytes;
    this.#batch = new RecordBatch(this.#slab);
    this.writer.continueIn(this.#slab, this.#end);
  }

  /** Asks the gate whether the newest record may stay, and removes it if not, or if the gate throws. */
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

  #changeBatch(buffer: Buffer): void {
    this.#fullBytes += this.#batch.memoryBytes;
    if (this.#batch.length > 0) this.#full.push(this.#batch);
    this.#batch = new RecordBatch(buffer);
    if (buffer.length > this.#slabBytes) return;
    this.#batch.addUnused(this.#slab.length - this.#end);
    this.#slab = buffer;
  }

  /** A state to come back to with {@link rollback}, as long as nothing is taken in between. */
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

  /** Forgets what was committed since the savepoint: a request is taken whole or not at all. */
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

  /** How many records were committed since the savepoint. */
  countSince({ batch, length, full }: Savepoint): number {
    if (batch === this.#batch) return batch.length - length;
    const batches = [...this.#full.slice(full), this.#batch];
    return batches.reduce((sum, end) => sum + end.length - (end === batch ? length : 0), 0);
  }

  /**
   * Says that what was committed since the savepoint is all that is kept of a request: so many bytes of it. The rest is
   * let go, or accounted for.
   */
  *keepOnly(
    { batch, length, full }: Savepoint,
    request: ProtobufOrigin,
    bytes: number,
  ): Steps<void> {
    const batches = [...this.#full.slice(full), this.#batch];
    const ends = batches.map((end) => ({ batch: end, first: end === batch ? length : 0 }));
    yield* keepOnly(ends, request, bytes);
    this.#fullBytes = this.#full.reduce((sum, { memoryBytes }) => sum + memoryBytes, 0);
  }

  /** The same as {@link take}, if nothing more is going to be encoded: no memory is left over. */
  end(): RecordBatch[] {
    if (this.#batch.length > 0) {
      const buffer = Buffer.allocUnsafeSlow(this.#end);
      this.#slab.copy(buffer, 0, 0, this.#end);
      this.#batch.moveTo(buffer);
    }
    return this.take();
  }

  /** What was committed since the last call, in order. */
  take(): RecordBatch[] {
    const taken = this.#full;
    if (this.#batch.length > 0) {
      taken.push(this.#batch);
      // One turn of the event loop is much like the one before.
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
  /** Where the next record goes: not always the batch's own memory, after a record that did not fit was abandoned. */
  readonly buffer: Buffer;
  readonly position: number;
  readonly slab: Buffer;
  readonly end: number;
  readonly full: number;
  readonly fullBytes: number;
  readonly audit: AuditSavepoint | undefined;
}
