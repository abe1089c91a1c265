import { isUtf8 } from "node:buffer";
import { packNumbers, StreamWriter } from "./stream.ts";
import { widthOf, type NodeKind, type NodeSpec } from "./shape.ts";
import { splitNanos, type SplitNanos } from "./nanos.ts";

/** Ends each value of a column of text: no byte of UTF-8. */
export const SEPARATOR = 0xff;

/** How the values of a column are stored; which one it is depends on the values. */
export type ColumnForm =
  /** Each value by itself. */
  | "plain"
  /** Text: the distinct values, and a code for each value. */
  | "coded"
  /** Doubles: as they are in memory, instead of as decimal numbers. */
  | "raw"
  /** Times with more than microseconds. */
  | "nanos";

/** The values of one node, ready to be stored. */
export interface EncodedColumn {
  readonly form: ColumnForm;
  readonly length: number;
  /** The number of distinct values of a coded column. */
  readonly distinct: number;
  readonly streams: readonly Buffer[];
}

const NO_VALUES: ReadonlySet<NodeKind> = new Set<NodeKind>([
  "null",
  "emptyList",
  "emptyMap",
  "list",
  "map",
]);

/** Codes have two bytes at most. */
const CODES_MAX = 1 << 16;
/** With more distinct values, codes take up more than they save. */
const DISTINCT_SHARE_MAX = 0.6;

/** Decimal numbers are stored as tenths or millionths. */
const MICRO = 1e6;
const TENTH_MICROS = 1e5;
const SCALED_MAX = 2 ** 50;

/** Times in the range of {@link StreamWriter.signed}: up to the year 2112. */
const MICROS_MAX = 2 ** 52;

/** Collects the values of a node. */
export class ColumnBuilder {
  readonly spec: NodeSpec;
  length = 0;
  /** The last time that was added, in microseconds. */
  lastMicros = 0;
  readonly #hasValues: boolean;
  readonly #width: number | undefined;
  /** Bodies are grouped by the shapes of their records, which makes neighbors alike. */
  readonly #isBody: boolean;
  readonly #stream = new StreamWriter();
  readonly #rests = new StreamWriter();
  #hasRests = false;
  #isRaw = false;
  readonly #doubles: number[] = [];
  readonly #codes: number[] = [];
  readonly #dictionary = new Dictionary();
  readonly #bodyShapes: number[] = [];
  readonly #bodyEnds: number[] = [];

  constructor(spec: NodeSpec) {
    this.spec = spec;
    this.#hasValues = !NO_VALUES.has(spec.kind);
    this.#width = widthOf(spec);
    this.#isBody = spec.wrapping === "body" && spec.kind === "text";
  }

  /** Whether a value can be stored. */
  accepts(bytes: Uint8Array, start: number, end: number): boolean {
    switch (this.spec.kind) {
      case "text":
        return isColumnText(bytes, start, end);
      case "time":
      case "observed":
        return timeAt(bytes, start).micros < MICROS_MAX;
      default:
        return true;
    }
  }

