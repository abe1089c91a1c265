/**
 * Opens the journal's database, whatever state its files are in. Files that cannot be read are put aside, never deleted,
 * and a new journal continues with the sequences and, as far as it can be found, with the hash chain.
 */

import { createHash } from "node:crypto";
import {
  closeSync,
  constants,
  existsSync,
  fstatSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  renameSync,
} from "node:fs";
import { join } from "node:path";
import type { DatabaseSync } from "node:sqlite";
import { restoreLogDir } from "../runtime/log-dir.ts";
import { asidePath } from "../runtime/private-file.ts";
import {
  databasePath,
  JournalDatabase,
  type CommitPoint,
  type JournalState,
  type Location,
  type Loss,
  type OpenedState,
} from "./database.ts";
import { historyPath } from "../history/files.ts";
import { decodeBlocks } from "../batch/block.ts";
import {
  openForReading,
  openHistory,
  readMerged,
  type OpenedHistory,
} from "../history/database.ts";
import { HistoryReader } from "../history/reader.ts";
import {
  NO_EVENTS,
  type ChainState,
  type Damage,
  type Retention,
  type SequenceGap,
} from "./journal.ts";
import {
  isDamage,
  openFile,
  readChain,
  readCursors,
  readEpochs,
  readEvents,
  readMemories,
  TYPES,
  type CheckedTable,
} from "./schema.ts";
import { HighWaterMark, WriteLock } from "./side-files.ts";
import { FoundLog } from "./write-ahead-log.ts";

/** The audit files. */
const AUDIT_DIRECTORY = "audit";
const FILE_NAME = /^audit_\d{8}\.jsonl$/;

const FLAGS = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;

const LINE_FEED = 0x0a;
const LINE_END = /,"seq":(\d{1,16}),"hash":"([0-9a-f]{64})"\}$/;
const HASH_MEMBER = ',"hash":';

/** What lies farther back was written long before the journal was damaged. */
const READ_BYTES_MAX = 64 << 20;

/** Enough for most last lines. */
const LAST_LINE_BYTES = 256 << 10;

export interface Opened {
  readonly database: JournalDatabase;
  readonly state: OpenedState;
  readonly damage?: Damage | undefined;
}

/**
 * Opens the journal of that directory, and creates one if there is none. A database that lacks durable records
 * continues after them, with a gap.
 */
export function openDatabase(directory: string, retention: Retention): Opened {
  const lock = new WriteLock(directory);
  const mark = new HighWaterMark(directory);
  try {
    // Before the first records are merged there is none.
    const history = existsSync(historyPath(directory)) ? openHistory(directory) : undefined;
    try {
      const merged = history?.database.rows.merged ?? 0;
      const opened = openAt({ directory, retention, lock, mark, merged });
      return withHistory(opened, history, merged);
    } finally {
      history?.database.close();
    }
  } catch (error) {
    mark.close();
    lock.release();
    throw error;
  }
}

/** The history, which has the records up to `known`, continues where the journal does: what it lacks is a gap. */
function withHistory(
  { database, state, damage }: Opened,
  history: OpenedHistory | undefined,
  known: number,
): Opened {
  const { merged, location } = database;
  if (merged > known) setMerged(location.directory, history, merged);
  const found = history?.damage;
  if (found === undefined && merged <= known) return { database, state, damage };
  const lost = merged > known ? state.gaps.find(({ last }) => last === merged) : undefined;
  const what =
    found === undefined
      ? "The history (history.db) was deleted, or is older than the journal."
      : `The history is damaged (${found.why}) and was put aside as ${found.aside}.`;
  const loss =
    lost === undefined
      ? "No record is missing."
      : `Its records up to sequence ${lost.last} are lost, and are reported as a gap.`;
  const ofHistory: Damage = {
    text: `${what} ${loss}`,
    ...(lost && { lost: { from: lost.first, to: lost.last } }),
    isTrailIncomplete: lost !== undefined && lacksEvents(database, lost),
    kept: found === undefined ? [] : [found.aside],
  };
  return { database, state, damage: damage === undefined ? ofHistory : both(damage, ofHistory) };
}

function setMerged(directory: string, history: OpenedHistory | undefined, merged: number): void {
  const { database } = history ?? openHistory(directory);
  try {
    database.commit({ blocks: [], replaced: [], gaps: [], merged });
  } finally {
    if (history === undefined) database.close();
  }
}

/** Whether a range may have audit events that the audit files do not have. */
function lacksEvents({ commitPoint, location }: JournalDatabase, { first, last }: SequenceGap) {
  const { chain } = commitPoint;
  const newest = Math.min(chain.seq, last);
  return chain.count > 0 && newest >= first && newestAuditEvent(location.directory) < newest;
}

