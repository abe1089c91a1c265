import { randomUUID } from "node:crypto";
import { join } from "node:path";
import type { DatabaseSync } from "node:sqlite";
import type { EnvelopeType } from "../plugin.ts";
import { NO_HASH } from "../encode/audit-line.ts";
import { KEYED_EVENTS_MAX, type StoredEvent } from "./journal.ts";
import type {
  ChainState,
  Commit,
  Hole,
  OpenedState,
  ReadQuery,
  ReadRows,
  Retention,
  StoredRange,
} from "./messages.ts";
import { NumberMark } from "./number-mark.ts";
import { checksum, PageReader, type Floors } from "./page-reader.ts";
import {
  chainOf,
  cursorsOf,
  epochsOf,
  eventsOf,
  memoriesOf,
  salvage,
  type Salvaged,
} from "./salvage.ts";
import { connect, isDamage, LANES, Statements } from "./schema.ts";
import { agedBefore, type ClockReading } from "./trusted-clock.ts";
import { WriteLock } from "./write-lock.ts";

const DATABASE_FILE = "journal.db";

/** One transaction of trimming deletes so many rows: it must not keep a commit waiting. */
const TRIMMED_ROWS_MAX = 64;

interface Opened {
  readonly database: JournalDatabase;
  readonly state: OpenedState;
  /** What the operator has to know of the opening. */
  readonly alarm?: string;
}

/** What stays the same when a journal's file is replaced by a new one. */
interface Place {
  readonly directory: string;
  readonly retention: Retention;
  readonly lock: WriteLock;
  readonly mark: NumberMark;
}

/**
 * The journal's tables (https://www.sqlite.org/wal.html). Each sequence up to the newest one is in a row of its lane,
 * in a hole, or below the lane's floor.
 */
export class JournalDatabase {
  readonly #place: Place;
  readonly #db: DatabaseSync;
  readonly #statements: Statements;
  readonly #floors: Floors;
  #newest = 0;
  #chain: ChainState = { count: 0, seq: 0, head: NO_HASH };

