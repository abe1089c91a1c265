import { LEVELS, type EnvelopeType } from "../wire/envelope.ts";
import { BLOCK_BYTES_MAX, BLOCK_RECORDS_MAX, type BlockDirectory } from "./block-view.ts";
import { indexOfBlock } from "./block-index.ts";
import { MergedBlock } from "./merged-block.ts";
import { pack } from "./columns/chunks.ts";
import { BLOCK_FORMAT, COLUMN_PARTS, encodeDirectory, PARTS } from "./columns/layout.ts";
import { ScratchMemory } from "./columns/scratch-memory.ts";
import { ShapeIndex } from "./columns/shape-index.ts";
import { Splitter } from "./columns/splitter.ts";
import { encodeEnvelopeTimes, TimesBuilder } from "./columns/times.ts";
import {
  delimitingOf,
  encodeCodes,
  ValuesBuilder,
  packIntegers,
  toUnsigned,
} from "./columns/values.ts";
import type { BlockRecords } from "../batch/stored-records.ts";
import type { EncodedBlock } from "./encoded-block.ts";

const MS_MICROS = 1000;
const MINUTE_MICROS = 60_000_000;

/**
 * Encodes the records of a block, which are added in the order of their sequences. A record whose envelope the rules do not
 * make is stored as it was, and so is one that has no shape.
 */
export class BlockEncoder {
  readonly #type: EnvelopeType;
  readonly #rules: string;
  readonly #isPlain: boolean;
  readonly #memory: ScratchMemory;
  readonly #splitter: Splitter;
  readonly #loggers = new Names();
  readonly #resources = new DistinctBytes();
  readonly #scopes = new DistinctBytes();
  /** Of each record. */
  readonly #sequences: Float64Array;
  readonly #appended: Float64Array;
  readonly #times: Float64Array;
  readonly #ranks: Uint8Array;
  readonly #codes: Readonly<Record<"loggers" | "resources" | "scopes", Uint16Array>>;
  /** Its shape and one more, 0 without one, and its first value. */
  readonly #shapes: Uint16Array;
  readonly #firstValues: Uint32Array;
  /** Of the records without a shape, in their order: their bytes and their envelopes. */
  readonly #exceptions: Uint8Array[] = [];
  readonly #envelopes: Uint8Array[] = [];
  readonly #hashes: Uint8Array[] = [];
  /** What has the bytes of the records. */
  #bytes: Buffer;
  #bytesLength = 0;
  #recordBytes = 0;
  /** The number of records. */
  length = 0;

