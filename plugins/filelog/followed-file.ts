import type { BigIntStats } from "node:fs";
import { stat } from "node:fs/promises";
import { basename } from "node:path";
import type { Delivery } from "./delivery.ts";
import type { OwnFiles } from "./own-files.ts";
import { inodeOf, newPosition, type Position, type Positions } from "./position.ts";
import { isRotatedNameOf, rotatedFiles, type RotatedFile } from "./rotated-files.ts";
import { Source, type SourceOptions } from "./source.ts";

/** A line without its end waits for so long: programs that buffer their output write half lines. */
const PARTIAL_LINE_MS = 30_000;

/** A file may change again without another time of its last change, because the clocks of file systems tick slowly. */
const RECENT_MS = 1000;

/** Files that were rotated away are searched for again for so long: they may be renamed during a search. */
const SEARCH_MS = 2000;

/** A program may write into a file for so long after it was renamed or deleted. */
const RETIRED_MS = 30_000;

/** A new file with the name of a rotated one may be a copy that is being written. */
const COPYING_MS = 2000;

export interface FollowContext {
  readonly positions: Positions;
  readonly delivery: Delivery;
  readonly ownFiles: OwnFiles;
  /** An event that may have more lines waits for so long. */
  readonly flushMs: number;
  /** Returns how the file at a path is read. */
  optionsOf(path: string): SourceOptions;
}

interface Retired {
  source: Source;
  readonly sinceMs: number;
}

/** Follows the file at a path through its rotations. */
export class FollowedFile {
  readonly path: string;
  readonly #context: FollowContext;
  readonly #options: SourceOptions;
  /** Whether a file that is not known is read from its beginning. */
  #fromBeginning: boolean;
  /** When there was no file at the path; undefined if that is not known. */
  #absentMs: number | undefined;
  #current: Source | undefined;
  /** The position in the file that was at the path last. */
  #previous: Position | undefined;
  /** Files that were at the path before, the oldest first. */
  #retired: Retired[] = [];
  /** When a file that may be a copy was seen first. */
  #copySeenMs: number | undefined;
  #sizeBytes = 0;
  /** Size and times of the file when it was read last. */
  #readState = "";
  #hasNews = false;
  /** Until when files that were rotated away are searched for, in milliseconds since 1970; 0 if none are. */
  #searchUntilMs = 0;
  #draining: Promise<void> | undefined;

  /**
   * `startAt` is about the first file that is found at the path; later ones are read from their beginning. `absentMs`: when
   * there was none, in milliseconds since 1970.
   */
  constructor(
    path: string,
    context: FollowContext,
    startAt: "beginning" | "end",
    absentMs: number | undefined,
  ) {
    this.path = path;
    this.#context = context;
    this.#options = context.optionsOf(path);
    this.#fromBeginning = startAt === "beginning" || absentMs !== undefined;
    this.#absentMs = absentMs;
  }

  get isDraining(): boolean {
    return this.#draining !== undefined;
  }

  get isOpen(): boolean {
    return this.#current !== undefined || this.#retired.length > 0;
  }

