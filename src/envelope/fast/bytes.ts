/**
 * The inner loops of the way from OTLP's bytes to envelopes. Each function writes at a place for which room was
 * reserved before, and answers the place behind what it has written: nothing but numbers goes from one to the next.
 */

import { arePlainWords, isPlainWord, PLAIN, writeEscaped } from "../escapes.ts";
import type { ByteSource } from "../json-writer.ts";

/** The memory to write to, as bytes and to write several of them at a time. */
export interface ByteTarget {
  readonly buffer: Buffer;
  readonly view: DataView;
}

/** How many bytes a byte of a text may become: a control character the six of \u00xx. */
export const TEXT_GROWTH_MAX = 6;

/** Bytes are copied in words where nothing in them needs an escape. */
const WORD_BYTES = 4;

const QUOTE = 0x22;
const ZERO = 0x30;

/** For each byte its two hex digits, the first one in the lower half. */
const HEX_PAIRS = Uint16Array.from({ length: 256 }, (_, byte) => {
  const digits = byte.toString(16).padStart(2, "0");
  return digits.charCodeAt(0) | (digits.charCodeAt(1) << 8);
});

/** Writes bytes that are JSON already. */
export function putRaw({ buffer }: ByteTarget, at: number, bytes: Uint8Array): number {
  buffer.set(bytes, at);
  return at + bytes.length;
}

/** Writes the bytes of a string in UTF-8 with its quotes; what is not UTF-8 becomes U+FFFD. */
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
  // Two words at a time, as long as there are as many.
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
  // The last word may lie over the one before it, so that no bytes are left over.
  const word = from.getInt32(last, true);
  if (!isPlainWord(word)) return putEscaped(target, position, source, index, end);
  position += end - index;
  to.setInt32(position - WORD_BYTES, word, true);
  buffer[position] = QUOTE;
  return position + 1;
}

/** The same for a text that is shorter than a word, behind its first quote. */
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

/** The rest of a text, from a byte on that perhaps needs an escape. */
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

/** Writes a whole number from 0 to 2^31 - 1. */
export function putNumber({ buffer }: ByteTarget, at: number, value: number): number {
  let digits = 1;
  for (let power = 10; power <= value; power *= 10) digits++;
  let rest = value;
  for (let place = at + digits - 1; place >= at; place--) {
    const tens = (rest / 10) | 0;
    buffer[place] = ZERO + rest - 10 * tens;
    rest = tens;
  }
  return at + digits;
}

/** Writes bytes as hex digits, with the quote behind them. */
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

const FNV_OFFSET = 0x811c9dc5;
const FNV_PRIME = 0x01000193;

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
