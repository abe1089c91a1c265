import type { Column, ColumnInfo } from "./block-view.ts";
import { DamagedChunkError } from "./block-view.ts";
import { SEPARATOR, unscaled, type EncodedColumn } from "./column-builder.ts";
import { writeNanos } from "./nanos.ts";
import { widthOf, type NodeSpec } from "./shape.ts";
import { StreamReader, unpackNumbers } from "./stream.ts";

type ColumnMeta = Omit<EncodedColumn, "streams">;

/** What a column's values depend on beside its streams. */
export interface ColumnContext {
  /** The index of the record of each value. */
  readonly records: Uint16Array;
  /** The times of the records in microseconds, 0 for those without: observed times are relative to them. */
  recordTimes(): Float64Array;
}

/** Reads the values of a node, as they are stored. What is needed of them is computed at the first use. */
export class ColumnReader {
  readonly spec: NodeSpec;
  readonly #meta: ColumnMeta;
  readonly #streams: readonly Buffer[];
  readonly #context: () => ColumnContext;
  readonly #width: number | undefined;
  #codes: Uint8Array | Uint16Array | undefined;
  #ends: Uint32Array | undefined;
  #numbers: Float64Array | undefined;
  #rests: Float64Array | undefined;

  constructor(
    spec: NodeSpec,
    meta: ColumnMeta,
    streams: readonly Buffer[],
    context: () => ColumnContext,
  ) {
    this.spec = spec;
    this.#meta = meta;
    this.#streams = streams;
    this.#context = context;
    this.#width = widthOf(spec);
  }

