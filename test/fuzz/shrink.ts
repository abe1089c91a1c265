/** An input that is to be looked at by a person should be small; but not at any price. */
const SHRINK_MS_MAX = 3_000;
const SHRUNK_BYTES_MAX = 1 << 18;

/**
 * Takes ranges of bytes away, large ones first, as long as the input stays of the kind that is wanted. Undefined when
 * nothing can go.
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
