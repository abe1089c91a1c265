/** Reads the records of a block as they are stored, for a worker that stores them in another form. */

import { renderFrames, type EnvelopeRules } from "../envelope/rules.ts";
import { SplitTime, TIMESTAMP_LENGTH, TIMESTAMP_START } from "../envelope/prefix.ts";
import { RequestIndex } from "../otlp/request-index.ts";
import { RequestParts } from "../otlp/request-parts.ts";
import { frameHeaderBytes } from "../plugin/text-frame.ts";
import type { EnvelopeType, LevelRank } from "../wire/envelope.ts";
import { BlockLayout, RENDERED } from "./block-layout.ts";
import type { StoredBlock } from "./block.ts";

/** Records of one type as they go into a merged block, by their indexes: there are too many of them for an object each. */
export interface BlockRecords {
  readonly length: number;
  /** What has the LogRecord messages. */
  readonly bytes: Uint8Array;
  /** Returns where the record's LogRecord message starts in {@link bytes}. */
  start(record: number): number;
  end(record: number): number;
  /** Returns the fields of its ResourceLogs beside the ScopeLogs; mostly the same object as for the record before. */
  resource(record: number): Uint8Array;
  /** Returns the fields of its ScopeLogs beside the records. */
  scope(record: number): Uint8Array;
  sequence(record: number): number;
  appendedAtMs(record: number): number;
  rank(record: number): LevelRank;
  logger(record: number): string;
  /** Returns the time of the envelope, in microseconds since 1970. */
  timeMicros(record: number): number;
  /** Returns the bytes of the envelope; undefined if the rules make exactly these. Audit events always have it. */
  envelope(record: number): Uint8Array | undefined;
  /** Returns the hash of an audit event. */
  hash(record: number): Uint8Array;
}

const SECOND_MICROS = 1_000_000;
const SECOND_MS = 1000;

/** The positions in a timestamp's text of the microseconds; before them are the seconds. */
const MICROS_START = "2025-10-13T09:27:24.".length;
const MICROS_END = TIMESTAMP_LENGTH - 1;

/**
 * The records of a block, without making the envelopes that are not stored. Envelopes of system logs that are stored although
 * the rules make exactly these, as of older journals and of records of this process, are left out.
 */
export class StoredRecords implements BlockRecords {
  readonly length: number;
  readonly bytes: Buffer;
  readonly rules: EnvelopeRules;
  readonly #block: StoredBlock;
  readonly #layout: BlockLayout;
  readonly #index: RequestIndex;
  readonly #parts: RequestParts;
  /** Those that are kept; undefined if the block has none. */
  readonly #envelopes: (Uint8Array | undefined)[] | undefined;
  readonly #time = new SplitTime();

  /**
   * `rules`: those to try if the block has none.
   * @throws RangeError if the block cannot be read.
   */
  constructor(block: StoredBlock, rules: EnvelopeRules) {
    this.#block = block;
    this.#layout = new BlockLayout(block);
    const { length, request, isAudit } = this.#layout;
    this.length = length;
    this.bytes = request;
    this.rules = this.#layout.rules ?? rules;
    this.#index = RequestIndex.of(request, { isExact: false });
    this.#parts = new RequestParts(this.#index);
    const stored = this.#storedEnvelopes();
    this.#envelopes = stored && (isAudit ? stored : this.#withoutRemade(stored));
    this.#check();
  }

  get type(): EnvelopeType {
    return this.#layout.isAudit ? "audit_log" : "system_log";
  }

  /** Whether the rules make the envelopes of some of the records. */
  get needsRules(): boolean {
    const envelopes = this.#envelopes;
    return envelopes === undefined || envelopes.includes(undefined);
  }

  /** The sizes of the records and of the envelopes that are kept, in bytes. */
  get byteLength(): number {
    const kept = this.#envelopes?.reduce((sum, envelope) => sum + (envelope?.length ?? 0), 0);
    return this.bytes.length + (kept ?? 0);
  }

