import { existsSync, renameSync, rmSync } from "node:fs";
import { DatabaseSync } from "node:sqlite";
import { FILTER_PARTS } from "../blocks/block-view.ts";
import type { EncodedBlock } from "../blocks/encoded-block.ts";
import type { EnvelopeType, Gap } from "../plugin/index.ts";
import { asidePath, createPrivateFile, FileIdentity } from "../runtime/private-file.ts";
import { textOf } from "../wire/errors.ts";
import { historyPath } from "./files.ts";
import { HistoryReader } from "./reader.ts";
import { blockChecksum, HistoryRows } from "./rows.ts";
import { checksum, CHUNKS_MAX, HISTORY_FORMAT, HISTORY_SCHEMA, TYPES } from "./schema.ts";

/** So many more pages of deleted blocks than that are given back, some at a time. */
const FREE_PAGES_MAX = 2048;
const VACUUMED_PAGES = 256;

/** What is made durable at once. */
export interface HistoryCommit {
  readonly blocks: readonly { readonly type: EnvelopeType; readonly block: EncodedBlock }[];
  /** The ids of blocks whose records are in `blocks`. */
  readonly replaced: readonly number[];
  /** Damage that was found. */
  readonly gaps: readonly Gap[];
  /** The sequence up to which everything is merged then. */
  readonly merged: number;
}

/** Returns the sequence up to which the history of that directory has the records; 0 if there is none that can be read. */
export function readMerged(directory: string): number {
  try {
    using db = openForReading(directory);
    return new HistoryRows(db).merged;
  } catch {
    return 0;
  }
}

/** Opens the history for one of the threads that search it. Throws if there is none. */
export function openForReading(directory: string): DatabaseSync {
  const db = new DatabaseSync(historyPath(directory), { readOnly: true });
  db.exec("PRAGMA cell_size_check = ON");
  return db;
}

/** The one connection that writes history.db. Others read it at the same time. */
export class HistoryDatabase {
  readonly rows: HistoryRows;
  readonly #db: DatabaseSync;
  readonly #file: FileIdentity;
  readonly #statements: ReturnType<typeof prepare>;

  /** Opens the tables, and creates them if there are none. */
  constructor(directory: string) {
    const path = historyPath(directory);
    createPrivateFile(path);
    const db = new DatabaseSync(path, { timeout: 1_000 });
    this.#db = db;
    try {
      db.exec("PRAGMA cell_size_check = ON");
      const format = db.prepare("PRAGMA user_version").get()!["user_version"] as number;
      if (format !== 0 && format !== HISTORY_FORMAT) {
        throw new Error(`a newer version of Tailgate has written it (format ${format})`);
      }
      // Before the first table: blocks that have expired give back their space.
      if (format === 0) db.exec("PRAGMA auto_vacuum = INCREMENTAL");
      db.exec("PRAGMA journal_mode = WAL");
      db.exec("PRAGMA synchronous = FULL");
      db.exec("PRAGMA secure_delete = ON");
      // Checkpoints are made between blocks.
      db.exec("PRAGMA wal_autocheckpoint = 0");
      if (format === 0) create(db);
      this.#statements = prepare(db);
      this.rows = new HistoryRows(db);
      this.#file = new FileIdentity(path);
      // Without these nothing is known about the file.
      for (const type of TYPES) this.rows.floor(type);
      if (!Number.isSafeInteger(this.rows.merged)) throw new Error("its state is damaged");
    } catch (error) {
      db.close();
      throw error;
    }
  }

  /** Returns a reader that reads through this connection. */
  reader(): HistoryReader {
    return new HistoryReader(this.#db);
  }

  /** False if its file was deleted or moved away. */
  get isInPlace(): boolean {
    return this.#file.isInPlace;
  }

  /** The size of the file. */
  get fileBytes(): number {
    return this.#pragma("page_count") * this.#pragma("page_size");
  }

  #pragma(name: string): number {
    return Object.values(this.#db.prepare(`PRAGMA ${name}`).get()!)[0] as number;
  }

  /** Makes all of it durable, or throws and stores nothing of it. Returns the ids of the blocks. */
  commit({ blocks, replaced, gaps, merged }: HistoryCommit): number[] {
    return this.#transaction(() => {
      for (const id of replaced) this.#delete(id);
      const ids = blocks.map(({ type, block }) => this.#insert(type, block));
      for (const gap of gaps) {
        for (const type of gap.type === undefined ? TYPES : [gap.type]) this.#insertGap(type, gap);
      }
      if (merged !== this.rows.merged) this.#setState("merged", merged);
      return ids;
    });
  }

