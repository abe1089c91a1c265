import type { Column, ColumnInfo } from "../block-view.ts";
import type { ColumnHead } from "./splitter.ts";
import type { DecodedValues } from "./values.ts";

const WORD = 2 ** 32;

/** Returns the values of a column as a search sees them. */
export function columnOf(
  info: ColumnInfo,
  recordsOf: () => Uint16Array,
  values: DecodedValues,
): Column {
  switch (info.kind) {
    case "text":
      return new StoredColumn(info, recordsOf, values, { text: values.data });
    case "int":
      return new StoredColumn(info, recordsOf, values, integersOf(values));
    case "double": {
      const numbers = Float64Array.from({ length: values.distinct }, (_, value) =>
        values.data.readDoubleLE(8 * value),
      );
      return new StoredColumn(info, recordsOf, values, { numbers });
    }
    case "bool":
      return new StoredColumn(info, recordsOf, values, { numbers: Float64Array.from(values.data) });
    case "bytes":
      return new StoredColumn(info, recordsOf, values, { bytes: bytesOf(info, values) });
    default:
      return new StoredColumn(info, recordsOf, values, {});
  }
}

/** The values of a column, by its kind. */
type KindValues = Pick<Column, "text" | "numbers" | "integers" | "bytes"> & {
  readonly isExact?: boolean;
};

/** Most searches find nothing in most columns: they need neither the records nor the ends of values. */
class StoredColumn implements Column {
  readonly info: ColumnInfo;
  readonly distinct: number;
  readonly isExact: boolean;
  readonly text: Column["text"];
  readonly numbers: Column["numbers"];
  readonly integers: Column["integers"];
  readonly bytes: Column["bytes"];
  readonly #recordsOf: () => Uint16Array;
  readonly #values: DecodedValues;
  #records: Uint16Array | undefined;
  #ends: Uint32Array | undefined;

  constructor(
    info: ColumnInfo,
    recordsOf: () => Uint16Array,
    values: DecodedValues,
    { text, numbers, integers, bytes, isExact = true }: KindValues,
  ) {
    this.info = info;
    this.distinct = values.distinct;
    this.isExact = isExact;
    this.text = text;
    this.numbers = numbers;
    this.integers = integers;
    this.bytes = bytes;
    this.#recordsOf = recordsOf;
    this.#values = values;
  }

  get records(): Uint16Array {
    return (this.#records ??= this.#recordsOf());
  }

  get codes(): Column["codes"] {
    return this.#values.codes;
  }

  get textEnds(): Uint32Array {
    return (this.#ends ??= this.#values.offsets.subarray(1).map((offset) => offset - 1));
  }
}

function bytesOf({ place }: ColumnInfo, { data, offsets }: DecodedValues) {
  const isId = place === "trace_id" || place === "span_id";
  return isId && offsets.length > 1
    ? { data, width: offsets[1]! }
    : { data, ends: offsets.subarray(1) };
}

function integersOf({ data, offsets, distinct }: DecodedValues) {
  const numbers = new Float64Array(distinct);
  let isExact = true;
  for (let value = 0; value < distinct; value++) {
    const end = offsets[value + 1]!;
    let low = 0;
    let high = 0;
    for (let at = offsets[value]!, shift = 0; at < end; at++, shift += 7) {
      const bits = data[at]! & 0x7f;
      if (shift < 32) low |= bits << shift;
      if (shift > 28) high |= bits << (shift - 32);
      else if (shift === 28) high = bits >>> 4;
    }
    const number = (high | 0) * WORD + (low >>> 0);
    numbers[value] = number;
    if (!Number.isSafeInteger(number)) isExact = false;
  }
  if (isExact) return { numbers, isExact };
  const integers = BigInt64Array.from({ length: distinct }, (_, value) =>
    int64Of(data, offsets[value]!, offsets[value + 1]!),
  );
  return { numbers, isExact, integers };
}

function int64Of(bytes: Uint8Array, start: number, end: number): bigint {
  let value = 0n;
  for (let at = end - 1; at >= start; at--) value = (value << 7n) | BigInt(bytes[at]! & 0x7f);
  return BigInt.asIntN(64, value);
}

/** Returns what a search knows of a column; undefined if the values are only needed to write records again. */
export function infoOf(
  { place, path, kind, isListed }: ColumnHead,
  length: number,
): ColumnInfo | undefined {
  if (place === "header") return undefined;
  const info = { place, path, isListed, length };
  switch (kind) {
    case "field":
      return { ...info, kind: "text" };
    case "id":
      return { ...info, kind: "bytes" };
    case "text":
    case "int":
    case "double":
    case "bool":
    case "bytes":
    case "null":
    case "emptyList":
    case "emptyMap":
      return { ...info, kind };
    default:
      return undefined;
  }
}
