import { constants, type Stats } from "node:fs";
import { lstat, open, readdir, type FileHandle } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import type { Host, HostJournal } from "tailgate/plugin";
import { lineSelector, recordsAfter, type FilePosition } from "./file-position.ts";
import type { LineFile } from "./line-file.ts";

/**
 * Returns the sequence of the newest system log whose line is in the file or in one that a rotation has renamed. The
 * lines after the stored position are compared with the journal, byte for byte. A line torn by a crash is cut off: the
 * journal has it. If the files were changed in the meantime, no record is left out, but some may be written twice.
 */
export async function findLastWritten(
  file: LineFile,
  position: FilePosition,
  host: Host,
): Promise<number> {
  const paths = await findFilesFrom(file.path, position, host.journal);
  if (paths === undefined) {
    if (position.isEnd) return position.sequence;
    const why = `The file that contained the last lines no longer exists, or is shorter than it was`;
    return resumeAfter(position.sequence, file, why, host);
  }
  const lines = await WrittenLines.open(paths, position.offset);
  try {
    const sequence = await matchJournal(lines, position, host.journal);
    await lines.persist();
    if (lines.isAtEnd()) return sequence;
    if (lines.isInNewestFile && (await lines.isTorn())) {
      await file.cutTo(lines.offset);
      return sequence;
    }
    const why = `The lines after sequence ${sequence} do not match the journal`;
    return resumeAfter(sequence, file, why, host);
  } finally {
    await lines.close();
  }
}

function resumeAfter(sequence: number, { path }: LineFile, why: string, host: Host): number {
  const { durable } = host.journal;
  if (durable > sequence) {
    host.log.warning(
      `${why}. ${path} is completed from the journal, sequences ${sequence + 1} to ${durable}. Some of these lines may be duplicates.`,
    );
  }
  return sequence;
}

/** Skips the lines of the records after the position as long as they match. Returns the sequence of the last match. */
async function matchJournal(
  lines: WrittenLines,
  position: FilePosition,
  journal: HostJournal,
): Promise<number> {
  let last = position.sequence;
  if (lines.isAtEnd()) return last;
  for await (const { sequence, data } of recordsAfter(last, position, journal)) {
    if (!(await lines.skip(data))) return last;
    last = sequence;
  }
  return last;
}

interface RotatedFile {
  readonly path: string;
  /** 0 for the file itself, 1 for `.1`. */
  readonly backup: number;
  readonly stats: Stats;
}

/**
 * Returns the file with the position and the newer files of its rotation, the oldest first; undefined if no file has it.
 * A copy of the file has another inode, possibly that of another file: then the line before the position identifies it.
 */
async function findFilesFrom(
  path: string,
  position: FilePosition,
  journal: HostJournal,
): Promise<string[] | undefined> {
  const files = (await listRotation(path)).sort((one, other) => other.backup - one.backup);
  const candidates = files.filter(({ stats }) => stats.size >= position.offset);
  const line = await readLineBefore(position, journal);
  const likely: RotatedFile[] = [];
  const unlikely: RotatedFile[] = [];
  for (const file of candidates) {
    const older = files[files.indexOf(file) - 1];
    const isLikely = line && (await isLineBefore(file, older, line, position.offset));
    if (isLikely !== undefined) (isLikely ? likely : unlikely).push(file);
  }
  const same = candidates.find(
    ({ stats }) => stats.ino === position.inode && stats.dev === position.device,
  );
  // Many lines may be equal: another file counts only if this one cannot be it.
  const found = same && !unlikely.includes(same) ? same : (likely[0] ?? same);
  return found && files.slice(files.indexOf(found)).map((one) => one.path);
}

/**
 * Returns whether the line ends at that offset of the file. At offset 0, whether it ends the older file, or undefined if
 * there is none.
 */
async function isLineBefore(
  file: RotatedFile,
  older: RotatedFile | undefined,
  line: Buffer,
  offset: number,
): Promise<boolean | undefined> {
  if (offset > 0) return endsAt(file.path, offset, line);
  return older && endsAt(older.path, older.stats.size, line);
}

async function endsAt(path: string, end: number, line: Buffer): Promise<boolean> {
  if (line.length > end) return false;
  await using handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  const bytes = Buffer.alloc(line.length);
  await handle.read(bytes, 0, bytes.length, end - bytes.length);
  return bytes.equals(line);
}

async function listRotation(path: string): Promise<RotatedFile[]> {
  const directory = dirname(path);
  const found: RotatedFile[] = [];
  for (const name of await readdir(directory)) {
    const backup = backupNumber(name, basename(path));
    if (backup === undefined) continue;
    const stats = await lstat(join(directory, name)).catch(() => undefined);
    if (stats?.isFile()) found.push({ path: join(directory, name), backup, stats });
  }
  return found;
}