  /** Adds a value of a record with that shape and time. */
  add(bytes: Uint8Array, start: number, end: number, shape: number, timeMicros: number): void {
    this.length++;
    if (!this.#hasValues) return;
    switch (this.spec.kind) {
      case "text":
        if (this.#isBody) this.#addBody(bytes, start, end, shape);
        else this.#codes.push(this.#dictionary.codeOf(bytes, start, end));
        break;
      case "time":
        return this.#addTime(timeAt(bytes, start), this.lastMicros);
      case "observed":
        return this.#addTime(timeAt(bytes, start), timeMicros);
      case "double":
        return this.#addDouble(bytes, start);
      case "bytes":
        if (this.#width === undefined) this.#stream.varint(end - start);
        this.#stream.copy(bytes, start, end);
        break;
      default:
        this.#stream.copy(bytes, start, end);
    }
  }

  #addBody(bytes: Uint8Array, start: number, end: number, shape: number): void {
    this.#stream.copy(bytes, start, end);
    this.#bodyShapes.push(shape);
    this.#bodyEnds.push(this.#stream.length);
  }

  #addTime({ micros, rest }: SplitNanos, base: number): void {
    this.#stream.signed(micros - base);
    this.#rests.varint(rest);
    if (rest > 0) this.#hasRests = true;
    this.lastMicros = micros;
  }

  #addDouble(bytes: Uint8Array, start: number): void {
    const { buffer, byteOffset } = bytes;
    const value = new DataView(buffer, byteOffset).getFloat64(start, true);
    this.#doubles.push(value);
    if (!this.#isRaw && !isScalable(value)) this.#isRaw = true;
  }

  encode(): EncodedColumn {
    const { length } = this;
    const column = (form: ColumnForm, streams: readonly Buffer[], distinct = 0): EncodedColumn => ({
      form,
      length,
      distinct,
      streams,
    });
    switch (this.spec.kind) {
      case "text":
        return this.#isBody ? column("plain", [this.#bodies()]) : this.#encodeText(column);
      case "time":
      case "observed":
        return this.#hasRests
          ? column("nanos", [this.#stream.written, this.#rests.written])
          : column("plain", [this.#stream.written]);
      case "double":
        return this.#encodeDoubles(column);
      default:
        return column("plain", this.#hasValues ? [this.#stream.written] : []);
    }
  }

  #bodies(): Buffer {
    const shapes = this.#bodyShapes;
    const order = shapes.map((_, index) => index);
    order.sort((one, other) => shapes[one]! - shapes[other]! || one - other);
    const grouped = new StreamWriter();
    grouped.reserve(this.#stream.length + order.length);
    for (const index of order) {
      const start = index === 0 ? 0 : this.#bodyEnds[index - 1]!;
      grouped.copy(this.#stream.bytes, start, this.#bodyEnds[index]!);
      grouped.byte(SEPARATOR);
    }
    return grouped.written;
  }

  #encodeText(
    column: (form: ColumnForm, streams: readonly Buffer[], distinct?: number) => EncodedColumn,
  ): EncodedColumn {
    const dictionary = this.#dictionary;
    const { size } = dictionary;
    if (size <= CODES_MAX && size <= DISTINCT_SHARE_MAX * this.length) {
      return column("coded", [dictionary.bytes, packNumbers(this.#codes, size - 1)], size);
    }
    const values = new StreamWriter();
    for (const code of this.#codes) dictionary.copyTo(values, code);
    return column("plain", [values.written]);
  }

  #encodeDoubles(
    column: (form: ColumnForm, streams: readonly Buffer[]) => EncodedColumn,
  ): EncodedColumn {
    const stream = new StreamWriter();
    if (this.#isRaw) {
      stream.reserve(8 * this.#doubles.length);
      for (const value of this.#doubles)
        stream.length = stream.bytes.writeDoubleLE(value, stream.length);
      return column("raw", [stream.written]);
    }
    for (const value of this.#doubles) {
      const scaled = Math.round(value * MICRO);
      stream.varint(scaled % TENTH_MICROS === 0 ? (scaled / TENTH_MICROS) * 2 : scaled * 2 + 1);
    }
    return column("plain", [stream.written]);
  }
}

/** Returns the double of a number in a stream of doubles in plain form. */
export function unscaled(stored: number): number {
  return stored % 2 === 1 ? (stored - 1) / 2 / MICRO : ((stored / 2) * TENTH_MICROS) / MICRO;
}

function isScalable(value: number): boolean {
  if (!(value >= 0 && value * MICRO < SCALED_MAX) || Object.is(value, -0)) return false;
  const scaled = Math.round(value * MICRO);
  return scaled / MICRO === value;
}

function timeAt(bytes: Uint8Array, start: number): SplitNanos {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  return splitNanos(view.getUint32(start, true), view.getUint32(start + 4, true));
}

/** Whether text is valid UTF-8, which has no {@link SEPARATOR}. */
function isColumnText(bytes: Uint8Array, start: number, end: number): boolean {
  for (let at = start; at < end; at++) {
    if (bytes[at]! >= 0x80) return isUtf8(bytes.subarray(at, end));
  }
  return true;
}

const SLOTS_MIN = 64;

/** Distinct texts, each with the code of its first occurrence. */
class Dictionary {
  readonly #values = new StreamWriter();
  readonly #ends: number[] = [];
  #hashes: number[] = [];
  /** Code + 1 by hash, with open addressing. */
  #slots = new Int32Array(SLOTS_MIN);
  #last = -1;

  get size(): number {
    return this.#ends.length;
  }

  /** The texts in the order of their codes, each followed by {@link SEPARATOR}. */
  get bytes(): Buffer {
    return this.#values.written;
  }

  copyTo(stream: StreamWriter, code: number): void {
    stream.copy(this.#values.bytes, this.#startOf(code), this.#ends[code]! + 1);
  }

  codeOf(bytes: Uint8Array, start: number, end: number): number {
    if (this.#last >= 0 && this.#isText(this.#last, bytes, start, end)) return this.#last;
    let hash = 0x811c9dc5;
    for (let at = start; at < end; at++) hash = Math.imul(hash ^ bytes[at]!, 0x01000193);
    hash ^= hash >>> 15;
    let slot = hash & (this.#slots.length - 1);
    for (let code = this.#slots[slot]! - 1; code >= 0; code = this.#slots[slot]! - 1) {
      if (this.#hashes[code] === hash && this.#isText(code, bytes, start, end))
        return (this.#last = code);
      slot = (slot + 1) & (this.#slots.length - 1);
    }
    const code = this.#ends.length;
    this.#values.copy(bytes, start, end);
    this.#ends.push(this.#values.length);
    this.#values.byte(SEPARATOR);
    this.#hashes.push(hash);
    this.#slots[slot] = code + 1;
    if (2 * this.#ends.length > this.#slots.length) this.#grow();
    return (this.#last = code);
  }

  #startOf(code: number): number {
    return code === 0 ? 0 : this.#ends[code - 1]! + 1;
  }

  #isText(code: number, bytes: Uint8Array, start: number, end: number): boolean {
    const from = this.#startOf(code);
    const size = end - start;
    if (this.#ends[code]! - from !== size) return false;
    const values = this.#values.bytes;
    for (let index = 0; index < size; index++) {
      if (values[from + index] !== bytes[start + index]) return false;
    }
    return true;
  }

  #grow(): void {
    const slots = new Int32Array(2 * this.#slots.length);
    for (const [code, hash] of this.#hashes.entries()) {
      let slot = hash & (slots.length - 1);
      while (slots[slot] !== 0) slot = (slot + 1) & (slots.length - 1);
      slots[slot] = code + 1;
    }
    this.#slots = slots;
  }
}
