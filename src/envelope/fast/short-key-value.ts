import { KEY_VALUE_KEY, KEY_VALUE_VALUE } from "../../otlp/fields.ts";

/** A length below it is one byte on the wire. */
export const SHORT_BYTES = 0x80;

/** The tag and the length of a field that is shorter than {@link SHORT_BYTES}. */
export const SHORT_HEAD_BYTES = 2;

/**
 * Whether the KeyValue between `start` and `end` has the form that nearly all have: a short key, then a short value
 * that ends where it does. Then the key starts after a head, and ends where this answers; else the answer is -1, and
 * nothing is known.
 */
export function shortKeyEnd(bytes: Uint8Array, start: number, end: number): number {
  if (end - start < 2 * SHORT_HEAD_BYTES || bytes[start] !== KEY_VALUE_KEY) return -1;
  const keyLength = bytes[start + 1]!;
  const keyEnd = start + SHORT_HEAD_BYTES + keyLength;
  const valueStart = keyEnd + SHORT_HEAD_BYTES;
  if (keyLength >= SHORT_BYTES || valueStart > end || end - valueStart >= SHORT_BYTES) return -1;
  const isUsual = bytes[keyEnd] === KEY_VALUE_VALUE && bytes[keyEnd + 1] === end - valueStart;
  return isUsual ? keyEnd : -1;
}