  get #stream(): Buffer {
    return this.#streams[0]!;
  }

  get codes(): Uint8Array | Uint16Array | undefined {
    const { form, distinct, length } = this.#meta;
    if (form !== "coded") return undefined;
    if (this.#codes === undefined) {
      this.#codes = unpackNumbers(this.#streams[1]!, distinct - 1);
      if (this.#codes.length !== length) throw new DamagedChunkError("a column has too few codes");
    }
    return this.#codes;
  }

  get #stored(): number {
    return this.#meta.form === "coded" ? this.#meta.distinct : this.#meta.length;
  }

  /** Where each stored value ends: of text before its separator. */
  get ends(): Uint32Array {
    this.#ends ??= this.#findEnds();
    return this.#ends;
  }

  #findEnds(): Uint32Array {
    const ends = new Uint32Array(this.#stored);
    const stream = this.#stream;
    const { kind } = this.spec;
    let at = 0;
    const reader = new StreamReader(stream);
    for (let value = 0; value < ends.length; value++) {
      if (kind === "text") {
        const end = stream.indexOf(SEPARATOR, at);
        if (end < 0) throw new DamagedChunkError("a column has too few values");
        ends[value] = end;
        at = end + 1;
      } else if (kind === "bytes") {
        reader.position = at;
        const size = reader.varint();
        ends[value] = at = reader.position + size;
      } else {
        while (stream[at]! >= 0x80) at++;
        ends[value] = ++at;
      }
    }
    if (at > stream.length) throw new DamagedChunkError("a column has too few values");
    return ends;
  }

  /** The bytes of a value as the record has them, without tag and size. */
  payload(value: number): {
    readonly bytes: Uint8Array;
    readonly start: number;
    readonly end: number;
  } {
    const stream = this.#stream;
    switch (this.spec.kind) {
      case "text": {
        const stored = this.codes?.[value] ?? value;
        const { ends } = this;
        return {
          bytes: stream,
          start: stored === 0 ? 0 : ends[stored - 1]! + 1,
          end: ends[stored]!,
        };
      }
      case "int":
        return {
          bytes: stream,
          start: value === 0 ? 0 : this.ends[value - 1]!,
          end: this.ends[value]!,
        };
      case "bool":
        return { bytes: stream, start: value, end: value + 1 };
      case "fixed32":
        return { bytes: stream, start: 4 * value, end: 4 * value + 4 };
      case "bytes":
        return this.#bytesOf(value);
      case "double":
        SCRATCH.writeDoubleLE(this.numbers[value]!, 0);
        if (this.#meta.form === "raw")
          return { bytes: stream, start: 8 * value, end: 8 * value + 8 };
        return { bytes: SCRATCH, start: 0, end: 8 };
      default:
        writeNanos(SCRATCH, 0, { micros: this.numbers[value]!, rest: this.#restOf(value) });
        return { bytes: SCRATCH, start: 0, end: 8 };
    }
  }

  #bytesOf(value: number): {
    readonly bytes: Uint8Array;
    readonly start: number;
    readonly end: number;
  } {
    const stream = this.#stream;
    if (this.#width !== undefined) {
      return { bytes: stream, start: this.#width * value, end: this.#width * (value + 1) };
    }
    const end = this.ends[value]!;
    const reader = new StreamReader(stream);
    reader.position = value === 0 ? 0 : this.ends[value - 1]!;
    reader.varint();
    return { bytes: stream, start: reader.position, end };
  }

  #restOf(value: number): number {
    if (this.#meta.form !== "nanos") return 0;
    if (this.#rests === undefined) {
      const reader = new StreamReader(this.#streams[1]!);
      this.#rests = Float64Array.from({ length: this.#meta.length }, () => reader.varint());
    }
    return this.#rests[value]!;
  }

  /** The values as numbers; times in microseconds. */
  get numbers(): Float64Array {
    this.#numbers ??= this.#readNumbers();
    return this.#numbers;
  }

  #readNumbers(): Float64Array {
    const { length } = this.#meta;
    const numbers = new Float64Array(length);
    const stream = this.#stream;
    const reader = new StreamReader(stream);
    const { kind } = this.spec;
    if (kind === "double") {
      const isRaw = this.#meta.form === "raw";
      for (let value = 0; value < length; value++) {
        numbers[value] = isRaw ? stream.readDoubleLE(8 * value) : unscaled(reader.varint());
      }
    } else if (kind === "time") {
      let micros = 0;
      for (let value = 0; value < length; value++) numbers[value] = micros += reader.signed();
    } else if (kind === "observed") {
      const { records, recordTimes } = this.#context();
      const times = recordTimes();
      for (let value = 0; value < length; value++) {
        numbers[value] = times[records[value]!]! + reader.signed();
      }
    } else if (kind === "bool") {
      for (let value = 0; value < length; value++) numbers[value] = stream[value]!;
    } else if (kind === "fixed32") {
      for (let value = 0; value < length; value++) numbers[value] = stream.readUInt32LE(4 * value);
    } else {
      const { ends } = this;
      for (let value = 0; value < length; value++) {
        numbers[value] = int64At(stream, value === 0 ? 0 : ends[value - 1]!, ends[value]!);
      }
    }
    return numbers;
  }

  /** Returns the values as searches read them. */
  toColumn(info: ColumnInfo): Column {
    const { records } = this.#context();
    const { length } = this.#meta;
    const base = { info, records, codes: undefined, distinct: length, isExact: true };
    switch (info.kind) {
      case "text":
        return {
          ...base,
          codes: this.codes,
          distinct: this.#stored,
          text: this.#stream,
          textEnds: this.ends,
        };
      case "bytes": {
        const data = this.#stream;
        if (this.#width !== undefined) return { ...base, bytes: { data, width: this.#width } };
        return { ...base, bytes: this.#separateBytes() };
      }
      case "int":
      case "double":
      case "bool": {
        const { numbers } = this;
        const isExact =
          info.kind !== "int" || numbers.every((number) => Number.isSafeInteger(number));
        return { ...base, numbers, isExact };
      }
      default:
        return base;
    }
  }

  /** Bytes without the sizes between them. */
  #separateBytes(): { data: Buffer; ends: Uint32Array } {
    const { length } = this.#meta;
    const ends = new Uint32Array(length);
    const parts: Uint8Array[] = [];
    let end = 0;
    for (let value = 0; value < length; value++) {
      const { bytes, start, end: stop } = this.#bytesOf(value);
      parts.push(bytes.subarray(start, stop));
      ends[value] = end += stop - start;
    }
    return { data: Buffer.concat(parts), ends };
  }
}

const SCRATCH = Buffer.alloc(8);

/** Bytes of a varint that a double holds exactly together. */
const EXACT_VARINT_BYTES = 7;

function int64At(bytes: Uint8Array, start: number, end: number): number {
  if (end - start > EXACT_VARINT_BYTES) return Number(bigInt64At(bytes, start, end));
  let value = 0;
  for (let at = end - 1; at >= start; at--) value = value * 0x80 + (bytes[at]! & 0x7f);
  return value;
}

function bigInt64At(bytes: Uint8Array, start: number, end: number): bigint {
  let value = 0n;
  for (let at = end - 1; at >= start; at--) value = (value << 7n) | BigInt(bytes[at]! & 0x7f);
  return BigInt.asIntN(64, value);
}
