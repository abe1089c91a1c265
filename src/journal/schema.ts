import { DatabaseSync, type DatabaseSyncOptions, type StatementSync } from "node:sqlite";
import { crc32 } from "node:zlib";
import type { EnvelopeType } from "../plugin/index.ts";
import { makeOwnFile } from "./own-file.ts";
import { OrderError, SPANS_SCHEMA, TimeSpans } from "./time-spans.ts";

/** Changes when an older Tailgate could not read what this one writes. */
const FORMAT = 2;
/** In it no lane is packed (packed-lane.ts). A journal of this form is gone on with in the new one. */
const FORMAT_UNPACKED = 1;

const SET_FORMAT = `PRAGMA user_version = ${FORMAT}`;

/** `total` is the sum of the bytes of all rows up to this one, so that a lane's size is a difference. */
const LANE_COLUMNS = `
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
  CREATE TABLE system_log (${LANE_COLUMNS});
  CREATE TABLE audit_log (${LANE_COLUMNS});
  CREATE INDEX system_log_time ON system_log (last, time_min, time_max, first);
  CREATE INDEX audit_log_time ON audit_log (last, time_min, time_max, first);`;

/** Came later: journals that were made before get it, and those who do not know it lose nothing. */
const MEMORIES_SCHEMA =
  "CREATE TABLE IF NOT EXISTS memories (owner TEXT PRIMARY KEY, text TEXT NOT NULL) WITHOUT ROWID";

/**
 * The small tables, with the columns that each row's `crc` covers: SQLite has no checksums, and a wrong cursor or hash
 * would go unnoticed. (A block has its own, which it is checked against when it is read.)
 */
