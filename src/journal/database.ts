import { randomUUID } from "node:crypto";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { restoreLogDir } from "../runtime/log-dir.ts";
import type { DatabaseSync } from "node:sqlite";
import type { EnvelopeType } from "../plugin/index.ts";
import {
  auditFilesEnd,
  checkpointsIn,
  newestInFiles,
  NO_EVENTS,
  type FilesEnd,
} from "./audit-files.ts";
import {
  KEYED_EVENTS_MAX,
  type StoredEvent,
  type ChainState,
  type Damage,
  type Hole,
  type Retention,
} from "./journal.ts";
import { FileIdentity } from "./file-identity.ts";
import { KeptLog } from "./kept-log.ts";
import type { Commit, OpenedState, ReadQuery, ReadRows, StoredRange } from "./messages.ts";
import { NumberMark } from "./number-mark.ts";
import { checksum, PageReader, type Floors } from "./page-reader.ts";
import {
  chainOf,
  cursorsOf,
  damagedRows,
  epochsOf,
  eventsOf,
  memoriesOf,
  removeDamagedRows,
  salvage,
  soundRows,
  type Salvaged,
} from "./salvage.ts";
import { asDamage, connect, isDamage, LANES, Statements, type CheckedTable } from "./schema.ts";
import { agedBefore, type ClockReading } from "./trusted-clock.ts";
import { saltOf } from "./write-ahead-log.ts";
import { WriteLock } from "./write-lock.ts";

const DATABASE_FILE = "journal.db";
const LOG_FILE = "journal.db-wal";

/** One transaction of trimming deletes so many rows: it must not keep a commit waiting. */
const TRIMMED_ROWS_MAX = 64;

interface Opened {
  readonly database: JournalDatabase;
  readonly state: OpenedState;
  readonly damage?: Damage | undefined;
}

/** What the next commit follows. */
export interface Standing {
  readonly newest: number;
  readonly chain: ChainState;
}

/** What stays the same when a journal's file is replaced by a new one. */
interface Place {
  readonly directory: string;
  readonly retention: Retention;
  readonly lock: WriteLock;
  readonly mark: NumberMark;
}

/** Records that were durable and are not in the database any more. */
interface Loss {
  readonly from: number;
  readonly to: number;
  /** The chain that the next audit event continues. */
  readonly chain: ChainState;
}

/**
 * The journal's tables (https://www.sqlite.org/wal.html). Each sequence up to the newest one is in a row of its lane,
 * in a hole, or below the lane's floor.
 */
export class JournalDatabase {
  #place: Place;
  readonly #db: DatabaseSync;
  readonly #file: FileIdentity;
  /** The write-ahead log; undefined before the first commit. */
  #log: FileIdentity | undefined;
  /** What is known of a journal whose file is gone, once it was closed. */
  #remembered: Omit<Salvaged, "aside"> | undefined;
  readonly #statements: Statements;
  readonly #floors: Floors;
  #newest = 0;
  #chain: ChainState = NO_EVENTS;
  /** Of the write-ahead log; undefined while the next commit may begin it anew. */
  #salt: number | undefined;
  /** Whether the database says that it was left in order. */
  #isResting = false;

