/**
 * The inner loops of the fast path. The functions that write take a position in memory that was reserved before, and return
 * the position after what they have written, so that only numbers are passed around.
 */

import { arePlainWords, isPlainWord, PLAIN, writeEscaped } from "../escapes.ts";
import type { ByteSource } from "../json-writer.ts";

/** The memory to write to, by bytes and by words. */
export interface ByteTarget {
  readonly buffer: Buffer;
  readonly view: DataView;
}

/** How many bytes a byte of a string may become: a control character takes the six of \u00xx. */
export const TEXT_GROWTH_MAX = 6;

/** Bytes that need no escape are copied in words. */
const WORD_BYTES = 4;

const QUOTE = 0x22;
const ZERO = 0x30;

/** The two hex digits of each byte, the first one in the lower half. */
const HEX_PAIRS = Uint16Array.from({ length: 256 }, (_, byte) => {
  const digits = byte.toString(16).padStart(2, "0");
  return digits.charCodeAt(0) | (digits.charCodeAt(1) << 8);
});

/** Writes bytes that are already JSON. */
export function putRaw({ buffer }: ByteTarget, at: number, bytes: Uint8Array): number {
  buffer.set(bytes, at);
  return at + bytes.length;
}

/** Writes a string that is given in UTF-8, with its quotes; what is not UTF-8 becomes U+FFFD. */
export function putText(
  target: ByteTarget,
  at: number,
  source: ByteSource,
  start: number,
  end: number,
): number {
  const { buffer, view: to } = target;
  buffer[at] = QUOTE;
  const last = end - WORD_BYTES;
  if (last < start) return putShortText(target, at + 1, source, start, end);
  const from = source.view;
  let position = at + 1;
  let index = start;
  // Copies two words at a time, then single ones.
  for (const pairs = last - WORD_BYTES; index < pairs; index += 2 * WORD_BYTES) {
    const word = from.getInt32(index, true);
    const next = from.getInt32(index + WORD_BYTES, true);
    if (!arePlainWords(word, next)) break;
    to.setInt32(position, word, true);
    to.setInt32(position + WORD_BYTES, next, true);
    position += 2 * WORD_BYTES;
  }
  for (; index < last; index += WORD_BYTES) {
    const word = from.getInt32(index, true);
    if (!isPlainWord(word)) return putEscaped(target, position, source, index, end);
    to.setInt32(position, word, true);
    position += WORD_BYTES;
  }
  // The last word may overlap the previous one, so that no bytes are left over.
  const word = from.getInt32(last, true);
  if (!isPlainWord(word)) return putEscaped(target, position, source, index, end);
  position += end - index;
  to.setInt32(position - WORD_BYTES, word, true);
  buffer[position] = QUOTE;
  return position + 1;
}

/** Writes a string that is shorter than a word, after its first quote. */
function putShortText(
  target: ByteTarget,
  at: number,
  source: ByteSource,
  start: number,
  end: number,
): number {
  const { buffer } = target;
  const { bytes } = source;
  let position = at;
  for (let index = start; index < end; index++) {
    const byte = bytes[index]!;
    if (PLAIN[byte] === 0) return putEscaped(target, position, source, index, end);
    buffer[position++] = byte;
  }
  buffer[position] = QUOTE;
  return position + 1;
}

/** Writes the rest of a string, from a byte that may need an escape. */
function putEscaped(
  { buffer }: ByteTarget,
  at: number,
  { bytes }: ByteSource,
  start: number,
  end: number,
): number {
  const position = writeEscaped(buffer, at, bytes, start, end);
  buffer[position] = QUOTE;
  return position + 1;
}

/** Writes an integer from 0 to 2^31 - 1. */
export function putNumber({ buffer }: ByteTarget, at: number, value: number): number {
  let digits = 1;
  for (let power = 10; power <= value; power *= 10) digits++;
  let rest = value;
  for (let position = at + digits - 1; position >= at; position--) {
    const tens = (rest / 10) | 0;
    buffer[position] = ZERO + rest - 10 * tens;
    rest = tens;
  }
  return at + digits;
}

/** Writes bytes as hex digits and a closing quote. */
export function putId(
  { buffer, view }: ByteTarget,
  at: number,
  { bytes }: ByteSource,
  start: number,
  length: number,
): number {
  let position = at;
  for (let index = start; index < start + length; index++) {
    view.setInt16(position, HEX_PAIRS[bytes[index]!]!, true);
    position += 2;
  }
  buffer[position] = QUOTE;
  return position + 1;
}

const LONG_BYTES = 8;
/** From this length on, words of eight bytes are faster. */
const LONG_RANGE_BYTES = 2 * LONG_BYTES;

/** True if the ranges of that length at two positions have the same bytes. */
export function areSame(source: ByteSource, one: number, other: number, length: number): boolean {
  if (length >= LONG_RANGE_BYTES) return areSameLong(source, one, other, length);
  const { bytes, view } = source;
  const last = length - WORD_BYTES;
  for (let offset = 0; offset < last; offset += WORD_BYTES) {
    if (view.getInt32(one + offset) !== view.getInt32(other + offset)) return false;
  }
  // The last word may overlap the previous one.
  if (last >= 0) return view.getInt32(one + last) === view.getInt32(other + last);
  for (let offset = 0; offset < length; offset++) {
    if (bytes[one + offset] !== bytes[other + offset]) return false;
  }
  return true;
}

/** The compiler turns bigints that are only compared into machine words, without allocating any. */
function areSameLong({ view }: ByteSource, one: number, other: number, length: number): boolean {
  const last = length - LONG_BYTES;
  for (let offset = 0; offset < last; offset += LONG_BYTES) {
    if (view.getBigInt64(one + offset, true) !== view.getBigInt64(other + offset, true)) {
      return false;
    }
  }
  return view.getBigInt64(one + last, true) === view.getBigInt64(other + last, true);
}

/** True if the bytes between two positions start with the given prefix. */
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

const FNV_OFFSET = 0x811c9dc5;
const FNV_PRIME = 0x01000193;

/** What {@link keyHash} returns for a key that is not ASCII. */
export const NOT_ASCII = -1;

/**
 * Returns a hash of at least 0 of a key, after FNV-1a but four bytes at a time; {@link NOT_ASCII} for other keys, of which
 * two may differ on the wire and be equal in the envelope, if they are not UTF-8.
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
  // Multiplication carries bits upwards only, so the upper ones are folded into the lower ones.
  return (all & 0x80808080) === 0 ? (hash ^ (hash >>> 15)) & 0x7fff_ffff : NOT_ASCII;
}
