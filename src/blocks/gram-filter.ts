/**
 * The filter of a block: a Bloom filter of the grams of its values, in {@link FILTER_PARTS} parts by the upper bits of their
 * hashes. A search reads one part of all blocks, and other parts only of the blocks that are left.
 *
 * A part is a byte that tells what the filter lacks (`NEEDS_DENSE_IDS`, `NEEDS_NUMBERS`), then its bits.
 */

import { FILTER_PARTS } from "./block-view.ts";
import { GramSet, mixed, NEEDS_DENSE_IDS, NEEDS_NUMBERS, type RequiredGram } from "./grams.ts";

/** With four hashes, 2 % of the grams that are not there seem to be; a search tests several grams. */
const BITS_PER_GRAM = 8;
const HASHES = 4;

const PART_SHIFT = 32 - Math.log2(FILTER_PARTS);
const PART_BYTES_MIN = 8;
const HEAD_BYTES = 1;
const WORD = 2 ** 32;

/** Of a record, in bytes of the filter and so in grams. */
const GRAMS_MAX = 8;
/** The same of a block with many ids, of which each record has more. */
const SPARSE_GRAMS_MAX = 12;
const NUMBER_GRAMS_MAX = 1;
/** A smaller block may have as many as one of this size: the words of a language do not become fewer. */
const RECORDS_MIN = 4096;

export interface BuiltFilter {
  /** None if the values have too many grams: the filter would be larger than what it saves. */
  readonly parts: readonly Uint8Array<ArrayBuffer>[];
  /** See {@link GramSet.hasUnusualFolding}. */
  readonly hasUnusualFolding: boolean;
}

/**
 * Returns the filter of a block. `feed` adds all values to a set; it is called again if the values have too many ids, of which
 * fewer are taken then.
 */
export function buildFilter(records: number, feed: (grams: GramSet) => void): BuiltFilter {
  const counted = Math.max(records, RECORDS_MIN);
  const numberGramsMax = NUMBER_GRAMS_MAX * counted;
  const dense = new GramSet({
    hasSparseIds: false,
    gramsMax: GRAMS_MAX * counted,
    numberGramsMax,
  });
  feed(dense);
  if (!dense.isFull) return builtFilter(dense, dense.hasNumbers ? 0 : NEEDS_NUMBERS);
  const sparse = new GramSet({
    hasSparseIds: true,
    gramsMax: SPARSE_GRAMS_MAX * counted,
    numberGramsMax: 0,
  });
  feed(sparse);
  return builtFilter(sparse, NEEDS_DENSE_IDS | NEEDS_NUMBERS);
}

function builtFilter(grams: GramSet, lacks: number): BuiltFilter {
  const { hasUnusualFolding } = grams;
  return { parts: grams.isFull ? [] : partsOf(grams, lacks), hasUnusualFolding };
}

function partsOf(grams: GramSet, lacks: number): Uint8Array<ArrayBuffer>[] {
  const hashes = grams.hashes();
  const sizes = new Uint32Array(FILTER_PARTS);
  for (let index = 0; index < hashes.length; index++) sizes[hashes[index]! >>> PART_SHIFT]!++;
  const parts = Array.from(sizes, (size) => {
    const bytes = Math.max(PART_BYTES_MIN, Math.ceil((size * BITS_PER_GRAM) / 8));
    return new Uint8Array(HEAD_BYTES + bytes);
  });
  for (const part of parts) part[0] = lacks;
  for (let index = 0; index < hashes.length; index++) {
    const hash = hashes[index]!;
    setBits(parts[hash >>> PART_SHIFT]!, hash);
  }
  return parts;
}

function setBits(part: Uint8Array, hash: number): void {
  const scale = (8 * (part.length - HEAD_BYTES)) / WORD;
  let place = mixed(hash);
  const step = mixed(place ^ 0x5bd1e995);
  for (let count = 0; count < HASHES; count++) {
    const bit = Math.floor((place >>> 0) * scale);
    part[HEAD_BYTES + (bit >>> 3)]! |= 1 << (bit & 7);
    place = (place + step) | 0;
  }
}

/** Returns which part of the filter tells about a gram. */
export function partOf({ hash }: RequiredGram): number {
  return hash >>> PART_SHIFT;
}

/** Returns false if no value of the block has the gram. `part`: that of {@link partOf}. */
export function mayHave(part: Uint8Array, { hash, needs }: RequiredGram): boolean {
  if ((part[0]! & needs) !== 0 || part.length <= HEAD_BYTES) return true;
  const scale = (8 * (part.length - HEAD_BYTES)) / WORD;
  let place = mixed(hash);
  const step = mixed(place ^ 0x5bd1e995);
  for (let count = 0; count < HASHES; count++) {
    const bit = Math.floor((place >>> 0) * scale);
    if ((part[HEAD_BYTES + (bit >>> 3)]! & (1 << (bit & 7))) === 0) return false;
    place = (place + step) | 0;
  }
  return true;
}
