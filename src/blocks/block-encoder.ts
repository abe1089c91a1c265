import { LEVELS, type EnvelopeType } from "../wire/envelope.ts";
import { BLOCK_BYTES_MAX, BLOCK_RECORDS_MAX, type BlockDirectory } from "./block-view.ts";
import { indexOfBlock } from "./block-index.ts";
import { MergedBlock } from "./merged-block.ts";
import { pack } from "./columns/chunks.ts";
import { BLOCK_FORMAT, COLUMN_PARTS, encodeDirectory, PARTS } from "./columns/layout.ts";
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
import type { BlockRecord } from "../batch/stored-records.ts";
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
  readonly #splitter = new Splitter();
  readonly #loggers = new Names();
  readonly #resources = new DistinctBytes();
  readonly #scopes = new DistinctBytes();
  readonly #records: BlockRecord[] = [];
  /** Of each record its shape, -1 without one, and its first value. */
  readonly #shapes: number[] = [];
  readonly #firstValues: number[] = [];
  readonly #codes = { loggers: [] as number[], resources: [] as number[], scopes: [] as number[] };
  /** The bytes of the records, one after the other. */
  #bytes = Buffer.allocUnsafeSlow(1 << 16);
  #length = 0;
  #envelopeBytes = 0;

  constructor(type: EnvelopeType, rules: string) {
    this.#type = type;
    this.#rules = rules;
  }

  get length(): number {
    return this.#records.length;
  }

  /** About how much the records take up before compression, in bytes. */
  get byteLength(): number {
    return (
      this.#length + this.#envelopeBytes + this.#resources.byteLength + this.#scopes.byteLength
    );
  }

  get isFull(): boolean {
    return this.length >= BLOCK_RECORDS_MAX || this.byteLength >= BLOCK_BYTES_MAX;
  }

  /** Adds a record. Its bytes are copied. */
  add(record: BlockRecord): void {
    const { otlp, envelope } = record;
    const start = this.#length;
    this.#append(otlp.record);
    this.#envelopeBytes += envelope?.length ?? 0;
    this.#firstValues.push(this.#splitter.length);
    this.#shapes.push(
      this.#type === "audit_log" || envelope !== undefined
        ? -1
        : this.#splitter.split(this.#bytes, start, this.#length),
    );
    this.#codes.loggers.push(this.#loggers.add(record.logger));
    this.#codes.resources.push(this.#resources.add(otlp.resource));
    this.#codes.scopes.push(this.#scopes.add(otlp.scope));
    this.#records.push(record);
  }

  #append(bytes: Uint8Array): void {
    const needed = this.#length + bytes.length;
    if (needed > this.#bytes.length) {
      const larger = Buffer.allocUnsafeSlow(2 * needed);
      this.#bytes.copy(larger, 0, 0, this.#length);
      this.#bytes = larger;
    }
    this.#bytes.set(bytes, this.#length);
    this.#length = needed;
  }

  /** Encodes the records, at least one. Nothing can be added afterwards. */
  finish(): EncodedBlock {
    const records = this.#records;
    const times = Float64Array.from(records, ({ timeMicros }) => timeMicros);
    const { index, shapes } = this.#orderedShapes();
    const { ops, columns } = this.#splitter;
    const parts: Buffer[] = [];
    this.#encodeHeads(parts, times, index);
    const distinct = this.#encodeColumns(parts, times, index);
    const packed = pack(parts);
    const layout = {
      records: records.length,
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
    const { directory, filter } = indexOfBlock(view, counts);
    const appended = records.map(({ appendedAtMs }) => appendedAtMs);
    return {
      length: records.length,
      firstSequence: records[0]!.sequence,
      lastSequence: records.at(-1)!.sequence,
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
  #orderedShapes(): { index: ShapeIndex; shapes: readonly (readonly number[])[] } {
    const { shapes, ops, columns } = this.#splitter;
    const order = [...shapes.keys()].toSorted((one, other) =>
      compare(shapes[one]!, shapes[other]!),
    );
    const rankOf = new Uint16Array(shapes.length);
    for (const [rank, shape] of order.entries()) rankOf[shape] = rank;
    const codes = Uint16Array.from(this.#shapes, (shape) => (shape < 0 ? 0 : rankOf[shape]! + 1));
    const ordered = order.map((shape) => shapes[shape]!);
    return { index: new ShapeIndex(ops, ordered, columns.length, codes), shapes: ordered };
  }

  /** Encodes the parts that each block has. */
  #encodeHeads(parts: Buffer[], times: Float64Array, index: ShapeIndex): void {
    const records = this.#records;
    const { loggers, resources, scopes } = this.#codes;
    const codes = Uint16Array.from(index.of, (shape) => shape + 1);
    parts[PARTS.sequences] = encodeSequences(records);
    parts[PARTS.appended] = encodeAppended(records);
    parts[PARTS.times] = encodeEnvelopeTimes(times);
    parts[PARTS.shapes] = encodeCodes(codes, index.shapes.length + 1);
    parts[PARTS.ranks] = Buffer.from(records.map(({ rank }) => rank));
    parts[PARTS.loggers] = encodeCodes(Uint16Array.from(loggers), this.#loggers.names.length);
    parts[PARTS.resourceCodes] = encodeCodes(Uint16Array.from(resources), this.#resources.length);
    parts[PARTS.scopeCodes] = encodeCodes(Uint16Array.from(scopes), this.#scopes.length);
    parts[PARTS.resources] = encodeList(this.#resources.values);
    parts[PARTS.scopes] = encodeList(this.#scopes.values);
    const exceptions = Array.from(index.exceptions, (record) => records[record]!);
    parts[PARTS.exceptions] = encodeList(exceptions.map(({ otlp }) => otlp.record));
    const nothing = new Uint8Array();
    parts[PARTS.envelopes] = encodeList(exceptions.map(({ envelope }) => envelope ?? nothing));
    parts[PARTS.hashes] = Buffer.from(records.map(({ hash }) => hash ?? "").join(""), "hex");
  }

  /** Encodes the columns. Returns the number of distinct values of each. */
  #encodeColumns(
    parts: Buffer[],
    times: Float64Array,
    { shapes, lengths }: ShapeIndex,
  ): readonly number[] {
    const bytes = this.#bytes;
    const { starts, ends } = this.#splitter;
    const builders = this.#splitter.columns.map((head, column) =>
      head.kind === "time"
        ? new TimesBuilder(lengths[column]!)
        : new ValuesBuilder(lengths[column]!, delimitingOf(head)),
    );
    const firstValues = Uint32Array.from(this.#firstValues);
    // Records of a shape are near in time, and so in memory.
    for (const { columns, records } of shapes) {
      for (let slot = 0; slot < columns.length; slot++) {
        const builder = builders[columns[slot]!]!;
        for (let item = 0; item < records.length; item++) {
          const value = firstValues[records[item]!]! + slot;
          if (builder instanceof ValuesBuilder) builder.add(bytes, starts[value]!, ends[value]!);
          else builder.add(bytes, starts[value]!, times[records[item]!]!);
        }
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
    for (const { rank } of this.#records) levels[rank]!++;
    return levels;
  }

  /** Counts by logger, level and minute. */
  #counts(times: Float64Array): BlockDirectory {
    const loggers = this.#loggers.names;
    const loggerLevels = loggers.map(() => LEVELS.map(() => 0));
    const minutes = new Map<number, number[]>();
    for (const [index, { rank }] of this.#records.entries()) {
      loggerLevels[this.#codes.loggers[index]!]![rank]!++;
      const minute = Math.floor(times[index]! / MINUTE_MICROS);
      let counts = minutes.get(minute);
      if (counts === undefined) minutes.set(minute, (counts = LEVELS.map(() => 0)));
      counts[rank]!++;
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

function least(numbers: Iterable<number>): number {
  let result = Infinity;
  for (const number of numbers) result = Math.min(result, number);
  return result;
}

function greatest(numbers: Iterable<number>): number {
  let result = -Infinity;
  for (const number of numbers) result = Math.max(result, number);
  return result;
}

/** Encodes sequences as runs: the distance to the end of the one before, and the number of records. */
function encodeSequences(records: readonly BlockRecord[]): Buffer {
  const runs: number[] = [];
  let next = 0;
  for (const { sequence } of records) {
    if (sequence === next && runs.length > 0) runs[runs.length - 1]!++;
    else runs.push(sequence - next, 1);
    next = sequence + 1;
  }
  return packIntegers([runs.length / 2, ...runs]);
}

/** Encodes append times as runs: the difference to the one before, and the number of records. */
function encodeAppended(records: readonly BlockRecord[]): Buffer {
  const runs: number[] = [];
  let last = 0;
  for (const { appendedAtMs } of records) {
    if (appendedAtMs === last && runs.length > 0) runs[runs.length - 1]!++;
    else runs.push(toUnsigned(appendedAtMs - last), 1);
    last = appendedAtMs;
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
  byteLength = 0;
  readonly #indexes = new Map<string, number>();
  readonly #objects = new WeakMap<Uint8Array, number>();

  get length(): number {
    return this.values.length;
  }

  /** Returns the index of the bytes. They are copied. */
  add(bytes: Uint8Array): number {
    let index = this.#objects.get(bytes);
    if (index !== undefined) return index;
    const copy = Buffer.from(bytes);
    const key = copy.toString("latin1");
    index = this.#indexes.get(key);
    if (index === undefined) {
      index = this.values.length;
      this.values.push(copy);
      this.byteLength += copy.length;
      this.#indexes.set(key, index);
    }
    this.#objects.set(bytes, index);
    return index;
  }
}
