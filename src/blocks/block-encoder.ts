import { LEVELS, type EnvelopeType } from "../wire/envelope.ts";
import { BLOCK_BYTES_MAX, BLOCK_RECORDS_MAX, type BlockDirectory } from "./block-view.ts";
import type { BlockRecord, EncodedBlock } from "./encoded-block.ts";
import {
  encodeDirectory,
  packStreams,
  STREAMS,
  FIXED_STREAMS,
  type BlockLayout,
} from "./layout.ts";
import { MergedBlock } from "./merged-block.ts";
import { indexOfBlock } from "./block-index.ts";
import { RecordSplitter } from "./record-splitter.ts";
import { packNumbers, StreamWriter } from "./stream.ts";

const MS_MICROS = 1_000;
const NO_SHAPE = 0;

/** Encodes records of one type as a block. */
export class BlockEncoder {
  readonly #type: EnvelopeType;
  readonly #rules: string;
  readonly #splitter = new RecordSplitter();
  readonly #records: Omit<BlockRecord, "otlp" | "envelope">[] = [];
  readonly #shapes: number[] = [];
  readonly #loggers = new DistinctTexts();
  readonly #resources = new DistinctBytes();
  readonly #scopes = new DistinctBytes();
  readonly #exceptions = new StreamWriter();
  readonly #envelopes = new StreamWriter();
  #lastEnvelope = -1;
  readonly #hashes = new StreamWriter();
  #bytes = 0;

  /** `rules`: those by which the envelopes are made, as `rulesText` returns them. */
  constructor(type: EnvelopeType, rules: string) {
    this.#type = type;
    this.#rules = rules;
  }

  get length(): number {
    return this.#records.length;
  }

  /** About how much the records take up before compression, in bytes. */
  get byteLength(): number {
    return this.#bytes;
  }

  get isFull(): boolean {
    return this.length >= BLOCK_RECORDS_MAX || this.#bytes >= BLOCK_BYTES_MAX;
  }

  /** Adds the next record in the order of sequences; there must be room for it. */
  add({
    sequence,
    appendedAtMs,
    rank,
    logger,
    otlp,
    timeMicros,
    envelope,
    hash,
  }: BlockRecord): void {
    const index = this.#records.length;
    this.#records.push({ sequence, appendedAtMs, rank, logger, timeMicros, hash });
    this.#loggers.add(logger);
    this.#resources.add(otlp.resource);
    this.#scopes.add(otlp.scope);
    const { record } = otlp;
    // Audit events are searched in their envelopes, which are stored anyway.
    const shape = this.#type === "audit_log" ? undefined : this.#splitter.add(record);
    this.#shapes.push(shape === undefined ? NO_SHAPE : shape + 1);
    this.#bytes += record.length + (envelope?.length ?? 0);
    if (shape === undefined) {
      this.#exceptions.varint(record.length);
      this.#exceptions.copy(record, 0, record.length);
    }
    if (envelope !== undefined) {
      this.#envelopes.varint(index - this.#lastEnvelope - 1);
      this.#envelopes.varint(envelope.length);
      this.#envelopes.copy(envelope, 0, envelope.length);
      this.#lastEnvelope = index;
    }
    if (hash !== undefined) {
      const bytes = Buffer.from(hash, "hex");
      this.#hashes.copy(bytes, 0, bytes.length);
    }
  }

  /** Returns the block of the records that were added, at least one. */
  finish(): EncodedBlock {
    const records = this.#records;
    const columns = this.#splitter.columns.map((column) => column.encode());
    const streams: Buffer[] = Array.from({ length: FIXED_STREAMS }, () => Buffer.alloc(0));
    this.#encodeRecords(streams);
    streams.push(...columns.flatMap((column) => column.streams));
    const base = {
      length: records.length,
      nodes: this.#splitter.nodes.map(
        ({ wrapping, kind, tag, key, parent }) => [wrapping, kind, tag, key, parent] as const,
      ),
      columns: columns.map(
        ({ form, length, distinct, streams: own }) => [form, length, distinct, own.length] as const,
      ),
      shapes: this.#splitter.shapes.map(({ nodes }) => nodes),
      resources: this.#resources.size,
      scopes: this.#scopes.size,
    };
    const counts = this.#counts();
    // Times that differ from those of the columns are known once these can be read.
    streams[STREAMS.times] = this.#oddTimes(base, streams, counts);
    const { chunks, layout } = packStreams(streams);
    const whole = { ...base, ...layout };
    const { directory, filter } = indexOfBlock(this.#view(whole, streams, counts), counts);
    const times = this.#records.map(({ timeMicros }) => Math.floor(timeMicros / MS_MICROS));
    const appended = this.#records.map(({ appendedAtMs }) => appendedAtMs);
    return {
      length: records.length,
      firstSequence: records[0]!.sequence,
      lastSequence: records.at(-1)!.sequence,
      timeMin: leastOf(times),
      timeMax: greatestOf(times),
      appendedMin: leastOf(appended),
      appendedMax: greatestOf(appended),
      levels: LEVELS.map((_, rank) =>
        directory.loggerLevels.reduce((sum, levels) => sum + levels[rank]!, 0),
      ),
      rules: this.#rules,
      directory: encodeDirectory({ layout: whole, directory }),
      chunks,
      filter,
    };
  }

