/** Reads merged blocks. */

import type { StoredBlock } from "../batch/block.ts";
import { rulesOf, type EnvelopeRules } from "../envelope/rules.ts";
import type { EnvelopeBytes } from "../filter/text-hits.ts";
import type { EnvelopeType } from "../wire/envelope.ts";
import {
  DamagedChunkError,
  type BlockDirectory,
  type BlockView,
  type Column,
  type ColumnInfo,
} from "./block-view.ts";
import { PartReader } from "./columns/chunks.ts";
import { columnOf, infoOf } from "./columns/column-values.ts";
import {
  COLUMN_PARTS,
  decodeDirectory,
  PARTS,
  type BlockLayout,
  type DecodedDirectory,
} from "./columns/layout.ts";
import { PageBuilder, valuesAt } from "./columns/page-builder.ts";
import { ShapeIndex } from "./columns/shape-index.ts";
import { decodeEnvelopeTimes, decodeTimes } from "./columns/times.ts";
import { EnvelopeRenderer } from "./envelopes/renderer.ts";
import {
  decodeCodes,
  decodeValues,
  delimitingOf,
  FormatError,
  unpackIntegers,
  toSigned,
  StoredValues,
  type DecodedValues,
} from "./columns/values.ts";

/** A block as the history finds it. */
export interface BlockHeader {
  readonly type: EnvelopeType;
  /** The rules by which envelopes are made, as `rulesText` returns them. */
  readonly rules: string;
}

/**
 * Opens a block. `directory`, if it is not decoded, and what `readChunk` returns are as they were encoded; `readChunk` throws
 * DamagedChunkError if a chunk is not.
 * @throws DamagedChunkError, RangeError if the rules are those of a newer Tailgate.
 */
export function openBlock(
  header: BlockHeader,
  directory: Uint8Array | DecodedDirectory,
  readChunk: (index: number) => Uint8Array,
): MergedBlock {
  const stored = directory instanceof Uint8Array ? decodeDirectory(directory) : directory;
  return new MergedBlock(header, stored, (layout) => new PartReader(layout, readChunk));
}

/** Reads the parts of a block. */
interface Parts {
  /** The size of what was read, decompressed; undefined if nothing is. */
  readonly bytes?: number;
  part(index: number): Buffer;
}

const HASH_BYTES = 32;

/** All that is read is retained with it. */
export class MergedBlock implements BlockView {
  readonly type: EnvelopeType;
  readonly directory: BlockDirectory;
  readonly #rules: EnvelopeRules;
  readonly #layout: () => BlockLayout;
  readonly #partsOf: (layout: BlockLayout) => Parts;
  #parts: Parts | undefined;
  readonly #known = new Map<string, unknown>();
  readonly #values: (DecodedValues | undefined)[] = [];
  /** The indexes of the columns that {@link columns} has. */
  readonly #shown: number[] = [];

  constructor(
    { type, rules }: BlockHeader,
    { directory, layout }: Pick<DecodedDirectory, "directory" | "layout">,
    partsOf: (layout: BlockLayout) => Parts,
  ) {
    this.type = type;
    this.directory = directory;
    this.#rules = rulesOf(rules);
    this.#layout = layout;
    this.#partsOf = partsOf;
  }

  /** The size of what was read and is retained, as it was before it was decoded. */
  get retainedBytes(): number {
    return this.#parts?.bytes ?? 0;
  }

  get resourceMembers(): readonly string[] {
    return this.#rules.resourceAttributes;
  }

  get length(): number {
    return this.#layoutOnce.records;
  }

  get sequences(): Float64Array {
    return this.#once("sequences", () => decodeSequences(this.#part(PARTS.sequences), this.length));
  }

  /** When the records were appended, in milliseconds since 1970. */
  get appendedTimes(): Float64Array {
    return this.#once("appended", () => decodeAppended(this.#part(PARTS.appended), this.length));
  }

  get times(): Float64Array {
    return this.#once("times", () => decodeEnvelopeTimes(this.#part(PARTS.times), this.length));
  }

