import { closeSync, fsyncSync, openSync, statfsSync } from "node:fs";
import { join } from "node:path";
import { JournalDatabase, type Standing } from "./database.ts";
import type { Answer, Commit, Failure, Request, WorkerSetup } from "./messages.ts";
import { packedLane } from "./packed-lane.ts";
import { Reserve } from "./reserve.ts";
import { isDamage } from "./schema.ts";
import type { ClockReading } from "./trusted-clock.ts";

/** So much in the write-ahead log is worth a checkpoint; a small disk has room for a share of itself. */
const WAL_BYTES = 4 << 20;
const WAL_SHARE = 1 / 32;

/** Where a checkpoint fails so long, nothing is added to the log any more. */
const WAL_FULL = 8;

/** What a range of a commit changes beside its bytes, and the commit beside its ranges: pages of tables and indexes. */
const PAGES_BYTES = 4 * 4096;

/** Of the reserve what trimming takes, where others do not eat up the disk at the same time. */
const TRIMMING_SHARE = 1 / 4;

/** Retention is looked at after so many bytes, or when so much time has passed. */
const TRIM_BYTES_MAX = 8 << 20;
const TRIM_SHARE = 1 / 8;
const TRIM_MS = 60_000;

const SQLITE_BUSY = 5;
const SQLITE_FULL = 13;

type DatabaseSetup = Pick<WorkerSetup, "directory" | "retention" | "oldest">;

interface OpenedDatabase {
  readonly answer: Answer;
  /** Undefined where it could not be opened. */
  readonly database: JournalDatabase | undefined;
}

/** Opens the database; on a full disk, with the room that the reserve has kept. */
export function openDatabase({ directory, retention, oldest }: DatabaseSetup): OpenedDatabase {
  const open = (): OpenedDatabase => {
    const { database, state, damage } = JournalDatabase.open(directory, retention);
    showOldest(database, oldest);
    const { lastMs } = database;
    return { answer: { kind: "opened", state: { ...state, lastMs }, damage }, database };
  };
  try {
    try {
      return open();
    } catch (error) {
      if (!isFull(error)) throw error;
      new Reserve(directory).release();
      return open();
    }
  } catch (error) {
    const kind = codeOf(error) === SQLITE_BUSY ? "locked" : "unusable";
    return {
      answer: { kind: "notOpened", failure: { kind, text: textOf(error) } },
      database: undefined,
    };
  }
}

/** Makes commits durable, and sees to checkpoints, retention and a disk that is full or does not work. */
export class StoringThread {
  readonly #directory: string;
  readonly #reserve: Reserve;
  readonly #walBytesMax: number;
  readonly #trimBytes: number;
  readonly #tell: (message: Answer) => void;
  readonly #oldest: WorkerSetup["oldest"];
  #database: JournalDatabase;
  /** What stands in the write-ahead log and not in the tables yet, about. */
  #walBytes = 0;
  #bytesSinceTrim = 0;
  #trimmedAtMs = performance.now();
  /** Nothing expires by age before the first reading has come. */
  #clock: ClockReading = { nowMs: -Infinity, steps: [] };
  /** Why the journal has no files to store in, as it was told last. */
  #trouble: string | undefined;
  /** Why nothing can be stored; undefined where the last commit succeeded. */
  #failure: Failure | undefined;

  /** `tell` sends what nobody has asked for. */
  constructor(
    { directory, retention, oldest }: DatabaseSetup,
    database: JournalDatabase,
    tell: (message: Answer) => void,
  ) {
    const { blocks, bsize } = statfsSync(directory);
    const kept = Math.min(retention.system_log.bytes, retention.audit_log.bytes);
    this.#directory = directory;
    this.#reserve = new Reserve(directory);
    this.#walBytesMax = Math.min(WAL_BYTES, blocks * bsize * WAL_SHARE);
    this.#trimBytes = Math.min(TRIM_BYTES_MAX, kept * TRIM_SHARE);
    this.#database = database;
    this.#tell = tell;
    this.#oldest = oldest;
    this.#reserve.keep();
  }