/** Returns 0 for the file itself, 1 for `.1`; undefined for other names. */
function backupNumber(name: string, base: string): number | undefined {
  if (name === base) return 0;
  if (!name.startsWith(`${base}.`)) return undefined;
  const suffix = name.slice(base.length + 1);
  return /^[1-9]\d{0,3}$/.test(suffix) ? Number(suffix) : undefined;
}

const LINE_END = Buffer.from("\n");

/** Returns the line of the newest record up to the position, with its line feed; undefined if it cannot be read. */
async function readLineBefore(
  position: FilePosition,
  journal: HostJournal,
): Promise<Buffer | undefined> {
  const hasLine = lineSelector(position);
  for (let from = position.sequence; from > 0;) {
    const page = await journal.read({ from, order: "desc", type: "system_log" });
    const { records, gaps } = page;
    if (page.to < page.from || gaps.length > 0) return undefined;
    for (let index = (records?.length ?? 0) - 1; index >= 0; index--) {
      if (!hasLine(records!, index)) continue;
      return Buffer.concat([records!.data(index), LINE_END]);
    }
    from = page.from - 1;
  }
  return undefined;
}

const READ_BYTES = 1 << 20;

const LINE_FEED = 0x0a;

interface WrittenFile {
  readonly handle: FileHandle;
  readonly size: number;
}

/** Compares the lines of consecutive files, from an offset in the oldest one on, with expected lines. */
class WrittenLines {
  readonly #files: readonly WrittenFile[];
  #index = 0;
  /** Where the next line is expected, in the current file. */
  offset: number;
  /** The part of the current file that was read, and its offset. */
  #part = Buffer.alloc(0);
  #partOffset = 0;

  private constructor(files: readonly WrittenFile[], offset: number) {
    this.#files = files;
    this.offset = offset;
  }

  /** `paths`: the oldest file first. */
  static async open(paths: readonly string[], offset: number): Promise<WrittenLines> {
    const files: WrittenFile[] = [];
    for (const path of paths) {
      const handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW);
      files.push({ handle, size: (await handle.stat()).size });
    }
    return new WrittenLines(files, offset);
  }

  get isInNewestFile(): boolean {
    return this.#index === this.#files.length - 1;
  }

  /** Returns whether all files are read. Otherwise, moves to the file with the next line. */
  isAtEnd(): boolean {
    while (this.offset === this.#size) {
      if (this.isInNewestFile) return true;
      this.#index++;
      this.offset = 0;
      this.#part = Buffer.alloc(0);
      this.#partOffset = 0;
    }
    return false;
  }

  /** Skips the next line if it is this one, which is given without its line feed. Returns whether it is. */
  async skip(line: Uint8Array): Promise<boolean> {
    if (this.isAtEnd()) return false;
    const end = this.offset + line.length + 1;
    if (end > this.#size) return false;
    const bytes = await this.#readTo(end);
    if (bytes[line.length] !== LINE_FEED || !bytes.subarray(0, -1).equals(line)) return false;
    this.offset = end;
    return true;
  }

  /** Returns whether the rest of the current file is an unterminated line. */
  async isTorn(): Promise<boolean> {
    for (let start = this.offset; start < this.#size; start += READ_BYTES) {
      const { handle } = this.#files[this.#index]!;
      const memory = Buffer.alloc(READ_BYTES);
      const { bytesRead } = await handle.read(memory, 0, READ_BYTES, start);
      if (memory.subarray(0, bytesRead).includes(LINE_FEED)) return false;
    }
    return this.offset < this.#size;
  }

  /** Resolves when everything in the files is durable. */
  async persist(): Promise<void> {
    for (const { handle } of this.#files) await handle.datasync();
  }

  async close(): Promise<void> {
    for (const { handle } of this.#files) await handle.close();
  }

  get #size(): number {
    return this.#files[this.#index]!.size;
  }

  async #readTo(end: number): Promise<Buffer> {
    if (end > this.#partOffset + this.#part.length) {
      const memory = Buffer.allocUnsafe(Math.max(end - this.offset, READ_BYTES));
      const { handle } = this.#files[this.#index]!;
      const { bytesRead } = await handle.read(memory, 0, memory.length, this.offset);
      this.#part = memory.subarray(0, bytesRead);
      this.#partOffset = this.offset;
    }
    return this.#part.subarray(this.offset - this.#partOffset, end - this.#partOffset);
  }
}
