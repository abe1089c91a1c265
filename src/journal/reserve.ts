import {
  closeSync,
  constants,
  fsyncSync,
  openSync,
  rmSync,
  statfsSync,
  statSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";

const RESERVE_FILE = "journal.reserve";

/** Enough for the pages that trimming and cursors change. */
const RESERVE_BYTES = 1 << 20;

/** A small journal on a small disk must not lose most of it to the reserve. */
const SHARE_MAX = 1 / 16;

/** Disk space that is kept for the moment when there is no other. */
export class Reserve {
  readonly #directory: string;
  readonly #path: string;

  constructor(directory: string) {
    this.#directory = directory;
    this.#path = join(directory, RESERVE_FILE);
  }

  /** Takes the space, where there is enough. */
  keep(): void {
    const { bavail, blocks, bsize } = statfsSync(this.#directory);
    const bytes = Math.min(RESERVE_BYTES, Math.floor(blocks * bsize * SHARE_MAX));
    const held = statSync(this.#path, { throwIfNoEntry: false })?.size ?? 0;
    if (held >= bytes || bavail * bsize < 2 * bytes) return;
    try {
      this.#write(bytes);
    } catch {
      this.release();
    }
  }

  #write(bytes: number): void {
    const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC | constants.O_NOFOLLOW;
    const file = openSync(this.#path, flags, 0o600);
    try {
      const zeros = new Uint8Array(bytes);
      for (let written = 0; written < bytes;) written += writeSync(file, zeros, written);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
  }

  release(): void {
    rmSync(this.#path, { force: true });
  }

  /** Whether the disk takes so many bytes and keeps enough for a reserve. */
  hasRoomFor(bytes: number): boolean {
    const { bavail, blocks, bsize } = statfsSync(this.#directory);
    const kept = Math.min(RESERVE_BYTES, Math.floor(blocks * bsize * SHARE_MAX));
    return bavail * bsize >= 3 * bytes + 2 * kept;
  }
}
