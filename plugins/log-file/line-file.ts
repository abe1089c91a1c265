import {
  closeSync,
  constants,
  fdatasyncSync,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  lstatSync,
  mkdirSync,
  openSync,
  readSync,
  writeSync,
  type Stats,
} from "node:fs";
import { lstat, mkdir, open, type FileHandle } from "node:fs/promises";
import { dirname, join } from "node:path";
import { TailgateError, textOf } from "tailgate/plugin";
import type { LineBuffer } from "./line-buffer.ts";
import { waitSync } from "./wait-sync.ts";

/**
 * Readable too, so that a look at the last byte tells whether the last line is whole. O_NONBLOCK means nothing to a
 * regular file, and keeps the opening of a FIFO from waiting for its reader.
 */
const OPEN_FLAGS =
  constants.O_RDWR |
  constants.O_CREAT |
  constants.O_APPEND |
  constants.O_NOFOLLOW |
  constants.O_NONBLOCK;

const FILE_MODE = 0o600;
const DIRECTORY_MODE = 0o700;

const LINE_FEED = 0x0a;

/** A write that is under way. */
interface Underway {
  /** The file's size after it; NaN if nobody knows. */
  readonly size: number;
  /** What it writes. */
  readonly lines?: LineBuffer;
}

/**
 * A file that gets whole lines only, and knows the record of its last line.
 *
 * Every write begins with `ready`. Where `append` or `sync` fails, the file ends with the last line that counts, and
 * the same records can be appended again from behind `sequence`.
 *
 * When the process ends, `readySync` ends what the event loop will not end any more. From then on only the methods
 * whose names end with `Sync` are called.
 */
export class LineFile {
  readonly #root: string;
  #path: string;
  #handle: FileHandle | undefined;
  /** Of files that have been written, are not to be written any more, and are perhaps not on the disk yet. */
  #retired: FileHandle[] = [];
  #changes = 0;
  #growths = 0;
  #device = 0;
  #inode = 0;
  #size = 0;
  /** True while the file ends inside a line: whoever wrote it crashed, or could not cut it back. */
  #isTorn = false;
  #sequence = 0;
  #syncedSize = 0;
  #syncedSequence = 0;
  #isNameSynced = false;
  #underway: Underway | undefined;
  /** Of the file, when the process ends. */
  #descriptor: number | undefined;

  private constructor(root: string, name: string) {
    this.#root = root;
    this.#path = join(root, name);
  }

  /**
   * Opens the file `name` in the directory `root` or in one below it, and creates what is not there.
   * @throws TailgateError LOG_DIR_UNUSABLE where a link, something that is no file, or another user's directory is in
   * the way.
   */
  static async open(root: string, name: string): Promise<LineFile> {
    const file = new LineFile(root, name);
    await file.ready();
    return file;
  }

  get path(): string {
    return this.#path;
  }

  /** In bytes. */
  get size(): number {
    return this.#size;
  }

  /** With `device` it tells a file from all others, whatever its name. */
  get inode(): number {
    return this.#inode;
  }

  get device(): number {
    return this.#device;
  }

  /** How often `ready` has found another file than was left there, or another size of it; the opening counts, too. */
  get changes(): number {
    return this.#changes;
  }

  /** How often `ready` has found that somebody else has made the file longer. */
  get growths(): number {
    return this.#growths;
  }

  /** The sequence of the newest record that was appended through this object; 0 before the first. */
  get sequence(): number {
    return this.#sequence;
  }