function both(one: Damage, other: Damage): Damage {
  const lost = [one.lost, other.lost].filter((range) => range !== undefined);
  const from = Math.min(...lost.map((range) => range.from));
  const to = Math.max(...lost.map((range) => range.to));
  return {
    text: `${one.text} ${other.text}`,
    ...(lost.length > 0 && { lost: { from, to } }),
    isTrailIncomplete: one.isTrailIncomplete || other.isTrailIncomplete,
    kept: [...one.kept, ...other.kept],
  };
}

function openAt(location: Location): Opened {
  // SQLite ignores what follows a damaged place of the log, and overwrites it.
  const log = new FoundLog(`${databasePath(location)}-wal`, location.mark.lastNote?.salt ?? 0);
  let database: JournalDatabase | undefined;
  try {
    database = new JournalDatabase(location);
    return begin(database, log);
  } catch (error) {
    if (!isDamage(error)) throw error;
    database?.abandon();
    return startOver(location, (error as Error).message, { log });
  }
}

function begin(database: JournalDatabase, log: FoundLog): Opened {
  const { mark, merged, directory } = database.location;
  const { isNew } = database;
  const hasTraces = mark.value > 0 || merged > 0 || newestAuditEvent(directory) > 0;
  if (isNew && hasTraces) return continueEmptied(database, log);
  const { newest: own } = database.commitPoint;
  database.agreeWithHistory();
  // An older copy does not know the audit events that only the history has.
  if (own < database.merged) database.continueChain(chainInHistory(database));
  const { wasClosedCleanly } = database;
  const loss = isNew ? undefined : findLoss(database, log);
  if (loss !== undefined) log.backUp();
  else if (!log.isDamaged) log.discardBackup();
  const tables = isNew ? [] : database.repair(loss, () => findChain(database.location));
  const isTrailIncomplete = loss !== undefined && isIncomplete(mark, loss.chain);
  const isClean = wasClosedCleanly && loss === undefined && tables.length === 0;
  const isAlone = !isNew && loss === undefined && mark.isMissing && !log.isThere;
  const { newest } = database.commitPoint;
  const state = database.begin(isClean, tables.includes("cursors"));
  if (isAlone) return { database, state, damage: loneDatabase(newest) };
  return { database, state, damage: damageOf(log, loss, isTrailIncomplete, tables) };
}

/** Finds durable records that the database lacks, by everything that is known beside it. */
function findLoss({ location, commitPoint }: JournalDatabase, log: FoundLog): Loss | undefined {
  const { directory, mark } = location;
  const { newest, chain } = commitPoint;
  const note = mark.lastNote;
  const known = Math.max(note?.newest ?? 0, log.newest);
  if (Math.max(known, newestAuditEvent(directory)) <= newest) return undefined;
  const tail = readAuditTail(directory, note === undefined ? [chain] : [chain, note.chain]);
  const to = tail.isLinked ? Math.max(known, tail.chain!.seq) : known;
  if (to <= newest) return undefined;
  return { from: newest + 1, to, chain: continuedChain(chain, note?.chain, tail, to) };
}

/**
 * Continues the chain after the last event that is still there, in the database or in the audit files, which the
 * database completes: so the files remain valid, and the record of the damage tells what they lack. Without such files
 * it continues after the last event that is known.
 */
function continuedChain(
  own: ChainState,
  noted: ChainState | undefined,
  tail: AuditTail,
  to: number,
): ChainState {
  const { chain } = tail;
  if (chain !== undefined && chain.seq >= own.seq && chain.seq <= to) return chain;
  if (tail.seq > 0 && tail.seq < own.seq) return own;
  return noted !== undefined && noted.seq > own.seq ? noted : own;
}

/** Follows the chain through the audit events of the history that the database does not know. */
function chainInHistory({ location, commitPoint }: JournalDatabase): ChainState {
  let { count, seq, head } = commitPoint.chain;
  try {
    using db = openForReading(location.directory);
    const reader = new HistoryReader(db);
    const all = {
      order: "asc",
      type: "audit_log",
      sinceMs: undefined,
      untilMs: undefined,
    } as const;
    for (let from = seq + 1; ;) {
      const { to, blocks } = reader.read({ from, ...all });
      if (to < from) break;
      from = to + 1;
      if (blocks.length === 0) continue;
      const batch = decodeBlocks(blocks);
      count += batch.length;
      seq = batch.sequence(batch.length - 1);
      head = batch.hash(batch.length - 1);
    }
  } catch {
    // What cannot be read is reported when it is read; the chain continues after the last event that was.
  }
  return { count, seq, head };
}

