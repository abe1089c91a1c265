/** The stored position of a rotated file: up to where its lines are durable, in the file and in the journal. */

import { constants } from "node:fs";
import { open } from "node:fs/promises";
import {
  LEVELS,
  parseFilter,
  textOf,
  z,
  type Batch,
  type Host,
  type HostJournal,
} from "tailgate/plugin";
import type { LineFile } from "./line-file.ts";

/**
 * The lines of all records up to `sequence` precede `offset` and are durable; after it come the lines of the records that
 * follow, from `level` on, that match `filter`.
 */
const filePosition = z.object({
  device: z.number(),
  inode: z.number(),
  offset: z.number(),
  sequence: z.number(),
  level: z.enum(LEVELS),
  filter: z.string().optional(),
  /** Whether the file ends there and is about to be deleted. */
  isEnd: z.boolean(),
});

export type FilePosition = z.infer<typeof filePosition>;

/** Returns undefined if the text is not a position. */
export function parsePosition(text: string): FilePosition | undefined {
  try {
    return filePosition.parse(JSON.parse(text));
  } catch {
    return undefined;
  }
}

/** After a crash, at most about this much time's lines have to be compared with the journal. */
const STORE_INTERVAL_MS = 1_000;

/** How many files may follow the stored position. Each of them has an open handle until it is durable. */
const FILES_AFTER_MAX = 8;

/**
 * Stores the position of a rotated file in the journal, from which the next start resumes: periodically, and always
 * before its file is deleted or another file gets its first line. So after a crash, all lines after the position are in
 * its file and the newer ones of the rotation.
 */
export class PositionKeeper {
  readonly #file: LineFile;
  readonly #host: Host;
  readonly #filesAfterMax: number;
  /** The number of the current file, and of the one with the stored position. */
  #number = 0;
  #storedNumber = -Infinity;
  /** `changes` of the file when its position was last stored, or a rotation created it. */
  #changes = 0;
  #storedAtMs = -Infinity;
  #storedSequence = 0;
  /** The position that this process stored last. */
  #stored: FilePosition | undefined;
  #storing: Promise<void> = Promise.resolve();
  #isStoring = false;

  /** `backups`: the number of rotations after which a file is deleted. */
  constructor(file: LineFile, backups: number, host: Host) {
    this.#file = file;
    this.#host = host;
    this.#filesAfterMax = Math.min(backups, FILES_AFTER_MAX);
  }

  /** To be awaited before a line is written. `sequence`: all records up to it are settled. */
  async beforeLine(sequence: number): Promise<void> {
    const isOurs = this.#file.changes === this.#changes;
    if (isOurs && this.#number - this.#storedNumber <= this.#filesAfterMax) return;
    await this.#storeNow(sequence);
  }

  /** To be awaited before the file is renamed or deleted. */
  async beforeRotation(sequence: number): Promise<void> {
    if (this.#number - this.#storedNumber < this.#filesAfterMax) return;
    await this.#storeNow(sequence, { isEnd: this.#filesAfterMax === 0 });
  }

  /** To be called when a new file has replaced the previous one. */
  rotated(): void {
    this.#number++;
    this.#changes = this.#file.changes;
  }

  /** To be called when all records up to `sequence` are written. Stores the position in the background if it is due. */
  written(sequence: number): void {
    // Early enough that a rotation does not have to wait.
    const isFarBehind = this.#number - this.#storedNumber > this.#filesAfterMax / 2;
    const isOld = performance.now() - this.#storedAtMs >= STORE_INTERVAL_MS;
    if (this.#isStoring || !(isFarBehind || isOld)) return;
    // The previous position is still valid, and the journal reports its own failures.
    this.#store(sequence).catch(() => {});
  }

  /** Stores the position of the last line, if there is one. */
  async close(): Promise<void> {
    await this.#storing.catch(() => {});
    const { sequence } = this.#file;
    if (sequence > this.#storedSequence) await this.#store(sequence);
  }

  /** Stores the position when the process exits. The file's lines are durable. */
  storeSync(sequence: number): void {
    const text = JSON.stringify(this.#positionAt(sequence, false));
    void this.#host.memory.keep(text).catch(() => {});
  }

  async #storeNow(sequence: number, { isEnd = false } = {}): Promise<void> {
    await this.#storing.catch(() => {});
    await this.#file.endTornLine();
    const { changes } = this.#file;
    await this.#store(sequence, isEnd);
    this.#changes = changes;
  }

  #store(sequence: number, isEnd = false): Promise<void> {
    this.#isStoring = true;
    this.#storing = this.#storePosition(this.#positionAt(sequence, isEnd), this.#number);
    return this.#storing.finally(() => (this.#isStoring = false));
  }

  #positionAt(sequence: number, isEnd: boolean): FilePosition {
    const { device, inode, size: offset } = this.#file;
    const { level = LEVELS[0], filter } = this.#host;
    return { device, inode, offset, sequence, level, filter, isEnd };
  }

  async #storePosition(position: FilePosition, number: number): Promise<void> {
    const { sequence } = position;
    try {
      await this.#file.persist();
    } catch (error) {
      await this.#rewriteAndPersist(position, error);
    }
    await this.#host.memory.keep(JSON.stringify(position));
    this.#stored = position;
    this.#storedNumber = number;
    this.#storedSequence = sequence;
    this.#storedAtMs = performance.now();
  }

  /** Recovers from a failed sync if the lines since the last stored position are in the same file, unaltered. */
  async #rewriteAndPersist(position: FilePosition, failure: unknown): Promise<void> {
    const { path } = this.#file;
    const { log, journal } = this.#host;
    const range = `${this.#storedSequence + 1} to ${position.sequence}`;
    try {
      if (this.#stored && (await rewriteLines(path, this.#stored, position, journal))) {
        await this.#file.persist();
        log.warning(
          `The disk failed to sync the lines of ${path} with sequences ${range}: ${textOf(failure)}. They were written again and synced.`,
        );
        return;
      }
    } catch {
      // The first failure is the one to report.
    }
    log.error(
      `The disk failed to sync the lines of ${path} with sequences ${range}: after a power failure they may be missing from the file. The journal has them.`,
      failure,
    );
  }
}