  #encodeRecords(streams: Buffer[]): void {
    const records = this.#records;
    const sequences = new StreamWriter();
    const appended = new StreamWriter();
    let previous = records[0]!.sequence - 1;
    let appendedAtMs = 0;
    for (const record of records) {
      sequences.varint(record.sequence - previous - 1);
      appended.signed(record.appendedAtMs - appendedAtMs);
      previous = record.sequence;
      ({ appendedAtMs } = record);
    }
    streams[STREAMS.sequences] = sequences.written;
    streams[STREAMS.appended] = appended.written;
    streams[STREAMS.ranks] = packNumbers(
      records.map(({ rank }) => rank),
      0,
    );
    streams[STREAMS.loggers] = packNumbers(this.#loggers.codes, this.#loggers.names.length);
    streams[STREAMS.shapes] = packNumbers(this.#shapes, this.#splitter.shapes.length);
    streams[STREAMS.resources] = packNumbers(this.#resources.codes, this.#resources.size);
    streams[STREAMS.scopes] = packNumbers(this.#scopes.codes, this.#scopes.size);
    streams[STREAMS.records] = this.#exceptions.written;
    streams[STREAMS.envelopes] = this.#envelopes.written;
    streams[STREAMS.hashes] = this.#hashes.written;
    streams[STREAMS.distinctResources] = this.#resources.written;
    streams[STREAMS.distinctScopes] = this.#scopes.written;
  }

  #oddTimes(
    base: Omit<BlockLayout, "streams" | "chunks">,
    streams: readonly Buffer[],
    counts: BlockDirectory,
  ): Buffer {
    const { times } = this.#view({ ...base, streams: [], chunks: [] }, streams, counts);
    const odd = new StreamWriter();
    for (const [index, { timeMicros }] of this.#records.entries()) {
      if (times[index] === timeMicros) continue;
      odd.varint(index);
      odd.varint(timeMicros);
    }
    return odd.written;
  }

  /** Returns the block as it will be read, without reading it. */
  #view(layout: BlockLayout, streams: readonly Buffer[], directory: BlockDirectory): MergedBlock {
    const place = { type: this.#type, from: this.#records[0]!.sequence, rules: this.#rules };
    return new MergedBlock(place, { layout, directory }, { read: (stream) => streams[stream]! });
  }

  /** Counts by logger, level and minute. */
  #counts(): BlockDirectory {
    const { names, codes } = this.#loggers;
    const loggerLevels = names.map(() => LEVELS.map(() => 0));
    const minutes = new Map<number, number[]>();
    for (const [index, { rank, timeMicros }] of this.#records.entries()) {
      loggerLevels[codes[index]!]![rank]!++;
      const minute = Math.floor(timeMicros / MINUTE_MICROS);
      let levels = minutes.get(minute);
      if (levels === undefined) minutes.set(minute, (levels = LEVELS.map(() => 0)));
      levels[rank]!++;
    }
    const ascending = [...minutes].toSorted(([one], [other]) => one - other);
    return {
      format: BLOCK_FORMAT,
      loggers: names,
      loggerLevels,
      minutes: ascending.map(([minute, levels]) => [minute, ...levels]),
      fields: undefined,
      isFiltered: false,
      hasUnusualFolding: true,
    };
  }
}

/** Changes when an older Tailgate could not read the blocks that this one writes. */
const BLOCK_FORMAT = 1;
const MINUTE_MICROS = 60_000_000;

function leastOf(numbers: readonly number[]): number {
  return numbers.reduce((least, number) => Math.min(least, number), Infinity);
}

function greatestOf(numbers: readonly number[]): number {
  return numbers.reduce((greatest, number) => Math.max(greatest, number), -Infinity);
}

class DistinctTexts {
  readonly names: string[] = [];
  readonly codes: number[] = [];
  readonly #codesByName = new Map<string, number>();

  add(name: string): void {
    let code = this.#codesByName.get(name);
    if (code === undefined) {
      code = this.names.push(name) - 1;
      this.#codesByName.set(name, code);
    }
    this.codes.push(code);
  }
}

/** Byte strings of which most are the same object as one before. */
class DistinctBytes {
  readonly codes: number[] = [];
  size = 0;
  readonly #byObject = new Map<Uint8Array, number>();
  readonly #byContent = new Map<string, number>();
  readonly #stream = new StreamWriter();

  get written(): Buffer {
    return this.#stream.written;
  }

  add(bytes: Uint8Array): void {
    let code = this.#byObject.get(bytes);
    if (code === undefined) this.#byObject.set(bytes, (code = this.#codeOf(bytes)));
    this.codes.push(code);
  }

  #codeOf(bytes: Uint8Array): number {
    const content = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString(
      "latin1",
    );
    let code = this.#byContent.get(content);
    if (code === undefined) {
      code = this.size++;
      this.#byContent.set(content, code);
      this.#stream.varint(bytes.length);
      this.#stream.copy(bytes, 0, bytes.length);
    }
    return code;
  }
}
