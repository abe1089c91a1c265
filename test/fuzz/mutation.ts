import type { Random } from "./random.ts";

/** Bytes with a meaning in one of the formats: lengths, tags, quotes, brackets, line feeds, limits of UTF-8. */
const SPECIAL_BYTES = [
  0, 1, 2, 5, 7, 8, 0x0a, 0x22, 0x2c, 0x3a, 0x5b, 0x5c, 0x7b, 0x7d, 0x7f, 0x80, 0xff,
];

type Mutation = (bytes: Buffer, random: Random) => Buffer;

const MUTATIONS: readonly Mutation[] = [
  flipBit,
  setByte,
  setByte,
  tweakLength,
  insert,
  remove,
  truncate,
  duplicate,
  splice,
];

/** Returns the bytes after one to three random changes. */
export function mutated(bytes: Uint8Array, random: Random): Buffer {
  let result: Buffer = Buffer.from(bytes);
  for (let left = random.between(1, 3); left > 0; left--) {
    result = random.pick(MUTATIONS)(result, random);
  }
  return result;
}

function flipBit(bytes: Buffer, random: Random): Buffer {
  if (bytes.length > 0) bytes[random.below(bytes.length)]! ^= 1 << random.below(8);
  return bytes;
}

function setByte(bytes: Buffer, random: Random): Buffer {
  const value = random.once(2) ? random.pick(SPECIAL_BYTES) : random.below(256);
  if (bytes.length > 0) bytes[random.below(bytes.length)] = value;
  return bytes;
}

/** Makes a byte slightly larger or smaller. If it is a length, the content is then cut off or overlaps what follows. */
function tweakLength(bytes: Buffer, random: Random): Buffer {
  if (bytes.length > 0) bytes[random.below(bytes.length)]! += random.pick([-2, -1, 1, 2]);
  return bytes;
}

function insert(bytes: Buffer, random: Random): Buffer {
  const at = random.below(bytes.length + 1);
  const added = random.once(2) ? random.bytes(random.between(1, 9)) : run(random);
  return Buffer.concat([bytes.subarray(0, at), added, bytes.subarray(at)]);
}

function run(random: Random): Buffer {
  return Buffer.alloc(random.between(1, 40), random.pick(SPECIAL_BYTES));
}

function remove(bytes: Buffer, random: Random): Buffer {
  const { start, end } = range(bytes, random);
  return Buffer.concat([bytes.subarray(0, start), bytes.subarray(end)]);
}

function truncate(bytes: Buffer, random: Random): Buffer {
  return bytes.subarray(0, random.below(bytes.length + 1));
}

function duplicate(bytes: Buffer, random: Random): Buffer {
  const { start, end } = range(bytes, random);
  return Buffer.concat([bytes.subarray(0, end), bytes.subarray(start)]);
}

/** Copies a range over another position. */
function splice(bytes: Buffer, random: Random): Buffer {
  const { start, end } = range(bytes, random);
  const result = Buffer.from(bytes);
  bytes.copy(result, random.below(bytes.length + 1), start, end);
  return result;
}

/** Returns a short range; one in eight has any length. */
function range(bytes: Buffer, random: Random): { start: number; end: number } {
  const start = random.below(bytes.length + 1);
  const longest = random.once(8) ? bytes.length : 40;
  return { start, end: Math.min(bytes.length, start + random.below(longest + 1)) };
}
