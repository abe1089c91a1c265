/** Writes values of columns as JSON: the same bytes as those of the records' envelopes (envelope/encoder.ts). */

import { putText, TEXT_GROWTH_MAX } from "../../envelope/fast/value-writer.ts";
import type { JsonWriter } from "../../envelope/json-writer.ts";
import type { OpKind } from "../columns/ops.ts";
import type { DecodedValues } from "../columns/values.ts";

/** Writes what a value of a column makes; returns false if that is left to the plain path. */
export type ValueJson = (writer: JsonWriter, value: number) => boolean;

/** The values of a column, and a view of the same memory. */
export interface ViewedValues extends DecodedValues {
  readonly bytes: Buffer;
  readonly view: DataView;
}

export function viewed(values: DecodedValues): ViewedValues {
  const { data, offsets, codes, distinct, separator } = values;
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  return { data, offsets, codes, distinct, separator, bytes: data, view };
}

export function startOf({ offsets }: DecodedValues, value: number): number {
  return offsets[value]!;
}

export function endOf({ offsets, separator }: DecodedValues, value: number): number {
  return offsets[value + 1]! - separator;
}

export function textOf(values: DecodedValues, value: number): string {
  return values.data.toString("utf8", startOf(values, value), endOf(values, value));
}

/** Writes a value of a kind. */
export function valueJson(kind: OpKind, values: ViewedValues): ValueJson | undefined {
  switch (kind) {
    case "text":
      return (writer, value) => {
        putTextOf(writer, values, startOf(values, value), endOf(values, value));
        return true;
      };
    case "int":
      return (writer, value) => {
        writer.value(integerOf(values, value));
        return true;
      };
    case "double":
      return (writer, value) => {
        writer.number(values.view.getFloat64(startOf(values, value), true));
        return true;
      };
    case "bool":
      return (writer, value) => {
        writer.boolean(values.data[value] !== 0);
        return true;
      };
    case "bytes":
      return (writer, value) => {
        writer.base64(values.data.subarray(startOf(values, value), endOf(values, value)));
        return true;
      };
    default:
      return undefined;
  }
}

function putTextOf(writer: JsonWriter, values: ViewedValues, start: number, end: number): void {
  writer.reserve(TEXT_GROWTH_MAX * (end - start) + 2);
  writer.position = putText(writer, writer.position, values, start, end);
}

/** Any integer of so many varint bytes is one that a number has exactly. */
const EXACT_BYTES = 7;

/** Returns a signed integer of 64 bits, as a bigint if it has more digits than a number has exactly. */
export function integerOf(values: DecodedValues, value: number): number | bigint {
  const { data } = values;
  const start = startOf(values, value);
  const end = endOf(values, value);
  if (end - start <= EXACT_BYTES) {
    let number = 0;
    for (let at = end - 1; at >= start; at--) number = number * 0x80 + (data[at]! & 0x7f);
    return number;
  }
  let integer = 0n;
  for (let at = end - 1; at >= start; at--) integer = (integer << 7n) | BigInt(data[at]! & 0x7f);
  integer = BigInt.asIntN(64, integer);
  const number = Number(integer);
  return Number.isSafeInteger(number) ? number : integer;
}