/** For a database whose own state of the chain is damaged. */
function findChain({ directory, mark }: Location): ChainState {
  const noted = mark.lastNote?.chain;
  if (noted !== undefined) return noted;
  return readAuditTail(directory, [...checkpointStates(directory), NO_EVENTS]).chain ?? NO_EVENTS;
}

/** The same if the database has no event any more. */
function findChainOutside({ directory, mark }: Location, found: ChainState): ChainState {
  const noted = mark.lastNote?.chain ?? NO_EVENTS;
  const tail = readAuditTail(directory, [noted, found, ...checkpointStates(directory)]);
  if (tail.chain !== undefined) return tail.chain;
  return noted.count > 0 ? noted : found;
}

/** Whether the continued chain lacks events that existed, or whether that is unknown. */
function isIncomplete({ lastNote }: HighWaterMark, chain: ChainState): boolean {
  return lastNote === undefined || lastNote.chain.seq > chain.seq;
}

/** Continues a journal whose database was deleted or emptied, perhaps with everything but the audit files. */
function continueEmptied(database: JournalDatabase, log: FoundLog): Opened {
  log.backUp();
  const { location } = database;
  const { mark } = location;
  const chain = findChainOutside(location, NO_EVENTS);
  const noted = mark.lastNote?.newest ?? mark.value;
  const newest = Math.max(noted, log.newest, chain.seq, location.merged);
  database.restore({ epochs: [], cursors: [], memories: [], events: [], newest, chain });
  const text = `The journal is gone. A new one continues at sequence ${newest + 1}; ${chainText(chain)}.${backupText(log)}`;
  return beginAnew(database, text, isIncomplete(mark, chain), log.backups);
}

/** Begins with a database that has none of the records up to its newest sequence. */
function beginAnew(
  database: JournalDatabase,
  text: string,
  isTrailIncomplete: boolean,
  kept: readonly string[],
): Opened {
  const { merged } = database;
  const { newest } = database.commitPoint;
  const lost = newest > merged ? { lost: { from: merged + 1, to: newest } } : {};
  const damage = { text, ...lost, isTrailIncomplete, kept };
  return { database, state: database.begin(false), damage };
}

/** Puts aside a journal that was found damaged while running, and continues with a new one. */
export function replaceDatabase(database: JournalDatabase, why: string): Opened {
  database.abandon();
  return startOver(withMerged(database.location), why, database.commitPoint);
}

/** The history may have more than the journal knows. */
function withMerged(location: Location): Location {
  return { ...location, merged: Math.max(location.merged, readMerged(location.directory)) };
}

/** `known`: the state of the journal if it was running. */
function startOver(
  location: Location,
  why: string,
  known: Partial<CommitPoint> & { readonly log?: FoundLog },
): Opened {
  const { state: found, aside } = salvage(databasePath(location));
  const newest = known.newest ?? newestOutside(location, found, known.log);
  const chain = known.chain ?? findChainOutside(location, found.chain);
  const database = new JournalDatabase(location);
  database.restore({ ...found, newest, chain });
  const text = `The journal is damaged (${why}) and was put aside as ${aside}. A new one continues at sequence ${newest + 1}; ${chainText(chain)}.${known.log === undefined ? "" : backupText(known.log)}`;
  const kept = [aside, ...(known.log?.backups ?? [])];
  return beginAnew(database, text, isIncomplete(location.mark, chain), kept);
}

/** Returns the newest sequence. Without a note, the newest one that was found may not be the last that there was. */
function newestOutside(
  { mark, merged }: Location,
  found: CommitPoint,
  log: FoundLog | undefined,
): number {
  const { value, lastNote } = mark;
  if (lastNote === undefined) return Math.max(found.newest, value, merged);
  const isPossible = found.newest <= value;
  return Math.max(lastNote.newest, isPossible ? found.newest : 0, log?.newest ?? 0, merged);
}

/**
 * Continues after files of a running journal were deleted or moved away, in the directory as it is now, which is created
 * if it is gone: in the same database file if that is still there, otherwise in a new one.
 * @throws if that is not possible; nothing has changed then.
 */
export function reopenDatabase(database: JournalDatabase, point: CommitPoint): Opened {
  const { directory, lock } = database.location;
  restoreLogDir(directory);
  if (!lock.isInPlace) {
    database.location = { ...database.location, lock: new WriteLock(directory) };
    lock.release();
  }
  const { location } = database;
  if (!database.isRetired && database.isFileInPlace) return reopenFile(database, point);
  return recreate(withMerged(location), { ...database.retire(), ...point });
}

