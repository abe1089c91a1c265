import { DatabaseSync, type StatementSync } from "node:sqlite";
import type { EnvelopeType } from "../plugin.ts";
import { makeOwnFile } from "./own-file.ts";
import { SPANS_SCHEMA, TimeSpans } from "./time-spans.ts";

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

export const LANES = ["system_log", "audit_log"] as const satisfies readonly EnvelopeType[];

interface LaneStatements {
  readonly insert: StatementSync;
  readonly newest: StatementSync;
  readonly oldest: StatementSync;
  /** In the index alone: where the nearest commits lie. */
  readonly asc: StatementSync;
  readonly desc: StatementSync;
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
  readonly insertEvent: StatementSync;
  readonly forgetEvents: StatementSync;

  constructor(db: DatabaseSync) {
    this.lanes = {
      system_log: laneStatements(db, "system_log"),
      audit_log: laneStatements(db, "audit_log"),
    };
    this.insertEpoch = db.prepare("INSERT INTO epochs (first, epoch) VALUES (?, ?)");
    this.insertHole = db.prepare("INSERT INTO holes (last, first, reason) VALUES (?, ?, ?)");
    this.holesIn = db.prepare(
      "SELECT first, last, reason FROM holes WHERE last >= ? AND first <= ? ORDER BY last",
    );
    this.deleteHolesBelow = db.prepare("DELETE FROM holes WHERE last < ?");
    this.setChain = db.prepare(
      "INSERT OR REPLACE INTO chain (id, count, seq, head) VALUES (1, ?, ?, ?)",
    );
    this.insertEvent = db.prepare(
      "INSERT INTO events (seq, key, digest, hash) VALUES (?, ?, ?, ?)",
    );
    this.forgetEvents = db.prepare(
      "DELETE FROM events WHERE seq <= (SELECT seq FROM events ORDER BY seq DESC LIMIT 1 OFFSET ?)",
    );
    this.setCursor = db.prepare(
      "INSERT OR REPLACE INTO cursors (consumer, sequence) VALUES (?, ?)",
    );
    this.setMemory = db.prepare("INSERT OR REPLACE INTO memories (owner, text) VALUES (?, ?)");
  }
}

function laneStatements(db: DatabaseSync, type: EnvelopeType): LaneStatements {
  // The index has all that the search needs: a row that cannot be read does not keep from finding the next one.
  const index = `SELECT first, last FROM ${type} INDEXED BY ${type}_time`;
  return {
    insert: db.prepare(
      `INSERT INTO ${type} (last, first, records, appended, time_min, time_max, total, crc, bytes)
      VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    ),
    newest: db.prepare(`SELECT last, total FROM ${type} ORDER BY last DESC LIMIT 1`),
    oldest: db.prepare(`SELECT last, appended, total FROM ${type} ORDER BY last LIMIT ?`),
    asc: db.prepare(`${index} WHERE last >= ? ORDER BY last LIMIT 1`),
    desc: db.prepare(`${index} WHERE last <= ? ORDER BY last DESC LIMIT 1`),
    row: db.prepare(`SELECT appended, crc, bytes FROM ${type} WHERE last = ?`),
    deleteBelow: db.prepare(`DELETE FROM ${type} WHERE last < ?`),
    spans: new TimeSpans(db, type),
  };
}

/** SQLite gives its write-ahead log the mode of the database, and follows no link to it. */
export function connect(path: string): DatabaseSync {
  makeOwnFile(path);
  const db = new DatabaseSync(path);
  try {
    // Exclusive before the first access: then the write-ahead log needs no shared memory.
    db.exec("PRAGMA locking_mode = EXCLUSIVE");
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
    return db;
  } catch (error) {
    db.close();
    throw error;
  }
}

function create(db: DatabaseSync): void {
  db.exec("BEGIN IMMEDIATE");
  db.exec(SCHEMA);
  db.exec(SET_FORMAT);
  db.exec("COMMIT");
}

/** A journal of a newer Tailgate is not damaged, and is left alone. */
class UnknownFormatError extends Error {
  constructor(format: number) {
    super(`it has format ${format}, and this version of Tailgate reads ${FORMAT}`);
  }
}

const SQLITE_CORRUPT = 11;
const SQLITE_NOTADB = 26;

export function isDamage(error: unknown): boolean {
  const code = (error as { errcode?: number }).errcode;
  return code !== undefined && [SQLITE_CORRUPT, SQLITE_NOTADB].includes(code & 0xff);
}
