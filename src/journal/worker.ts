/** The thread that does the journal's disk work: one request after the other, in order. */

import { closeSync, fsyncSync, openSync, statfsSync } from "node:fs";
import { join } from "node:path";
import { parentPort, workerData } from "node:worker_threads";
import type { ClockReading } from "./clock-reading.ts";
import type { CommitPoint, Commit, JournalDatabase } from "./database.ts";
import type { Retention } from "./journal.ts";
import type { Floors } from "./page-reader.ts";
import { openDatabase, reopenDatabase, replaceDatabase, type Opened } from "./recovery.ts";
import { compressBlock, isDamage } from "./schema.ts";
import { DiskReserve } from "./side-files.ts";
import type {
  Identified,
  WorkerFailure,
  WorkerReply,
  WorkerRequest,
  WorkerSetup,
} from "./worker-thread.ts";

/** How often a journal that nobody writes to checks whether its files are there. */
const CHECK_MS = 1_000;

/** The write-ahead log is checkpointed at this size, or at a share of a small disk. */
const WAL_BYTES = 4 << 20;
const WAL_DISK_SHARE = 1 / 32;

/** If checkpoints keep failing, nothing is added to the log beyond this multiple. */
const WAL_FULL = 8;

/** The pages of tables and indexes that a range of a commit changes, and the commit beside its ranges. */
const PAGES_BYTES = 4 * 4096;

/** The part of the reserve that trimming needs, unless others fill up the disk at the same time. */
const TRIM_RESERVE_SHARE = 1 / 4;

/** Retention is applied after this many bytes, or after this time. */
const TRIM_BYTES_MAX = 8 << 20;
const TRIM_SHARE = 1 / 8;
const TRIM_MS = 60_000;

/** The file of a journal is made smaller if it has so much unused space, and such a share of it. */
const COMPACTED_BYTES_MIN = 32 << 20;
const COMPACTED_SHARE = 3 / 4;

const SQLITE_BUSY = 5;
const SQLITE_FULL = 13;

/** Makes commits durable, and sees to checkpoints, retention and a disk that is full or fails. */
class Writer {
  readonly #directory: string;
  readonly #reserve: DiskReserve;
  readonly #walBytesMax: number;
  /** Shared with the database, whatever file that is. */
  readonly #retention: Retention;
  #trimBytes: number;
  readonly #send: (message: WorkerReply) => void;
  readonly #oldest: WorkerSetup["oldest"];
  #database: JournalDatabase;
  /** About how much is in the write-ahead log and not in the tables yet. */
  #walBytes = 0;
  #bytesSinceTrim = 0;
  #trimmedAtMs = performance.now();
  /** Nothing expires by age before the first reading has come. */
  #clock: ClockReading = { nowMs: -Infinity, steps: [] };
  /** Whether the write-ahead log may have what was deleted because it is merged. */
  #hasDeleted = false;
  /** Why the journal has no files to write to, as last reported. */
  #unavailable: string | undefined;
  /** Why the last commit failed; undefined if it succeeded. */
  #failure: WorkerFailure | undefined;

  /** `send` sends unsolicited messages. */
  constructor(
    { directory, retention, oldest }: WorkerSetup,
    database: JournalDatabase,
    send: (message: WorkerReply) => void,
  ) {
    const { blocks, bsize } = statfsSync(directory);
    this.#directory = directory;
    this.#reserve = new DiskReserve(directory);
    this.#walBytesMax = Math.min(WAL_BYTES, blocks * bsize * WAL_DISK_SHARE);
    this.#retention = retention;
    this.#trimBytes = trimBytesOf(retention);
    this.#database = database;
    this.#send = send;
    this.#oldest = oldest;
    this.#reserve.hold();
  }