/** Only the log was deleted. Its content goes into the tables first. */
function reopenFile(database: JournalDatabase, point: CommitPoint): Opened {
  database.checkpoint("TRUNCATE");
  database.deleteAfter(point);
  database.checkpoint("TRUNCATE");
  database.abandon();
  const reopened = new JournalDatabase(database.location);
  return { database: reopened, state: reopened.begin(true) };
}

function recreate(location: Location, state: JournalState): Opened {
  const path = databasePath(location);
  const kept = existsSync(path) ? [salvage(path).aside] : [];
  const database = new JournalDatabase(location);
  database.restore(state);
  const { newest, chain } = state;
  const aside = kept.length === 0 ? "" : ` The file in its place was put aside as ${kept.join()}.`;
  const text = `The journal's files were deleted or moved away while the gateway ran.${aside} A new journal continues at sequence ${newest + 1}; ${chainText(chain)}.`;
  return beginAnew(database, text, chain.count > 0, kept);
}

/** Puts a journal's files aside under a name of their own, and reads what can be read of them. */
function salvage(path: string): { state: JournalState; aside: string } {
  const aside = putAside(path);
  const db = attempt(() => openFile(aside, { readOnly: true }), undefined);
  const read = <T>(from: (open: DatabaseSync) => T, otherwise: T): T =>
    db === undefined ? otherwise : attempt(() => from(db), otherwise);
  const chain = read(readChain, NO_EVENTS);
  const lasts = [...TYPES, "holes"].map((table) => read((open) => lastIn(open, table), 0));
  const state = {
    newest: Math.max(chain.seq, ...lasts),
    chain,
    epochs: read(readEpochs, []),
    cursors: read(readCursors, []),
    memories: read(readMemories, []),
    events: read((open) => readEvents(open), []),
  };
  read((open) => open.close(), undefined);
  return { state, aside };
}

function putAside(path: string): string {
  const aside = asidePath(path);
  for (const suffix of ["-wal", ""]) {
    if (existsSync(path + suffix)) renameSync(path + suffix, aside + suffix);
  }
  return aside;
}

function attempt<T>(work: () => T, otherwise: T): T {
  try {
    return work();
  } catch {
    return otherwise;
  }
}

function lastIn(db: DatabaseSync, table: string): number {
  const row = db.prepare(`SELECT max(last) AS last FROM ${table}`).get();
  return (row?.["last"] as number | null) ?? 0;
}

/** Records of a database that was copied without its log cannot be counted: nothing tells how many there were. */
function loneDatabase(newest: number): Damage {
  const text = `journal.db has neither journal.db-wal nor journal.mark beside it, as if it had been copied alone: records after sequence ${newest} may be missing. Restore a copy of the whole log directory if you have one.`;
  return { text, isTrailIncomplete: true, kept: [] };
}

function damageOf(
  log: FoundLog,
  loss: Loss | undefined,
  isTrailIncomplete: boolean,
  tables: readonly CheckedTable[],
): Damage | undefined {
  const texts: string[] = [];
  if (loss !== undefined) {
    const { from, to, chain } = loss;
    const what = log.isDamaged ? "The write-ahead log is damaged" : "The journal is incomplete";
    texts.push(
      `${what}: the records ${from} to ${to} were durable and are missing. They are reported as a gap, and the next record gets sequence ${to + 1}; ${chainText(chain)}.`,
    );
  } else if (log.isDamaged) {
    texts.push("The write-ahead log is damaged. No record is missing; cursors may be out of date.");
  }
  if (tables.length > 0) {
    texts.push(
      `The journal is damaged: entries of ${tables.join(", ")} failed their checksums and were deleted.`,
    );
  }
  if (tables.includes("cursors")) {
    texts.push("Exporters that lost their cursor start with the oldest record.");
  }
  if (texts.length === 0) return undefined;
  const lost = loss && { lost: { from: loss.from, to: loss.to } };
  const text = `${texts.join(" ")}${backupText(log)}`;
  return { text, ...lost, isTrailIncomplete, kept: log.backups };
}

function backupText({ backups }: FoundLog): string {
  return backups.length === 0 ? "" : ` The original write-ahead log was kept as ${backups.join()}.`;
}

function chainText({ count, seq }: ChainState): string {
  if (count === 0) return "the hash chain of audit events, if there was one, starts over";
  return `the hash chain of audit events continues after event ${seq}`;
}

interface HashedLine {
  readonly seq: number;
  readonly hash: string;
  /** The line up to its hash. */
  readonly text: string;
}

