/** Less goes with the next collection of young objects, which costs less than giving it back. */
const GIVEN_BACK_BYTES_MIN = 16 << 10;

/**
 * Gives memory back at once, which else waits for the garbage collector, and makes it come: it marks the whole heap for
 * some 25 MB of memory beside the heap.
 *
 * Only whoever owns the bytes may say so: all views of them are empty afterwards. What is a part of larger memory is
 * left alone, for the rest belongs to somebody else.
 */
export function giveBack({ buffer, byteLength }: Uint8Array): void {
  const isWhole = byteLength === buffer.byteLength;
  if (!isWhole || byteLength < GIVEN_BACK_BYTES_MIN) return;
  if (buffer instanceof ArrayBuffer) buffer.transfer(0);
}