export const CHECKED_COLUMNS = {
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

/** Of rows from before there were checksums. */
const UNCHECKED = -1;

/** True of a row that is not as it was written. */
export function isDamagedRow(table: CheckedTable): string {
  return `crc IS NOT ${UNCHECKED} AND crc IS NOT checked(${CHECKED_COLUMNS[table].join(", ")})`;
}

function insertion(table: CheckedTable, verb: "INSERT" | "INSERT OR REPLACE" = "INSERT"): string {
  const columns = CHECKED_COLUMNS[table];
  const values = columns.map((_, index) => `?${index + 1}`).join(", ");
  return `${verb} INTO ${table} (${columns.join(", ")}, crc) VALUES (${values}, checked(${values}))`;
}

export const LANES = ["system_log", "audit_log"] as const satisfies readonly EnvelopeType[];

interface NearestCommit {
  readonly byIndex: StatementSync;
  readonly byTable: StatementSync;
}

interface LaneStatements {
  readonly insert: StatementSync;
  readonly newest: StatementSync;
  readonly oldest: StatementSync;
  /** Where the nearest commits lie, by the index and by the table itself: damage in one of them can be seen. */
  readonly asc: NearestCommit;
  readonly desc: NearestCommit;
  readonly row: StatementSync;
  readonly deleteBelow: StatementSync;
  readonly spans: TimeSpans;
}

/** Prepared once: preparing costs as much as a small commit. */
export class Statements {
  readonly lanes: Readonly<Record<EnvelopeType, LaneStatements>>;
  readonly insertEpoch: StatementSync;
  readonly insertHole: StatementSync;
  readonly holesIn: StatementSync;
  readonly deleteHolesBelow: StatementSync;
  readonly setChain: StatementSync;
  readonly setCursor: StatementSync;
  readonly setMemory: StatementSync;
  readonly setMeta: StatementSync;
  readonly insertEvent: StatementSync;
  readonly forgetEvents: StatementSync;

  constructor(db: DatabaseSync) {
    this.lanes = {
      system_log: laneStatements(db, "system_log"),
      audit_log: laneStatements(db, "audit_log"),
    };
    this.insertEpoch = db.prepare(insertion("epochs"));
    this.insertHole = db.prepare(insertion("holes", "INSERT OR REPLACE"));
    this.holesIn = db.prepare(
      "SELECT first, last, reason FROM holes WHERE last >= ? AND first <= ? ORDER BY last",
    );
    this.deleteHolesBelow = db.prepare("DELETE FROM holes WHERE last < ?");
    this.setChain = db.prepare(
      "INSERT OR REPLACE INTO chain (id, count, seq, head, crc) VALUES (1, ?1, ?2, ?3, checked(?1, ?2, ?3))",
    );
    this.insertEvent = db.prepare(insertion("events"));
    this.forgetEvents = db.prepare(
      "DELETE FROM events WHERE seq <= (SELECT seq FROM events ORDER BY seq DESC LIMIT 1 OFFSET ?)",
    );
    this.setCursor = db.prepare(insertion("cursors", "INSERT OR REPLACE"));
    this.setMemory = db.prepare(insertion("memories", "INSERT OR REPLACE"));
    this.setMeta = db.prepare(insertion("meta", "INSERT OR REPLACE"));
  }
}

function laneStatements(db: DatabaseSync, type: EnvelopeType): LaneStatements {
  // The index has all that the search needs: a row that cannot be read does not keep from finding the next one.
  const nearest = (rest: string): NearestCommit => ({
    byIndex: db.prepare(`SELECT first, last FROM ${type} INDEXED BY ${type}_time ${rest}`),
    byTable: db.prepare(`SELECT first, last FROM ${type} NOT INDEXED ${rest}`),
  });
  return {
    insert: db.prepare(
      `INSERT INTO ${type} (last, first, records, appended, time_min, time_max, total, crc, bytes)
      VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    ),
    newest: db.prepare(`SELECT last, total FROM ${type} ORDER BY last DESC LIMIT 1`),
    oldest: db.prepare(`SELECT last, appended, total FROM ${type} ORDER BY last LIMIT ?`),
    asc: nearest("WHERE last >= ? ORDER BY last LIMIT 1"),
    desc: nearest("WHERE last <= ? ORDER BY last DESC LIMIT 1"),
    row: db.prepare(`SELECT appended, crc, bytes FROM ${type} WHERE last = ?`),
    deleteBelow: db.prepare(`DELETE FROM ${type} WHERE last < ?`),
    spans: new TimeSpans(db, type),
  };
}

/** Opens a database file, with the function that the checksums of rows are made by. */
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

/** SQLite gives its write-ahead log the mode of the database, and follows no link to it. */
export function connect(path: string): DatabaseSync {
  makeOwnFile(path);
  const db = openFile(path);
  try {
    // Exclusive before the first access: then the write-ahead log needs no shared memory.
    db.exec("PRAGMA locking_mode = EXCLUSIVE");
    // Finds cells that reach beyond their page when a page is read, and not only when they are.
    db.exec("PRAGMA cell_size_check = ON");
    const format = db.prepare("PRAGMA user_version").get()!["user_version"] as number;
    if (![0, FORMAT_UNPACKED, FORMAT].includes(format)) throw new UnknownFormatError(format);
    db.exec("PRAGMA journal_mode = WAL");
    db.exec("PRAGMA synchronous = FULL");
    // Checkpoints are made between commits, when nobody waits.
    db.exec("PRAGMA wal_autocheckpoint = 0");
    if (format === 0) create(db);
    if (format === FORMAT_UNPACKED) db.exec(SET_FORMAT);
    // A journal from before there were spans gets them with what comes.
    db.exec(SPANS_SCHEMA);
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

/** They came later: those of older Tailgates do not have them, and do not need to know them. */
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

export function hasChecksums(db: DatabaseSync, table: CheckedTable): boolean {
  return db
    .prepare(`PRAGMA table_info(${table})`)
    .all()
    .some(({ name }) => name === "crc");
}

/** A journal of a newer Tailgate is not damaged, and is left alone. */
class UnknownFormatError extends Error {
  constructor(format: number) {
    super(`it has format ${format}, and this version of Tailgate reads ${FORMAT}`);
  }
}

/** Thrown when what SQLite has read cannot be what was written. */
export class DamageError extends Error {}

const SQLITE_ERROR = 1;
const SQLITE_CORRUPT = 11;
/** A row that is there already, or that cannot be as a table wants it. */
const SQLITE_CONSTRAINT = 19;
const SQLITE_MISMATCH = 20;
const SQLITE_NOTADB = 26;
/** The file ends before the page that was asked for. */
const SQLITE_IOERR_SHORT_READ = 522;

const DAMAGE = new Set([SQLITE_CORRUPT, SQLITE_CONSTRAINT, SQLITE_MISMATCH, SQLITE_NOTADB]);

export function isDamage(error: unknown): boolean {
  if (error instanceof DamageError || error instanceof OrderError) return true;
  const { errcode, code } = error as { errcode?: number; code?: string };
  // An integer that is no sequence, size or time of ours.
  if (code === "ERR_OUT_OF_RANGE") return true;
  if (errcode === undefined) return false;
  return errcode === SQLITE_IOERR_SHORT_READ || DAMAGE.has(errcode & 0xff);
}

/** While a journal is opened, statements that never change can fail only because its schema is not as it was made. */
export function asDamage(error: unknown): unknown {
  const { errcode } = error as { errcode?: number };
  if (errcode !== SQLITE_ERROR) return error;
  return new DamageError((error as Error).message, { cause: error });
}
