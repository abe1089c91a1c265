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

/** Enough for what may stand in the write-ahead log, and for the pages that trimming and cursors change. */
const RESERVE_BYTES = 6 << 20;

/** A small journal on a small disk must not lose most of it to the reserve. */
const SHARE_MAX = 1 / 16;

const FLAGS = constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC | constants.O_NOFOLLOW;

/** Disk space that is kept for the moment when there is no other. */
export class Reserve {
  readonly #directory: string;
  readonly #path: string;
  /** What it takes up when it is kept. */
  readonly bytes: number;

  constructor(directory: string) {
    const { blocks, bsize } = statfsSync(directory);
    this.#directory = directory;
    this.#path = join(directory, RESERVE_FILE);
    this.bytes = Math.min(RESERVE_BYTES, Math.floor(blocks * bsize * SHARE_MAX));
  }

  /** What others than the reserve may take of the disk. */
  get availableBytes(): number {
    const { bavail, bsize } = statfsSync(this.#directory);
    return bavail * bsize;
  }

  get isKept(): boolean {
    return (statSync(this.#path, { throwIfNoEntry: false })?.size ?? 0) >= this.bytes;
  }

  /** Takes the space, where it is not taken yet and there is enough. */
  keep(): void {
    if (this.isKept || this.availableBytes < 2 * this.bytes) return;
    try {
      this.#write();
    } catch {
      this.release();
    }
  }

  #write(): void {
    const file = openSync(this.#path, FLAGS, 0o600);
    try {
      const zeros = new Uint8Array(this.bytes);
      for (let written = 0; written < zeros.length;) written += writeSync(file, zeros, written);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
  }

  release(): void {
    rmSync(this.#path, { force: true });
  }
}
