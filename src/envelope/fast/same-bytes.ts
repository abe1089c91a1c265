import type { ByteSource } from "../json-writer.ts";

const WORD_BYTES = 4;
const LONG_BYTES = 8;
/** From here on longer words are worth it. */
const LONG_PIECE_BYTES = 2 * LONG_BYTES;

/** Whether two pieces of that length have the same bytes. */
export function areSame(source: ByteSource, one: number, other: number, length: number): boolean {
  if (length >= LONG_PIECE_BYTES) return areSameLong(source, one, other, length);
  const { bytes, view } = source;
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

/** Of bigints that are only compared the compiler makes words of the machine: none is allocated. */
function areSameLong({ view }: ByteSource, one: number, other: number, length: number): boolean {
  const last = length - LONG_BYTES;
  for (let offset = 0; offset < last; offset += LONG_BYTES) {
    if (view.getBigInt64(one + offset, true) !== view.getBigInt64(other + offset, true)) {
      return false;
    }
  }
  return view.getBigInt64(one + last, true) === view.getBigInt64(other + last, true);
}

/** Whether the bytes between two places start with others. */
export function startsWith(
  bytes: Uint8Array,
  start: number,
  end: number,
  prefix: Uint8Array,
): boolean {
  if (end - start < prefix.length) return false;
  for (let index = 0; index < prefix.length; index++) {
    if (bytes[start + index] !== prefix[index]) return false;
  }
  return true;
}