/** Far more than is written between two syncs. More than this is not worth the memory. */
const REWRITE_BYTES_MAX = 64 << 20;

/**
 * Writes the lines between two positions of a file again, in place, from the journal. After a failed sync they may not be
 * on disk although the kernel considers them written: another sync would report success without them (fsync(2), EIO).
 * Returns false if the file has other contents there, which are left as they are, or if the write was incomplete.
 */
export async function rewriteLines(
  path: string,
  from: FilePosition,
  to: FilePosition,
  journal: HostJournal,
): Promise<boolean> {
  const bytes = to.offset - from.offset;
  if (from.device !== to.device || from.inode !== to.inode || bytes > REWRITE_BYTES_MAX) {
    return false;
  }
  const lines = await readLines(from, to, journal);
  if (lines.length !== bytes) return false;
  await using handle = await open(path, constants.O_RDWR | constants.O_NOFOLLOW);
  const { dev, ino, size } = await handle.stat();
  if (dev !== to.device || ino !== to.inode || size < to.offset) return false;
  const { bytesWritten } = await handle.write(lines, 0, bytes, from.offset);
  return bytesWritten === bytes;
}

const LINE_END = Buffer.from("\n");

/** Reads the lines of the records between two positions from the journal, except those that the exporter does not get. */
async function readLines(
  from: FilePosition,
  to: FilePosition,
  journal: HostJournal,
): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  for await (const { sequence, data } of recordsAfter(from.sequence, to, journal)) {
    if (sequence > to.sequence) break;
    // A copy, because the journal reuses the memory.
    parts.push(Buffer.from(data), LINE_END);
  }
  return Buffer.concat(parts);
}

/** Which system logs have lines in the file. */
type Selection = Pick<FilePosition, "level" | "filter">;

/** Returns whether a record of a batch has a line in the file. */
export function lineSelector({
  level,
  filter: q,
}: Selection): (records: Batch, index: number) => boolean {
  return parseFilter({ level, q }).matches;
}

/** Reads the selected system logs after a sequence from the journal. `data` is valid until the next record. */
export async function* recordsAfter(
  sequence: number,
  selection: Selection,
  journal: HostJournal,
): AsyncGenerator<{ readonly sequence: number; readonly data: Uint8Array }> {
  const hasLine = lineSelector(selection);
  for (let from = sequence + 1; ;) {
    const { to, records } = await journal.read({ from, type: "system_log" });
    if (to < from) return;
    from = to + 1;
    for (let index = 0; index < (records?.length ?? 0); index++) {
      if (!hasLine(records!, index)) continue;
      yield { sequence: records!.sequence(index), data: records!.data(index) };
    }
  }
}
