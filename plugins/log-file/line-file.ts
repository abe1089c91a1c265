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
import type { LineBuffer } from "./line-writer.ts";

/**
 * Readable too, because the last byte tells whether the last line is complete. O_NONBLOCK has no effect on a regular
 * file, but opening a FIFO would block without it until it has a reader.
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

/** A write in progress. */
interface PendingWrite {
  /** The file's size after it; NaN if unknown. */
  readonly size: number;
  readonly lines?: LineBuffer;
}

/**
 * A file to which only complete lines are appended, and which knows the sequence of its last line.
 *
 * Every write starts with `ready`. If `append` or `sync` fails, the file ends with the last line that was written, and
 * the records after `sequence` can be appended again.
 *
 * When the process exits, `readySync` completes a write that the event loop will no longer complete. After that, only
 * methods whose names end with `Sync` may be called.
 */
export class LineFile {
  readonly #root: string;
  path: string;
  #handle: FileHandle | undefined;
  /** Handles of files that are complete but may not be durable yet. */
  #retired: FileHandle[] = [];
  /** How often `ready` found another file or another size than expected, including the first time. */
  changes = 0;
  /** How often `ready` found that another process had appended to the file. */
  growths = 0;
  /** Together with `inode` it identifies the file, whatever its name. */
  device = 0;
  inode = 0;
  size = 0;
  /** Whether the file ends with an unterminated line, after a crash or a failed write. */
  #isTorn = false;
  /** The sequence of the newest record that was appended through this object; 0 before the first. */
  sequence = 0;
  #syncedSize = 0;
  #syncedSequence = 0;
  #isNameSynced = false;
  #pending: PendingWrite | undefined;
  /** The file's descriptor for synchronous calls, when the process exits. */
  #descriptor: number | undefined;

  private constructor(root: string, name: string) {
    this.#root = root;
    this.path = join(root, name);
  }

  /**
   * Opens the file `name` within the directory `root`, and creates missing directories and the file.
   * @throws TailgateError LOG_DIR_UNUSABLE if the path contains a symbolic link or another user's directory, or is not a
   * regular file.
   */
  static async open(root: string, name: string): Promise<LineFile> {
    const file = new LineFile(root, name);
    await file.ready();
    return file;
  }

