/** The tables of the journal's database: their columns, checksums and statements, and how the file is opened. */

import { DatabaseSync, type DatabaseSyncOptions, type SQLOutputValue } from "node:sqlite";
import { constants, crc32, zstdCompressSync, zstdDecompressSync } from "node:zlib";
import type { EnvelopeType } from "../plugin/index.ts";
import {
  KEYED_EVENTS_MAX,
  type ChainState,
  type EpochStart,
  type StoredEvent,
  NO_EVENTS,
} from "./journal.ts";
import { createPrivateFile } from "../runtime/private-file.ts";
import { OrderError, TIME_INDEX_SCHEMA, TimeIndex } from "./time-index.ts";

/** Changes when an older Tailgate could not read what this one writes. */
const FORMAT = 3;
/** The formats with all envelopes, and before that without compressed blocks. Journals of these are upgraded in place. */
const OLDER_FORMATS = [2, 1];

const SET_FORMAT = `PRAGMA user_version = ${FORMAT}`;

/** `total` is the sum of the bytes of all rows up to this one, so that the size of a type's records is a difference. */
const BLOCK_COLUMNS = `
  last INTEGER PRIMARY KEY,
  first INTEGER NOT NULL,
  records INTEGER NOT NULL,
  appended INTEGER NOT NULL,
  time_min INTEGER NOT NULL,
  time_max INTEGER NOT NULL,
  total INTEGER NOT NULL,
  crc INTEGER NOT NULL,
  bytes BLOB NOT NULL`;

const SCHEMA = `
  CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
  CREATE TABLE epochs (first INTEGER NOT NULL, epoch TEXT NOT NULL);
  CREATE TABLE chain (id INTEGER PRIMARY KEY, count INTEGER NOT NULL, seq INTEGER NOT NULL, head TEXT NOT NULL);
  CREATE TABLE holes (last INTEGER PRIMARY KEY, first INTEGER NOT NULL, reason TEXT NOT NULL);
  CREATE TABLE cursors (consumer TEXT PRIMARY KEY, sequence INTEGER NOT NULL) WITHOUT ROWID;
  CREATE TABLE events (seq INTEGER PRIMARY KEY, key TEXT NOT NULL, digest TEXT NOT NULL, hash TEXT NOT NULL);
  CREATE TABLE system_log (${BLOCK_COLUMNS});
  CREATE TABLE audit_log (${BLOCK_COLUMNS});
  CREATE INDEX system_log_time ON system_log (last, time_min, time_max, first);
  CREATE INDEX audit_log_time ON audit_log (last, time_min, time_max, first);`;

/** Added later. Existing journals get the table, and a Tailgate that does not know it loses nothing. */
const MEMORIES_SCHEMA =
  "CREATE TABLE IF NOT EXISTS memories (owner TEXT PRIMARY KEY, text TEXT NOT NULL) WITHOUT ROWID";

/**
 * The small tables, with the columns that each row's `crc` covers: SQLite has no checksums, and a wrong cursor or hash
 * would go unnoticed. (A block has its own checksum, which is verified when it is read.)
 */
const CHECKED_COLUMNS = {
  meta: ["name", "value"],
  epochs: ["first", "epoch"],
  chain: ["count", "seq", "head"],
  holes: ["last", "first", "reason"],
  cursors: ["consumer", "sequence"],
  events: ["seq", "key", "digest", "hash"],
  memories: ["owner", "text"],
  system_log_spans: ["last", "time_min", "time_max"],
  audit_log_spans: ["last", "time_min", "time_max"],
} as const;

export type CheckedTable = keyof typeof CHECKED_COLUMNS;

/** The checksum of rows that were written before there were checksums. */
const UNCHECKED = -1;

/** True for a row that is not as it was written. */
function isDamagedRow(table: CheckedTable): string {
  return `crc IS NOT ${UNCHECKED} AND crc IS NOT checked(${CHECKED_COLUMNS[table].join(", ")})`;
}

function insertion(table: CheckedTable, verb: "INSERT" | "INSERT OR REPLACE" = "INSERT"): string {
  const columns = CHECKED_COLUMNS[table];
  const values = columns.map((_, index) => `?${index + 1}`).join(", ");
  return `${verb} INTO ${table} (${columns.join(", ")}, crc) VALUES (${values}, checked(${values}))`;
}

/** The types of records, which are stored apart; also the names of their tables. */
export const TYPES = ["system_log", "audit_log"] as const satisfies readonly EnvelopeType[];

