import { randomUUID } from "node:crypto";
import {
  closeSync,
  constants,
  existsSync,
  openSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { DatabaseSync, type StatementSync } from "node:sqlite";
import { crc32 } from "node:zlib";
import { NO_HASH } from "../encode/audit-line.ts";
import type { EnvelopeType, Gap } from "../plugin.ts";
import { KEYED_EVENTS_MAX, type StoredEvent } from "./journal.ts";
import type {
  ChainState,
  Commit,
  EpochStart,
  Hole,
  OpenedState,
  ReadQuery,
  ReadRow,
  ReadRows,
  Retention,
  StoredRange,
} from "./messages.ts";
import { SPANS_SCHEMA, TimeSpans, type Step } from "./time-spans.ts";

const DATABASE_FILE = "journal.db";

/** Stands beside a journal in which damage was found while it was at work: it is put aside at the next start. */
const DAMAGED_MARK = "-damaged";

/** Changes when an older Tailgate could not read what this one writes. */
const FORMAT = 1;

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
  CREATE TABLE holes (last INTEGER PRIMARY KEY, first INTEGER NOT NULL);
  CREATE TABLE cursors (consumer TEXT PRIMARY KEY, sequence INTEGER NOT NULL) WITHOUT ROWID;
  CREATE TABLE events (seq INTEGER PRIMARY KEY, key TEXT NOT NULL, digest TEXT NOT NULL, hash TEXT NOT NULL);
  CREATE TABLE system_log (${LANE_COLUMNS});
  CREATE TABLE audit_log (${LANE_COLUMNS});
  CREATE INDEX system_log_time ON system_log (last, time_min, time_max, first);
  CREATE INDEX audit_log_time ON audit_log (last, time_min, time_max, first);`;

const LANES = ["system_log", "audit_log"] as const satisfies readonly EnvelopeType[];

/** A page of reading ends with the commit that makes it as large as this. */
const PAGE_BYTES = 512 << 10;
const PAGE_ROWS = 256;

const DAY_MS = 86_400_000;

/** One transaction of trimming deletes so many rows: it must not keep a commit waiting. */
const TRIMMED_ROWS_MAX = 64;

interface Opened {
  readonly database: JournalDatabase;
  readonly state: OpenedState;
  /** What the operator has to know of the opening. */
  readonly alarm?: string;
}

interface Row {
  first: number;
  last: number;
  appended: number;
  crc: number;
  bytes: Uint8Array<ArrayBuffer>;
}

/** How far a search by time has come where it found nothing: the page ends there. */
type Stop = Exclude<Step, { first: number }>;

/** The smallest sequence from which on all records of a lane are kept. */
type Floors = Record<EnvelopeType, number>;

/**
 * The journal's tables (https://www.sqlite.org/wal.html). One connection, which holds the file's lock from the opening
 * to the end: so there is one writer, and a process that dies leaves no lock behind.
 */
export class JournalDatabase {
  readonly #path: string;
  readonly #db: DatabaseSync;
  readonly #retention: Retention;
  readonly #statements: Statements;
  readonly #floors: Floors;

  private constructor(path: string, retention: Retention) {
    const db = connect(path);
    this.#path = path;
    this.#db = db;
    this.#retention = retention;
    this.#statements = new Statements(db);
    this.#floors = {
      system_log: this.#meta("floor.system_log", 1),
      audit_log: this.#meta("floor.audit_log", 1),
    };
  }

  /**
   * Opens the journal of that directory, and makes one where there is none. What is there and cannot be read is put
   * aside, never deleted, and a new journal goes on with the numbers and the chain of evidence as far as they can be
   * found in it.
   */
  static open(directory: string, retention: Retention): Opened {
    const path = join(directory, DATABASE_FILE);
    if (existsSync(path + DAMAGED_MARK))
      return JournalDatabase.#anew(path, retention, "is damaged");
    try {
      const database = new JournalDatabase(path, retention);
      return { database, state: database.#begin() };
    } catch (error) {
      if (!isDamage(error)) throw error;
      return JournalDatabase.#anew(path, retention, `cannot be read (${(error as Error).message})`);
    }
  }

  static #anew(path: string, retention: Retention, why: string): Opened {
    const saved = salvaged(path);
    const aside = putAside(path);
    const database = new JournalDatabase(path, retention);
    database.#goOn(saved);
    const alarm = `The journal ${why} and was put aside as ${aside}. A new one goes on from sequence ${saved.newest + 1}.`;
    return { database, state: database.#begin(), alarm };
  }

  #goOn({ newest, chain, epochs, events }: Salvaged): void {
    this.transaction(() => {
      for (const type of LANES) {
        this.#floors[type] = newest + 1;
        this.#setMeta(`floor.${type}`, newest + 1);
      }
      for (const { first, epoch } of epochs) this.#statements.insertEpoch.run(first, epoch);
      this.#statements.setChain.run(chain.count, chain.seq, chain.head);
      this.#insertEvents(events);
    });
  }

  /** An unclean end begins a new epoch: numbers may have been given out and lost. */
  #begin(): OpenedState {
    const newest = this.#newest();
    const epochs = epochsOf(this.#db);
    this.transaction(() => {
      if (this.#meta("clean", 0) !== 1 || epochs.length === 0) {
        const start = { first: newest + 1, epoch: randomUUID() };
        this.#statements.insertEpoch.run(start.first, start.epoch);
        epochs.push(start);
      }
      this.#setMeta("clean", 0);
    });
    return {
      newest,
      epochs,
      holes: this.#holes(),
      chain: chainOf(this.#db),
      cursors: this.#cursors(),
      events: eventsOf(this.#db),
    };
  }

  /** Makes all of it durable, or throws and stores nothing of it. */
  commit({ ranges, holes, cursors, chain, events }: Commit): void {
    const statements = this.#statements;
    this.transaction(() => {
      for (const { first, last } of holes) statements.insertHole.run(last, first);
      for (const range of ranges) this.#insert(range);
      if (chain) statements.setChain.run(chain.count, chain.seq, chain.head);
      this.#insertEvents(events);
      for (const [consumer, sequence] of cursors) statements.setCursor.run(consumer, sequence);
    });
  }

  #insertEvents(events: readonly StoredEvent[]): void {
    for (const { seq, key, digest, hash } of events) {
      this.#statements.insertEvent.run(seq, key, digest, hash);
    }
  }

  #insert({ first, last, appendedAtMs, lanes }: StoredRange): void {
    for (const { type, records, timeMin, timeMax, bytes } of lanes) {
      const total = this.#totalOf(type) + bytes.length;
      const crc = crc32(bytes);
      this.#statements.lanes[type].insert.run(
        last,
        first,
        records,
        appendedAtMs,
        timeMin,
        timeMax,
        total,
        crc,
        bytes,
      );
      this.#statements.lanes[type].spans.add(last, timeMin, timeMax);
    }
  }

  #totalOf(type: EnvelopeType): number {
    const row = this.#statements.lanes[type].newest.get() as { total: number } | undefined;
    return row?.total ?? 0;
  }

  /** Reads whole commits from the one with the query's first record on. */
  read({ from, order, type, sinceMs, untilMs }: ReadQuery): ReadRows {
    const ascending = order === "asc";
    const newest = this.#newest();
    if (from < 1 || from > newest) return { from, to: from - 1, rows: [], gaps: [] };
    const rows: ReadRow[] = [];
    const gaps: Gap[] = [];
    let bytes = 0;
    let count = 0;
    let edge: number | undefined;
    let day: number | undefined;
    const types = type === undefined ? LANES : [type];
    const start = ascending ? from : this.#endOfCommit(from, types);
    try {
      for (const { lane, row } of this.#rows(types, ascending, start, sinceMs, untilMs)) {
        if ("stoppedAt" in row) {
          return this.#page({ from, edge: row.stoppedAt, ascending, rows, gaps, type });
        }
        const isSameCommit = edge === (ascending ? row.last : row.first);
        const isFull =
          bytes >= PAGE_BYTES || count >= PAGE_ROWS || dayOf(row) !== (day ??= dayOf(row));
        if (!isSameCommit && isFull) {
          return this.#page({ from, edge: edge!, ascending, rows, gaps, type });
        }
        edge = ascending ? row.last : row.first;
        bytes += row.bytes.length;
        count++;
        if (crc32(row.bytes) === row.crc) {
          rows.push({ firstSequence: row.first, appendedAtMs: row.appended, bytes: row.bytes });
        } else {
          gaps.push({ from: row.first, to: row.last, type: lane, reason: "damaged" });
        }
      }
    } catch (error) {
      if (!isDamage(error)) throw error;
      // Nobody can say how far the damage goes.
      const [first, last] = ascending
        ? [edge === undefined ? from : edge + 1, newest]
        : [1, edge === undefined ? from : edge - 1];
      gaps.push({ from: first, to: last, type, reason: "damaged" });
    }
    return this.#page({ from, edge: ascending ? newest : 1, ascending, rows, gaps, type });
  }

  /** The last sequence of the commit that holds this one. */
  #endOfCommit(sequence: number, types: readonly EnvelopeType[]): number {
    for (const type of types) {
      const row = this.#statements.lanes[type].at.get(sequence) as
        | { first: number; last: number }
        | undefined;
      if (row !== undefined && row.first <= sequence) return row.last;
    }
    return sequence;
  }

  /** The rows of the lanes in their order, those of one commit one after the other. */
  *#rows(
    types: readonly EnvelopeType[],
    ascending: boolean,
    start: number,
    sinceMs: number | undefined,
    untilMs: number | undefined,
  ): Generator<{ lane: EnvelopeType; row: Row | Stop }> {
    const isTimed = sinceMs !== undefined || untilMs !== undefined;
    const sources = types.map((lane) => {
      const rows = isTimed
        ? this.#timedRows(lane, ascending, start, sinceMs, untilMs)
        : this.#laneRows(lane, ascending, start);
      const next = (): Row | Stop | undefined => rows.next().value ?? undefined;
      return { lane, next, row: next() };
    });
    for (;;) {
      let best: (typeof sources)[number] | undefined;
      for (const source of sources) {
        if (source.row === undefined) continue;
        if (best === undefined || isNearer(source.row, best.row!, ascending)) best = source;
      }
      if (best === undefined) return;
      yield { lane: best.lane, row: best.row! };
      best.row = best.next();
    }
  }

  *#laneRows(lane: EnvelopeType, ascending: boolean, start: number): Generator<Row> {
    const statement = this.#statements.lanes[lane][ascending ? "asc" : "desc"];
    let row: Row | undefined;
    for (let position = start; (row = statement.get(position) as Row | undefined);) {
      yield row;
      position = ascending ? row.last + 1 : row.last - 1;
    }
  }

  /** Those that may have records of that time. */
  *#timedRows(
    lane: EnvelopeType,
    ascending: boolean,
    start: number,
    since = Number.MIN_SAFE_INTEGER,
    until = Number.MAX_SAFE_INTEGER,
  ): Generator<Row | Stop> {
    const { spans, row } = this.#statements.lanes[lane];
    const steps = ascending
      ? spans.upwards(start, since, until)
      : spans.downwards(start, since, until);
    for (const step of steps) {
      yield "stoppedAt" in step ? step : (row.get(step.last) as unknown as Row);
    }
  }

  #page(found: {
    from: number;
    edge: number;
    ascending: boolean;
    rows: ReadRow[];
    gaps: Gap[];
    type: EnvelopeType | undefined;
  }): ReadRows {
    const { ascending, edge, rows, type } = found;
    const [from, to] = ascending ? [found.from, edge] : [edge, found.from];
    const gaps = [...found.gaps, ...this.#deleted(from, to, type), ...this.#notStored(from, to)];
    return { from, to, rows, gaps: gaps.sort((one, other) => one.from - other.from) };
  }

  #deleted(from: number, to: number, type: EnvelopeType | undefined): Gap[] {
    const types = type === undefined ? LANES : [type];
    return types
      .filter((lane) => from < this.#floors[lane])
      .map((lane) => {
        const last = Math.min(to, this.#floors[lane] - 1);
        return { from, to: last, type: lane, reason: "retention" } as const;
      });
  }

  #notStored(from: number, to: number): Gap[] {
    const holes = this.#statements.holesIn.all(from, to) as unknown as Hole[];
    return holes.map(({ first, last }) => ({
      from: Math.max(from, first),
      to: Math.min(to, last),
      reason: "not_stored",
    }));
  }

  /** Deletes what is beyond retention, a bounded part of it; answers whether there is more. */
  trim(nowMs: number): boolean {
    this.#statements.forgetEvents.run(KEYED_EVENTS_MAX);
    return LANES.map((type) => this.#trimLane(type, nowMs)).some(Boolean);
  }

  #trimLane(type: EnvelopeType, nowMs: number): boolean {
    const statements = this.#statements.lanes[type];
    const newest = statements.newest.get() as { last: number; total: number } | undefined;
    if (newest === undefined) return false;
    const { bytes: bytesMax, ms } = this.#retention[type];
    const oldest = statements.oldest.all(TRIMMED_ROWS_MAX) as unknown as {
      last: number;
      appended: number;
      total: number;
    }[];
    let floor = 0;
    for (const { last, appended, total } of oldest) {
      // What is kept when this row goes is what came after it.
      const isTooMuch = newest.total - total >= bytesMax;
      if (last === newest.last || !(isTooMuch || appended < nowMs - ms)) break;
      floor = last + 1;
    }
    if (floor === 0) return false;
    this.transaction(() => {
      statements.deleteBelow.run(floor);
      statements.spans.deleteBelow(floor);
      this.#setMeta(`floor.${type}`, floor);
    });
    this.#floors[type] = floor;
    return oldest.at(-1)!.last < floor;
  }

  /** Runs it whole or not at all. */
  transaction(work: () => void): void {
    this.#db.exec("BEGIN IMMEDIATE");
    try {
      work();
      this.#db.exec("COMMIT");
    } catch (error) {
      if (this.#db.isTransaction) this.#db.exec("ROLLBACK");
      for (const type of LANES) this.#statements.lanes[type].spans.forget();
      throw error;
    }
  }

  /** Brings what was committed from the write-ahead log into the tables. Throws where it cannot. */
  checkpoint(mode: "PASSIVE" | "TRUNCATE"): void {
    const [result] = this.#db.prepare(`PRAGMA wal_checkpoint(${mode})`).all() as { busy: number }[];
    if (result?.busy !== 0) throw new Error("the write-ahead log is busy");
  }

  /** Sees to it that the next start puts this journal aside. */
  markDamaged(): void {
    writeFileSync(this.#path + DAMAGED_MARK, "");
  }

  /** Says that no number was given out that is not stored, and closes the file. */
  close(isClean: boolean): void {
    if (isClean) this.transaction(() => this.#setMeta("clean", 1));
    this.#db.close();
  }

  #newest(): number {
    return Math.max(
      ...LANES.map((type) => {
        const row = this.#statements.lanes[type].newest.get() as { last: number } | undefined;
        return row?.last ?? 0;
      }),
      ...this.#holes()
        .map(({ last }) => last)
        .slice(-1),
      this.#floors.system_log - 1,
      this.#floors.audit_log - 1,
    );
  }

  #meta(name: string, otherwise: number): number {
    const row = this.#db.prepare("SELECT value FROM meta WHERE name = ?").get(name);
    return (row?.["value"] as number | undefined) ?? otherwise;
  }

  #setMeta(name: string, value: number): void {
    this.#db.prepare("INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)").run(name, value);
  }

  #holes(): Hole[] {
    return this.#statements.holesIn.all(0, Number.MAX_SAFE_INTEGER) as unknown as Hole[];
  }

  #cursors(): [string, number][] {
    const rows = this.#db.prepare("SELECT consumer, sequence FROM cursors").all();
    return rows.map(({ consumer, sequence }) => [consumer as string, sequence as number]);
  }
}

/** Rows before stops: a page that ends at a stop has all that lies before it. */
function isNearer(one: Row | Stop, other: Row | Stop, ascending: boolean): boolean {
  const [place, otherPlace] = [one, other].map((step) =>
    "stoppedAt" in step ? step.stoppedAt : step.last,
  ) as [number, number];
  if (place === otherPlace) return "stoppedAt" in other && !("stoppedAt" in one);
  return ascending ? place < otherPlace : place > otherPlace;
}

/** A page has records of one UTC day, as a batch has. */
function dayOf({ appended }: Row): number {
  return Math.floor(appended / DAY_MS);
}

interface LaneStatements {
  readonly insert: StatementSync;
  readonly newest: StatementSync;
  readonly oldest: StatementSync;
  readonly at: StatementSync;
  readonly row: StatementSync;
  readonly asc: StatementSync;
  readonly desc: StatementSync;
  readonly deleteBelow: StatementSync;
  readonly spans: TimeSpans;
}

/** Prepared once: preparing costs as much as a small commit. */
class Statements {
  readonly lanes: Readonly<Record<EnvelopeType, LaneStatements>>;
  readonly insertEpoch: StatementSync;
  readonly insertHole: StatementSync;
  readonly holesIn: StatementSync;
  readonly setChain: StatementSync;
  readonly setCursor: StatementSync;
  readonly insertEvent: StatementSync;
  readonly forgetEvents: StatementSync;

  constructor(db: DatabaseSync) {
    this.lanes = {
      system_log: laneStatements(db, "system_log"),
      audit_log: laneStatements(db, "audit_log"),
    };
    this.insertEpoch = db.prepare("INSERT INTO epochs (first, epoch) VALUES (?, ?)");
    this.insertHole = db.prepare("INSERT INTO holes (last, first) VALUES (?, ?)");
    this.holesIn = db.prepare(
      "SELECT first, last FROM holes WHERE last >= ? AND first <= ? ORDER BY last",
    );
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
  }
}

function laneStatements(db: DatabaseSync, type: EnvelopeType): LaneStatements {
  const rows = `SELECT first, last, appended, crc, bytes FROM ${type}`;
  return {
    insert: db.prepare(
      `INSERT INTO ${type} (last, first, records, appended, time_min, time_max, total, crc, bytes)
      VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    ),
    newest: db.prepare(`SELECT last, total FROM ${type} ORDER BY last DESC LIMIT 1`),
    oldest: db.prepare(`SELECT last, appended, total FROM ${type} ORDER BY last LIMIT ?`),
    at: db.prepare(
      `SELECT first, last FROM ${type} INDEXED BY ${type}_time WHERE last >= ? ORDER BY last LIMIT 1`,
    ),
    row: db.prepare(`${rows} WHERE last = ?`),
    asc: db.prepare(`${rows} WHERE last >= ? ORDER BY last LIMIT 1`),
    desc: db.prepare(`${rows} WHERE last <= ? ORDER BY last DESC LIMIT 1`),
    deleteBelow: db.prepare(`DELETE FROM ${type} WHERE last < ?`),
    spans: new TimeSpans(db, type),
  };
}

