/** Reads the records of a block as they are stored, for a worker that stores them in another form. */

import { renderFrames, type EnvelopeRules } from "../envelope/rules.ts";
import { SplitTime, TIMESTAMP_LENGTH, TIMESTAMP_START } from "../envelope/prefix.ts";
import type { EncodedRecord } from "../otlp/encode.ts";
import { frameHeaderBytes } from "../plugin/text-frame.ts";
import type { EnvelopeType, LevelRank } from "../wire/envelope.ts";
import { BlockLayout, RENDERED } from "./block-layout.ts";
import type { StoredBlock } from "./block.ts";
import { ProtobufOrigin } from "./origin.ts";

/** A record as it is stored, and as it goes into a merged block. */
export interface BlockRecord {
  readonly sequence: number;
  readonly appendedAtMs: number;
  readonly rank: LevelRank;
  readonly logger: string;
  readonly otlp: EncodedRecord;
  /** The time of the envelope, in microseconds since 1970. */
  readonly timeMicros: number;
  /** The bytes of the envelope; undefined if the rules make exactly these of the record. Audit events always have it. */
  readonly envelope: Uint8Array | undefined;
  /** The hash of an audit event, in hexadecimal. */
  readonly hash: string | undefined;
}

export interface StoredRecords {
  readonly type: EnvelopeType;
  readonly rules: EnvelopeRules;
  readonly records: readonly BlockRecord[];
}

/**
 * Reads the records of a block, without making the envelopes that are not stored. Envelopes of system logs that are stored
 * although the rules make exactly these, as of older journals and of records of this process, are left out. `rules`: those
 * to try if the block has none.
 * @throws RangeError if the block cannot be read.
 */
export function readRecords(block: StoredBlock, rules: EnvelopeRules): StoredRecords {
  const reader = new RecordReader(block, rules);
  return { type: reader.type, rules: reader.rules, records: reader.read() };
}

const SECOND_MICROS = 1_000_000;
const SECOND_MS = 1000;

/** The positions in a timestamp's text of the microseconds; before them are the seconds. */
const MICROS_START = "2025-10-13T09:27:24.".length;
const MICROS_END = TIMESTAMP_LENGTH - 1;

class RecordReader {
  readonly rules: EnvelopeRules;
  readonly #block: StoredBlock;
  readonly #layout: BlockLayout;
  readonly #origin: ProtobufOrigin;
  readonly #time = new SplitTime();

  constructor(block: StoredBlock, rules: EnvelopeRules) {
    this.#block = block;
    this.#layout = new BlockLayout(block);
    this.#origin = new ProtobufOrigin(this.#layout.request, this.#layout.length);
    this.rules = this.#layout.rules ?? rules;
  }

  get type(): EnvelopeType {
    return this.#layout.isAudit ? "audit_log" : "system_log";
  }

  read(): BlockRecord[] {
    const layout = this.#layout;
    const stored = this.#storedEnvelopes();
    const remade = layout.isAudit ? [] : this.#remade(stored);
    return Array.from({ length: layout.length }, (_, record) => {
      const envelope = stored[record];
      return {
        sequence: layout.sequence(record),
        appendedAtMs: this.#block.appendedTimes?.[record] ?? this.#block.appendedAtMs,
        rank: layout.rank(record),
        logger: layout.logger(record),
        otlp: this.#origin.otlp(layout.otlpIndex(record)),
        timeMicros:
          envelope === undefined ? this.#givenMicros(record) : this.#shownMicros(envelope, record),
        envelope: remade[record] === true ? undefined : envelope,
        hash: layout.isAudit ? layout.hash(record) : undefined,
      };
    });
  }

  /** Returns the stored envelopes; undefined for those that are not. */
  #storedEnvelopes(): (Uint8Array | undefined)[] {
    const layout = this.#layout;
    let position = 0;
    return Array.from({ length: layout.length }, (_, record) => {
      const size = layout.size(record);
      if (size === RENDERED) return undefined;
      const start = position + frameHeaderBytes(size);
      position = start + size;
      return layout.frames.subarray(start, position);
    });
  }

  /** Returns for each stored envelope whether the rules make it. */
  #remade(stored: readonly (Uint8Array | undefined)[]): boolean[] {
    const remade: boolean[] = [];
    const chosen = [...stored.keys()].filter((record) => stored[record] !== undefined);
    if (chosen.length === 0) return remade;
    const indexes = chosen.map((record) => this.#layout.otlpIndex(record));
    try {
      const { bytes, sizes } = renderFrames(this.#layout.request, indexes, this.rules);
      let position = 0;
      for (const [item, record] of chosen.entries()) {
        const start = position + frameHeaderBytes(sizes[item]!);
        position = start + sizes[item]!;
        remade[record] = bytes.subarray(start, position).equals(stored[record]!);
      }
    } catch {
      // What cannot be made again keeps its envelope.
    }
    return remade;
  }

  /** Returns the time that a record has, own or observed, in microseconds since 1970. */
  #givenMicros(record: number): number {
    const { low, high } = this.#origin.time(this.#layout.otlpIndex(record));
    this.#time.set(low >>> 0, high >>> 0);
    return this.#time.seconds * SECOND_MICROS + this.#time.micros;
  }

  /** Returns the time in an envelope; that of the append if it is damaged. */
  #shownMicros(envelope: Uint8Array, record: number): number {
    const start = `{"type":"${this.type}","data":`.length + TIMESTAMP_START;
    const text = Buffer.from(envelope.buffer, envelope.byteOffset + start, TIMESTAMP_LENGTH);
    const ms = Date.parse(`${text.toString("latin1", 0, MICROS_START)}000Z`);
    const micros = Number(text.toString("latin1", MICROS_START, MICROS_END));
    const time = ms * SECOND_MS + micros;
    if (!Number.isNaN(time)) return time;
    return (this.#block.appendedTimes?.[record] ?? this.#block.appendedAtMs) * SECOND_MS;
  }
}
