import { randomUUID } from "node:crypto";
import { join } from "node:path";
import type { DatabaseSync } from "node:sqlite";
import type { Block } from "../batch/block.ts";
import type { BlockRange } from "../history/block-range.ts";
import type { EnvelopeType } from "../plugin/index.ts";
import {
  KEYED_EVENTS_MAX,
  NO_EVENTS,
  type ChainState,
  type EpochStart,
  type Retention,
  type SequenceGap,
  type StoredEvent,
} from "./journal.ts";
import { StoredPageReader, type Floors, type PageQuery, type StoredPage } from "./page-reader.ts";
import {
  asDamage,
  checksum,
  connect,
  damagedRows,
  deleteDamagedRows,
  intactRows,
  readChain,
  readCursors,
  readEpochs,
  readEvents,
  readMemories,
  prepareStatements,
  type Statements,
  TYPES,
  type CheckedTable,
} from "./schema.ts";
import type { HighWaterMark, WriteLock } from "./side-files.ts";
import { FileIdentity } from "../runtime/private-file.ts";
import { agedBefore, type ClockReading } from "./clock-reading.ts";
import { saltOf } from "./write-ahead-log.ts";

const DATABASE_FILE = "journal.db";
const WAL_FILE = "journal.db-wal";

/** One transaction of trimming deletes at most this many rows: it must not delay a commit. */
const TRIMMED_ROWS_MAX = 64;

/** The names under which it is stored up to where, and up to when, records are in the history. */
const MERGED = "merged";
const MERGED_MS = "merged_ms";

/** The value of `clean` of a journal that was closed; versions that do not know fingerprints wrote this one. */
const CLEAN = 1;

/** The records of one range of sequences. */
export interface RecordRange {
  readonly first: number;
  readonly last: number;
  readonly appendedAtMs: number;
  readonly blocks: readonly Block[];
}

/** What is made durable at once. */
export interface Commit {
  /** In order. Sequences before and between them that are not in the journal become gaps. */
  readonly ranges: readonly RecordRange[];
  readonly cursors: readonly (readonly [string, number])[];
  /** Texts by owner; absent if there are none to save. */
  readonly memories?: readonly (readonly [string, string])[];
  /** The hash chain before and after the commit's audit events; undefined if it has none. */
  readonly chain: { readonly before: ChainState; readonly after: ChainState } | undefined;
  /** The commit's audit events that have a key. */
  readonly events: readonly StoredEvent[];
}

/** The state that the next commit continues. */
export interface CommitPoint {
  readonly newest: number;
  readonly chain: ChainState;
}

/** What is known about a journal beside its records. */
export interface JournalState extends CommitPoint {
  /** Oldest first; the last one is the current one. */
  readonly epochs: readonly EpochStart[];
  readonly cursors: readonly (readonly [string, number])[];
  readonly memories: readonly (readonly [string, string])[];
  /** The newest ones that have a key. */
  readonly events: readonly StoredEvent[];
}

/** The state with which a journal starts. */
export interface OpenedState extends JournalState {
  readonly gaps: readonly SequenceGap[];
  /** The sequence up to which the records are in the history. */
  readonly merged: number;
  /** Whether some of the cursors are lost. */
  readonly hasLostCursors: boolean;
  /** When the newest commit was appended; undefined before the first. */
  readonly lastMs?: number | undefined;
}

/** What stays the same when the database file is replaced by a new one. */
export interface Location {
  readonly directory: string;
  readonly retention: Retention;
  readonly lock: WriteLock;
  readonly mark: HighWaterMark;
  /** The sequence up to which the history has the records. */
  readonly merged: number;
}

/** Durable records that are missing from the database. */
export interface Loss {
  readonly from: number;
  readonly to: number;
  /** The hash chain that the next audit event continues. */
  readonly chain: ChainState;
}

export function databasePath({ directory }: Pick<Location, "directory">): string {
  return join(directory, DATABASE_FILE);
}

