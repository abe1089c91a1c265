import type { ByteSource } from "../json-writer.ts";

const FNV_OFFSET = 0x811c9dc5;
const FNV_PRIME = 0x01000193;
const WORD_BYTES = 4;

/** What {@link keyHash} answers for a key that is not ASCII. */
export const NOT_ASCII = -1;

/**
 * A hash of a key's bytes from 0 up, after FNV-1a but four bytes at a time; {@link NOT_ASCII} where two keys could
 * differ on the wire and be the same in the envelope, because both are no UTF-8.
 */
export function keyHash({ bytes, view }: ByteSource, start: number, end: number): number {
  let hash = FNV_OFFSET;
  let all = 0;
  let index = start;
  for (; index + WORD_BYTES <= end; index += WORD_BYTES) {
    const word = view.getInt32(index, true);
    all |= word;
    hash = Math.imul(hash ^ word, FNV_PRIME);
  }
  for (; index < end; index++) {
    const byte = bytes[index]!;
    all |= byte;
    hash = Math.imul(hash ^ byte, FNV_PRIME);
  }
  // A multiplication carries bits upwards only: let the upper ones count below too.
  return (all & 0x80808080) === 0 ? (hash ^ (hash >>> 15)) & 0x7fff_ffff : NOT_ASCII;
}