/** How the audit files end. */
interface AuditTail {
  /** The sequence of the last event; 0 if there is none. */
  readonly seq: number;
  /**
   * The chain after it, counted from the newest of the known states that the files contain, or from the very first
   * event. Undefined if the files have none of them.
   */
  readonly chain: ChainState | undefined;
  /** Whether the files contain a known state: they belong to the same journal. */
  readonly isLinked: boolean;
}

/** Returns the sequence of the last event in the audit files of that log directory; 0 if there is none. */
function newestAuditEvent(logDir: string): number {
  return hashedLines(logDir, LAST_LINE_BYTES).next().value?.seq ?? 0;
}

/** Reads the audit files of that log directory backwards, from their end to one of the `known` states of the chain. */
function readAuditTail(logDir: string, known: readonly ChainState[]): AuditTail {
  const states = new Map(
    known.filter(({ count }) => count > 0).map((state) => [state.head, state]),
  );
  const lines: HashedLine[] = [];
  for (const line of hashedLines(logDir, READ_BYTES_MAX)) {
    lines.push(line);
    const state = states.get(line.hash);
    if (state?.seq === line.seq) return toTail(lines, state);
  }
  return toTail(lines, undefined);
}

/** `lines`: newest first; `oldest`: the state after the last of them, if it is known. */
function toTail(lines: readonly HashedLine[], oldest: ChainState | undefined): AuditTail {
  const seq = lines[0]?.seq ?? 0;
  const ascending = lines.toReversed();
  if (oldest !== undefined) {
    return { seq, chain: follow(oldest, ascending.slice(1)), isLinked: true };
  }
  const [first] = ascending;
  const isWhole = first !== undefined && hashOf(NO_EVENTS.head, first) === first.hash;
  return { seq, chain: isWhole ? follow(NO_EVENTS, ascending) : undefined, isLinked: false };
}

/** Returns the states in the trail's checkpoints. */
function checkpointStates(logDir: string): ChainState[] {
  const path = join(logDir, AUDIT_DIRECTORY, "checkpoints.jsonl");
  const text = attempt(() => readFileSync(path, { encoding: "utf8", flag: FLAGS }), "");
  return text.split("\n").flatMap((line) => attempt(() => parseState(line), []));
}

function parseState(line: string): ChainState[] {
  const { count, seq, head } = JSON.parse(line) as ChainState;
  const isState =
    Number.isSafeInteger(count) && Number.isSafeInteger(seq) && typeof head === "string";
  return isState ? [{ count, seq, head }] : [];
}

/** Returns the state after the last line that continues the chain. */
function follow(start: ChainState, lines: readonly HashedLine[]): ChainState {
  let { count, seq, head } = start;
  for (const line of lines) {
    if (line.seq <= seq || hashOf(head, line) !== line.hash) break;
    count++;
    ({ seq, hash: head } = line);
  }
  return { count, seq, head };
}

function hashOf(previous: string, { text }: HashedLine): string {
  return createHash("sha256").update(previous).update(text).digest("hex");
}

/** Yields the lines that end with a hash, newest first. Files that cannot be read are skipped. */
function* hashedLines(logDir: string, bytesMax: number): Generator<HashedLine, undefined> {
  const directory = join(logDir, AUDIT_DIRECTORY);
  let left = bytesMax;
  const names = attempt(() => readdirSync(directory), []).filter((name) => FILE_NAME.test(name));
  // The newest day first.
  for (const name of names.sort().toReversed()) {
    const bytes = attempt(() => readEnd(join(directory, name), left), Buffer.alloc(0));
    left -= bytes.length;
    yield* linesIn(bytes);
    if (left <= 0) return;
  }
}

function readEnd(path: string, bytesMax: number): Buffer {
  const file = openSync(path, FLAGS);
  try {
    const stats = fstatSync(file);
    const length = stats.isFile() ? Math.min(stats.size, bytesMax) : 0;
    const bytes = Buffer.alloc(length);
    return bytes.subarray(0, readSync(file, bytes, 0, length, stats.size - length));
  } finally {
    closeSync(file);
  }
}

function* linesIn(bytes: Buffer): Generator<HashedLine> {
  let end = bytes.lastIndexOf(LINE_FEED);
  while (end > 0) {
    const start = bytes.lastIndexOf(LINE_FEED, end - 1) + 1;
    const line = parseLine(bytes.toString("utf8", start, end));
    if (line !== undefined) yield line;
    end = start - 1;
  }
}

function parseLine(line: string): HashedLine | undefined {
  const [, seq, hash] = LINE_END.exec(line) ?? [];
  if (hash === undefined) return undefined;
  return { seq: Number(seq), hash, text: line.slice(0, line.lastIndexOf(HASH_MEMBER)) };
}