  /** Fails now instead of when the records are read. */
  #check(): void {
    for (let record = 0; record < this.length; record++) {
      const index = this.#layout.otlpIndex(record);
      if (!(index >= 0 && index < this.#index.length)) throw new RangeError("a record is missing");
      if (this.#layout.logger(record) === undefined) throw new RangeError("a logger is missing");
      this.resource(record);
      this.scope(record);
    }
  }

  sequence(record: number): number {
    return this.#layout.sequence(record);
  }

  appendedAtMs(record: number): number {
    return this.#block.appendedTimes?.[record] ?? this.#block.appendedAtMs;
  }

  rank(record: number): LevelRank {
    return this.#layout.rank(record);
  }

  logger(record: number): string {
    return this.#layout.logger(record);
  }

  start(record: number): number {
    return this.#index.start(this.#layout.otlpIndex(record));
  }

  end(record: number): number {
    return this.#index.end(this.#layout.otlpIndex(record));
  }

  resource(record: number): Uint8Array {
    return this.#parts.resource(this.#index.resource(this.#layout.otlpIndex(record)));
  }

  scope(record: number): Uint8Array {
    return this.#parts.scope(this.#index.scope(this.#layout.otlpIndex(record)));
  }

  hash(record: number): Uint8Array {
    return this.#layout.hashBytes(record);
  }

  envelope(record: number): Uint8Array | undefined {
    return this.#envelopes?.[record];
  }

  timeMicros(record: number): number {
    const envelope = this.#envelopes?.[record];
    return envelope === undefined ? this.#givenMicros(record) : this.#shownMicros(envelope, record);
  }

  /** Returns the stored envelopes, undefined for those that are not; undefined if there is none. */
  #storedEnvelopes(): (Uint8Array | undefined)[] | undefined {
    const { frames } = this.#layout;
    if (frames.length === 0) return undefined;
    let position = 0;
    return Array.from({ length: this.length }, (_, record) => {
      const size = this.#layout.size(record);
      if (size === RENDERED) return undefined;
      const start = position + frameHeaderBytes(size);
      position = start + size;
      return frames.subarray(start, position);
    });
  }

  /** Returns the envelopes that the rules do not make; undefined if there is none. */
  #withoutRemade(
    stored: readonly (Uint8Array | undefined)[],
  ): (Uint8Array | undefined)[] | undefined {
    const kept = [...stored];
    const chosen = [...stored.keys()].filter((record) => stored[record] !== undefined);
    const indexes = chosen.map((record) => this.#layout.otlpIndex(record));
    try {
      const { bytes, sizes } = renderFrames(this.bytes, indexes, this.rules);
      let position = 0;
      for (const [item, record] of chosen.entries()) {
        const start = position + frameHeaderBytes(sizes[item]!);
        position = start + sizes[item]!;
        if (bytes.subarray(start, position).equals(stored[record]!)) kept[record] = undefined;
      }
    } catch {
      // What cannot be made again keeps its envelope.
    }
    return kept.some((envelope) => envelope !== undefined) ? kept : undefined;
  }

  /** Returns the time that a record has, own or observed, in microseconds since 1970. */
  #givenMicros(record: number): number {
    const index = this.#layout.otlpIndex(record);
    const time = this.#time;
    time.set(this.#index.timeLow(index) >>> 0, this.#index.timeHigh(index) >>> 0);
    return time.seconds * SECOND_MICROS + time.micros;
  }

  /** Returns the time in an envelope; that of the append if it is damaged. */
  #shownMicros(envelope: Uint8Array, record: number): number {
    const start = `{"type":"${this.type}","data":`.length + TIMESTAMP_START;
    const text = Buffer.from(envelope.buffer, envelope.byteOffset + start, TIMESTAMP_LENGTH);
    const ms = Date.parse(`${text.toString("latin1", 0, MICROS_START)}000Z`);
    const micros = Number(text.toString("latin1", MICROS_START, MICROS_END));
    const time = ms * SECOND_MS + micros;
    return Number.isNaN(time) ? this.appendedAtMs(record) * SECOND_MS : time;
  }
}
