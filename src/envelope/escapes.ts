/** Escapes text for JSON strings (RFC 8259, section 7) that are always valid UTF-8. */

/** For each ASCII character what follows its backslash; 0 if it needs no escape, 1 for the \u00xx form. */
const ESCAPES = new Uint8Array(128);
ESCAPES.fill(1, 0, 0x20);
for (const [char, escape] of Object.entries({
  '"': '"',
  "\\": "\\",
  "\b": "b",
  "\f": "f",
  "\n": "n",
  "\r": "r",
  "\t": "t",
})) {
  ESCAPES[char.charCodeAt(0)] = escape.charCodeAt(0);
}

/** For each byte whether it is an ASCII character that needs no escape. */
export const PLAIN = new Uint8Array(256);
for (let byte = 0; byte < 128; byte++) PLAIN[byte] = ESCAPES[byte] === 0 ? 1 : 0;

const HEX = Buffer.from("0123456789abcdef");

/**
 * Whether four bytes are ASCII characters that need no escape: none is from 0x80 up, below 0x20, a quote or a backslash.
 * In each difference the lowest byte that is one of these sets its highest bit, and nothing else does.
 */
export function isPlainWord(word: number): boolean {
  const unlikeQuote = (word ^ 0x22222222) - 0x01010101;
  const unlikeBackslash = (word ^ 0x5c5c5c5c) - 0x01010101;
  return ((word | (word - 0x20202020) | unlikeQuote | unlikeBackslash) & 0x80808080) === 0;
}

/** Does the same for eight bytes. */
export function arePlainWords(word: number, next: number): boolean {
  const unlikeQuote = ((word ^ 0x22222222) - 0x01010101) | ((next ^ 0x22222222) - 0x01010101);
  const unlikeBackslash = ((word ^ 0x5c5c5c5c) - 0x01010101) | ((next ^ 0x5c5c5c5c) - 0x01010101);
  const plain = word | next | (word - 0x20202020) | (next - 0x20202020);
  return ((plain | unlikeQuote | unlikeBackslash) & 0x80808080) === 0;
}

/** Whether one of four bytes is below 0x20, a quote or a backslash. Bytes of non-ASCII characters are not. */
export function needsEscape(word: number): boolean {
  const quote = word ^ 0x22222222;
  const backslash = word ^ 0x5c5c5c5c;
  const found =
    ((word - 0x20202020) & ~word) |
    ((quote - 0x01010101) & ~quote) |
    ((backslash - 0x01010101) & ~backslash);
  return (found & 0x80808080) !== 0;
}

/**
 * Writes bytes of text with the escapes that they need; invalid UTF-8 becomes U+FFFD. There must be space for six times
 * as many bytes. Returns the new position.
 */
export function writeEscaped(
  buffer: Buffer,
  at: number,
  source: Uint8Array,
  start: number,
  end: number,
): number {
  let position = at;
  let index = start;
  while (index < end) {
    const byte = source[index]!;
    if (byte < 128) {
      const escape = ESCAPES[byte]!;
      index++;
      if (escape === 0) {
        buffer[position++] = byte;
      } else if (escape === 1) {
        position = writeControl(buffer, position, byte);
      } else {
        buffer[position++] = 0x5c;
        buffer[position++] = escape;
      }
      continue;
    }
    const length = sequenceLength(source, index, end);
    if (length > 0) {
      for (const last = index + length; index < last;) buffer[position++] = source[index++]!;
    } else {
      buffer[position++] = 0xef;
      buffer[position++] = 0xbf;
      buffer[position++] = 0xbd;
      index -= length;
    }
  }
  return position;
}

/** Writes the \u00xx form of a control character and returns the new position. */
function writeControl(buffer: Buffer, position: number, byte: number): number {
  buffer[position++] = 0x5c;
  buffer[position++] = 0x75;
  buffer[position++] = 0x30;
  buffer[position++] = 0x30;
  buffer[position++] = HEX[byte >> 4]!;
  buffer[position++] = HEX[byte & 15]!;
  return position;
}

/**
 * Returns the length of the UTF-8 sequence at `index` (Unicode 16, table 3-7), or minus the number of bytes that one
 * U+FFFD replaces: the longest prefix of a sequence that could have become valid, as in the WHATWG's decoder.
 */
function sequenceLength(source: Uint8Array, index: number, end: number): number {
  const lead = source[index]!;
  if (lead < 0xc2 || lead > 0xf4) return -1;
  const length = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
  if (index + 1 >= end) return -1;
  const second = source[index + 1]!;
  const lowest = lead === 0xe0 ? 0xa0 : lead === 0xf0 ? 0x90 : 0x80;
  const highest = lead === 0xed ? 0x9f : lead === 0xf4 ? 0x8f : 0xbf;
  if (second < lowest || second > highest) return -1;
  for (let offset = 2; offset < length; offset++) {
    if (index + offset >= end || (source[index + offset]! & 0xc0) !== 0x80) return -offset;
  }
  return length;
}