const OPEN_FLAGS = constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW;

/** SQLite gives its write-ahead log the mode of the database. */
function connect(path: string): DatabaseSync {
  closeSync(openSync(path, OPEN_FLAGS, 0o600));
  const db = new DatabaseSync(path);
  try {
    // Exclusive before the first access: then the write-ahead log needs no shared memory, and the lock is held for good.
    db.exec("PRAGMA locking_mode = EXCLUSIVE");
    db.exec("PRAGMA journal_mode = WAL");
    db.exec("PRAGMA synchronous = FULL");
    // Checkpoints are made between commits, when nobody waits.
    db.exec("PRAGMA wal_autocheckpoint = 0");
    const { user_version: format } = db.prepare("PRAGMA user_version").get() as {
      user_version: number;
    };
    if (format === 0) create(db);
    else if (format !== FORMAT) throw new UnknownFormatError(format);
    // A journal from before there were spans gets them with what comes.
    db.exec(SPANS_SCHEMA);
    return db;
  } catch (error) {
    db.close();
    throw error;
  }
}

function create(db: DatabaseSync): void {
  db.exec("BEGIN IMMEDIATE");
  db.exec(SCHEMA);
  db.exec(`PRAGMA user_version = ${FORMAT}`);
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

/** What a journal that is put aside still tells. */
interface Salvaged {
  readonly newest: number;
  readonly chain: ChainState;
  readonly epochs: readonly EpochStart[];
  readonly events: readonly StoredEvent[];
}

function salvaged(path: string): Salvaged {
  const found = { newest: 0, chain: { count: 0, seq: 0, head: NO_HASH }, epochs: [], events: [] };
  const db = attempt(() => new DatabaseSync(path), undefined);
  if (db === undefined) return found;
  const chain = attempt(() => chainOf(db), found.chain);
  const epochs = attempt(() => epochsOf(db), []);
  const events = attempt(() => eventsOf(db), []);
  const lasts = LANES.map((type) =>
    attempt(() => {
      const row = db.prepare(`SELECT max(last) AS last FROM ${type}`).get();
      return (row?.["last"] as number | null) ?? 0;
    }, 0),
  );
  attempt(() => db.close(), undefined);
  return { newest: Math.max(chain.seq, ...lasts), chain, epochs, events };
}

function attempt<T>(work: () => T, otherwise: T): T {
  try {
    return work();
  } catch {
    return otherwise;
  }
}

function epochsOf(db: DatabaseSync): EpochStart[] {
  const rows = db.prepare("SELECT first, epoch FROM epochs ORDER BY rowid").all();
  return rows.map(({ first, epoch }) => ({ first: first as number, epoch: epoch as string }));
}

/** Those that are remembered, the oldest first. */
function eventsOf(db: DatabaseSync): StoredEvent[] {
  const newest = "SELECT seq, key, digest, hash FROM events ORDER BY seq DESC LIMIT ?";
  return db.prepare(newest).all(KEYED_EVENTS_MAX).toReversed() as unknown as StoredEvent[];
}

function chainOf(db: DatabaseSync): ChainState {
  const row = db.prepare("SELECT count, seq, head FROM chain").get();
  return (row as unknown as ChainState | undefined) ?? { count: 0, seq: 0, head: NO_HASH };
}

function putAside(path: string): string {
  const stamp = new Date().toISOString().replaceAll(/[-:.]/g, "");
  const aside = `${path}.damaged-${stamp}`;
  for (const suffix of ["", "-wal"]) {
    if (existsSync(path + suffix)) renameSync(path + suffix, aside + suffix);
  }
  rmSync(path + DAMAGED_MARK, { force: true });
  return aside;
}