  /**
   * Makes sure that the next line lands in the file of that name, whoever has moved, deleted or emptied it; without a
   * name, in the same as before.
   * @throws TailgateError LOG_DIR_UNUSABLE as `open` does.
   */
  async ready(name?: string): Promise<void> {
    if (name !== undefined) this.#path = join(this.#root, name);
    const found = await lstat(this.#path).catch(() => undefined);
    if (!this.#handle || found?.ino !== this.#inode || found.dev !== this.#device) {
      await this.#reopen();
    } else if (found.size !== this.#size) {
      if (found.size > this.#size) this.#growths++;
      await this.#inspect(this.#handle, found);
    }
  }

  /** Appends the lines and empties the buffer. `sequence` tells how far it came, also where it fails. */
  async append(lines: LineBuffer, signal: AbortSignal): Promise<void> {
    const { bytes } = lines;
    let written = 0;
    try {
      await this.endTornLine();
      this.#underway = { size: this.#size + bytes.length, lines };
      while (written < bytes.length) {
        signal.throwIfAborted();
        written += (await this.#handle!.write(bytes, written)).bytesWritten;
      }
    } finally {
      const last = lines.lastLineWithin(written);
      this.#size += last?.end ?? 0;
      this.#sequence = last?.sequence ?? this.#sequence;
      this.#underway = undefined;
      if (written < bytes.length) await this.#cutBack();
      lines.clear();
    }
  }

  /**
   * Resolves when all that was appended is on the disk, under its name. Where it fails, what was appended since the
   * last sync is taken back: another sync would report success without having written it (fsync(2), EIO).
   */
  async sync(): Promise<void> {
    try {
      if (this.#sequence !== this.#syncedSequence) await this.#handle!.datasync();
      if (!this.#isNameSynced) await this.#syncDirectories();
    } catch (error) {
      this.#size = this.#syncedSize;
      this.#sequence = this.#syncedSequence;
      await this.#cutBack();
      throw error;
    }
    this.#isNameSynced = true;
    this.#syncedSize = this.#size;
    this.#syncedSequence = this.#sequence;
  }

  /**
   * Resolves when all that was appended so far is on the disk, under its name. `append` may go on meanwhile. Where it
   * fails nothing is taken back, and nobody knows what is on the disk.
   */
  async persist(): Promise<void> {
    const retired = this.#retired.splice(0);
    const handle = this.#handle;
    try {
      for (const former of retired) await former.datasync();
      if (this.#size > 0) await handle?.datasync();
      if (this.#isNameSynced) return;
      await this.#syncDirectories();
      if (handle === this.#handle) this.#isNameSynced = true;
    } finally {
      for (const former of retired) await former.close();
    }
  }

  /** The file is to get another name: what is appended after the next `ready` goes to the one that is there then. */
  retire(): void {
    if (this.#handle) this.#retired.push(this.#handle);
    this.#handle = undefined;
  }

  /** Ends a line that was left unfinished; `append` does so, too. */
  async endTornLine(): Promise<void> {
    if (!this.#isTorn) return;
    this.#underway = { size: this.#size + 1 };
    try {
      await this.#handle!.write("\n");
    } finally {
      this.#underway = undefined;
    }
    this.#isTorn = false;
    this.#size += 1;
  }

  /** Takes away what lies behind that place, where a line begins. */
  async cutTo(size: number): Promise<void> {
    await this.#handle!.truncate(size);
    this.#size = size;
    this.#isTorn = false;
  }

  async close(): Promise<void> {
    for (const former of this.#retired) await former.close();
    await this.#handle?.close();
  }

  async #reopen(): Promise<void> {
    for (const directory of this.#directories) await ownDirectory(directory);
    const former = this.#handle;
    const { handle, stats } = await openRegularFile(this.#path);
    this.#handle = handle;
    this.#device = stats.dev;
    this.#inode = stats.ino;
    this.#syncedSize = stats.size;
    this.#syncedSequence = this.#sequence;
    this.#isNameSynced = false;
    await former?.close();
    await this.#inspect(handle, stats);
  }

  async #inspect(handle: FileHandle, { size }: Stats): Promise<void> {
    this.#changes++;
    this.#isTorn = size > 0 && (await byteAt(handle, size - 1)) !== LINE_FEED;
    this.#size = size;
  }

  /** Drops what lies behind `size`, without letting a file grow that somebody has emptied meanwhile. */
  async #cutBack(): Promise<void> {
    this.#underway = { size: NaN };
    try {
      const { size } = await this.#handle!.stat();
      if (size > this.#size) await this.#handle!.truncate(this.#size);
    } catch {
      // The error that led here is the one to report. `ready` finds another size than ours, and the torn line with it.
    } finally {
      this.#underway = undefined;
    }
  }

  /**
   * Does what `ready` does. A write that is under way is waited for.
   * @throws where that write does not end, and as `ready` does.
   */
  readySync(name?: string): void {
    this.#settleSync();
    if (name !== undefined) this.#path = join(this.#root, name);
    const found = lstatSync(this.#path, { throwIfNoEntry: false });
    const isSame = found?.ino === this.#inode && found.dev === this.#device;
    if (this.#descriptor === undefined || !isSame) this.#reopenSync();
    else if (found.size !== this.#size) this.#inspectSync(this.#descriptor, found);
  }

  #settleSync(): void {
    const { size, lines } = this.#underway ?? {};
    if (size === undefined) return;
    const { fd } = this.#handle!;
    waitSync(() => fstatSync(fd).size >= size);
    const last = lines?.lastLineWithin(lines.byteLength);
    this.#size = size;
    this.#isTorn = false;
    this.#sequence = last?.sequence ?? this.#sequence;
    this.#underway = undefined;
  }

  #reopenSync(): void {
    for (const path of this.#directories) {
      mkdirSync(path, { recursive: true, mode: DIRECTORY_MODE });
    }
    this.retireSync();
    const descriptor = openSync(this.#path, OPEN_FLAGS, FILE_MODE);
    const stats = fstatSync(descriptor);
    this.#descriptor = descriptor;
    if (!stats.isFile()) throw unusable("file", this.#path, NOT_REGULAR);
    const isSame = stats.ino === this.#inode && stats.dev === this.#device;
    this.#isNameSynced = isSame && this.#isNameSynced;
    this.#device = stats.dev;
    this.#inode = stats.ino;
    this.#inspectSync(descriptor, stats);
  }

  #inspectSync(descriptor: number, { size }: Stats): void {
    const last = Buffer.alloc(1);
    if (size > 0) readSync(descriptor, last, 0, 1, size - 1);
    this.#isTorn = size > 0 && last[0] !== LINE_FEED;
    this.#size = size;
  }

  /** Does what `append` does, after `readySync`. */
  appendSync(lines: LineBuffer): void {
    const { bytes } = lines;
    let written = 0;
    try {
      if (this.#isTorn) this.#size += writeSync(this.#descriptor!, "\n");
      this.#isTorn = false;
      while (written < bytes.length) written += writeSync(this.#descriptor!, bytes, written);
    } finally {
      const last = lines.lastLineWithin(written);
      this.#size += last?.end ?? 0;
      this.#sequence = last?.sequence ?? this.#sequence;
      if (written < bytes.length) ftruncateSync(this.#descriptor!, this.#size);
      lines.clear();
    }
  }

  /** Returns when all that was appended is on the disk, under its name. */
  persistSync(): void {
    fdatasyncSync(this.#descriptor!);
    if (this.#isNameSynced) return;
    for (const path of this.#directories) {
      const directory = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY);
      fsyncSync(directory);
      closeSync(directory);
    }
    this.#isNameSynced = true;
  }

  /** Before the file gets another name. */
  retireSync(): void {
    if (this.#descriptor === undefined) return;
    fdatasyncSync(this.#descriptor);
    closeSync(this.#descriptor);
    this.#descriptor = undefined;
  }

  /** The root first. */
  get #directories(): Set<string> {
    return new Set([this.#root, dirname(this.#path)]);
  }

  async #syncDirectories(): Promise<void> {
    for (const path of this.#directories) {
      const directory = await open(path, constants.O_RDONLY | constants.O_DIRECTORY);
      try {
        await directory.sync();
      } finally {
        await directory.close();
      }
    }
  }
}

/** Creates the directory where it is missing, and refuses one through which others could lead us astray. */
async function ownDirectory(path: string): Promise<void> {
  const failure: unknown = await mkdir(path, { recursive: true, mode: DIRECTORY_MODE }).then(
    () => undefined,
    (error: unknown) => error,
  );
  const stats = await lstat(path).catch(() => undefined);
  if (!stats) throw unusable("directory", path, `cannot be created (${textOf(failure)})`, failure);
  if (stats.isSymbolicLink()) throw unusable("directory", path, "is a symbolic link");
  if (!stats.isDirectory()) throw unusable("directory", path, "is not a directory");
  if (process.getuid && stats.uid !== process.getuid()) {
    throw unusable("directory", path, "belongs to another user");
  }
}

async function openRegularFile(path: string): Promise<{ handle: FileHandle; stats: Stats }> {
  const handle = await open(path, OPEN_FLAGS, FILE_MODE).catch((error: unknown) => {
    throw unusable("file", path, reasonOf(error), error);
  });
  const stats = await handle.stat();
  if (stats.isFile()) return { handle, stats };
  await handle.close();
  throw unusable("file", path, NOT_REGULAR);
}

const NOT_REGULAR = "is not a regular file";

/** What the error of an open(2) with {@link OPEN_FLAGS} says about the path. */
const REASONS = new Map([
  ["ELOOP", "is a symbolic link"],
  ["EISDIR", "is a directory"],
  ["ENXIO", NOT_REGULAR],
]);

function reasonOf(error: unknown): string {
  const { code } = error as NodeJS.ErrnoException;
  return REASONS.get(code ?? "") ?? `cannot be opened (${textOf(error)})`;
}

function unusable(
  what: "directory" | "file",
  path: string,
  why: string,
  cause?: unknown,
): TailgateError {
  return new TailgateError("LOG_DIR_UNUSABLE", `The log ${what} ${path} ${why}.`, { cause });
}

async function byteAt(handle: FileHandle, position: number): Promise<number | undefined> {
  const { buffer, bytesRead } = await handle.read(Buffer.alloc(1), 0, 1, position);
  return bytesRead === 1 ? buffer[0] : undefined;
}