  #insert(type: EnvelopeType, block: EncodedBlock): number {
    const { directory, chunks, filter, rules } = block;
    if (chunks.length > CHUNKS_MAX) throw new RangeError(`a block of ${chunks.length} chunks`);
    const { insertRules, insertBlock, insertChunk, insertFilter } = this.#statements;
    insertRules.run(rules);
    const id = this.#statements.nextId.get()!["id"] as number;
    const stored = [directory, ...chunks, ...filter].reduce((sum, { length }) => sum + length, 0);
    const head = {
      id,
      type: TYPES.indexOf(type),
      from: block.firstSequence,
      to: block.lastSequence,
      records: block.length,
      timeMin: block.timeMin,
      timeMax: block.timeMax,
      appendedMin: block.appendedMin,
      appendedMax: block.appendedMax,
      levels: block.levels,
      rules,
      stored,
    };
    const columns = { ...head, levels: JSON.stringify(block.levels) };
    insertBlock.run({ ...columns, crc: blockChecksum(head, directory), directory });
    for (const [index, bytes] of chunks.entries()) {
      const chunk = CHUNKS_MAX * id + index;
      insertChunk.run(chunk, checksum("chunk", [chunk], bytes), bytes);
    }
    for (const [part, bytes] of filter.entries()) {
      insertFilter.run(part, id, checksum("filter", [part, id], bytes), bytes);
    }
    return id;
  }

  #insertGap(type: EnvelopeType, { from, to }: Gap): void {
    this.#statements.insertGap.run(TYPES.indexOf(type), to, from);
  }

  #delete(id: number): void {
    this.#statements.deleteChunks.run(CHUNKS_MAX * id, CHUNKS_MAX * (id + 1));
    this.#statements.deleteFilter.run(id);
    this.#statements.deleteBlock.run(id);
  }

  /** Deletes these blocks of a type, the oldest ones, with everything below `floor`. */
  expire(type: EnvelopeType, ids: readonly number[], floor: number): void {
    this.#transaction(() => {
      for (const id of ids) this.#delete(id);
      this.#statements.deleteGaps.run(TYPES.indexOf(type), floor);
      this.#setState(`floor.${type}`, floor);
    });
  }

  /** Gives space back to the file system if much of the file is unused. Returns whether there is more to do. */
  vacuum(): boolean {
    if (this.#pragma("freelist_count") <= FREE_PAGES_MAX) return false;
    // Every row of the result is a page that was freed.
    this.#db.prepare(`PRAGMA incremental_vacuum(${VACUUMED_PAGES})`).all();
    return true;
  }

  #setState(name: string, value: number): void {
    this.#statements.setState.run(name, value, checksum("state", [name, value]));
  }

  /** Moves what was committed into the tables; with `TRUNCATE`, nothing of what was deleted is left in the log. */
  checkpoint(mode: "PASSIVE" | "TRUNCATE"): void {
    this.#db.prepare(`PRAGMA wal_checkpoint(${mode})`).all();
  }

  #transaction<Result>(work: () => Result): Result {
    this.#db.exec("BEGIN IMMEDIATE");
    try {
      const result = work();
      this.#db.exec("COMMIT");
      return result;
    } catch (error) {
      if (this.#db.isTransaction) this.#db.exec("ROLLBACK");
      throw error;
    }
  }

  close(): void {
    this.#db.close();
  }
}

function create(db: DatabaseSync): void {
  db.exec("BEGIN IMMEDIATE");
  db.exec(HISTORY_SCHEMA);
  const insert = db.prepare("INSERT INTO state (name, value, crc) VALUES (?, ?, ?)");
  for (const [name, value] of [
    ["merged", 0],
    ...TYPES.map((type) => [`floor.${type}`, 1]),
  ] as const) {
    insert.run(name, value, checksum("state", [name, value]));
  }
  db.exec(`PRAGMA user_version = ${HISTORY_FORMAT}`);
  db.exec("COMMIT");
}

