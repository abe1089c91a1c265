import { Type } from "protobufjs";
import { DEPTH_MAX } from "../../src/envelope/json-writer.ts";

interface Field {
  readonly number: number;
  readonly wireType: number;
  readonly tag: Buffer;
  /** The value; for a length-delimited field, without the length. */
  readonly payload: Buffer;
}

/** Containers of records, with their field for shared data and the field for their content. */
const SHARED_FIELDS: ReadonlyMap<string, { readonly shared: number; readonly inner: number }> =
  new Map([
    ["ResourceLogs", { shared: 1, inner: 2 }],
    ["ScopeLogs", { shared: 1, inner: 2 }],
  ]);

const LIST_TYPES: ReadonlySet<string> = new Set(["ArrayValue", "KeyValueList"]);

/**
 * Returns a message as the gateway reads it. If an embedded message occurs twice, only the last one is kept, which
 * protobufjs would merge. A resource or scope without records is removed, and so is anything that is nested too deep.
 * Bytes that are not a sequence of fields are returned unchanged. `depth` is the number of enclosing lists and maps.
 */
export function withLastFields(bytes: Buffer, type: Type, depth = 0): Buffer {
  const isList = LIST_TYPES.has(type.name);
  if (isList && depth >= DEPTH_MAX) return Buffer.alloc(0);
  const fields = fieldsOf(bytes);
  if (fields === undefined) return bytes;
  const kept: Buffer[] = [];
  const container = SHARED_FIELDS.get(type.name);
  const isEmpty = container !== undefined && !hasRecords(fields, type);
  const lasts = new Map(
    fields.map(({ number, wireType }, index) => [wireType === 2 ? number : -1, index]),
  );
  for (const [index, field] of fields.entries()) {
    const { number, wireType, tag, payload } = field;
    const inner = wireType === 2 ? messageOf(type, number) : undefined;
    if (inner === undefined) {
      kept.push(tag, ...(wireType === 2 ? [varint(payload.length)] : []), payload);
      continue;
    }
    if (isEmpty && number === container.shared) continue;
    if (!type.fieldsById[number]!.repeated && lasts.get(number) !== index) continue;
    const content = withLastFields(payload, inner, isList ? depth + 1 : depth);
    kept.push(tag, varint(content.length), content);
  }
  return Buffer.concat(kept);
}

function hasRecords(fields: readonly Field[], type: Type): boolean {
  return fields.some(({ number, wireType, payload }) => {
    if (wireType !== 2 || number !== SHARED_FIELDS.get(type.name)!.inner) return false;
    const inner = messageOf(type, number)!;
    // Anything that is not a message is rejected anyway.
    const nested = fieldsOf(payload);
    return !SHARED_FIELDS.has(inner.name) || nested === undefined || hasRecords(nested, inner);
  });
}

function messageOf(type: Type, number: number): Type | undefined {
  const inner = type.fieldsById[number]?.resolve().resolvedType;
  return inner instanceof Type ? inner : undefined;
}

/** Returns undefined if the bytes are not a sequence of fields. */
function fieldsOf(bytes: Buffer): Field[] | undefined {
  const fields: Field[] = [];
  for (let position = 0; position < bytes.length;) {
    const tagEnd = varintEnd(bytes, position);
    if (tagEnd === undefined) return undefined;
    const tag = bytes.subarray(position, tagEnd);
    const value = varintValue(tag);
    const wireType = value % 8;
    const bounds = payloadOf(bytes, tagEnd, wireType);
    if (bounds === undefined || bounds.end > bytes.length) return undefined;
    const payload = bytes.subarray(bounds.start, bounds.end);
    fields.push({ number: Math.floor(value / 8), wireType, tag, payload });
    position = bounds.end;
  }
  return fields;
}

function payloadOf(
  bytes: Buffer,
  start: number,
  wireType: number,
): { start: number; end: number } | undefined {
  if (wireType === 1) return { start, end: start + 8 };
  if (wireType === 5) return { start, end: start + 4 };
  const end = varintEnd(bytes, start);
  if (end === undefined || (wireType !== 0 && wireType !== 2)) return undefined;
  if (wireType === 0) return { start, end };
  return { start: end, end: end + varintValue(bytes.subarray(start, end)) };
}

function varintEnd(bytes: Buffer, start: number): number | undefined {
  for (let end = start; end < Math.min(bytes.length, start + 10); end++) {
    if (bytes[end]! < 0x80) return end + 1;
  }
  return undefined;
}

function varintValue(bytes: Buffer): number {
  return bytes.reduceRight((value, byte) => value * 128 + (byte & 0x7f), 0);
}

function varint(value: number): Buffer {
  const bytes: number[] = [];
  let rest = value;
  for (; rest > 127; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 128);
  return Buffer.from([...bytes, rest]);
}