  reply(request: WorkerRequest): WorkerReply {
    try {
      if (request.kind === "commit") return this.#commit(request.commit);
      if (request.kind === "read") {
        return { kind: "page", page: this.#database.read(request.query) };
      }
      if (request.kind === "fresh") {
        return { kind: "page", page: this.#database.readFresh(request.from) };
      }
      if (request.kind === "merged") return this.#deleteMerged(request);
      if (request.kind === "lost") {
        return { kind: "lost", range: this.#database.loseMerged(request.from) };
      }
      if (request.kind === "clock") this.#clock = request.clock;
      else if (request.kind === "retention") this.#setRetention(request.retention);
      else if (request.kind === "markClean") this.#markClean(request.newest);
      else this.#database.close(this.#failure === undefined, request.newest);
      return { kind: "done" };
    } catch (error) {
      return { kind: "failed", failure: { kind: "rejected", text: errorText(error) } };
    }
  }

  #deleteMerged({ merged, floors }: { merged: number; floors: Floors }): WorkerReply {
    const before = this.#database.bytesOf("system_log") + this.#database.bytesOf("audit_log");
    this.#database.deleteMerged(merged);
    this.#database.raiseFloors(floors);
    const freshBytes = {
      system_log: this.#database.bytesOf("system_log"),
      audit_log: this.#database.bytesOf("audit_log"),
    };
    // The pages of what was deleted are overwritten.
    this.#walBytes += Math.max(0, before - freshBytes.system_log - freshBytes.audit_log);
    this.#hasDeleted = true;
    this.#publishOldest();
    return { kind: "merged", freshBytes };
  }

  /** The next trimming applies it. */
  #setRetention(retention: Retention): void {
    Object.assign(this.#retention, retention);
    this.#trimBytes = trimBytesOf(retention);
    this.#trimmedAtMs = -Infinity;
  }

  #markClean(newest: number): void {
    if (this.#failure === undefined) this.#database.markClean(newest);
  }

  #commit(uncompressed: Commit): WorkerReply {
    // Before space is made for it: it needs as much as it has now.
    const commit = compressed(uncompressed);
    const bytes = bytesOf(commit) + PAGES_BYTES * (1 + commit.ranges.length);
    let isTried = false;
    try {
      this.#ensureInPlace();
      this.#prepareFor(bytes);
      isTried = true;
      this.#storeInPlace(commit);
      this.#failure = undefined;
      if (Atomics.load(this.#oldest, 0) === 0n) this.#publishOldest();
      this.#walBytes += bytes;
      this.#bytesSinceTrim += bytes;
      return { kind: "committed", memory: memoryOf(uncompressed) };
    } catch (error) {
      this.#failure = this.#failed(error, isTried);
      return { kind: "failed", failure: this.#failure };
    }
  }

  #prepareFor(bytes: number): void {
    if (this.#failure !== undefined) this.#recover();
    if (this.#walBytes > WAL_FULL * this.#walBytesMax) this.#checkpoint("PASSIVE");
    this.#ensureSpaceFor(bytes);
  }

  /** Commits again, to new files, if the files of the first attempt are gone. */
  #storeInPlace(commit: Commit): void {
    const { commitPoint } = this.#database;
    this.#store(commit);
    if (this.#database.isInPlace) return;
    try {
      this.#reopen(commitPoint);
    } catch (error) {
      this.#database.rollBackTo(commitPoint);
      throw error;
    }
    this.#store(commit);
  }

  #ensureInPlace(): void {
    if (this.#database.isInPlace) this.#report(undefined);
    else this.#reopen(this.#database.commitPoint);
  }

  /** Continues in the directory as it is now. */
  #reopen(commitPoint: CommitPoint): void {
    try {
      this.#adopt(reopenDatabase(this.#database, commitPoint));
      this.#reserve.hold();
      this.#report(undefined);
    } catch (error) {
      this.#report(errorText(error));
      throw error;
    }
  }

  /** Checks whether the journal's files are still there; to be called about every second. */
  check(): void {
    try {
      this.#ensureInPlace();
    } catch {
      // It was reported, and the next check tries again.
    }
  }

  #report(text: string | undefined): void {
    if (text !== this.#unavailable) this.#send({ kind: "unavailable", text });
    this.#unavailable = text;
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
   * After a failed commit the write-ahead log may end with pages of it, which a failed sync may or may not have lost
   * (fsync(2)). Nothing is written after them: the log is first checkpointed and restarted.
   */
  #recover(): void {
    this.#checkpoint("TRUNCATE");
    this.#reserve.hold();
  }

  /**
   * A commit needs space in the log, and in the tables for what is in the log: otherwise trimming could not free a full
   * disk.
   */
  #ensureSpaceFor(bytes: number): void {
    if (this.#reserve.availableBytes >= 2 * bytes + this.#walBytes) return;
    if (this.#hasSpaceFor(bytes)) return;
    this.#makeSpace();
    if (!this.#hasSpaceFor(bytes)) throw new NoSpaceError(this.#reserve.availableBytes);
  }

  /** Counts the pages that trimming has freed; without a reserve, leaves what trimming itself will need. */
  #hasSpaceFor(bytes: number): boolean {
    const growth = Math.max(0, this.#walBytes + bytes - this.#database.freeBytes);
    const left = this.#reserve.isHeld ? 0 : this.#reserve.bytes * TRIM_RESERVE_SHARE;
    return this.#reserve.availableBytes >= bytes + growth + left;
  }

  /** On a full disk trimming needs the space that was reserved for it. */
  #makeSpace(): void {
    try {
      this.#checkpoint("TRUNCATE");
    } catch (error) {
      if (!isFull(error)) throw error;
      this.#reserve.release();
      this.#checkpoint("TRUNCATE");
    }
    while (this.#trim());
    this.#checkpoint("TRUNCATE");
    this.#reserve.hold();
  }

  /** `isTried`: the commit was handed to the disk, which may have some of it. */
  #failed(error: unknown, isTried: boolean): WorkerFailure {
    const text = errorText(error);
    let isUndone = !isTried;
    try {
      if (isFull(error)) this.#makeSpace();
      // The log must end before the failed commit, and its new end must be on the disk.
      else this.#checkpoint("TRUNCATE");
      isUndone = true;
    } catch {
      // The commit's own failure is the one to report; the next commit tries again.
    }
    return { kind: isFull(error) ? "full" : isUndone ? "rejected" : "unknown", text };
  }

  #checkpoint(mode: "PASSIVE" | "TRUNCATE"): void {
    this.#database.checkpoint(mode);
    if (mode === "TRUNCATE") syncFile(join(this.#directory, "journal.db-wal"));
    this.#walBytes = 0;
  }

  #replace(error: unknown): void {
    this.#adopt(replaceDatabase(this.#database, errorText(error)));
  }

  /** Continues with a database that was opened in place of the previous one. */
  #adopt({ database, state, damage }: Opened): void {
    this.#database = database;
    this.#walBytes = 0;
    this.#publishOldest();
    if (damage !== undefined) this.#send({ kind: "replaced", epochs: state.epochs, damage });
  }

  /** Leaves nothing of what was deleted in the log, and in a file that is mostly unused. */
  #forgetDeleted(): void {
    this.#hasDeleted = false;
    const { freeBytes, fileBytes } = this.#database;
    if (freeBytes >= COMPACTED_BYTES_MIN && freeBytes >= COMPACTED_SHARE * fileBytes) {
      // The log has room for what is left of the file, and is truncated with it.
      this.#checkpoint("TRUNCATE");
      this.#database.compact();
    }
    this.#checkpoint("TRUNCATE");
  }

  #trim(): boolean {
    const hasMore = this.#database.trim(this.#clock);
    this.#publishOldest();
    return hasMore;
  }

  #publishOldest(): void {
    publishOldest(this.#database, this.#oldest);
  }

  /** Does what can wait until no request does: checkpoints and retention. */
  tidy(): void {
    if (this.#failure !== undefined) return;
    try {
      if (this.#hasDeleted) this.#forgetDeleted();
      if (this.#walBytes >= this.#walBytesMax) this.#checkpoint("PASSIVE");
      const nowMs = performance.now();
      if (this.#bytesSinceTrim >= this.#trimBytes || nowMs - this.#trimmedAtMs >= TRIM_MS) {
        if (this.#trim()) return void setImmediate(() => this.tidy());
        this.#bytesSinceTrim = 0;
        this.#trimmedAtMs = nowMs;
        this.#reserve.hold();
      }
    } catch (error) {
      // Commits report a disk that fails.
      if (!isDamage(error)) return;
      try {
        this.#replace(error);
      } catch {
        // The next commit finds the same damage.
      }
    }
  }
}

function trimBytesOf(retention: Retention): number {
  const retained = Math.min(retention.system_log.bytes, retention.audit_log.bytes);
  return Math.min(TRIM_BYTES_MAX, retained * TRIM_SHARE);
}

/** Opens the database; on a full disk, with the space of the reserve. */
function open({ directory, retention, oldest }: WorkerSetup): {
  reply: WorkerReply;
  database?: JournalDatabase;
} {
  const tryOpen = () => {
    const { database, state, damage } = openDatabase(directory, retention);
    publishOldest(database, oldest);
    const { lastMs } = database;
    return { reply: { kind: "opened", state: { ...state, lastMs }, damage }, database } as const;
  };
  try {
    try {
      return tryOpen();
    } catch (error) {
      if (!isFull(error)) throw error;
      new DiskReserve(directory).release();
      return tryOpen();
    }
  } catch (error) {
    const kind = codeOf(error) === SQLITE_BUSY ? "locked" : "unusable";
    const failure = { kind, text: errorText(error) } as const;
    return { reply: { kind: "notOpened", failure } };
  }
}

/** Tells the main thread, which need not ask. */
function publishOldest(database: JournalDatabase, oldest: WorkerSetup["oldest"]): void {
  try {
    Atomics.store(oldest, 0, BigInt(database.oldest ?? 0));
  } catch {
    // Reading or trimming finds out that a table is damaged.
  }
}

class NoSpaceError extends Error {
  constructor(availableBytes: number) {
    super(`the disk has ${availableBytes} bytes left`);
  }
}

function isFull(error: unknown): boolean {
  return (
    error instanceof NoSpaceError ||
    codeOf(error) === SQLITE_FULL ||
    (error as NodeJS.ErrnoException).code === "ENOSPC"
  );
}

function codeOf(error: unknown): number {
  return ((error as { errcode?: number }).errcode ?? 0) & 0xff;
}

/** SQLite's own message for a failed system call does not say which one failed. */
function errorText(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  const { errcode } = error as { errcode?: number };
  return errcode === undefined ? text : `${text}, SQLite ${errcode}`;
}

function compressed(commit: Commit): Commit {
  const ranges = commit.ranges.map((range) => ({
    ...range,
    blocks: range.blocks.map((block) => ({ ...block, bytes: compressBlock(block.bytes) })),
  }));
  return { ...commit, ranges };
}

function memoryOf({ ranges }: Commit): ArrayBuffer[] {
  return ranges.flatMap(({ blocks }) => blocks.map(({ bytes }) => bytes.buffer));
}

function bytesOf({ ranges }: Commit): number {
  const blocks = ranges.flatMap((range) => range.blocks);
  return blocks.reduce((sum, { bytes }) => sum + bytes.length, 0);
}

function syncFile(path: string): void {
  const file = openSync(path, "r+");
  try {
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}

function run(setup: WorkerSetup): void {
  const port = parentPort!;
  const send = (id: number, message: WorkerReply): void => {
    const identified: Identified<WorkerReply> = { id, message };
    setup.replies.postMessage(identified, transferred(message));
  };
  const { reply: opened, database } = open(setup);
  send(0, opened);
  if (database === undefined) return port.close();
  const writer = new Writer(setup, database, (message) => send(0, message));
  const checking = setInterval(() => writer.check(), CHECK_MS);
  port.on("message", ({ id, message }: Identified<WorkerRequest>) => {
    const reply = writer.reply(message);
    send(id, reply);
    if (reply.kind === "failed") Atomics.store(setup.completed, 1, id);
    Atomics.store(setup.completed, 0, id);
    Atomics.notify(setup.completed, 0);
    if (message.kind === "close") {
      clearInterval(checking);
      port.close();
    } else writer.tidy();
  });
}

/** Returns the memory that goes to the other thread without being copied. */
function transferred(message: WorkerReply): readonly ArrayBuffer[] {
  if (message.kind === "committed") return message.memory;
  return message.kind === "page" ? message.page.blocks.map(({ bytes }) => bytes.buffer) : [];
}

run(workerData as WorkerSetup);