  /**
   * Ensures that the next line goes to the file with that name, even if it was moved, deleted or truncated. `name`: by
   * default the current one.
   * @throws TailgateError LOG_DIR_UNUSABLE like `open`
   */
  async ready(name?: string): Promise<void> {
    if (name !== undefined) this.path = join(this.#root, name);
    const found = await lstat(this.path).catch(() => undefined);
    if (!this.#handle || found?.ino !== this.inode || found.dev !== this.device) {
      await this.#reopen();
    } else if (found.size !== this.size) {
      if (found.size > this.size) this.growths++;
      await this.#inspect(this.#handle, found);
    }
  }

  /** Appends the lines and clears the buffer. `sequence` tells how many were written, even after a failure. */
  async append(lines: LineBuffer, signal: AbortSignal): Promise<void> {
    const { bytes } = lines;
    let written = 0;
    try {
      await this.endTornLine();
      this.#pending = { size: this.size + bytes.length, lines };
      while (written < bytes.length) {
        signal.throwIfAborted();
        written += (await this.#handle!.write(bytes, written)).bytesWritten;
      }
    } finally {
      const last = lines.lastLineWithin(written);
      this.size += last?.end ?? 0;
      this.sequence = last?.sequence ?? this.sequence;
      this.#pending = undefined;
      if (written < bytes.length) await this.#cutExcess();
      lines.clear();
    }
  }

  /**
   * Resolves when all appended lines are durable, including the directory entry. On failure, the lines since the last
   * sync are removed: another sync would report success without having written them (fsync(2), EIO).
   */
  async sync(): Promise<void> {
    try {
      if (this.sequence !== this.#syncedSequence) await this.#handle!.datasync();
      if (!this.#isNameSynced) await this.#syncDirectories();
    } catch (error) {
      this.size = this.#syncedSize;
      this.sequence = this.#syncedSequence;
      await this.#cutExcess();
      throw error;
    }
    this.#isNameSynced = true;
    this.#syncedSize = this.size;
    this.#syncedSequence = this.sequence;
  }

  /**
   * Resolves when all lines appended so far are durable, including the directory entry. `append` may be called
   * meanwhile. On failure nothing is removed, and it is unknown which lines are durable.
   */
  async persist(): Promise<void> {
    const retired = this.#retired.splice(0);
    const handle = this.#handle;
    try {
      for (const former of retired) await former.datasync();
      if (this.size > 0) await handle?.datasync();
      if (this.#isNameSynced) return;
      await this.#syncDirectories();
      if (handle === this.#handle) this.#isNameSynced = true;
    } finally {
      for (const former of retired) await former.close();
    }
  }

  /** Announces that the file will be renamed. After the next `ready`, lines go to the file that then has its name. */
  retire(): void {
    if (this.#handle) this.#retired.push(this.#handle);
    this.#handle = undefined;
  }

  /** Terminates an unterminated line. `append` does this too. */
  async endTornLine(): Promise<void> {
    if (!this.#isTorn) return;
    this.#pending = { size: this.size + 1 };
    try {
      await this.#handle!.write("\n");
    } finally {
      this.#pending = undefined;
    }
    this.#isTorn = false;
    this.size += 1;
  }

  /** Truncates the file to that size, which must be the end of a line. */
  async cutTo(size: number): Promise<void> {
    await this.#handle!.truncate(size);
    this.size = size;
    this.#isTorn = false;
  }

  async close(): Promise<void> {
    for (const former of this.#retired) await former.close();
    await this.#handle?.close();
  }

  async #reopen(): Promise<void> {
    for (const directory of this.#directories) await ensureOwnDirectory(directory);
    const former = this.#handle;
    const { handle, stats } = await openRegularFile(this.path);
    this.#handle = handle;
    this.device = stats.dev;
    this.inode = stats.ino;
    this.#syncedSize = stats.size;
    this.#syncedSequence = this.sequence;
    this.#isNameSynced = false;
    await former?.close();
    await this.#inspect(handle, stats);
  }

  async #inspect(handle: FileHandle, { size }: Stats): Promise<void> {
    this.changes++;
    this.#isTorn = size > 0 && (await byteAt(handle, size - 1)) !== LINE_FEED;
    this.size = size;
  }

  /** Removes what follows `size`, without extending a file that was truncated in the meantime. */
  async #cutExcess(): Promise<void> {
    this.#pending = { size: NaN };
    try {
      const { size } = await this.#handle!.stat();
      if (size > this.size) await this.#handle!.truncate(this.size);
    } catch {
      // The original error is the one to report. The next `ready` detects the size and the torn line.
    } finally {
      this.#pending = undefined;
    }
  }

  /**
   * Like `ready`. Waits for a write in progress.
   * @throws Error if that write does not complete; TailgateError like `ready`
   */
  readySync(name?: string): void {
    this.#settleSync();
    if (name !== undefined) this.path = join(this.#root, name);
    const found = lstatSync(this.path, { throwIfNoEntry: false });
    const isSame = found?.ino === this.inode && found.dev === this.device;
    if (this.#descriptor === undefined || !isSame) this.#reopenSync();
    else if (found.size !== this.size) this.#inspectSync(this.#descriptor, found);
  }

  #settleSync(): void {
    const { size, lines } = this.#pending ?? {};
    if (size === undefined) return;
    const { fd } = this.#handle!;
    waitSync(() => fstatSync(fd).size >= size);
    const last = lines?.lastLineWithin(lines.byteLength);
    this.size = size;
    this.#isTorn = false;
    this.sequence = last?.sequence ?? this.sequence;
    this.#pending = undefined;
  }

  #reopenSync(): void {
    for (const path of this.#directories) {
      mkdirSync(path, { recursive: true, mode: DIRECTORY_MODE });
    }
    this.retireSync();
    const descriptor = openSync(this.path, OPEN_FLAGS, FILE_MODE);
    const stats = fstatSync(descriptor);
    this.#descriptor = descriptor;
    if (!stats.isFile()) throw unusable("file", this.path, NOT_REGULAR);
    const isSame = stats.ino === this.inode && stats.dev === this.device;
    this.#isNameSynced = isSame && this.#isNameSynced;
    this.device = stats.dev;
    this.inode = stats.ino;
    this.#inspectSync(descriptor, stats);
  }

  #inspectSync(descriptor: number, { size }: Stats): void {
    const last = Buffer.alloc(1);
    if (size > 0) readSync(descriptor, last, 0, 1, size - 1);
    this.#isTorn = size > 0 && last[0] !== LINE_FEED;
    this.size = size;
  }

  /** Like `append`, after `readySync`. */
  appendSync(lines: LineBuffer): void {
    const { bytes } = lines;
    let written = 0;
    try {
      if (this.#isTorn) this.size += writeSync(this.#descriptor!, "\n");
      this.#isTorn = false;
      while (written < bytes.length) written += writeSync(this.#descriptor!, bytes, written);
    } finally {
      const last = lines.lastLineWithin(written);
      this.size += last?.end ?? 0;
      this.sequence = last?.sequence ?? this.sequence;
      if (written < bytes.length) ftruncateSync(this.#descriptor!, this.size);
      lines.clear();
    }
  }

  /** Returns when all appended lines are durable, including the directory entry. */
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

  /** Like `retire`. */
  retireSync(): void {
    if (this.#descriptor === undefined) return;
    fdatasyncSync(this.#descriptor);
    closeSync(this.#descriptor);
    this.#descriptor = undefined;
  }

  /** The directories to create and sync, the root first. */
  get #directories(): Set<string> {
    return new Set([this.#root, dirname(this.path)]);
  }

  async #syncDirectories(): Promise<void> {
    for (const path of this.#directories) {
      await using directory = await open(path, constants.O_RDONLY | constants.O_DIRECTORY);
      await directory.sync();
    }
  }
}

/** Creates the directory if it is missing. Throws if other users could redirect it. */
async function ensureOwnDirectory(path: string): Promise<void> {
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

/** What an error of open(2) with {@link OPEN_FLAGS} means. */
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

/** How long a pending operation may take when the process exits. */
const WAIT_MS_MAX = 2_000;

/**
 * Blocks until `isDone`, for operations that a thread of Node's pool completes while the event loop no longer runs. Throws
 * if that takes too long.
 */
export function waitSync(isDone: () => boolean): void {
  const memory = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT));
  for (let waitedMs = 0; !isDone(); waitedMs++) {
    if (waitedMs >= WAIT_MS_MAX) throw new Error("a write in progress did not complete");
    Atomics.wait(memory, 0, 0, 1);
  }
}
