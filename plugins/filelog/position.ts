import { createHash } from "node:crypto";
import type { BigIntStats } from "node:fs";
import { z } from "tailgate/plugin";

/** A hash over bytes of a file, and their number. */
const fingerprintSchema = z.object({ bytes: z.int().min(0), hash: z.string() });

const positionSchema = z.object({
  path: z.string(),
  /** Device and inode: `2049:131`. */
  inode: z.string(),
  /** Identifies the file in the ids of its records. */
  id: z.string(),
  /** How often the file was truncated; its offsets start again then. */
  generation: z.int().min(0),
  /** Everything before it is durable in the journal. */
  offset: z.int().min(0),
  /** The first bytes of the file. */
  head: fingerprintSchema,
  /** The bytes before the offset. */
  tail: fingerprintSchema,
  /** When the file was seen last, in milliseconds since 1970. */
  seenMs: z.number(),
});

const storedSchema = z.object({ savedMs: z.number(), files: z.array(positionSchema) });

export type Fingerprint = z.output<typeof fingerprintSchema>;

/** How far a file was read, and how it is recognized. */
export type Position = z.output<typeof positionSchema>;

const NO_BYTES: Fingerprint = { bytes: 0, hash: "" };

export function fingerprintOf(bytes: Uint8Array): Fingerprint {
  if (bytes.length === 0) return NO_BYTES;
  return { bytes: bytes.length, hash: createHash("sha256").update(bytes).digest("base64url") };
}

export function isFingerprintOf(bytes: Uint8Array, { bytes: length, hash }: Fingerprint): boolean {
  return bytes.length >= length && fingerprintOf(bytes.subarray(0, length)).hash === hash;
}

export function inodeOf({ dev, ino }: BigIntStats): string {
  return `${dev}:${ino}`;
}

/** Returns the position at the start of a file that is not known. */
export function newPosition(path: string, stats: BigIntStats): Position {
  const inode = inodeOf(stats);
  // An inode number is used again when its file is deleted.
  const identity = `${inode}:${stats.birthtimeNs}`;
  return {
    path,
    inode,
    id: createHash("sha256").update(identity).digest("hex").slice(0, 16),
    generation: 0,
    offset: 0,
    head: NO_BYTES,
    tail: NO_BYTES,
    seenMs: Date.now(),
  };
}

/** How long the positions of absent files are kept, and the maximum number of positions. */
const KEPT_MS = 30 * 86_400_000;
const KEPT_MAX = 10_000;

/** The positions of all files that were ever followed, by inode. */
export class Positions {
  /** When the positions were stored last, in milliseconds since 1970; undefined if they never were. */
  readonly savedMs: number | undefined;
  /** Whether a position has moved since {@link serialize}. */
  hasChanges = false;
  readonly #byInode = new Map<string, Position>();
  /** The inodes that are open. */
  readonly #claimed = new Set<string>();

  /** `stored` is what {@link serialize} has returned. Whatever else it is counts as nothing. */
  constructor(stored: string | undefined) {
    const { success, data } = storedSchema.safeParse(parseJson(stored));
    if (!success) return;
    this.savedMs = data.savedMs;
    for (const position of data.files) this.#byInode.set(position.inode, position);
  }

  add(position: Position): void {
    this.#byInode.set(position.inode, position);
    this.hasChanges = true;
  }

  get(inode: string): Position | undefined {
    return this.#byInode.get(inode);
  }

  forget(inode: string): void {
    this.#byInode.delete(inode);
  }

  *ofPath(path: string): Iterable<Position> {
    for (const position of this.#byInode.values()) if (position.path === path) yield position;
  }

  all(): Iterable<Position> {
    return this.#byInode.values();
  }

  /** Reserves an inode for one reader; false if another one has it. */
  claim(inode: string): boolean {
    if (this.#claimed.has(inode)) return false;
    this.#claimed.add(inode);
    return true;
  }

  isClaimed(inode: string): boolean {
    return this.#claimed.has(inode);
  }

  release(inode: string): void {
    this.#claimed.delete(inode);
  }

  /** Returns all positions as one text, without those that are too old. */
  serialize(): string {
    this.hasChanges = false;
    const nowMs = Date.now();
    const newestFirst = [...this.#byInode.values()].sort((one, other) => other.seenMs - one.seenMs);
    for (const [index, { inode, seenMs }] of newestFirst.entries()) {
      const isOld = index >= KEPT_MAX || nowMs - seenMs > KEPT_MS;
      if (isOld && !this.#claimed.has(inode)) this.forget(inode);
    }
    return JSON.stringify({ savedMs: nowMs, files: [...this.#byInode.values()] });
  }
}

function parseJson(text: string | undefined): unknown {
  try {
    return text === undefined ? undefined : JSON.parse(text);
  } catch {
    return undefined;
  }
}
