/** The thread in which the journal's disk work is done: requests one after the other, in their order. */

import { parentPort, workerData } from "node:worker_threads";
import { statfsSync } from "node:fs";
import { isDamage, JournalDatabase } from "./database.ts";
import type { Answer, Commit, Failure, Numbered, Request, WorkerSetup } from "./messages.ts";
import { Reserve } from "./reserve.ts";

/** So much in the write-ahead log is worth a checkpoint, in bytes of commits; they take about as much there. */
const CHECKPOINT_BYTES = 8 << 20;

/** Retention is looked at after so many bytes, or when so much time has passed. */
const TRIM_BYTES = 8 << 20;
const TRIM_MS = 60_000;

const SQLITE_BUSY = 5;
const SQLITE_FULL = 13;

const { directory, retention, done } = workerData as WorkerSetup;
const port = parentPort!;

class JournalThread {
  readonly #database: JournalDatabase;
  readonly #reserve = new Reserve(directory);
  #bytesSinceCheckpoint = 0;
  #bytesSinceTrim = 0;
  #trimmedAtMs = Date.now();
  /** Why nothing can be stored; undefined where the last commit succeeded. */
  #failure: Failure | undefined;

  constructor(database: JournalDatabase) {
    this.#database = database;
    this.#reserve.keep();
  }

  answer(request: Request): Answer {
    if (request.kind === "commit") return this.#commit(request.commit);
    if (request.kind === "read") return { kind: "rows", rows: this.#database.read(request.query) };
    this.#database.close(this.#failure === undefined);
    return { kind: "done" };
  }

  #commit(commit: Commit): Answer {
    const bytes = bytesOf(commit);
    try {
      if (this.#failure !== undefined) this.#recover(bytes);
      this.#database.commit(commit);
      this.#failure = undefined;
    } catch (error) {
      this.#failure = this.#failed(error);
      return { kind: "failed", failure: this.#failure };
    }
    this.#bytesSinceCheckpoint += bytes;
    this.#bytesSinceTrim += bytes;
    return { kind: "done" };
  }

  /**
   * After a failed commit the write-ahead log may end with pages of it, which a sync that failed has perhaps lost and
   * perhaps not (fsync(2)). Nothing is written behind them: the log is brought into the tables and begun anew first.
   */
  #recover(bytes: number): void {
    if (this.#failure!.kind === "full" && !this.#reserve.hasRoomFor(bytes)) {
      throw new NoRoomError();
    }
    this.#database.checkpoint("TRUNCATE");
    this.#reserve.keep();
  }

  #failed(error: unknown): Failure {
    const text = error instanceof Error ? error.message : String(error);
    if (isDamage(error)) this.#database.markDamaged();
    const isFull = error instanceof NoRoomError || codeOf(error) === SQLITE_FULL;
    if (isFull) this.#makeRoom();
    return { kind: isFull ? "full" : this.#isUndone() ? "refused" : "unknown", text };
  }

  /** On a full disk trimming needs the room that the reserve has kept for it. */
  #makeRoom(): void {
    this.#reserve.release();
    try {
      while (this.#database.trim(Date.now()));
      this.#database.checkpoint("TRUNCATE");
    } catch {
      // The commit's own failure is the one to report; the next commit tries again.
    }
  }

  /** Whether it is sure that nothing of the failed commit will be found after a crash. */
  #isUndone(): boolean {
    try {
      this.#database.checkpoint("TRUNCATE");
      return true;
    } catch {
      return false;
    }
  }

  /** What can wait until nobody does. */
  tidy(): void {
    if (this.#failure !== undefined) return;
    try {
      if (this.#bytesSinceCheckpoint >= CHECKPOINT_BYTES) {
        this.#database.checkpoint("PASSIVE");
        this.#bytesSinceCheckpoint = 0;
      }
      const now = Date.now();
      if (this.#bytesSinceTrim >= TRIM_BYTES || Math.abs(now - this.#trimmedAtMs) >= TRIM_MS) {
        if (this.#database.trim(now)) return void setImmediate(() => this.tidy());
        this.#bytesSinceTrim = 0;
        this.#trimmedAtMs = now;
      }
    } catch {
      // The commits tell of a disk that does not work.
    }
  }
}

class NoRoomError extends Error {
  constructor() {
    const { bavail, bsize } = statfsSync(directory);
    super(`the disk has ${bavail * bsize} bytes left`);
  }
}

function bytesOf({ ranges }: Commit): number {
  let bytes = 0;
  for (const { lanes } of ranges) for (const lane of lanes) bytes += lane.bytes.length;
  return bytes;
}

function codeOf(error: unknown): number {
  return ((error as { errcode?: number }).errcode ?? 0) & 0xff;
}

function open(): JournalThread | undefined {
  try {
    const { database, state, alarm } = JournalDatabase.open(directory, retention);
    send(0, { kind: "opened", state, alarm });
    return new JournalThread(database);
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error);
    const kind = codeOf(error) === SQLITE_BUSY ? "locked" : "unusable";
    send(0, { kind: "notOpened", failure: { kind, text } });
    return undefined;
  }
}

function send(id: number, message: Answer): void {
  const memory = message.kind === "rows" ? message.rows.rows.map(({ bytes }) => bytes.buffer) : [];
  const numbered: Numbered<Answer> = { id, message };
  port.postMessage(numbered, memory);
}

const thread = open();
if (thread === undefined) port.close();
else {
  setInterval(() => thread.tidy(), TRIM_MS).unref();
  port.on("message", ({ id, message }: Numbered<Request>) => {
    let answer: Answer;
    try {
      answer = thread.answer(message);
    } catch (error) {
      const text = error instanceof Error ? error.message : String(error);
      answer = { kind: "failed", failure: { kind: "unknown", text } };
    }
    send(id, answer);
    Atomics.store(done, 0, id);
    Atomics.notify(done, 0);
    if (message.kind === "close") port.close();
    else thread.tidy();
  });
}
