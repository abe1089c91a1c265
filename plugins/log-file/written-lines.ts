import { constants } from "node:fs";
import { open, type FileHandle } from "node:fs/promises";

const READ_BYTES = 1 << 20;

const LINE_FEED = 0x0a;

interface WrittenFile {
  readonly handle: FileHandle;
  readonly size: number;
}

/** The lines of some files that were written one after the other, compared from a place on with those expected there. */
export class WrittenLines {
  readonly #files: readonly WrittenFile[];
  #index = 0;
  #position: number;
  /** A part of the current file, and where it starts there. */
  #part = Buffer.alloc(0);
  #start = 0;

  private constructor(files: readonly WrittenFile[], position: number) {
    this.#files = files;
    this.#position = position;
  }

  /** The oldest file first; the place lies in that one. */
  static async open(paths: readonly string[], position: number): Promise<WrittenLines> {
    const files: WrittenFile[] = [];
    for (const path of paths) {
      const handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW);
      files.push({ handle, size: (await handle.stat()).size });
    }
    return new WrittenLines(files, position);
  }

  /** Where the next line is expected, in the current file. */
  get position(): number {
    return this.#position;
  }

  get isInNewestFile(): boolean {
    return this.#index === this.#files.length - 1;
  }

  /** Whether there is nothing more in any file. Where there is something, its file is the current one. */
  isAtEnd(): boolean {
    while (this.#position === this.#size) {
      if (this.isInNewestFile) return true;
      this.#index++;
      this.#position = 0;
      this.#part = Buffer.alloc(0);
      this.#start = 0;
    }
    return false;
  }

  /** Whether the next line is this one, which is given without its line feed; goes behind it then. */
  async take(line: Uint8Array): Promise<boolean> {
    if (this.isAtEnd()) return false;
    const end = this.#position + line.length + 1;
    if (end > this.#size) return false;
    const bytes = await this.#bytesTo(end);
    if (bytes[line.length] !== LINE_FEED || !bytes.subarray(0, -1).equals(line)) return false;
    this.#position = end;
    return true;
  }

  /** Whether the rest of the current file is a line without its end. */
  async isTorn(): Promise<boolean> {
    for (let start = this.#position; start < this.#size; start += READ_BYTES) {
      const { handle } = this.#files[this.#index]!;
      const { buffer, bytesRead } = await handle.read(
        Buffer.alloc(READ_BYTES),
        0,
        READ_BYTES,
        start,
      );
      if (buffer.subarray(0, bytesRead).includes(LINE_FEED)) return false;
    }
    return this.#position < this.#size;
  }

  /** Resolves when all that was read is on the disk. */
  async persist(): Promise<void> {
    for (const { handle } of this.#files) await handle.datasync();
  }

  async close(): Promise<void> {
    for (const { handle } of this.#files) await handle.close();
  }

  get #size(): number {
    return this.#files[this.#index]!.size;
  }

  async #bytesTo(end: number): Promise<Buffer> {
    if (end > this.#start + this.#part.length) {
      const memory = Buffer.allocUnsafe(Math.max(end - this.#position, READ_BYTES));
      const { handle } = this.#files[this.#index]!;
      const { bytesRead } = await handle.read(memory, 0, memory.length, this.#position);
      this.#part = memory.subarray(0, bytesRead);
      this.#start = this.#position;
    }
    return this.#part.subarray(this.#position - this.#start, end - this.#start);
  }
}
