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
  let records: Uint16Array | undefined;
  // Most searches find nothing in most columns, and need no records.
  return Object.defineProperty(valuesOf(info, values), "records", {
    get: () => (records ??= recordsOf()),
  }) as Column;
}

function valuesOf(info: ColumnInfo, values: DecodedValues): Omit<Column, "records"> {
  const { codes, distinct, data, offsets } = values;
  const column = { info, codes, distinct, isExact: true };
  switch (info.kind) {
    case "text":
      return { ...column, text: data, textEnds: offsets.subarray(1).map((offset) => offset - 1) };
    case "int":
      return { ...column, ...integersOf(values) };
    case "double":
      return {
        ...column,
        numbers: Float64Array.from({ length: distinct }, (_, value) =>
          data.readDoubleLE(8 * value),
        ),
      };
    case "bool":
      return { ...column, numbers: Float64Array.from(data) };
    case "bytes":
      return { ...column, bytes: bytesOf(info, values) };
    default:
      return column;
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