/**
 * The journal's tables (https://www.sqlite.org/wal.html). Each sequence up to the newest one is in a block of its type,
 * in a gap, or below the floor of its type. Its life: construction, `restore` or `repair` if needed (recovery.ts),
 * `begin`, commits, then `close` or `abandon`.
 */
export class JournalDatabase {
  location: Location;
  readonly #db: DatabaseSync;
  readonly #file: FileIdentity;
  /** The write-ahead log; undefined before the first commit. */
  #log: FileIdentity | undefined;
  readonly #statements: Statements;
  readonly #floors: Floors;
  #newest = 0;
  #chain: ChainState = NO_EVENTS;
  /** The sequence up to which the records are in the history. */
  #merged = 0;
  /** The salt of the write-ahead log; undefined if the next commit may restart it. */
  #salt: number | undefined;
  /** Whether the database is marked as cleanly closed. */
  #isMarkedClean = false;
  #retiredState: JournalState | undefined;

  /** Opens the tables, and creates them if there are none. */
  constructor(location: Location) {
    const path = databasePath(location);
    const db = connect(path);
    this.location = location;
    this.#db = db;
    try {
      this.#file = new FileIdentity(path);
      this.#statements = prepareStatements(db);
      this.#floors = {
        system_log: this.#floorOf("system_log"),
        audit_log: this.#floorOf("audit_log"),
      };
      this.#merged = this.#meta(MERGED) ?? 0;
      this.#newest = this.#lastStored();
      this.#chain = readChain(db);
    } catch (error) {
      db.close();
      throw asDamage(error);
    }
  }

  get commitPoint(): CommitPoint {
    return { newest: this.#newest, chain: this.#chain };
  }

  /** Whether nothing was ever stored. */
  get isNew(): boolean {
    return this.#newest === 0 && intactRows(this.#db, "epochs").length === 0;
  }

  /**
   * Whether the journal was closed with every sequence accounted for, and this is the same file: a copy may be older than
   * the journal that it replaces, whose later sequences must not be handed out again in the same epoch.
   */
  get wasClosedCleanly(): boolean {
    const clean = this.#meta("clean");
    const isOriginal = clean === CLEAN || clean === this.#file.fingerprint;
    return isOriginal && this.location.mark.value === this.#newest;
  }

  /** False if one of its files was deleted or moved away: what is committed then is lost with the process. */
  get isInPlace(): boolean {
    this.#log ??= this.#logFile();
    return this.isFileInPlace && this.#log?.isInPlace === true && this.location.lock.isInPlace;
  }

  /** The same of the database file alone. */
  get isFileInPlace(): boolean {
    return this.#file.isInPlace;
  }

  #logFile(): FileIdentity | undefined {
    try {
      return new FileIdentity(join(this.location.directory, WAL_FILE));
    } catch {
      return undefined;
    }
  }

  /** The sequence up to which the records are in the history. */
  get merged(): number {
    return this.#merged;
  }

  /** When the newest commit was appended; undefined before the first. */
  get lastMs(): number | undefined {
    const rows = TYPES.map((type) => this.#newestRow(type)).filter((row) => row !== undefined);
    const newest = rows.sort((one, other) => one.last - other.last).at(-1);
    return newest?.appended ?? this.#meta(MERGED_MS);
  }

  /** The sequence of the oldest record that is not merged; undefined if there is none. */
  get oldest(): number | undefined {
    const next = this.#merged + 1;
    const firsts = TYPES.map((type) => this.#statements.blocks[type].asc.byTable.get(next));
    const found = firsts.filter((row) => row !== undefined) as { first: number }[];
    if (found.length === 0) return undefined;
    return Math.max(next, Math.min(...found.map(({ first }) => first)));
  }

  /** The stored size of a type's records. */
  bytesOf(type: EnvelopeType): number {
    const [oldest] = this.#statements.blocks[type].oldest.all(1) as unknown as NewestRow[];
    return oldest === undefined ? 0 : this.#newestRow(type)!.total - oldest.total + oldest.bytes;
  }

  /** The space in the file that can be used without growing it. */
  get freeBytes(): number {
    return this.#pragma("freelist_count") * this.#pragma("page_size");
  }

  get fileBytes(): number {
    return this.#pragma("page_count") * this.#pragma("page_size");
  }

  #pragma(name: string): number {
    return this.#db.prepare(`PRAGMA ${name}`).get()![name] as number;
  }

  /** Starts an epoch unless the journal was closed cleanly: sequences may have been handed out and lost. */
  begin(isClean: boolean, hasLostCursors = false): OpenedState {
    const newest = this.#newest;
    const epochs = readEpochs(this.#db);
    this.location.mark.begin(newest, this.#chain);
    this.transaction(() => {
      if (!isClean || epochs.length === 0) {
        const start = { first: newest + 1, epoch: randomUUID() };
        this.#statements.insertEpoch.run(start.first, start.epoch);
        epochs.push(start);
      }
      this.#setMeta("clean", 0);
    });
    this.#writeNote();
    const rows = this.#statements.gapsIn.all(0, Number.MAX_SAFE_INTEGER);
    const gaps = rows.map((row) => ({ ...row }) as unknown as SequenceGap);
    return {
      newest,
      epochs,
      gaps,
      merged: this.#merged,
      chain: this.#chain,
      cursors: readCursors(this.#db),
      hasLostCursors,
      memories: readMemories(this.#db),
      events: readEvents(this.#db, { areChecked: true }),
    };
  }

  /**
   * Fills a new database with what is known about the journal that it continues. Its records that are not in the history
   * are a gap.
   */
  restore({ newest, chain, epochs, cursors, memories, events }: JournalState): void {
    const { merged } = this.location;
    this.transaction(() => {
      if (newest > merged) this.#statements.insertGap.run(newest, merged + 1, "damaged");
      for (const { first, epoch } of epochs) {
        if (first <= newest + 1) this.#statements.insertEpoch.run(first, epoch);
      }
      this.#setChain(chain);
      this.#insertEvents(events.filter(({ seq }) => seq <= newest));
      for (const [consumer, sequence] of cursors) {
        this.#statements.setCursor.run(consumer, Math.min(sequence, newest));
      }
      for (const [owner, text] of memories) this.#statements.setMemory.run(owner, text);
    });
    this.#newest = newest;
    this.#chain = chain;
    this.deleteMerged(merged);
  }

  /** Makes the journal agree with the history: what both have counts in the history, and what neither has is lost. */
  agreeWithHistory(): void {
    const { merged } = this.location;
    if (merged >= this.#merged) this.deleteMerged(merged);
    else this.loseMerged(merged + 1);
  }

  /** Continues the hash chain after events that are stored elsewhere. */
  continueChain(chain: ChainState): void {
    if (chain.head === this.#chain.head) return;
    this.transaction(() => this.#setChain(chain));
    this.#chain = chain;
  }

  /** Records that the merged records from `first` on are lost. Returns their range. */
  loseMerged(first: number): BlockRange | undefined {
    const to = this.#merged;
    const from = Math.max(first, Math.min(this.#floors.system_log, this.#floors.audit_log));
    if (from > to) return undefined;
    this.transaction(() => {
      this.#statements.deleteGapsIn.run(from, to);
      this.#statements.insertGap.run(to, from, "damaged");
    });
    return { from, to };
  }

  /** Deletes the records up to that one, which are in the history. */
  deleteMerged(merged: number): void {
    if (merged <= this.#merged) return;
    const newest = TYPES.map((type) => this.#statements.blocks[type].upTo.get(merged));
    const times = newest.filter((row) => row !== undefined).map((row) => row["appended"] as number);
    this.transaction(() => {
      this.#setMeta(MERGED, merged);
      if (times.length > 0) this.#setMeta(MERGED_MS, Math.max(...times));
      for (const type of TYPES) {
        const { deleteBelow, timeIndex } = this.#statements.blocks[type];
        deleteBelow.run(merged + 1);
        timeIndex.deleteBelow(merged + 1);
        timeIndex.reset();
      }
    });
    this.#merged = merged;
    this.#newest = Math.max(this.#newest, merged);
    this.location = { ...this.location, merged };
  }

  /** Notes what has expired of the history: the smallest sequences from which on all records are retained. */
  raiseFloors(floors: Floors): void {
    if (TYPES.every((type) => floors[type] <= this.#floors[type])) return;
    this.transaction(() => {
      for (const type of TYPES) {
        if (floors[type] > this.#floors[type]) this.#setMeta(`floor.${type}`, floors[type]);
      }
      const lowest = TYPES.map((type) => Math.max(floors[type], this.#floors[type]));
      this.#statements.deleteGapsBelow.run(Math.min(...lowest));
    });
    for (const type of TYPES) this.#floors[type] = Math.max(floors[type], this.#floors[type]);
  }

  /** Gives the space of deleted records back to the file system, with all that is left of them. */
  compact(): void {
    this.#db.exec("VACUUM");
  }

  /**
   * Deletes the damaged rows of the small tables and records a loss. Returns the names of the damaged tables.
   * `findChain` is called if the database's own state of the hash chain is damaged.
   */
  repair(loss: Loss | undefined, findChain: () => ChainState): CheckedTable[] {
    let tables: CheckedTable[] = [];
    this.transaction(() => {
      tables = deleteDamagedRows(this.#db);
      if (tables.includes("meta")) {
        for (const type of TYPES) this.#setMeta(`floor.${type}`, this.#floors[type]);
        if (this.#merged > 0) this.#setMeta(MERGED, this.#merged);
      }
      if (loss === undefined && !tables.includes("chain")) return;
      if (loss !== undefined) {
        this.#statements.insertGap.run(loss.to, loss.from, "damaged");
        this.#newest = loss.to;
      }
      this.#chain = loss?.chain ?? findChain();
      this.#setChain(this.#chain);
    });
    return tables;
  }

  /** Makes all of it durable, or throws and stores nothing of it. */
  commit({ ranges, cursors, memories = [], chain, events }: Commit): void {
    if (chain !== undefined && chain.before.head !== this.#chain.head) {
      throw new Error("an earlier audit event was not stored");
    }
    this.location.mark.cover(ranges.at(-1)?.last ?? 0);
    let newest = this.#newest;
    this.transaction(() => {
      if (this.#isMarkedClean) this.#setMeta("clean", 0);
      for (const range of ranges) {
        if (range.first > newest + 1) {
          this.#statements.insertGap.run(range.first - 1, newest + 1, "not_stored");
        }
        this.#insert(range);
        newest = range.last;
      }
      if (chain) this.#setChain(chain.after);
      this.#insertEvents(events);
      for (const [consumer, sequence] of cursors) {
        this.#statements.setCursor.run(consumer, sequence);
      }
      for (const [owner, text] of memories) this.#statements.setMemory.run(owner, text);
    });
    this.#isMarkedClean = false;
    this.#newest = newest;
    if (chain) this.#chain = chain.after;
    this.#writeNote();
  }

  #insert({ first, last, appendedAtMs, blocks }: RecordRange): void {
    for (const { type, records, timeMin, timeMax, bytes } of blocks) {
      const { insert, timeIndex } = this.#statements.blocks[type];
      const total = (this.#newestRow(type)?.total ?? 0) + bytes.length;
      const crc = checksum(bytes, first, last, appendedAtMs);
      insert.run(last, first, records, appendedAtMs, timeMin, timeMax, total, crc, bytes);
      timeIndex.add(last, timeMin, timeMax);
    }
  }

  #setChain({ count, seq, head }: ChainState): void {
    this.#statements.setChain.run(count, seq, head);
  }

  #insertEvents(events: readonly StoredEvent[]): void {
    for (const { seq, key, digest, hash } of events) {
      this.#statements.insertEvent.run(seq, key, digest, hash);
    }
  }

  /** Deletes the commits after that point, which were not acknowledged. */
  rollBackTo(point: CommitPoint): void {
    try {
      this.deleteAfter(point);
    } catch {
      // Its files are gone, and it will be recreated from what is known.
    }
    this.#newest = point.newest;
    this.#chain = point.chain;
  }

  deleteAfter({ newest, chain }: CommitPoint): void {
    if (newest === this.#newest) return;
    this.transaction(() => {
      const tables = [...TYPES, ...TYPES.map((type) => `${type}_spans`), "holes"];
      for (const table of tables) {
        this.#db.prepare(`DELETE FROM ${table} WHERE last > ?`).run(newest);
      }
      for (const type of TYPES) this.#statements.blocks[type].timeIndex.reset();
      this.#db.prepare("DELETE FROM events WHERE seq > ?").run(newest);
      this.#setChain(chain);
    });
  }

  /** Reads whole commits that are not merged, starting with that of the query's first record. */
  read(query: PageQuery): StoredPage {
    const { from } = query;
    if (from <= this.#merged || from > this.#newest) {
      return { from, to: from - 1, blocks: [], gaps: [] };
    }
    const reader = new StoredPageReader(this.#statements, query, this.#floors, this.#newest);
    return pageAbove(reader.read(), this.#merged);
  }

  /** Reads the records from `from` on to be merged. Throws if it is unknown which ones there are. */
  readFresh(from: number): StoredPage {
    const start = Math.max(from, this.#merged + 1);
    if (start > this.#newest) return { from: start, to: start - 1, blocks: [], gaps: [] };
    const query = {
      from: start,
      order: "asc",
      type: undefined,
      sinceMs: undefined,
      untilMs: undefined,
    } as const;
    const reader = new StoredPageReader(this.#statements, query, this.#floors, this.#newest);
    const page = reader.read();
    if (reader.isBroken) throw new Error("the index of the journal cannot be read");
    return page;
  }

  /** Deletes some of what has expired. Returns whether there is more. */
  trim(clock: ClockReading): boolean {
    this.#statements.forgetEvents.run(KEYED_EVENTS_MAX);
    return TYPES.map((type) => this.#trimType(type, clock)).some(Boolean);
  }

  #trimType(type: EnvelopeType, clock: ClockReading): boolean {
    const statements = this.#statements.blocks[type];
    const newest = this.#newestRow(type);
    if (newest === undefined) return false;
    const { bytes: bytesMax, ms } = this.location.retention[type];
    const expiredBefore = agedBefore(ms, clock);
    const oldest = statements.oldest.all(TRIMMED_ROWS_MAX) as unknown as NewestRow[];
    let floor = 0;
    for (const { last, appended, total } of oldest) {
      // Without this row, the records after it remain.
      const isTooLarge = newest.total - total >= bytesMax;
      if (last === newest.last || !(isTooLarge || appended < expiredBefore)) break;
      floor = last + 1;
    }
    if (floor === 0) return false;
    const floors = { ...this.#floors, [type]: floor };
    this.transaction(() => {
      statements.deleteBelow.run(floor);
      statements.timeIndex.deleteBelow(floor);
      this.#statements.deleteGapsBelow.run(Math.min(floors.system_log, floors.audit_log));
      this.#setMeta(`floor.${type}`, floor);
    });
    this.#floors[type] = floor;
    return oldest.at(-1)!.last < floor;
  }

  /** Runs all of it or nothing. */
  transaction(work: () => void): void {
    this.#db.exec("BEGIN IMMEDIATE");
    try {
      work();
      this.#db.exec("COMMIT");
    } catch (error) {
      if (this.#db.isTransaction) this.#db.exec("ROLLBACK");
      for (const type of TYPES) this.#statements.blocks[type].timeIndex.reset();
      throw error;
    }
  }

  /** Moves commits from the write-ahead log into the tables; throws if it cannot. */
  checkpoint(mode: "PASSIVE" | "TRUNCATE"): void {
    this.location.mark.sync();
    this.#salt = undefined;
    const [result] = this.#db.prepare(`PRAGMA wal_checkpoint(${mode})`).all() as { busy: number }[];
    if (result?.busy !== 0) throw new Error("the write-ahead log is busy");
  }

  /**
   * Closes the file, even if it throws. If `isClean`, first records that every sequence up to `newest`, the last one
   * handed out, is accounted for.
   */
  close(isClean: boolean, newest = this.#newest): void {
    const { mark, lock } = this.location;
    try {
      if (isClean) {
        this.#setClean(newest);
        mark.write({ newest, chain: this.#chain, salt: 0 });
        mark.set(newest);
      }
    } finally {
      this.abandon();
      mark.close();
      lock.release();
    }
  }

  /** Records the same and leaves the file open: a process that is ending may log until its last moment. */
  markClean(newest: number): void {
    this.#setClean(newest);
    this.#newest = Math.max(newest, this.#newest);
    this.#isMarkedClean = true;
    this.#writeNote();
    this.location.mark.set(newest);
  }

  #setClean(newest: number): void {
    this.transaction(() => {
      if (newest > this.#newest) {
        this.#statements.insertGap.run(newest, this.#newest + 1, "not_stored");
      }
      this.#setMeta("clean", this.#file.fingerprint);
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

  get isRetired(): boolean {
    return this.#retiredState !== undefined;
  }

  /** Closes a file that is no longer in its place, and returns what is known of it. */
  retire(): JournalState {
    const db = this.#db;
    this.#retiredState ??= {
      ...this.commitPoint,
      epochs: readEpochs(db),
      cursors: readCursors(db),
      memories: readMemories(db),
      events: readEvents(db),
    };
    this.abandon();
    return this.#retiredState;
  }

  /** Notes what is durable. */
  #writeNote(): void {
    const { directory, mark } = this.location;
    this.#salt ??= saltOf(join(directory, WAL_FILE));
    mark.write({ ...this.commitPoint, salt: this.#salt });
  }

  #newestRow(type: EnvelopeType): NewestRow | undefined {
    return this.#statements.blocks[type].newest.get() as NewestRow | undefined;
  }

  #lastStored(): number {
    const lasts = TYPES.map((type) => this.#newestRow(type)?.last ?? 0);
    const gap = intactRows(this.#db, "holes", "ORDER BY last").at(-1);
    const lastGap = (gap?.["last"] as number | undefined) ?? 0;
    const floors = TYPES.map((type) => this.#floors[type] - 1);
    return Math.max(...lasts, lastGap, ...floors, this.#merged);
  }

  /** A damaged floor is replaced by the oldest row. */
  #floorOf(type: EnvelopeType): number {
    const floor = this.#meta(`floor.${type}`);
    if (floor !== undefined) return floor;
    if (!damagedRows(this.#db, "meta").some(({ name }) => name !== "clean")) return 1;
    const row = this.#statements.blocks[type].asc.byTable.get(1) as { first: number } | undefined;
    return row?.first ?? 1;
  }

  #meta(name: string): number | undefined {
    const row = intactRows(this.#db, "meta").find((found) => found["name"] === name);
    return row?.["value"] as number | undefined;
  }

  #setMeta(name: string, value: number): void {
    this.#statements.setMeta.run(name, value);
  }
}

interface NewestRow {
  readonly last: number;
  readonly appended: number;
  readonly total: number;
  readonly bytes: number;
}

/** Returns the part of a page that is not merged: a commit can be merged in part. */
function pageAbove(page: StoredPage, merged: number): StoredPage {
  const { from, to, blocks, gaps } = page;
  if (from > merged) return page;
  return {
    from: merged + 1,
    to,
    blocks: blocks.filter(({ lastSequence }) => lastSequence > merged),
    gaps: gaps
      .map((gap) => ({ ...gap, from: Math.max(gap.from, merged + 1) }))
      .filter((gap) => gap.from <= gap.to),
  };
}
