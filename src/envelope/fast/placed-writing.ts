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

/** What {@link placeMicros} writes. */
export const MICROS_BYTES = 7;

/** How many bytes a byte of a text may become: a control character the six of \u00xx. */
export const TEXT_GROWTH_MAX = 6;

/** Bytes are copied in words where nothing in them needs an escape. */
const WORD_BYTES = 4;

const QUOTE = 0x22;
const ZERO = 0x30;
const TRIPLE = 1000;
const TRIPLE_DIGITS = 3;
/** The Z of UTC behind three digits. */
const ZULU_BEHIND = 0x5a << 24;

/** For each number below a thousand its three digits, the first one in the lowest byte. */
const TRIPLES = Int32Array.from(
  { length: TRIPLE },
  (_, number) =>
    (ZERO + Math.floor(number / 100)) |
    ((ZERO + (Math.floor(number / 10) % 10)) << 8) |
    ((ZERO + (number % 10)) << 16),
);

/** For each byte its two hex digits, the first one in the lower half. */
const HEX_PAIRS = Uint16Array.from({ length: 256 }, (_, byte) => {
  const digits = byte.toString(16).padStart(2, "0");
  return digits.charCodeAt(0) | (digits.charCodeAt(1) << 8);
});

/** Writes bytes that are JSON already. */
export function placeRaw({ buffer }: ByteTarget, at: number, bytes: Uint8Array): number {
  buffer.set(bytes, at);
  return at + bytes.length;
}

/** Writes the bytes of a string in UTF-8 with its quotes; what is not UTF-8 becomes U+FFFD. */
export function placeText(
  target: ByteTarget,
  at: number,
  source: ByteSource,
  start: number,
  end: number,
): number {
  const { buffer, view: to } = target;
  buffer[at] = QUOTE;
  const last = end - WORD_BYTES;
  if (last < start) return placeShortText(target, at + 1, source, start, end);
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
    if (!isPlainWord(word)) return placeEscaped(target, position, source, index, end);
    to.setInt32(position, word, true);
    position += WORD_BYTES;
  }
  // The last word may lie over the one before it, so that no bytes are left over.
  const word = from.getInt32(last, true);
  if (!isPlainWord(word)) return placeEscaped(target, position, source, index, end);
  position += end - index;
  to.setInt32(position - WORD_BYTES, word, true);
  buffer[position] = QUOTE;
  return position + 1;
}

/** The same for a text that is shorter than a word, behind its first quote. */
function placeShortText(
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
    if (PLAIN[byte] === 0) return placeEscaped(target, position, source, index, end);
    buffer[position++] = byte;
  }
  buffer[position] = QUOTE;
  return position + 1;
}

/** The rest of a text, from a byte on that perhaps needs an escape. */
function placeEscaped(
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
export function placeNumber({ buffer }: ByteTarget, at: number, value: number): number {
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

/** Writes six digits and the Z of UTC; micros 0-999999. */
export function placeMicros({ view }: ByteTarget, at: number, micros: number): number {
  const upper = (micros / TRIPLE) | 0;
  view.setInt32(at, TRIPLES[upper]!, true);
  view.setInt32(at + TRIPLE_DIGITS, TRIPLES[micros - TRIPLE * upper]! | ZULU_BEHIND, true);
  return at + MICROS_BYTES;
}

/** Writes bytes as hex digits, with the quote behind them. */
export function placeId(
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
