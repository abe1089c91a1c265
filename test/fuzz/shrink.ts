/** Limits of shrinking: an input that a person will read should be small, but not at any cost. */
const SHRINK_MS_MAX = 3_000;
const SHRUNK_BYTES_MAX = 1 << 18;

/**
 * Removes ranges of bytes, large ones first, as long as `isWanted` holds. Returns undefined if nothing can be removed.
 */
export async function shrunk(
  input: Uint8Array,
  isWanted: (input: Uint8Array) => Promise<boolean>,
): Promise<Uint8Array | undefined> {
  if (input.length > SHRUNK_BYTES_MAX) return undefined;
  const endMs = performance.now() + SHRINK_MS_MAX;
  let smallest: Buffer = Buffer.from(input);
  for (let range = smallest.length >> 1; range > 0; range >>= 1) {
    for (let start = 0; start < smallest.length && performance.now() < endMs;) {
      const smaller = Buffer.concat([
        smallest.subarray(0, start),
        smallest.subarray(start + range),
      ]);
      if (await isWanted(smaller)) smallest = smaller;
      else start += range;
    }
  }
  return smallest.length < input.length ? smallest : undefined;
}