  get ranks(): Uint8Array {
    return this.#once("ranks", () => {
      const ranks = new Uint8Array(this.#part(PARTS.ranks));
      if (ranks.length !== this.length) throw new FormatError("levels are missing");
      return ranks;
    });
  }

  get loggers(): Uint8Array | Uint16Array {
    return this.#codes(PARTS.loggers, this.directory.loggers.length);
  }

  get resources(): BlockView["resources"] {
    const { resources } = this.#layoutOnce;
    return this.#once("resources", () => ({
      of: this.#codes(PARTS.resourceCodes, resources),
      distinct: decodeList(this.#part(PARTS.resources), resources),
    }));
  }

  get scopes(): BlockView["scopes"] {
    const { scopes } = this.#layoutOnce;
    return this.#once("scopes", () => ({
      of: this.#codes(PARTS.scopeCodes, scopes),
      distinct: decodeList(this.#part(PARTS.scopes), scopes),
    }));
  }

  get exceptions(): Uint16Array {
    return this.#shapes.exceptions;
  }

  get envelopes(): EnvelopeBytes | undefined {
    return this.#once("envelope bytes", () => {
      const buffer = this.#part(PARTS.envelopes);
      const list = this.#envelopes;
      const positions = list.map(({ byteOffset }) => byteOffset - buffer.byteOffset);
      if (list.length === 0 || list.some(({ length }) => length === 0)) return undefined;
      const end = (index: number): number => positions[index]! + list[index]!.length;
      return { buffer, length: list.length, start: positions[0]!, end };
    });
  }

  get columns(): readonly ColumnInfo[] {
    return this.#once("columns", () => {
      const infos: ColumnInfo[] = [];
      this.#shown.length = 0;
      for (const [index, head] of this.#layoutOnce.columns.entries()) {
        const info = infoOf(head, this.#shapes.lengths[index]!);
        if (info === undefined || info.length === 0) continue;
        infos.push(info);
        this.#shown.push(index);
      }
      return infos;
    });
  }

  column(index: number): Column {
    const info = this.columns[index];
    if (info === undefined) throw new RangeError(`there is no column ${index}`);
    return this.#once(`column ${index}`, () => {
      const stored = this.#shown[index]!;
      return columnOf(info, () => this.#shapes.recordsOf(stored), this.#decoded(stored));
    });
  }

  read(indexes: ArrayLike<number>, { isWithoutRequest = false } = {}): StoredBlock {
    const columns = this.#columnsFor(indexes);
    const { ops } = this.#layoutOnce;
    const builder = this.#once("builder", () => new PageBuilder(ops));
    const page = guarded(() =>
      builder.build(
        {
          type: this.type,
          rules: this.#rules,
          renderer: this.#renderer,
          sequences: this.sequences,
          ranks: this.ranks,
          loggers: this.loggers,
          loggerNames: this.directory.loggers,
          resources: this.resources,
          scopes: this.scopes,
          shapes: this.#shapes,
          columns,
          exceptions: this.exceptions.length === 0 ? [] : this.#exceptionBytes,
          envelopes: this.exceptions.length === 0 ? [] : this.#envelopes,
          hashes: this.type === "audit_log" ? this.#hashes : undefined,
        },
        indexes,
        isWithoutRequest,
      ),
    );
    const appendedTimes = valuesAt(this.appendedTimes, indexes);
    return {
      firstSequence: this.sequences[indexes[0]!]!,
      appendedAtMs: appendedTimes[0]!,
      appendedTimes,
      bytes: page,
    };
  }

  get #renderer(): EnvelopeRenderer {
    return this.#once("renderer", () => {
      const { times, ranks, loggers, resources, scopes } = this;
      const columns = this.#values;
      const parts = { times, ranks, loggers, resources, scopes, columns };
      const { loggers: loggerNames } = this.directory;
      const source = { ...parts, loggerNames, shapes: this.#shapes };
      return new EnvelopeRenderer(source, this.#layoutOnce.ops, this.#rules);
    });
  }

  /** Returns the values that records need; throws with the records that need those which cannot be read. */
  #columnsFor(indexes: ArrayLike<number>): readonly (DecodedValues | undefined)[] {
    const { shapes, of } = this.#shapes;
    const isNeeded = new Uint8Array(shapes.length);
    let needsExceptions = false;
    for (let item = 0; item < indexes.length; item++) {
      const shape = of[indexes[item]!]!;
      if (shape < 0) needsExceptions = true;
      else isNeeded[shape] = 1;
    }
    const damage = new Map<number, unknown>();
    const isChecked = new Uint8Array(this.#layoutOnce.columns.length);
    for (const [shape, { columns }] of shapes.entries()) {
      if (isNeeded[shape] === 0) continue;
      for (const column of columns) {
        if (isChecked[column] === 1) continue;
        isChecked[column] = 1;
        tryTo(
          () => {
            const values = this.#decoded(column);
            if (values instanceof StoredValues) values.check();
          },
          (error) => damage.set(column, error),
        );
      }
    }
    if (needsExceptions) {
      const read = (): unknown => [this.#exceptionBytes, this.#envelopes];
      tryTo(read, (error) => damage.set(EXCEPTIONS, error));
    }
    if (damage.size > 0) {
      const records = Array.from(indexes).filter((index) => {
        const shape = of[index]!;
        return shape < 0
          ? damage.has(EXCEPTIONS)
          : shapes[shape]!.columns.some((column) => damage.has(column));
      });
      const [cause] = damage.values();
      throw new DamagedChunkError("a part of the records is damaged", { cause, records });
    }
    return this.#values;
  }

  get #exceptionBytes(): readonly Uint8Array[] {
    return this.#once("exceptions", () =>
      decodeList(this.#part(PARTS.exceptions), this.exceptions.length),
    );
  }

  get #envelopes(): readonly Uint8Array[] {
    return this.#once("envelopes", () =>
      decodeList(this.#part(PARTS.envelopes), this.exceptions.length),
    );
  }

  get #hashes(): Buffer {
    const hashes = this.#part(PARTS.hashes);
    if (hashes.length !== HASH_BYTES * this.length)
      throw new DamagedChunkError("hashes are missing");
    return hashes;
  }

  get #layoutOnce(): BlockLayout {
    return this.#once("layout", this.#layout);
  }

  get #shapes(): ShapeIndex {
    return this.#once("shapes", () => {
      const { ops, shapes, columns } = this.#layoutOnce;
      const codes = this.#codes(PARTS.shapes, shapes.length + 1);
      return new ShapeIndex(ops, shapes, columns.length, codes);
    });
  }

  #codes(part: number, count: number): Uint8Array | Uint16Array {
    return this.#once(`codes ${part}`, () => decodeCodes(this.#part(part), this.length, count));
  }

  #decoded(column: number): DecodedValues {
    const known = this.#values[column];
    if (known !== undefined) return known;
    const { columns, distinct } = this.#layoutOnce;
    const head = columns[column]!;
    const values = guarded(() => {
      const bytes = this.#part(COLUMN_PARTS + column);
      if (head.kind !== "time") {
        const length = this.#shapes.lengths[column]!;
        return decodeValues(bytes, length, distinct[column]!, delimitingOf(head));
      }
      const records = this.#shapes.recordsOf(column);
      return decodeTimes(bytes, valuesAt(this.times, records));
    });
    this.#values[column] = values;
    return values;
  }

  #part(index: number): Buffer {
    this.#parts ??= this.#partsOf(this.#layoutOnce);
    return this.#parts.part(index);
  }

  /** Returns what was made before, or makes it. */
  #once<Value>(name: string, make: () => Value): Value {
    if (this.#known.has(name)) return this.#known.get(name) as Value;
    const value = guarded(make);
    this.#known.set(name, value);
    return value;
  }
}