  answer(request: Request): Answer {
    try {
      if (request.kind === "commit") return this.#commit(request.commit);
      if (request.kind === "read") {
        return { kind: "rows", rows: this.#database.read(request.query) };
      }
      if (request.kind === "tidy") this.#clock = request.clock;
      else if (request.kind === "rest") this.#rest(request.newest);
      else this.#database.close(this.#failure === undefined, request.newest);
      return { kind: "done" };
    } catch (error) {
      return { kind: "failed", failure: { kind: "refused", text: textOf(error) } };
    }
  }

  #rest(newest: number): void {
    if (this.#failure === undefined) this.#database.rest(newest);
  }

  #commit(asMade: Commit): Answer {
    const commit = packed(asMade);
    const bytes = bytesOf(commit) + PAGES_BYTES * (1 + commit.ranges.length);
    let isTried = false;
    try {
      this.#seeToPlace();
      this.#prepareFor(bytes);
      isTried = true;
      this.#storeInPlace(commit);
      this.#failure = undefined;
      if (Atomics.load(this.#oldest, 0) === 0n) this.#showOldest();
      this.#walBytes += bytes;
      this.#bytesSinceTrim += bytes;
      return { kind: "committed", memory: memoryOf(asMade) };
    } catch (error) {
      this.#failure = this.#failed(error, isTried);
      return { kind: "failed", failure: this.#failure };
    }
  }

  #prepareFor(bytes: number): void {
    if (this.#failure !== undefined) this.#recover();
    if (this.#walBytes > WAL_FULL * this.#walBytesMax) this.#checkpoint("PASSIVE");
    this.#seeToRoomFor(bytes);
  }

  /** What was committed to files that are gone by then is committed again, to new ones. */
  #storeInPlace(commit: Commit): void {
    const { standing } = this.#database;
    this.#store(commit);
    if (this.#database.isInPlace) return;
    try {
      this.#move(standing);
    } catch (error) {
      this.#database.takeBack(standing);
      throw error;
    }
    this.#store(commit);
  }

  #seeToPlace(): void {
    if (this.#database.isInPlace) this.#showTrouble(undefined);
    else this.#move(this.#database.standing);
  }

  /** Goes on in the directory as it is now. */
  #move(standing: Standing): void {
    try {
      const { database, state, damage } = this.#database.moved(standing);
      this.#database = database;
      this.#walBytes = 0;
      this.#showOldest();
      this.#reserve.keep();
      if (damage !== undefined) this.#tell({ kind: "replaced", epochs: state.epochs, damage });
      this.#showTrouble(undefined);
    } catch (error) {
      this.#showTrouble(textOf(error));
      throw error;
    }
  }

  /** Looks whether the journal's files are still there; to be called every second or so. */
  look(): void {
    try {
      this.#seeToPlace();
    } catch {
      // It was told of, and the next look tries again.
    }
  }

  #showTrouble(text: string | undefined): void {
    if (text !== this.#trouble) this.#tell({ kind: "trouble", text });
    this.#trouble = text;
  }

  #store(commit: Commit): void {
    try {
      this.#database.commit(commit);
    } catch (error) {
      if (!isDamage(error)) throw error;
      this.#replace(error);
      this.#database.commit(commit);
    }
  }

  /**
   * After a failed commit the write-ahead log may end with pages of it, which a sync that failed has perhaps lost and
   * perhaps not (fsync(2)). Nothing is written behind them: the log is brought into the tables and begun anew first.
   */
  #recover(): void {
    this.#checkpoint("TRUNCATE");
    this.#reserve.keep();
  }

  /**
   * A commit needs room in the log, and in the tables for what stands in the log: else a full disk could not be left
   * again by trimming.
   */
  #seeToRoomFor(bytes: number): void {
    if (this.#reserve.availableBytes >= 2 * bytes + this.#walBytes) return;
    if (this.#hasRoomFor(bytes)) return;
    this.#makeRoom();
    if (!this.#hasRoomFor(bytes)) throw new NoRoomError(this.#reserve.availableBytes);
  }

  /** With the pages that trimming has left; and where there is no reserve, with what trimming itself will need. */
  #hasRoomFor(bytes: number): boolean {
    const growth = Math.max(0, this.#walBytes + bytes - this.#database.freeBytes);
    const kept = this.#reserve.isKept ? 0 : this.#reserve.bytes * TRIMMING_SHARE;
    return this.#reserve.availableBytes >= bytes + growth + kept;
  }

  /** On a full disk trimming needs the room that the reserve has kept for it. */
  #makeRoom(): void {
    try {
      this.#checkpoint("TRUNCATE");
    } catch (error) {
      if (!isFull(error)) throw error;
      this.#reserve.release();
      this.#checkpoint("TRUNCATE");
    }
    while (this.#trim());
    this.#checkpoint("TRUNCATE");
    this.#reserve.keep();
  }

  /** `isTried`: the commit has come to the disk, which perhaps has some of it. */
  #failed(error: unknown, isTried: boolean): Failure {
    const text = textOf(error);
    let isUndone = !isTried;
    try {
      if (isFull(error)) this.#makeRoom();
      // The log must end before the commit that failed, and its new end must be on the disk.
      else this.#checkpoint("TRUNCATE");
      isUndone = true;
    } catch {
      // The commit's own failure is the one to report; the next commit tries again.
    }
    return { kind: isFull(error) ? "full" : isUndone ? "refused" : "unknown", text };
  }

  #checkpoint(mode: "PASSIVE" | "TRUNCATE"): void {
    this.#database.checkpoint(mode);
    if (mode === "TRUNCATE") syncFile(join(this.#directory, "journal.db-wal"));
    this.#walBytes = 0;
  }

  #replace(error: unknown): void {
    const { database, state, damage } = this.#database.replaced(textOf(error));
    this.#database = database;
    this.#walBytes = 0;
    this.#showOldest();
    this.#tell({ kind: "replaced", epochs: state.epochs, damage: damage! });
  }

  #trim(): boolean {
    const hasMore = this.#database.trim(this.#clock.nowMs, this.#clock.steps);
    this.#showOldest();
    return hasMore;
  }

  #showOldest(): void {
    showOldest(this.#database, this.#oldest);
  }

  /** What can wait until nobody does. */
  tidy(): void {
    if (this.#failure !== undefined) return;
    try {
      if (this.#walBytes >= this.#walBytesMax) this.#checkpoint("PASSIVE");
      const nowMs = performance.now();
      if (this.#bytesSinceTrim >= this.#trimBytes || nowMs - this.#trimmedAtMs >= TRIM_MS) {
        if (this.#trim()) return void setImmediate(() => this.tidy());
        this.#bytesSinceTrim = 0;
        this.#trimmedAtMs = nowMs;
        this.#reserve.keep();
      }
    } catch (error) {
      // The commits tell of a disk that does not work.
      if (isDamage(error)) this.#replaceQuietly(error);
    }
  }

  #replaceQuietly(error: unknown): void {
    try {
      this.#replace(error);
    } catch {
      // The next commit finds the same damage.
    }
  }
}

/** For the other thread, which need not ask. */
function showOldest(database: JournalDatabase, oldest: WorkerSetup["oldest"]): void {
  try {
    Atomics.store(oldest, 0, BigInt(database.oldest ?? 0));
  } catch {
    // Whoever reads or trims a damaged table finds that out.
  }
}

class NoRoomError extends Error {
  constructor(availableBytes: number) {
    super(`the disk has ${availableBytes} bytes left`);
  }
}

function isFull(error: unknown): boolean {
  return (
    error instanceof NoRoomError ||
    codeOf(error) === SQLITE_FULL ||
    (error as NodeJS.ErrnoException).code === "ENOSPC"
  );
}

function codeOf(error: unknown): number {
  return ((error as { errcode?: number }).errcode ?? 0) & 0xff;
}

/** SQLite's own words for a failed system call say no more than that it has failed. */
function textOf(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  const { errcode } = error as { errcode?: number };
  return errcode === undefined ? text : `${text}, SQLite ${errcode}`;
}

/** Before its room is looked for: it needs as much as it has got now. */
function packed(commit: Commit): Commit {
  const ranges = commit.ranges.map((range) => ({
    ...range,
    lanes: range.lanes.map((lane) => ({ ...lane, bytes: packedLane(lane.bytes) })),
  }));
  return { ...commit, ranges };
}

function memoryOf({ ranges }: Commit): ArrayBuffer[] {
  return ranges.flatMap(({ lanes }) => lanes.map(({ bytes }) => bytes.buffer));
}

function bytesOf({ ranges }: Commit): number {
  let bytes = 0;
  for (const { lanes } of ranges) for (const lane of lanes) bytes += lane.bytes.length;
  return bytes;
}

function syncFile(path: string): void {
  const file = openSync(path, "r+");
  try {
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}
