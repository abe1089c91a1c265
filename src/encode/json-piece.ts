/** Bytes that are written again and again, as words: of few bytes these take half the time to copy. */
export interface JsonPiece {
  readonly words: Int32Array;
  /** How many bytes of the words count. */
  readonly length: number;
}

export const WORD_BYTES = 4;

export function jsonPiece(text: string): JsonPiece {
  const bytes = Buffer.from(text);
  const padded = Buffer.concat([bytes, Buffer.alloc(WORD_BYTES - 1)]);
  const words = Int32Array.from({ length: Math.ceil(bytes.length / WORD_BYTES) }, (_, index) =>
    padded.readInt32LE(WORD_BYTES * index),
  );
  return { words, length: bytes.length };
}
