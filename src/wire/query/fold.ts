/**
 * The form in which texts are compared ignoring case: NFC, then simple case folding of each code point (CaseFolding.txt of
 * Unicode, statuses C and S). Folded texts are equal if a regular expression with the flags `iu` matches one with the other.
 */

/** Returns a text in the form in which texts are compared ignoring case. */
export function fold(text: string): string {
  if (!NON_ASCII.test(text)) return text.toLowerCase();
  const normal = text.normalize("NFC").replaceAll(FOLDED_OTHERWISE, foldOtherwise);
  return normal.includes(DOTTED_I)
    ? normal
        .split(DOTTED_I)
        .map((part) => part.toLowerCase())
        .join(DOTTED_I)
    : normal.toLowerCase();
}

/**
 * Returns whether folding moves the bytes of a text: it is not in NFC, or a code point folds to another number of bytes in
 * UTF-8. In all other texts, each byte folds by itself if it is ASCII (see {@link FOLDED_BYTES}), and non-ASCII characters
 * fold to non-ASCII characters of the same length.
 */
export function hasUnusualFolding(text: string): boolean {
  if (!NON_ASCII.test(text)) return false;
  return RESIZED.test(text) || text.normalize("NFC") !== text;
}

/** The folded form of each ASCII byte; other bytes stand for themselves. */
export const FOLDED_BYTES: Uint8Array = Uint8Array.from({ length: 256 }, (_, byte) =>
  byte >= 0x41 && byte <= 0x5a ? byte + 0x20 : byte,
);

const NON_ASCII = /[\u0080-\uffff]/;

/** It has no simple folding, and its lower case has two code points. */
const DOTTED_I = "\u{130}";

/**
 * What folds to something else than its lower case. Capital sigma is among them because its lower case depends on what is
 * around it.
 */
const FOLDED_OTHERWISE =
  /[\u{345}\u{b5}\u{17f}\u{3a3}\u{3c2}\u{3d0}\u{3d1}\u{3d5}\u{3d6}\u{3f0}\u{3f1}\u{3f5}\u{1c80}-\u{1c88}\u{1e9b}\u{1fbe}\u{fb05}]/gu;

function foldOtherwise(character: string): string {
  return character === LONG_ST ? ST : character.toUpperCase().toLowerCase();
}

const LONG_ST = "\u{fb05}";
const ST = "\u{fb06}";

/** Code points in NFC whose folding has another length in UTF-8. */
const RESIZED =
  /[\u{17f}\u{23a}\u{23e}\u{1c80}-\u{1c87}\u{1e9e}\u{2c62}\u{2c64}\u{2c6d}-\u{2c70}\u{2c7e}\u{2c7f}\u{a78d}\u{a7aa}-\u{a7ae}\u{a7b0}-\u{a7b2}\u{a7c5}\u{a7cb}\u{a7dc}]/u;