/** Prepares the statements once: preparing costs as much as a small commit. */
export function prepareStatements(db: DatabaseSync) {
  return {
    blocks: {
      system_log: blockStatements(db, "system_log"),
      audit_log: blockStatements(db, "audit_log"),
    },
    insertEpoch: db.prepare(insertion("epochs")),
    insertGap: db.prepare(insertion("holes", "INSERT OR REPLACE")),
    gapsIn: db.prepare(
      "SELECT first, last, reason FROM holes WHERE last >= ? AND first <= ? ORDER BY last",
    ),
    deleteGapsBelow: db.prepare("DELETE FROM holes WHERE last < ?"),
    deleteGapsIn: db.prepare("DELETE FROM holes WHERE first >= ? AND last <= ?"),
    setChain: db.prepare(
      "INSERT OR REPLACE INTO chain (id, count, seq, head, crc) VALUES (1, ?1, ?2, ?3, checked(?1, ?2, ?3))",
    ),
    insertEvent: db.prepare(insertion("events")),
    forgetEvents: db.prepare(
      "DELETE FROM events WHERE seq <= (SELECT seq FROM events ORDER BY seq DESC LIMIT 1 OFFSET ?)",
    ),
    setCursor: db.prepare(insertion("cursors", "INSERT OR REPLACE")),
    setMemory: db.prepare(insertion("memories", "INSERT OR REPLACE")),
    setMeta: db.prepare(insertion("meta", "INSERT OR REPLACE")),
  } as const;
}

export type Statements = ReturnType<typeof prepareStatements>;