function prepare(db: DatabaseSync) {
  return {
    insertRules: db.prepare("INSERT OR IGNORE INTO rules (text) VALUES (?)"),
    // Ids are never used again: a reader that has one of a replaced block must not find another.
    nextId: db.prepare(
      "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'block'), 0) + 1 AS id",
    ),
    insertBlock: db.prepare(`INSERT INTO block (id, type, first, last, records, time_min, time_max,
      appended_min, appended_max, levels, rules, stored, crc, directory)
      SELECT :id, :type, :from, :to, :records, :timeMin, :timeMax,
      :appendedMin, :appendedMax, :levels, rules.id, :stored, :crc, :directory
      FROM rules WHERE rules.text = :rules`),
    insertChunk: db.prepare("INSERT INTO chunk (id, crc, bytes) VALUES (?, ?, ?)"),
    insertFilter: db.prepare("INSERT INTO filter (part, block, crc, bytes) VALUES (?, ?, ?, ?)"),
    insertGap: db.prepare("INSERT OR REPLACE INTO gap (type, last, first) VALUES (?, ?, ?)"),
    deleteBlock: db.prepare("DELETE FROM block WHERE id = ?"),
    deleteChunks: db.prepare("DELETE FROM chunk WHERE id >= ? AND id < ?"),
    deleteFilter: db.prepare(
      `DELETE FROM filter WHERE block = ? AND part IN (${[...Array(FILTER_PARTS).keys()].join()})`,
    ),
    deleteGaps: db.prepare("DELETE FROM gap WHERE type = ? AND last < ?"),
    setState: db.prepare("INSERT OR REPLACE INTO state (name, value, crc) VALUES (?, ?, ?)"),
  };
}

/** A history that was opened, and what became of a file that could not be read. */
export interface OpenedHistory {
  readonly database: HistoryDatabase;
  readonly damage?: { readonly why: string; readonly aside: string };
}

/**
 * Opens the history of that directory. A file that cannot be read is put aside, never deleted, and a new one begun; with
 * `isNew`, in any case.
 */
export function openHistory(directory: string, { isNew = false } = {}): OpenedHistory {
  try {
    if (isNew && existsSync(historyPath(directory))) throw new Error("it cannot be read");
    return { database: new HistoryDatabase(directory) };
  } catch (error) {
    if (!isUnreadable(error)) throw error;
    const aside = putAside(historyPath(directory));
    return { database: new HistoryDatabase(directory), damage: { why: textOf(error), aside } };
  }
}

const SQLITE_PERM = 3;
const SQLITE_BUSY = 5;
const SQLITE_NOMEM = 7;
const SQLITE_IOERR = 10;
const SQLITE_CORRUPT = 11;
const SQLITE_FULL = 13;
const SQLITE_NOTADB = 26;
const SQLITE_IOERR_SHORT_READ = 522;

/** True if SQLite has found damage that nothing else tells about. */
export function isCorrupt(error: unknown): boolean {
  const { errcode = 0 } = error as { errcode?: number };
  return (
    [SQLITE_CORRUPT, SQLITE_NOTADB].includes(errcode & 0xff) || errcode === SQLITE_IOERR_SHORT_READ
  );
}

/** Of an error while the file is opened: false for failures of the system, which say nothing about the file. */
export function isUnreadable(error: unknown): boolean {
  const { errcode, code } = error as { errcode?: number; code?: string };
  if (errcode === SQLITE_IOERR_SHORT_READ) return true;
  const isSystem = [SQLITE_PERM, SQLITE_BUSY, SQLITE_NOMEM, SQLITE_IOERR, SQLITE_FULL].includes(
    (errcode ?? 0) & 0xff,
  );
  return !isSystem && !(code?.startsWith("E") === true && !code.startsWith("ERR_"));
}

function putAside(path: string): string {
  const aside = asidePath(path);
  // The index of the log belongs to the path and is made again.
  rmSync(`${path}-shm`, { force: true });
  for (const suffix of ["-wal", ""]) {
    if (existsSync(path + suffix)) renameSync(path + suffix, aside + suffix);
  }
  return aside;
}