const EXCEPTIONS = -1;

function tryTo(make: () => unknown, onDamage: (error: unknown) => void): void {
  try {
    make();
  } catch (error) {
    if (!(error instanceof DamagedChunkError)) throw error;
    onDamage(error);
  }
}

/** @throws DamagedChunkError instead of any error that bytes cause which are not what was written. */
function guarded<Value>(make: () => Value): Value {
  try {
    return make();
  } catch (error) {
    if (error instanceof DamagedChunkError) throw error;
    throw new DamagedChunkError("a part of a block is not as it was written", { cause: error });
  }
}

function decodeSequences(bytes: Uint8Array, length: number): Float64Array {
  const sequences = new Float64Array(length);
  let next = 0;
  forEachRun(bytes, length, (index, distance, count) => {
    next += distance;
    for (let item = 0; item < count; item++) sequences[index + item] = next++;
  });
  return sequences;
}

function decodeAppended(bytes: Uint8Array, length: number): Float64Array {
  const times = new Float64Array(length);
  let time = 0;
  forEachRun(bytes, length, (index, difference, count) => {
    time += toSigned(difference);
    times.fill(time, index, index + count);
  });
  return times;
}

/** Reads runs of records, which together are all of them. */
function forEachRun(
  bytes: Uint8Array,
  length: number,
  visit: (index: number, number: number, count: number) => void,
): void {
  const head = unpackIntegers(bytes, 0, 1);
  const { values } = unpackIntegers(bytes, head.end, 2 * head.values[0]!);
  let index = 0;
  for (let run = 0; run < values.length; run += 2) {
    const count = values[run + 1]!;
    if (index + count > length) break;
    visit(index, values[run]!, count);
    index += count;
  }
  if (index !== length) throw new FormatError("runs have another number of records");
}

function decodeList(bytes: Buffer, count: number): Buffer[] {
  const { values: lengths, end } = unpackIntegers(bytes, 0, count);
  let position = end;
  const list = Array.from(lengths, (length) => {
    const start = position;
    position += length;
    return bytes.subarray(start, position);
  });
  if (position !== bytes.length) throw new FormatError("a list has another size");
  return list;
}