  /**
   * `memory`: what is in use until the block is encoded. `bytes`: about how many bytes the added records will come with.
   * `isPlain`: stores all records as they are, without columns and without an index, which works whatever they contain.
   */
  constructor(
    type: EnvelopeType,
    rules: string,
    { memory = new ScratchMemory(), bytes = 1 << 16, isPlain = false } = {},
  ) {
    this.#type = type;
    this.#rules = rules;
    this.#isPlain = isPlain;
    this.#memory = memory;
    this.#splitter = new Splitter(memory);
    this.#sequences = memory.float64(BLOCK_RECORDS_MAX);
    this.#appended = memory.float64(BLOCK_RECORDS_MAX);
    this.#times = memory.float64(BLOCK_RECORDS_MAX);
    this.#ranks = memory.bytes(BLOCK_RECORDS_MAX);
    this.#codes = {
      loggers: memory.uint16(BLOCK_RECORDS_MAX),
      resources: memory.uint16(BLOCK_RECORDS_MAX),
      scopes: memory.uint16(BLOCK_RECORDS_MAX),
    };
    this.#shapes = memory.uint16(BLOCK_RECORDS_MAX);
    this.#firstValues = memory.uint32(BLOCK_RECORDS_MAX);
    this.#bytes = memory.bytes(bytes);
  }

  get isFull(): boolean {
    return this.length >= BLOCK_RECORDS_MAX || this.#recordBytes >= BLOCK_BYTES_MAX;
  }

  /** Adds records from the index `first` up to `end` until the block is full, at least one. Returns the index of the next one. */
  add(records: BlockRecords, first = 0, end = records.length): number {
    const { bytes } = records;
    // Mostly all of it belongs to the records of this block.
    const start = bytes.length <= BLOCK_BYTES_MAX ? this.#append(bytes) : undefined;
    let next = first;
    do this.#add(records, next++, start);
    while (next < end && !this.isFull);
    return next;
  }

  /** `bytesStart`: where the bytes of all records start; undefined if the record's have to be added. */
  #add(records: BlockRecords, record: number, bytesStart: number | undefined): void {
    const size = records.end(record) - records.start(record);
    const start =
      bytesStart === undefined
        ? this.#append(records.bytes.subarray(records.start(record), records.end(record)))
        : bytesStart + records.start(record);
    const envelope = records.envelope(record);
    const index = this.length++;
    const codes = this.#codes;
    this.#recordBytes += size + (envelope?.length ?? 0);
    this.#sequences[index] = records.sequence(record);
    this.#appended[index] = records.appendedAtMs(record);
    this.#times[index] = records.timeMicros(record);
    this.#ranks[index] = records.rank(record);
    codes.loggers[index] = this.#loggers.add(records.logger(record));
    codes.resources[index] = this.#resources.add(records.resource(record));
    codes.scopes[index] = this.#scopes.add(records.scope(record));
    this.#firstValues[index] = this.#splitter.length;
    const isAudit = this.#type === "audit_log";
    const shape =
      isAudit || envelope !== undefined || this.#isPlain
        ? -1
        : this.#splitter.split(this.#bytes, start, start + size);
    this.#shapes[index] = shape + 1;
    if (shape < 0) {
      this.#exceptions.push(records.bytes.subarray(records.start(record), records.end(record)));
      this.#envelopes.push(envelope ?? new Uint8Array());
    }
    if (isAudit) this.#hashes.push(records.hash(record));
  }

  /** Returns where the bytes are then. */
  #append(bytes: Uint8Array): number {
    const start = this.#bytesLength;
    const end = start + bytes.length;
    if (end > this.#bytes.length) {
      const larger = this.#memory.bytes(2 * end);
      this.#bytes.copy(larger, 0, 0, start);
      this.#bytes = larger;
    }
    this.#bytes.set(bytes, start);
    this.#bytesLength = end;
    return start;
  }

  /** Encodes the records, at least one. Nothing can be added afterwards. */
  finish(): EncodedBlock {
    const { length } = this;
    const sequences = this.#sequences.subarray(0, length);
    const appended = this.#appended.subarray(0, length);
    const times = this.#times.subarray(0, length);
    const { index, shapes, codes } = this.#orderedShapes();
    const { ops, columns } = this.#splitter;
    const parts: Buffer[] = [];
    this.#encodeHeads(parts, times, codes, shapes.length);
    const distinct = this.#encodeColumns(parts, times, index);
    const packed = pack(parts);
    const layout = {
      records: length,
      resources: this.#resources.length,
      scopes: this.#scopes.length,
      ops,
      columns,
      distinct,
      shapes,
      sizes: packed.sizes,
      places: packed.places,
    };
    const counts = this.#counts(times);
    const header = { type: this.#type, rules: this.#rules };
    const stored = { directory: counts, layout: () => layout };
    const view = new MergedBlock(header, stored, () => ({ part: (part) => parts[part]! }));
    const { directory, filter } = this.#isPlain
      ? { directory: counts, filter: [] }
      : indexOfBlock(view, counts);
    return {
      length,
      firstSequence: sequences[0]!,
      lastSequence: sequences[length - 1]!,
      timeMin: Math.floor(least(times) / MS_MICROS),
      timeMax: Math.floor(greatest(times) / MS_MICROS),
      appendedMin: least(appended),
      appendedMax: greatest(appended),
      levels: this.#levels(),
      rules: this.#rules,
      directory: encodeDirectory(directory, layout),
      chunks: packed.chunks,
      filter,
    };
  }

  /** Returns the shapes so that similar ones follow each other. */
  #orderedShapes(): {
    index: ShapeIndex;
    shapes: readonly (readonly number[])[];
    codes: Uint16Array;
  } {
    const { shapes, ops, columns } = this.#splitter;
    const order = [...shapes.keys()].toSorted((one, other) =>
      compare(shapes[one]!, shapes[other]!),
    );
    const rankOf = new Uint16Array(shapes.length);
    for (const [rank, shape] of order.entries()) rankOf[shape] = rank;
    const codes = new Uint16Array(this.length);
    for (let record = 0; record < codes.length; record++) {
      const shape = this.#shapes[record]!;
      if (shape > 0) codes[record] = rankOf[shape - 1]! + 1;
    }
    const ordered = order.map((shape) => shapes[shape]!);
    const index = new ShapeIndex(ops, ordered, columns.length, codes);
    return { index, shapes: ordered, codes };
  }

  /** Encodes the parts that each block has. */
  #encodeHeads(parts: Buffer[], times: Float64Array, codes: Uint16Array, shapes: number): void {
    const { length } = this;
    const { loggers, resources, scopes } = this.#codes;
    parts[PARTS.sequences] = encodeSequences(this.#sequences.subarray(0, length));
    parts[PARTS.appended] = encodeAppended(this.#appended.subarray(0, length));
    parts[PARTS.times] = encodeEnvelopeTimes(times);
    parts[PARTS.shapes] = encodeCodes(codes, shapes + 1);
    parts[PARTS.ranks] = Buffer.from(this.#ranks.subarray(0, length));
    parts[PARTS.loggers] = encodeCodes(loggers.subarray(0, length), this.#loggers.names.length);
    parts[PARTS.resourceCodes] = encodeCodes(resources.subarray(0, length), this.#resources.length);
    parts[PARTS.scopeCodes] = encodeCodes(scopes.subarray(0, length), this.#scopes.length);
    parts[PARTS.resources] = encodeList(this.#resources.values);
    parts[PARTS.scopes] = encodeList(this.#scopes.values);
    parts[PARTS.exceptions] = encodeList(this.#exceptions);
    parts[PARTS.envelopes] = encodeList(this.#envelopes);
    parts[PARTS.hashes] = Buffer.concat(this.#hashes);
  }

  /** Encodes the columns. Returns the number of distinct values of each. */
  #encodeColumns(parts: Buffer[], times: Float64Array, index: ShapeIndex): readonly number[] {
    const { shapes, lengths } = index;
    const { buffer, byteOffset } = this.#bytes;
    const { starts, ends } = this.#splitter;
    const places = { bytes: new DataView(buffer, byteOffset, this.#bytesLength), starts, ends };
    const builders = this.#splitter.columns.map((head, column) =>
      head.kind === "time"
        ? new TimesBuilder(lengths[column]!, this.#memory)
        : new ValuesBuilder(lengths[column]!, delimitingOf(head), this.#memory),
    );
    // Records of a shape are near in time, and so in memory.
    for (const [shape, { columns }] of shapes.entries()) {
      const records = index.recordsOfShape(shape);
      for (const [slot, column] of columns.entries()) {
        builders[column]!.addAll(places, records, this.#firstValues, slot, times);
      }
    }
    return builders.map((builder, column) => {
      const encoded = builder.finish();
      parts[COLUMN_PARTS + column] = encoded.bytes;
      return encoded.distinct;
    });
  }

  #levels(): number[] {
    const levels = LEVELS.map(() => 0);
    for (let record = 0; record < this.length; record++) levels[this.#ranks[record]!]!++;
    return levels;
  }

  /** Counts by logger, level and minute. */
  #counts(times: Float64Array): BlockDirectory {
    const loggers = this.#loggers.names;
    const loggerLevels = loggers.map(() => LEVELS.map(() => 0));
    const minutes = new Map<number, number[]>();
    // Most records are of the minute of the one before.
    let last = NaN;
    let lastCounts: number[] = [];
    for (let record = 0; record < times.length; record++) {
      const rank = this.#ranks[record]!;
      loggerLevels[this.#codes.loggers[record]!]![rank]!++;
      const own = Math.floor(times[record]! / MINUTE_MICROS);
      if (own !== last) {
        last = own;
        lastCounts = minutes.get(own) ?? LEVELS.map(() => 0);
        minutes.set(own, lastCounts);
      }
      lastCounts[rank]!++;
    }
    return {
      format: BLOCK_FORMAT,
      loggers,
      loggerLevels,
      minutes: [...minutes]
        .toSorted(([one], [other]) => one - other)
        .map(([minute, counts]) => [minute, ...counts]),
      fields: undefined,
      isFiltered: false,
      hasUnusualFolding: true,
    };
  }
}

/** Orders lists of numbers so that those with the same beginning follow each other. */
function compare(one: readonly number[], other: readonly number[]): number {
  for (let index = 0; index < one.length; index++) {
    const difference = one[index]! - (other[index] ?? -1);
    if (difference !== 0) return difference;
  }
  return one.length - other.length;
}

function least(numbers: Float64Array): number {
  let result = Infinity;
  for (let index = 0; index < numbers.length; index++) result = Math.min(result, numbers[index]!);
  return result;
}

function greatest(numbers: Float64Array): number {
  let result = -Infinity;
  for (let index = 0; index < numbers.length; index++) result = Math.max(result, numbers[index]!);
  return result;
}

/** Encodes sequences as runs: the distance to the end of the one before, and the number of records. */
function encodeSequences(sequences: Float64Array): Buffer {
  const runs: number[] = [];
  let next = 0;
  for (const sequence of sequences) {
    if (sequence === next && runs.length > 0) runs[runs.length - 1]!++;
    else runs.push(sequence - next, 1);
    next = sequence + 1;
  }
  return packIntegers([runs.length / 2, ...runs]);
}

/** Encodes append times as runs: the difference to the one before, and the number of records. */
function encodeAppended(times: Float64Array): Buffer {
  const runs: number[] = [];
  let last = 0;
  for (const time of times) {
    if (time === last && runs.length > 0) runs[runs.length - 1]!++;
    else runs.push(toUnsigned(time - last), 1);
    last = time;
  }
  return packIntegers([runs.length / 2, ...runs]);
}

function encodeList(values: readonly Uint8Array[]): Buffer {
  return Buffer.concat([packIntegers(values.map(({ length }) => length)), ...values]);
}

class Names {
  readonly names: string[] = [];
  readonly #indexes = new Map<string, number>();

  add(name: string): number {
    let index = this.#indexes.get(name);
    if (index === undefined) {
      index = this.names.length;
      this.names.push(name);
      this.#indexes.set(name, index);
    }
    return index;
  }
}

/** Distinct pieces of bytes, which mostly are the same objects. */
class DistinctBytes {
  readonly values: Uint8Array[] = [];
  readonly #indexes = new Map<string, number>();
  readonly #objects = new WeakMap<Uint8Array, number>();
  #last: Uint8Array | undefined;
  #lastIndex = 0;

  get length(): number {
    return this.values.length;
  }

  /** Returns the index of the bytes. They are copied. */
  add(bytes: Uint8Array): number {
    if (bytes !== this.#last) {
      this.#lastIndex = this.#objects.get(bytes) ?? this.#add(bytes);
      this.#last = bytes;
    }
    return this.#lastIndex;
  }

  #add(bytes: Uint8Array): number {
    const copy = Buffer.from(bytes);
    const key = copy.toString("latin1");
    let index = this.#indexes.get(key);
    if (index === undefined) {
      index = this.values.length;
      this.values.push(copy);
      this.#indexes.set(key, index);
    }
    this.#objects.set(bytes, index);
    return index;
  }
}