  private constructor(place: Place) {
    const db = connect(join(place.directory, DATABASE_FILE));
    this.#place = place;
    this.#db = db;
    try {
      this.#file = new FileIdentity(join(place.directory, DATABASE_FILE));
      this.#statements = new Statements(db);
      this.#floors = {
        system_log: this.#floorOf("system_log"),
        audit_log: this.#floorOf("audit_log"),
      };
      this.#newest = this.#lastStored();
      this.#chain = chainOf(db);
    } catch (error) {
      db.close();
      throw asDamage(error);
    }
  }

  /**
   * Opens the journal of that directory, and makes one where there is none. What is there and cannot be read is put
   * aside, never deleted, and a new journal goes on with the numbers and, as far as it can be found, with the chain of
   * evidence. A database that has less than was durable goes on after what it had, with a gap.
   */
  static open(directory: string, retention: Retention): Opened {
    const lock = new WriteLock(directory);
    const mark = new NumberMark(directory);
    try {
      return JournalDatabase.#openAt({ directory, retention, lock, mark });
    } catch (error) {
      mark.close();
      lock.release();
      throw error;
    }
  }

  static #openAt(place: Place): Opened {
    const path = join(place.directory, DATABASE_FILE);
    // SQLite passes over what follows a damaged place of the log, and writes over it.
    const log = new KeptLog(`${path}-wal`, place.mark.lastNote?.salt ?? 0);
    let database: JournalDatabase | undefined;
    try {
      database = new JournalDatabase(place);
      return database.#opened(log);
    } catch (error) {
      if (!isDamage(error)) throw error;
      database?.abandon();
      return JournalDatabase.#anew(place, (error as Error).message, { log });
    }
  }

  #opened(log: KeptLog): Opened {
    const { mark } = this.#place;
    const isNew = this.#newest === 0 && soundRows(this.#db, "epochs").length === 0;
    if (isNew && mark.number > 0) return this.#begunAnew(log);
    const isClean = this.#meta("clean") === 1 && mark.number === this.#newest;
    const loss = isNew ? undefined : this.#lossBehind(log);
    if (loss !== undefined) log.keep();
    else if (!log.isDamaged) log.drop();
    const damagedTables = isNew ? [] : this.#repair(loss);
    const isTrailIncomplete = loss !== undefined && isIncomplete(mark, loss.chain);
    const state = this.#begin(isClean && loss === undefined && damagedTables.length === 0, {
      hasLostCursors: damagedTables.includes("cursors"),
    });
    return {
      database: this,
      state,
      damage: damageOf({ log, loss, isTrailIncomplete, damagedTables }),
    };
  }

  /** What was durable and is not here, by all that is known beside the database. */
  #lossBehind(log: KeptLog): Loss | undefined {
    const { directory, mark } = this.#place;
    const note = mark.lastNote;
    const own = this.#chain;
    const told = Math.max(note?.newest ?? 0, log.newest);
    if (Math.max(told, newestInFiles(directory)) <= this.#newest) return undefined;
    const files = auditFilesEnd(directory, note === undefined ? [own] : [own, note.chain]);
    const to = files.isLinked ? Math.max(told, files.chain!.seq) : told;
    if (to <= this.#newest) return undefined;
    return { from: this.#newest + 1, to, chain: continuedChain(own, note?.chain, files, to) };
  }

  /** Deletes what is damaged in the small tables, and records a loss; answers which tables were damaged. */
  #repair(loss: Loss | undefined): CheckedTable[] {
    let tables: CheckedTable[] = [];
    this.transaction(() => {
      tables = removeDamagedRows(this.#db);
      if (tables.includes("meta")) {
        for (const type of LANES) this.#setMeta(`floor.${type}`, this.#floors[type]);
      }
      if (loss === undefined && !tables.includes("chain")) return;
      if (loss !== undefined) {
        this.#statements.insertHole.run(loss.to, loss.from, "damaged");
        this.#newest = loss.to;
      }
      this.#chain = loss?.chain ?? this.#chainFound();
      this.#setChain(this.#chain);
    });
    return tables;
  }

  /** For a database whose own state of the chain is damaged. */
  #chainFound(): ChainState {
    const { directory, mark } = this.#place;
    const states = [...checkpointsIn(directory), mark.lastNote?.chain ?? NO_EVENTS];
    return mark.lastNote?.chain ?? auditFilesEnd(directory, states).chain ?? NO_EVENTS;
  }

  /** The database was deleted, or emptied. */
  #begunAnew(log: KeptLog): Opened {
    log.keep();
    const { mark } = this.#place;
    const newest = Math.max(mark.lastNote?.newest ?? mark.number, log.newest);
    const chain = chainAfterAll(this.#place, NO_EVENTS);
    const nothing = { epochs: [], cursors: [], memories: [], events: [] };
    this.#goOn({ ...nothing, newest, chain });
    const text = `The journal is gone. A new one goes on from sequence ${newest + 1}; ${chainText(chain)}.${keptText(log)}`;
    const isTrailIncomplete = isIncomplete(mark, chain);
    const damage = { text, lost: { from: 1, to: newest }, isTrailIncomplete, kept: log.kept };
    return { database: this, state: this.#begin(false), damage };
  }

  /** `known`: where the journal was, by who knows it. */
  static #anew(
    place: Place,
    why: string,
    known: { newest?: number; chain?: ChainState; log?: KeptLog },
  ): Opened {
    const found = salvage(join(place.directory, DATABASE_FILE));
    const newest = known.newest ?? newestAfterAll(place, found, known.log);
    const chain = known.chain ?? chainAfterAll(place, found.chain);
    const database = new JournalDatabase(place);
    database.#goOn({ ...found, newest, chain });
    const text = `The journal is damaged (${why}) and was put aside as ${found.aside}. A new one goes on from sequence ${newest + 1}; ${chainText(chain)}.${known.log === undefined ? "" : keptText(known.log)}`;
    const kept = [found.aside, ...(known.log?.kept ?? [])];
    const isTrailIncomplete = isIncomplete(place.mark, chain);
    const lost = newest > 0 ? { lost: { from: 1, to: newest } } : {};
    const damage = { text, ...lost, isTrailIncomplete, kept };
    return { database, state: database.#begin(false), damage };
  }

  #goOn({ newest, chain, epochs, cursors, memories, events }: Omit<Salvaged, "aside">): void {
    this.transaction(() => {
      if (newest > 0) this.#statements.insertHole.run(newest, 1, "damaged");
      for (const { first, epoch } of epochs) {
        if (first <= newest + 1) this.#statements.insertEpoch.run(first, epoch);
      }
      this.#setChain(chain);
      this.#insertEvents(events.filter(({ seq }) => seq <= newest));
      for (const [consumer, sequence] of cursors) {
        this.#statements.setCursor.run(consumer, Math.min(sequence, newest));
      }
      this.#setMemories(memories);
    });
    this.#newest = newest;
    this.#chain = chain;
  }

  /** An unclean end begins a new epoch: numbers may have been given out and lost. */
  #begin(isClean: boolean, { hasLostCursors = false } = {}): OpenedState {
    const newest = this.#newest;
    const epochs = epochsOf(this.#db);
    this.#place.mark.begin(newest, this.#chain);
    this.transaction(() => {
      if (!isClean || epochs.length === 0) {
        const start = { first: newest + 1, epoch: randomUUID() };
        this.#statements.insertEpoch.run(start.first, start.epoch);
        epochs.push(start);
      }
      this.#setMeta("clean", 0);
    });
    this.#note();
    const holes = this.#statements.holesIn.all(0, Number.MAX_SAFE_INTEGER) as unknown as Hole[];
    return {
      newest,
      epochs,
      holes: holes.map((hole) => ({ ...hole })),
      chain: this.#chain,
      cursors: cursorsOf(this.#db),
      hasLostCursors,
      memories: memoriesOf(this.#db),
      events: eventsOf(this.#db, { areChecked: true }),
    };
  }

  /** Tells the mark what is durable. */
  #note(): void {
    const { directory, mark } = this.#place;
    this.#salt ??= saltOf(join(directory, `${DATABASE_FILE}-wal`));
    mark.write({ newest: this.#newest, chain: this.#chain, salt: this.#salt });
  }

  /** Puts the journal aside, which was found damaged at work, and goes on with a new one. */
  replaced(why: string): Opened {
    this.abandon();
    return JournalDatabase.#anew(this.#place, why, { newest: this.#newest, chain: this.#chain });
  }

  /** What the next commit follows. */
  get standing(): Standing {
    return { newest: this.#newest, chain: this.#chain };
  }

  /** False if a file of it was deleted or moved away: what is committed then is lost with the process. */
  get isInPlace(): boolean {
    this.#log ??= this.#logFile();
    return this.#file.isInPlace && this.#log?.isInPlace === true && this.#place.lock.isInPlace;
  }

  #logFile(): FileIdentity | undefined {
    try {
      return new FileIdentity(join(this.#place.directory, LOG_FILE));
    } catch {
      return undefined;
    }
  }

  /**
   * Goes on in the directory as it is now, which is created if it is gone: in the same file if that is still there,
   * else in a new one, with the numbers and the chain of evidence of `standing`.
   * @throws where that is not possible; nothing has changed then.
   */
  moved(standing: Standing): Opened {
    const { directory, lock } = this.#place;
    restoreLogDir(directory);
    if (!lock.isInPlace) {
      this.#place = { ...this.#place, lock: new WriteLock(directory) };
      lock.release();
    }
    if (this.#remembered === undefined && this.#file.isInPlace) return this.#reopened(standing);
    this.#remembered ??= this.#remember();
    this.abandon();
    return JournalDatabase.#recreated(this.#place, { ...this.#remembered, ...standing });
  }

  /** Only the log was deleted. What it had goes into the tables first. */
  #reopened({ newest, chain }: Standing): Opened {
    this.checkpoint("TRUNCATE");
    this.#takeBack({ newest, chain });
    this.checkpoint("TRUNCATE");
    this.abandon();
    const database = new JournalDatabase(this.#place);
    return { database, state: database.#begin(true) };
  }

  #remember(): Omit<Salvaged, "aside"> {
    const db = this.#db;
    return {
      ...this.standing,
      epochs: epochsOf(db),
      cursors: cursorsOf(db),
      memories: memoriesOf(db),
      events: eventsOf(db),
    };
  }

  static #recreated(place: Place, remembered: Omit<Salvaged, "aside">): Opened {
    const path = join(place.directory, DATABASE_FILE);
    const kept = existsSync(path) ? [salvage(path).aside] : [];
    const database = new JournalDatabase(place);
    database.#goOn(remembered);
    const { newest, chain } = remembered;
    const aside =
      kept.length === 0 ? "" : ` The file in its place was put aside as ${kept.join()}.`;
    const text = `The journal's files were deleted or moved away while the gateway ran.${aside} A new journal continues at sequence ${newest + 1}; ${chainText(chain)}.`;
    const lost = newest > 0 ? { lost: { from: 1, to: newest } } : {};
    const damage = { text, ...lost, isTrailIncomplete: chain.count > 0, kept };
    return { database, state: database.#begin(false), damage };
  }

  /** Deletes the commits after `standing`, which nobody was told of. */
  takeBack(standing: Standing): void {
    try {
      this.#takeBack(standing);
    } catch {
      // Its files are gone, and it is made anew from what is known.
    }
    this.#newest = standing.newest;
    this.#chain = standing.chain;
  }

  #takeBack({ newest, chain }: Standing): void {
    if (newest === this.#newest) return;
    this.transaction(() => {
      const tables = [...LANES, ...LANES.map((type) => `${type}_spans`), "holes"];
      for (const table of tables) {
        this.#db.prepare(`DELETE FROM ${table} WHERE last > ?`).run(newest);
      }
      for (const type of LANES) this.#statements.lanes[type].spans.forget();
      this.#db.prepare("DELETE FROM events WHERE seq > ?").run(newest);
      this.#setChain(chain);
    });
  }

  /** Makes all of it durable, or throws and stores nothing of it. */
  commit({ ranges, cursors, memories = [], chain, events }: Commit): void {
    if (chain !== undefined && chain.before.head !== this.#chain.head) {
      throw new Error("an audit event before them was not stored");
    }
    this.#place.mark.cover(ranges.at(-1)?.last ?? 0);
    let newest = this.#newest;
    this.transaction(() => {
      if (this.#isResting) this.#setMeta("clean", 0);
      for (const range of ranges) {
        if (range.first > newest + 1) {
          this.#statements.insertHole.run(range.first - 1, newest + 1, "not_stored");
        }
        this.#insert(range);
        newest = range.last;
      }
      if (chain) this.#setChain(chain.after);
      this.#insertEvents(events);
      for (const [consumer, sequence] of cursors) {
        this.#statements.setCursor.run(consumer, sequence);
      }
      this.#setMemories(memories);
    });
    this.#isResting = false;
    this.#newest = newest;
    if (chain) this.#chain = chain.after;
    this.#note();
  }

  #setChain({ count, seq, head }: ChainState): void {
    this.#statements.setChain.run(count, seq, head);
  }

  #insertEvents(events: readonly StoredEvent[]): void {
    for (const { seq, key, digest, hash } of events) {
      this.#statements.insertEvent.run(seq, key, digest, hash);
    }
  }

  #setMemories(memories: readonly (readonly [string, string])[]): void {
    for (const [owner, text] of memories) this.#statements.setMemory.run(owner, text);
  }

  #insert({ first, last, appendedAtMs, lanes }: StoredRange): void {
    for (const { type, records, timeMin, timeMax, bytes } of lanes) {
      const total = this.#totalOf(type) + bytes.length;
      const crc = checksum(bytes, first, last, appendedAtMs);
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
  read(query: ReadQuery): ReadRows {
    const { from } = query;
    if (from < 1 || from > this.#newest) return { from, to: from - 1, rows: [], gaps: [] };
    return new PageReader(this.#statements, query, this.#floors, this.#newest).read();
  }

  /** When the newest commit was appended; undefined before the first. */
  get lastMs(): number | undefined {
    const rows = LANES.map((type) =>
      this.#db.prepare(`SELECT last, appended FROM ${type} ORDER BY last DESC LIMIT 1`).get(),
    ) as ({ last: number; appended: number } | undefined)[];
    const found = rows.filter((row) => row !== undefined);
    return found.sort((one, other) => one.last - other.last).at(-1)?.appended;
  }

  /** The sequence of the oldest record; undefined if there is none. */
  get oldest(): number | undefined {
    const firsts = LANES.map((type) => this.#statements.lanes[type].asc.byTable.get(1));
    const found = firsts.filter((row) => row !== undefined) as { first: number }[];
    return found.length === 0 ? undefined : Math.min(...found.map(({ first }) => first));
  }

  /** Deletes what is beyond retention, a bounded part of it; answers whether there is more. */
  trim(nowMs: number, steps: ClockReading["steps"] = []): boolean {
    this.#statements.forgetEvents.run(KEYED_EVENTS_MAX);
    return LANES.map((type) => this.#trimLane(type, { nowMs, steps })).some(Boolean);
  }

  #trimLane(type: EnvelopeType, clock: ClockReading): boolean {
    const statements = this.#statements.lanes[type];
    const newest = statements.newest.get() as { last: number; total: number } | undefined;
    if (newest === undefined) return false;
    const { bytes: bytesMax, ms } = this.#place.retention[type];
    const expiredBefore = agedBefore(ms, clock);
    const oldest = statements.oldest.all(TRIMMED_ROWS_MAX) as unknown as {
      last: number;
      appended: number;
      total: number;
    }[];
    let floor = 0;
    for (const { last, appended, total } of oldest) {
      // What is kept when this row goes is what came after it.
      const isTooMuch = newest.total - total >= bytesMax;
      if (last === newest.last || !(isTooMuch || appended < expiredBefore)) break;
      floor = last + 1;
    }
    if (floor === 0) return false;
    const floors = { ...this.#floors, [type]: floor };
    this.transaction(() => {
      statements.deleteBelow.run(floor);
      statements.spans.deleteBelow(floor);
      this.#statements.deleteHolesBelow.run(Math.min(floors.system_log, floors.audit_log));
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
    this.#place.mark.sync();
    this.#salt = undefined;
    const [result] = this.#db.prepare(`PRAGMA wal_checkpoint(${mode})`).all() as { busy: number }[];
    if (result?.busy !== 0) throw new Error("the write-ahead log is busy");
  }

  /** What the file has room for without growing. */
  get freeBytes(): number {
    const pages = this.#db.prepare("PRAGMA freelist_count").get()!["freelist_count"] as number;
    const bytes = this.#db.prepare("PRAGMA page_size").get()!["page_size"] as number;
    return pages * bytes;
  }

  /**
   * Says that no number was given out that is not told of, where that is so, and closes the file; up to `newest` they
   * were. It is closed also where this throws.
   */
  close(isClean: boolean, newest = this.#newest): void {
    try {
      if (isClean) {
        this.#settle(newest);
        this.#place.mark.write({ newest, chain: this.#chain, salt: 0 });
        this.#place.mark.set(newest);
      }
    } finally {
      this.abandon();
      this.#place.mark.close();
      this.#place.lock.release();
    }
  }

  /** Says so too, and leaves the file open: a process that ends may log until its last moment. */
  rest(newest: number): void {
    this.#settle(newest);
    this.#newest = Math.max(newest, this.#newest);
    this.#isResting = true;
    this.#note();
    this.#place.mark.set(newest);
  }

  #settle(newest: number): void {
    this.transaction(() => {
      if (newest > this.#newest) {
        this.#statements.insertHole.run(newest, this.#newest + 1, "not_stored");
      }
      this.#setMeta("clean", 1);
    });
  }

  /** Closes the file as it is. */
  abandon(): void {
    try {
      this.#db.close();
    } catch {
      // It is in no state to be closed.
    }
  }

  #lastStored(): number {
    const lasts = LANES.map((type) => {
      const row = this.#statements.lanes[type].newest.get() as { last: number } | undefined;
      return row?.last ?? 0;
    });
    const holes = soundRows(this.#db, "holes", "ORDER BY last");
    const hole = (holes.at(-1)?.["last"] as number | undefined) ?? 0;
    return Math.max(...lasts, hole, this.#floors.system_log - 1, this.#floors.audit_log - 1);
  }

  /** A floor that is damaged is at the oldest row. */
  #floorOf(type: EnvelopeType): number {
    const floor = this.#meta(`floor.${type}`);
    if (floor !== undefined) return floor;
    if (!damagedRows(this.#db, "meta").some(({ name }) => name !== "clean")) return 1;
    const row = this.#statements.lanes[type].asc.byTable.get(1) as { first: number } | undefined;
    return row?.first ?? 1;
  }

  #meta(name: string): number | undefined {
    const row = soundRows(this.#db, "meta").find((found) => found["name"] === name);
    return row?.["value"] as number | undefined;
  }

  #setMeta(name: string, value: number): void {
    this.#statements.setMeta.run(name, value);
  }
}

interface FoundDamage {
  readonly log: KeptLog;
  readonly loss: Loss | undefined;
  readonly isTrailIncomplete: boolean;
  readonly damagedTables: readonly CheckedTable[];
}

function damageOf({
  log,
  loss,
  isTrailIncomplete,
  damagedTables,
}: FoundDamage): Damage | undefined {
  const texts: string[] = [];
  if (loss !== undefined) {
    const { from, to, chain } = loss;
    const what = log.isDamaged ? "The write-ahead log is damaged" : "The journal is incomplete";
    texts.push(
      `${what}: it does not have the records ${from} to ${to}, which were durable. They are a gap, and the next record gets the sequence ${to + 1}; ${chainText(chain)}.`,
    );
  } else if (log.isDamaged) {
    texts.push("The write-ahead log is damaged. No record is missing; cursors may be out of date.");
  }
  if (damagedTables.length > 0) {
    texts.push(
      `The journal is damaged: entries of ${damagedTables.join(", ")} were not as they had been written, and were removed.`,
    );
  }
  if (damagedTables.includes("cursors")) {
    texts.push("Exporters whose cursor is lost begin with the oldest record.");
  }
  if (texts.length === 0) return undefined;
  const lost = loss && { lost: { from: loss.from, to: loss.to } };
  const text = `${texts.join(" ")}${keptText(log)}`;
  return { text, ...lost, isTrailIncomplete, kept: log.kept };
}

/** Whether the chain that is continued lacks events that there were, or whether nobody knows. */
function isIncomplete({ lastNote }: NumberMark, chain: ChainState): boolean {
  return lastNote === undefined || lastNote.chain.seq > chain.seq;
}

function keptText({ kept }: KeptLog): string {
  return kept.length === 0 ? "" : ` The write-ahead log as it was is kept as ${kept.join()}.`;
}

function chainText({ count, seq }: ChainState): string {
  if (count === 0) return "the chain of audit events begins anew, if there was one";
  return `the chain of audit events continues after event ${seq}`;
}

/**
 * The chain continues after the last event that is still there, in the database or in the audit files, which the
 * database completes: so they hold, and the record of the damage tells what they lack. Without such files it
 * continues after the last event that is known.
 */
function continuedChain(
  own: ChainState,
  noted: ChainState | undefined,
  files: FilesEnd,
  to: number,
): ChainState {
  const { chain } = files;
  if (chain !== undefined && chain.seq >= own.seq && chain.seq <= to) return chain;
  if (files.seq > 0 && files.seq < own.seq) return own;
  return noted !== undefined && noted.seq > own.seq ? noted : own;
}

/** The same where the database has no event any more. */
function chainAfterAll({ directory, mark }: Place, found: ChainState): ChainState {
  const noted = mark.lastNote?.chain ?? NO_EVENTS;
  const files = auditFilesEnd(directory, [noted, found, ...checkpointsIn(directory)]);
  if (files.chain !== undefined) return files.chain;
  return noted.count > 0 ? noted : found;
}

/** Without a note, what was found may not be the last that there was. */
function newestAfterAll({ mark }: Place, found: Salvaged, log: KeptLog | undefined): number {
  const { number, lastNote } = mark;
  if (lastNote === undefined) return Math.max(found.newest, number);
  const isPossible = found.newest <= number;
  return Math.max(lastNote.newest, isPossible ? found.newest : 0, log?.newest ?? 0);
}