  private constructor(place: Place) {
    const db = connect(join(place.directory, DATABASE_FILE));
    this.#place = place;
    this.#db = db;
    try {
      this.#statements = new Statements(db);
      this.#floors = {
        system_log: this.#meta("floor.system_log", 1),
        audit_log: this.#meta("floor.audit_log", 1),
      };
      this.#newest = this.#lastStored();
      this.#chain = chainOf(db);
    } catch (error) {
      db.close();
      throw error;
    }
  }

  /**
   * Opens the journal of that directory, and makes one where there is none. What is there and cannot be read is put
   * aside, never deleted, and a new journal goes on with the numbers and, as far as it can be found, with the chain of
   * evidence.
   */
  static open(directory: string, retention: Retention): Opened {
    const lock = new WriteLock(directory);
    try {
      return JournalDatabase.#openAt({
        directory,
        retention,
        lock,
        mark: new NumberMark(directory),
      });
    } catch (error) {
      lock.release();
      throw error;
    }
  }

  static #openAt(place: Place): Opened {
    let database: JournalDatabase | undefined;
    try {
      database = new JournalDatabase(place);
      return database.#opened();
    } catch (error) {
      if (!isDamage(error)) throw error;
      database?.abandon();
      return JournalDatabase.#anew(place, (error as Error).message);
    }
  }

  #opened(): Opened {
    const { mark } = this.#place;
    const isNew = epochsOf(this.#db).length === 0;
    if (!isNew || mark.number === 0) return { database: this, state: this.#begin() };
    const newest = mark.number;
    const nothing = { epochs: [], cursors: [], memories: [], events: [] };
    this.#goOn({ ...nothing, newest, chain: this.#chain });
    const alarm = `The journal is gone. A new one goes on from sequence ${newest + 1}; the chain of audit events begins anew.`;
    return { database: this, state: this.#begin(), alarm };
  }

  /** `known`: where the journal was, by who knows it. */
  static #anew(place: Place, why: string, known?: Pick<Salvaged, "newest" | "chain">): Opened {
    const found = salvage(join(place.directory, DATABASE_FILE));
    // What was found may not be the last that there was.
    const newest = known?.newest ?? Math.max(found.newest, place.mark.number);
    const chain = known?.chain ?? found.chain;
    const database = new JournalDatabase(place);
    database.#goOn({ ...found, newest, chain });
    const begins =
      chain.count === 0 ? "; the chain of audit events begins anew, where there was one" : "";
    const alarm = `The journal is damaged (${why}) and was put aside as ${found.aside}. A new one goes on from sequence ${newest + 1}${begins}.`;
    return { database, state: database.#begin(), alarm };
  }

  #goOn({ newest, chain, epochs, cursors, memories, events }: Omit<Salvaged, "aside">): void {
    this.transaction(() => {
      if (newest > 0) this.#statements.insertHole.run(newest, 1, "damaged");
      for (const { first, epoch } of epochs) this.#statements.insertEpoch.run(first, epoch);
      this.#setChain(chain);
      this.#insertEvents(events);
      for (const [consumer, sequence] of cursors) {
        this.#statements.setCursor.run(consumer, sequence);
      }
      this.#setMemories(memories);
    });
    this.#newest = newest;
    this.#chain = chain;
  }

  /** An unclean end begins a new epoch: numbers may have been given out and lost. */
  #begin(): OpenedState {
    const newest = this.#newest;
    const epochs = epochsOf(this.#db);
    this.transaction(() => {
      if (this.#meta("clean", 0) !== 1 || epochs.length === 0) {
        const start = { first: newest + 1, epoch: randomUUID() };
        this.#statements.insertEpoch.run(start.first, start.epoch);
        epochs.push(start);
      }
      this.#setMeta("clean", 0);
    });
    this.#place.mark.cover(newest + 1);
    const holes = this.#statements.holesIn.all(0, Number.MAX_SAFE_INTEGER) as unknown as Hole[];
    return {
      newest,
      epochs,
      holes: holes.map((hole) => ({ ...hole })),
      chain: this.#chain,
      cursors: cursorsOf(this.#db),
      memories: memoriesOf(this.#db),
      events: eventsOf(this.#db),
    };
  }

  /** Puts the journal aside, which was found damaged at work, and goes on with a new one. */
  replaced(why: string): Opened {
    this.abandon();
    return JournalDatabase.#anew(this.#place, why, { newest: this.#newest, chain: this.#chain });
  }

  /** Makes all of it durable, or throws and stores nothing of it. */
  commit({ ranges, cursors, memories = [], chain, events }: Commit): void {
    if (chain !== undefined && chain.before.head !== this.#chain.head) {
      throw new Error("an audit event before them was not stored");
    }
    this.#place.mark.cover(ranges.at(-1)?.last ?? 0);
    let newest = this.#newest;
    this.transaction(() => {
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
    this.#newest = newest;
    if (chain) this.#chain = chain.after;
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
        this.transaction(() => {
          if (newest > this.#newest) {
            this.#statements.insertHole.run(newest, this.#newest + 1, "not_stored");
          }
          this.#setMeta("clean", 1);
        });
        this.#place.mark.set(newest);
      }
    } finally {
      this.abandon();
      this.#place.lock.release();
    }
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
    const { lanes, holesIn } = this.#statements;
    const lasts = LANES.map((type) => {
      const row = lanes[type].newest.get() as { last: number } | undefined;
      return row?.last ?? 0;
    });
    const holes = holesIn.all(0, Number.MAX_SAFE_INTEGER) as unknown as Hole[];
    const hole = holes.at(-1)?.last ?? 0;
    return Math.max(...lasts, hole, this.#floors.system_log - 1, this.#floors.audit_log - 1);
  }

  #meta(name: string, otherwise: number): number {
    const row = this.#db.prepare("SELECT value FROM meta WHERE name = ?").get(name);
    return (row?.["value"] as number | undefined) ?? otherwise;
  }

  #setMeta(name: string, value: number): void {
    this.#db.prepare("INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)").run(name, value);
  }
}
