import type { ByteSource } from "./json-writer.ts";

const WORD_BYTES = 4;

/** Whether two pieces of that length have the same bytes. */
export function areSame(
  { bytes, view }: ByteSource,
  one: number,
  other: number,
  length: number,
): boolean {
  const last = length - WORD_BYTES;
  for (let offset = 0; offset < last; offset += WORD_BYTES) {
    if (view.getInt32(one + offset) !== view.getInt32(other + offset)) return false;
  }
  // The last word may lie over the one before it.
  if (last >= 0) return view.getInt32(one + last) === view.getInt32(other + last);
  for (let offset = 0; offset < length; offset++) {
    if (bytes[one + offset] !== bytes[other + offset]) return false;
  }
  return true;
}