  /** The number of bytes that are not durable in the journal yet. */
  get lagBytes(): number {
    const offset = this.#current?.position.offset ?? 0;
    return Math.max(0, this.#sizeBytes - offset);
  }

  /** Looks at the path, and handles rotations. Not while it {@link isDraining}. */
  async look(): Promise<void> {
    const nowMs = Date.now();
    const stats = await statOf(this.path);
    this.#sizeBytes = Number(stats?.size ?? 0);
    await this.#searchAgain();
    const state = stats && `${inodeOf(stats)} ${stats.size} ${stats.mtimeNs} ${stats.ctimeNs}`;
    const isRecent = stats !== undefined && nowMs - Number(stats.mtimeMs) < RECENT_MS;
    this.#hasNews = state === undefined || isRecent || state !== this.#readState;
    this.#readState = state ?? "";
    if (!this.#hasNews) return;
    const current = this.#current && (await this.#checked(this.#current));
    this.#current = current;
    if (current !== undefined) {
      if (stats !== undefined && inodeOf(stats) === current.position.inode) {
        current.position.seenMs = nowMs;
        return;
      }
      this.#retired.push({ source: current, sinceMs: Date.now() });
      this.#previous = current.position;
      this.#current = undefined;
    }
    if (stats === undefined) {
      this.#fromBeginning = true;
      this.#absentMs ??= nowMs;
      return;
    }
    for (const { source } of this.#retired) await this.#readToEnd(source);
    if (this.#previous !== undefined) await this.#readRotatedSince(this.#previous);
    this.#current = await this.#open(stats);
    if (this.#current === undefined) this.lookAgain();
    else {
      this.#fromBeginning = true;
      this.#searchUntilMs = Date.now() + SEARCH_MS;
    }
  }

  /** Reads files that were renamed just when they were searched for. */
  async #searchAgain(): Promise<void> {
    if (this.#current === undefined || this.#searchUntilMs === 0) return;
    if (this.#previous !== undefined) await this.#readRotatedSince(this.#previous);
    else await this.#readAppeared();
    if (Date.now() < this.#searchUntilMs) return;
    this.#searchUntilMs = 0;
    this.#previous = undefined;
    this.#absentMs = undefined;
  }

  /** Returns the source, or the one with which it starts again because the file was truncated. */
  async #checked(source: Source): Promise<Source> {
    const { position } = source;
    if (!(await source.isIntact())) return await this.#startAgain(source);
    // An empty file does not show that it was truncated.
    if (source.isUnread) {
      for (const other of await this.#olderFiles(position.inode)) {
        if (other.bornMs >= position.seenMs) await this.#readWhole(other);
      }
    }
    return source;
  }

  /** Reads what is new, in the background; resolves when that is done. Undefined if there is nothing to read. */
  drain(onError: (error: unknown) => void): Promise<void> | undefined {
    const isQuiet = !this.#hasNews && this.#retired.length === 0;
    if (!this.isOpen || (isQuiet && this.#current?.isWaiting !== true)) {
      return undefined;
    }
    this.#draining = this.#drainAll()
      .catch((error: unknown) => {
        this.lookAgain();
        onError(error);
      })
      .finally(() => {
        this.#draining = undefined;
      });
    return this.#draining;
  }

  /** Makes the next look a thorough one, also if the file does not change. */
  lookAgain(): void {
    this.#readState = "";
  }

  async #drainAll(): Promise<void> {
    for (const retired of this.#retired) {
      const isOver = Date.now() - retired.sinceMs >= RETIRED_MS;
      retired.source = await this.#checked(retired.source);
      await this.#readToEnd(retired.source, isOver);
      if (!isOver) continue;
      this.#retired = this.#retired.filter((other) => other !== retired);
      await this.#release(retired.source);
      await this.#noteNewPath(retired.source.position);
    }
    if (this.#current !== undefined) await this.#readToEnd(this.#current);
  }

  /** Notes where a file is now that is no longer at its path. */
  async #noteNewPath(position: Position): Promise<void> {
    const { positions } = this.#context;
    const files = await rotatedFiles(this.path);
    const renamed = files.find(({ inode }) => inode === position.inode);
    if (renamed === undefined) positions.forget(position.inode);
    else position.path = renamed.path;
  }

  /** Resolves when nothing is being read any more, and closes everything. */
  async close(): Promise<void> {
    await this.#draining;
    for (const { source } of this.#retired) await this.#release(source);
    this.#retired = [];
    if (this.#current !== undefined) await this.#release(this.#current);
    this.#current = undefined;
  }

  async #release(source: Source): Promise<void> {
    this.#context.positions.release(source.position.inode);
    await source.close();
  }

  /** Reads a source up to its end; with `isFinal`, what waits for more becomes a record. */
  async #readToEnd(source: Source, isFinal = false): Promise<void> {
    const { delivery, flushMs } = this.#context;
    for (let isEnd = false; !isEnd;) {
      const read = await source.read();
      await delivery.deliver(source, this.path, read.events);
      isEnd = read.isEnd;
    }
    const waitMs = source.hasPartialLine ? PARTIAL_LINE_MS : flushMs;
    const isDue = isFinal || Date.now() - source.grownMs >= waitMs;
    if (source.isWaiting && isDue) await delivery.deliver(source, this.path, source.flush());
  }

  /** Handles a file that was truncated. What was not read yet may be in a copy. */
  async #startAgain(source: Source): Promise<Source> {
    const { positions, delivery } = this.#context;
    const { position } = source;
    const rest: RotatedFile[] = [];
    let hasCopy = false;
    for (const other of await this.#olderFiles(position.inode)) {
      if (hasCopy || !(await source.isCopiedTo(other.path))) {
        if (other.bornMs >= position.seenMs) rest.push(other);
      } else {
        hasCopy = true;
        await source.continueIn(other.path);
        await this.#readToEnd(source, true);
        positions.add({ ...position, inode: other.inode, path: other.path });
      }
    }
    if (!hasCopy) await delivery.deliver(source, this.path, source.flush());
    for (const other of rest) await this.#readWhole(other);
    const again = {
      ...newPosition(this.path, await source.stat()),
      id: position.id,
      generation: position.generation + 1,
      seenMs: position.seenMs,
    };
    positions.add(again);
    return await source.startAgain(again);
  }

  async #open(stats: BigIntStats): Promise<Source | undefined> {
    const { positions, ownFiles } = this.#context;
    const inode = inodeOf(stats);
    const known = positions.get(inode);
    if (known === undefined && this.#waitsForCopy()) return undefined;
    if (!positions.claim(inode)) return undefined;
    try {
      await ownFiles.check(this.path, inode);
      const source =
        known === undefined ? await this.#openNew(stats) : await this.#openKnown(known, stats);
      if (source === undefined) positions.release(inode);
      return source;
    } catch (error) {
      positions.release(inode);
      // It was rotated away in the meantime.
      if (isMissing(error)) return undefined;
      throw error;
    }
  }

  async #openKnown(known: Position, stats: BigIntStats): Promise<Source | undefined> {
    const { positions } = this.#context;
    const options = this.#options;
    const source = await Source.open(this.path, known, options);
    if (source !== undefined) {
      known.path = this.path;
      return await this.#checked(source);
    }
    // Truncated while nobody looked, or the inode number is used again.
    positions.forget(known.inode);
    await this.#readRotatedSince(known);
    const { id, generation } = known;
    return await this.#openAt({
      ...newPosition(this.path, stats),
      ...(known.path === this.path && { id, generation: generation + 1 }),
    });
  }

  async #openNew(stats: BigIntStats): Promise<Source | undefined> {
    const { positions } = this.#context;
    const options = this.#options;
    const earlier = [...positions.ofPath(this.path)]
      .filter(({ inode }) => !positions.isClaimed(inode))
      .sort((one, other) => one.seenMs - other.seenMs);
    const before = earlier.pop();
    if (before === undefined) {
      const copy = await this.#openCopy(stats);
      if (copy !== undefined) return copy.source;
      await this.#readAppeared();
      const source = await this.#openAt(newPosition(this.path, stats));
      const isNew = Number(stats.birthtimeMs) > (positions.savedMs ?? Infinity);
      if (!this.#fromBeginning && !isNew) await source?.skipToEnd();
      return source;
    }
    // Programs may have written into them after they were renamed.
    for (const position of earlier) {
      positions.forget(position.inode);
      await this.#readRenamed(position);
    }
    positions.forget(before.inode);
    const position = { ...before, inode: inodeOf(stats) };
    const same = before.offset > 0 ? await Source.open(this.path, position, options) : undefined;
    if (same !== undefined) {
      // The file was replaced by a copy of itself.
      positions.add(position);
      return same;
    }
    await this.#readRotatedSince(before);
    return await this.#openAt(newPosition(this.path, stats));
  }

  /** Reads the files that were at the path, and rotated away, before the first look at it. */
  async #readAppeared(): Promise<void> {
    const sinceMs = this.#absentMs;
    if (sinceMs === undefined) return;
    for (const other of await this.#unknownFiles(this.path, "")) {
      if (other.bornMs < sinceMs || (await this.#current?.startsLike(other.path))) continue;
      await this.#readWhole(other);
    }
  }

  /** Opens the file behind what was read of the file it is a copy of. Undefined if it is none. */
  async #openCopy(stats: BigIntStats): Promise<{ source: Source | undefined } | undefined> {
    const { positions } = this.#context;
    const options = this.#options;
    for (const original of positions.all()) {
      const isNamedSo = isRotatedNameOf(basename(this.path), basename(original.path));
      // Few bytes may be the same by chance; a file that is gone is not one of two.
      const isGone = !positions.isClaimed(original.inode);
      const isSure = isGone ? original.offset > 0 : original.offset >= options.fingerprintBytes;
      if (!isNamedSo || !isSure) continue;
      const copy = { ...original, inode: inodeOf(stats), path: this.path };
      const source = await Source.open(this.path, copy, options);
      if (source === undefined) continue;
      if (isGone) {
        positions.add(copy);
        return { source };
      }
      // What comes after it is read from the original.
      await source.close();
      return { source: undefined };
    }
    return undefined;
  }

  async #openAt(position: Position): Promise<Source | undefined> {
    const source = await Source.open(this.path, position, this.#options);
    if (source !== undefined) this.#context.positions.add(position);
    return source;
  }

  /** Whether the file may be a copy of a followed one, of which it is not known yet what becomes of it. */
  #waitsForCopy(): boolean {
    const { positions } = this.#context;
    const isRotated = Array.from(positions.all()).some(
      ({ path, inode }) =>
        positions.isClaimed(inode) && isRotatedNameOf(basename(this.path), basename(path)),
    );
    if (!isRotated) return false;
    this.#copySeenMs ??= Date.now();
    return Date.now() - this.#copySeenMs < COPYING_MS;
  }

  /** Reads the rest of the file that was at the path, and all that was there in the meantime. */
  async #readRotatedSince(position: Position): Promise<void> {
    const { positions } = this.#context;
    const options = this.#options;
    // The rest of a file that is open was read from there.
    const isOpen = this.#retired.some(({ source }) => source.position === position);
    for (const other of await this.#unknownFiles(position.path, isOpen ? "" : position.inode)) {
      if (positions.isClaimed(other.inode)) continue;
      const isRenamed = other.inode === position.inode;
      const at = { ...position, inode: other.inode, path: other.path };
      const isCandidate = isRenamed || position.offset > 0;
      const rest = isCandidate ? await Source.open(other.path, at, options) : undefined;
      if (rest === undefined) {
        const isNew = isRenamed || other.bornMs >= position.seenMs;
        const isCopy = isNew && (await this.#current?.startsLike(other.path)) === true;
        if (isNew && !isCopy) await this.#readWhole(other);
        continue;
      }
      positions.add(at);
      if (!isOpen) await this.#readToEnd(rest, true);
      await rest.close();
    }
  }

  /** Reads the rest of a file that was at the path, if it is found under another name. */
  async #readRenamed(position: Position): Promise<void> {
    const { positions } = this.#context;
    const files = await rotatedFiles(this.path);
    const renamed = files.find(({ inode }) => inode === position.inode);
    if (renamed === undefined) return;
    const at = { ...position, path: renamed.path };
    const rest = await Source.open(renamed.path, at, this.#options);
    if (rest === undefined) return;
    positions.add(at);
    await this.#readToEnd(rest, true);
    await rest.close();
  }

  /** Reads a file that was at the path, and was rotated away before it was seen there. */
  async #readWhole({ path, inode, stats }: RotatedFile): Promise<void> {
    const { positions } = this.#context;
    const options = this.#options;
    if (positions.isClaimed(inode)) return;
    const position = newPosition(path, stats);
    const source = await Source.open(path, position, options);
    if (source === undefined) return;
    positions.add(position);
    await this.#readToEnd(source, true);
    await source.close();
  }

  /** Returns the rotated files of a path that are not known, the oldest first, and the one with the inode. */
  async #unknownFiles(path: string, inode: string): Promise<RotatedFile[]> {
    const { positions } = this.#context;
    const files = await rotatedFiles(path);
    return files.filter((file) => file.inode === inode || positions.get(file.inode) === undefined);
  }

  /** Returns those that are older than a file, which may have been renamed itself. */
  async #olderFiles(inode: string): Promise<RotatedFile[]> {
    const files = await this.#unknownFiles(this.path, inode);
    const self = files.findIndex((file) => file.inode === inode);
    return self < 0 ? files : files.slice(0, self);
  }
}

async function statOf(path: string): Promise<BigIntStats | undefined> {
  try {
    const stats = await stat(path, { bigint: true });
    return stats.isFile() ? stats : undefined;
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
}

function isMissing(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === "ENOENT";
}