function blockStatements(db: DatabaseSync, type: EnvelopeType) {
  // The nearest block is found by the index and by the table itself, so that damage to either is noticed. The index
  // covers the search: an unreadable row does not prevent finding the next one.
  const nearest = (rest: string) => ({
    byIndex: db.prepare(`SELECT first, last FROM ${type} INDEXED BY ${type}_time ${rest}`),
    byTable: db.prepare(`SELECT first, last FROM ${type} NOT INDEXED ${rest}`),
  });
  return {
    insert: db.prepare(
      `INSERT INTO ${type} (last, first, records, appended, time_min, time_max, total, crc, bytes)
      VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    ),
    newest: db.prepare(`SELECT last, appended, total FROM ${type} ORDER BY last DESC LIMIT 1`),
    oldest: db.prepare(
      `SELECT last, appended, total, length(bytes) AS bytes FROM ${type} ORDER BY last LIMIT ?`,
    ),
    upTo: db.prepare(`SELECT appended FROM ${type} WHERE last <= ? ORDER BY last DESC LIMIT 1`),
    asc: nearest("WHERE last >= ? ORDER BY last LIMIT 1"),
    desc: nearest("WHERE last <= ? ORDER BY last DESC LIMIT 1"),
    row: db.prepare(`SELECT appended, crc, bytes FROM ${type} WHERE last = ?`),
    deleteBelow: db.prepare(`DELETE FROM ${type} WHERE last < ?`),
    timeIndex: new TimeIndex(db, type),
  };
}

/** Returns the checksum of a block, which also covers its position. */
export function checksum(bytes: Uint8Array, first: number, last: number, appended: number): number {
  return crc32(bytes, crc32(`${first} ${last} ${appended}`));
}

/**
 * A row has a block as it was made, which begins with the number of its format, or this mark, the block's size (four
 * bytes each) and the block, compressed.
 */
const COMPRESSED = 0x5a67_6c54;
const COMPRESSED_HEAD_BYTES = 8;

/** To compress a smaller block takes longer than to write it. */
const COMPRESSED_BYTES_MIN = 16 << 10;

/** A higher level costs more than the disk space that it saves is worth (docs/benchmarks.md). */
const COMPRESSION = { [constants.ZSTD_c_compressionLevel]: 1 };

/** Returns the block as it is to be stored: unchanged if it is small or does not get smaller. */
export function compressBlock(block: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  if (block.length < COMPRESSED_BYTES_MIN) return block;
  const chunkSize = compressedBytesMax(block.length);
  const frame = zstdCompressSync(block, { chunkSize, params: COMPRESSION });
  if (COMPRESSED_HEAD_BYTES + frame.length >= block.length) return block;
  const bytes = Buffer.allocUnsafeSlow(COMPRESSED_HEAD_BYTES + frame.length);
  bytes.writeUInt32LE(COMPRESSED, 0);
  bytes.writeUInt32LE(block.length, 4);
  bytes.set(frame, COMPRESSED_HEAD_BYTES);
  return bytes;
}

/** With room for this many bytes zstd needs no buffers of its own (ZSTD_COMPRESSBOUND in zstd.h). */
function compressedBytesMax(blockBytes: number): number {
  return blockBytes + (blockBytes >> 8) + 512;
}

/**
 * Returns the block that was stored as these bytes, in memory of its own.
 * @throws if they are not a block.
 */
export function decompressBlock(bytes: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  const { buffer, byteOffset, byteLength } = bytes;
  const head = new DataView(buffer, byteOffset, byteLength);
  if (byteLength < COMPRESSED_HEAD_BYTES || head.getUint32(0, true) !== COMPRESSED) return bytes;
  const size = head.getUint32(4, true);
  // With room for one byte more, zlib notices the end without allocating another chunk.
  const block = zstdDecompressSync(bytes.subarray(COMPRESSED_HEAD_BYTES), {
    chunkSize: size + 1,
    maxOutputLength: size,
  });
  if (block.length !== size) throw new RangeError(`${block.length} bytes instead of ${size}`);
  // A part of Node's buffer pool could not be transferred to another thread.
  return block.buffer.byteLength === size + 1 ? block : new Uint8Array(block);
}

/** Opens a database file and gives it the function that computes the checksums of rows. */
export function openFile(path: string, options: DatabaseSyncOptions = {}): DatabaseSync {
  const db = new DatabaseSync(path, options);
  const settings = {
    deterministic: true,
    directOnly: true,
    useBigIntArguments: true,
    varargs: true,
  };
  db.function("checked", settings, (...values) => crc32(values.join("\0")));
  return db;
}

/**
 * Opens the journal's database, creates it if there is none, and upgrades an older one. SQLite gives the write-ahead log
 * the mode of the database, and follows no link to it.
 */
export function connect(path: string): DatabaseSync {
  createPrivateFile(path);
  const db = openFile(path);
  try {
    // Exclusive before the first access: then the write-ahead log needs no shared memory.
    db.exec("PRAGMA locking_mode = EXCLUSIVE");
    // Finds cells that reach beyond their page when the page is read, not only when the cell is.
    db.exec("PRAGMA cell_size_check = ON");
    const format = db.prepare("PRAGMA user_version").get()!["user_version"] as number;
    if (![0, ...OLDER_FORMATS, FORMAT].includes(format)) throw new UnknownFormatError(format);
    db.exec("PRAGMA journal_mode = WAL");
    db.exec("PRAGMA synchronous = FULL");
    // What has expired or was merged must not be readable in the file any more.
    db.exec("PRAGMA secure_delete = ON");
    // Checkpoints are made between commits, when nobody waits.
    db.exec("PRAGMA wal_autocheckpoint = 0");
    if (format === 0) create(db);
    if (OLDER_FORMATS.includes(format)) db.exec(SET_FORMAT);
    // In an older journal the time index starts with the next commits.
    db.exec(TIME_INDEX_SCHEMA);
    db.exec(MEMORIES_SCHEMA);
    addChecksums(db);
    return db;
  } catch (error) {
    db.close();
    throw asDamage(error);
  }
}

function create(db: DatabaseSync): void {
  db.exec("BEGIN IMMEDIATE");
  db.exec(SCHEMA);
  db.exec(SET_FORMAT);
  db.exec("COMMIT");
}

/** Older versions of Tailgate neither have these columns nor need to know them. */
function addChecksums(db: DatabaseSync): void {
  const tables = (Object.keys(CHECKED_COLUMNS) as CheckedTable[]).filter(
    (table) => !hasChecksums(db, table),
  );
  if (tables.length === 0) return;
  db.exec("BEGIN IMMEDIATE");
  for (const table of tables) {
    db.exec(`ALTER TABLE ${table} ADD COLUMN crc INTEGER NOT NULL DEFAULT ${UNCHECKED}`);
  }
  db.exec("COMMIT");
}

function hasChecksums(db: DatabaseSync, table: CheckedTable): boolean {
  return db
    .prepare(`PRAGMA table_info(${table})`)
    .all()
    .some(({ name }) => name === "crc");
}

type TableRow = Record<string, SQLOutputValue>;

/** Returns the rows of a small table that are as they were written. */
export function intactRows(db: DatabaseSync, table: CheckedTable, order = ""): TableRow[] {
  const condition = hasChecksums(db, table) ? `WHERE NOT (${isDamagedRow(table)})` : "";
  return db.prepare(`SELECT * FROM ${table} ${condition} ${order}`).all();
}

/** Returns the rows of a small table that are not as they were written. */
export function damagedRows(db: DatabaseSync, table: CheckedTable): TableRow[] {
  return db.prepare(`SELECT * FROM ${table} WHERE ${isDamagedRow(table)}`).all();
}

/** Deletes the damaged rows of the small tables and returns the names of the tables that had some. */
export function deleteDamagedRows(db: DatabaseSync): CheckedTable[] {
  const tables = Object.keys(CHECKED_COLUMNS) as CheckedTable[];
  return tables.filter((table) => {
    if (damagedRows(db, table).length === 0) return false;
    // Without any span a search looks at each commit; with only some of them it would skip commits.
    const rows = table.endsWith("_spans") ? "" : `WHERE ${isDamagedRow(table)}`;
    db.exec(`DELETE FROM ${table} ${rows}`);
    return true;
  });
}

export function readEpochs(db: DatabaseSync): EpochStart[] {
  const rows = intactRows(db, "epochs", "ORDER BY rowid");
  return rows.map(({ first, epoch }) => ({ first: first as number, epoch: epoch as string }));
}

export function readChain(db: DatabaseSync): ChainState {
  const [row] = intactRows(db, "chain");
  if (row === undefined) return NO_EVENTS;
  const { count, seq, head } = row as unknown as ChainState;
  return { count, seq, head };
}

export function readCursors(db: DatabaseSync): [string, number][] {
  const rows = intactRows(db, "cursors");
  return rows.map(({ consumer, sequence }) => [consumer as string, sequence as number]);
}

/** Returns the texts that plugins and the journal itself have saved, by owner. */
export function readMemories(db: DatabaseSync): [string, string][] {
  const rows = intactRows(db, "memories");
  return rows.map(({ owner, text }) => [owner as string, text as string]);
}

/** Returns the audit events that are remembered by their keys, oldest first. There are many: check them beforehand. */
export function readEvents(db: DatabaseSync, { areChecked = false } = {}): StoredEvent[] {
  const order = `ORDER BY seq DESC LIMIT ${KEYED_EVENTS_MAX}`;
  const newest = areChecked
    ? db.prepare(`SELECT * FROM events ${order}`).all()
    : intactRows(db, "events", order);
  return newest
    .toReversed()
    .map(({ seq, key, digest, hash }) => ({ seq, key, digest, hash }) as StoredEvent);
}

/** A journal of a newer Tailgate is not damaged, and is left alone. */
class UnknownFormatError extends Error {
  constructor(format: number) {
    super(
      `a newer version of Tailgate has written it (format ${format}; this one reads ${FORMAT}). Run that version, or restore a backup; the file is unchanged`,
    );
  }
}

/** Thrown when what SQLite has read cannot be what was written. */
export class DamageError extends Error {}

const SQLITE_ERROR = 1;
const SQLITE_CORRUPT = 11;
/** A row that exists already, or that violates a table's constraints. */
const SQLITE_CONSTRAINT = 19;
const SQLITE_MISMATCH = 20;
const SQLITE_NOTADB = 26;
/** The file ends before the requested page. */
const SQLITE_IOERR_SHORT_READ = 522;

const DAMAGE = new Set([SQLITE_CORRUPT, SQLITE_CONSTRAINT, SQLITE_MISMATCH, SQLITE_NOTADB]);

/** Whether an error means that the database is damaged. */
export function isDamage(error: unknown): boolean {
  if (error instanceof DamageError || error instanceof OrderError) return true;
  const { errcode, code } = error as { errcode?: number; code?: string };
  // An integer that cannot be a sequence, size or time of ours.
  if (code === "ERR_OUT_OF_RANGE") return true;
  if (errcode === undefined) return false;
  return errcode === SQLITE_IOERR_SHORT_READ || DAMAGE.has(errcode & 0xff);
}

/** While a journal is opened, a constant statement can only fail if the schema is not as it was created. */
export function asDamage(error: unknown): unknown {
  const { errcode } = error as { errcode?: number };
  if (errcode !== SQLITE_ERROR) return error;
  return new DamageError((error as Error).message, { cause: error });
}
