import { auditHash } from "../envelope/audit-line.ts";
import { eventKeyOf } from "../envelope/event-key.ts";
import { settle } from "../batch/origin.ts";
import type { RecordBatch } from "../batch/record-batch.ts";
import { readBatch, storedLanes } from "../batch/block.ts";
import { TailgateError, textOf } from "../wire/errors.ts";
import type { Batch, Gap, JournalPage, JournalQuery } from "../plugin/index.ts";
import { clearInterval, clearTimeout, setInterval, setTimeout } from "../runtime/timers.ts";
import { LaneMemory } from "./lane-memory.ts";
import { JournalThread, ThreadFailure, type ThreadEvents } from "./journal-thread.ts";
import type {
  Journal,
  StoredEvent,
  ChainState,
  Damage,
  EpochStart,
  Hole,
  Retention,
} from "./journal.ts";
import { emptyPage, MemoryTail } from "./memory-tail.ts";
import { keptClockOf, TrustedClock, type ClockReading } from "./trusted-clock.ts";
import type {
  Answer,
  Commit,
  OpenedState,
  ReadRow,
  ReadRows,
  Request,
  StoredRange,
} from "./messages.ts";

/** What gathers while a commit is under way goes into the next one, up to this size. */
const COMMIT_BYTES_MAX = 1 << 20;

/**
 * Places of consumers go with a commit, where they cost next to nothing, at most once in the shorter time; where there is
 * no commit, they get one after the longer time.
 */
const CURSORS_WITH_COMMIT_MS = 100;
const CURSORS_MS = 1_000;

/** Retention by age is looked at this often. */
const TIDY_MS = 60_000;

/** The clock is kept when no record has told the time for so long. */
const UNKEPT_CLOCK_MS = 3_600_000;

/** Under this name the journal keeps its clock. */
const CLOCK = "journal/clock";

export interface SqliteJournalOptions {
  /** The directory of the database; exists. */
  readonly directory: string;
  readonly retention: Retention;
  /** A moment that is known to have passed, for a journal that has no record. */
  readonly lastMs?: number | undefined;
  /** Told what an operator has to know and nobody asked for; with the damage, if there is some. */
  alarm(text: string, damage?: Damage): void;
}

interface Waiting {
  readonly batch: RecordBatch;
  readonly bytes: number;
  readonly durable: PromiseWithResolvers<void>;
}

/** What is made durable in one go. */
interface Group {
  readonly waiting: readonly Waiting[];
  readonly first: number;
  readonly last: number;
  /** Known when it has been handed to the thread: the number of the request, and the chain after its last audit event. */
  sent: { readonly id: number; readonly chain: ChainState | undefined } | undefined;
  isSettled: boolean;
}

/**
 * The engine with a disk: node:sqlite in a thread of its own, one piece of bytes for each lane of a commit. An idle
 * journal commits at once; what comes while a commit is under way shares the next one.
 */
export class SqliteJournal implements Journal {
  readonly isPersistent = true;
  readonly clock: TrustedClock;
  readonly storedEvents: readonly StoredEvent[];
  readonly #options: SqliteJournalOptions;
  readonly #tail: MemoryTail;
  readonly #laneMemory = new LaneMemory();
  #thread: JournalThread;
  #epochs: readonly EpochStart[];
  /** In their order. */
  #holes: Hole[];
  readonly #cursors: Map<string, number>;
  /** A consumer without a cursor is perhaps not new, then. */
  readonly #hasLostCursors: boolean;
  readonly #changedCursors = new Set<string>();
  readonly #memories: Map<string, string>;
  #cursorsKeptAtMs = -Infinity;
  #cursorTimer: NodeJS.Timeout | undefined;
  #waiting: Waiting[] = [];
  /** Of what waits and of what is under way. */
  #pendingBytes = 0;
  #durable: number;
  /** Behind the last audit event that was handed to the thread. */
  #chain: ChainState;
  /** Behind the last durable one. */
  #durableChain: ChainState;
  /** More than one only where a process is about to die; in their order. */
  readonly #underway = new Map<Group, Promise<void>>();
  #trouble: string | undefined;
  /** Why there are no files to store in, as the thread has found without a commit. */
  #gone: string | undefined;
  #hasToldOfDamage = false;
  #hasToldOfRepairs = false;
  #reopening: Promise<number> | undefined;
  #isClosed = false;
  #tidyTimer: NodeJS.Timeout | undefined;
  /** The clock's, as they are kept. */
  #keptSteps: ClockReading["steps"];
  /** The newest time that is kept, with the clock or with a record. */
  #keptMs: number;

  private constructor(options: SqliteJournalOptions, thread: JournalThread, state: OpenedState) {
    this.#options = options;
    this.#thread = thread;
    const kept = keptClockOf(new Map(state.memories).get(CLOCK));
    this.#keptSteps = kept?.steps ?? [];
    const keptMs = laterOf(kept?.lastMs, state.lastMs);
    this.clock = new TrustedClock({ lastMs: keptMs ?? options.lastMs, steps: this.#keptSteps });
    this.#keptMs = keptMs ?? this.clock.now();
    this.#tail = new MemoryTail(this.clock, {
      newest: state.newest,
      durable: () => this.#durable,
    });
    this.#epochs = state.epochs;
    this.#holes = [...state.holes];
    this.storedEvents = state.events;
    this.#cursors = new Map(state.cursors);
    this.#hasLostCursors = state.hasLostCursors;
    this.#memories = new Map(state.memories);
    this.#durable = state.newest;
    this.#chain = state.chain;
    this.#durableChain = state.chain;
  }

  /**
   * Opens the journal of a directory, and makes it where there is none.
   * @throws TailgateError LOG_DIR_IN_USE where another gateway has it, JOURNAL_UNUSABLE where it cannot be opened.
   */
  static async open(options: SqliteJournalOptions): Promise<SqliteJournal> {
    let journal: SqliteJournal | undefined;
    try {
      const { thread, state, damage } = await startThread(options, {
        replaced: (epochs, found) => {
          if (journal !== undefined) journal.#replacedBy(epochs, found);
        },
        trouble: (text) => {
          if (journal !== undefined) journal.#filesGone(text);
        },
      });
      if (damage !== undefined) options.alarm(damage.text, damage);
      journal = new SqliteJournal(options, thread, state);
      journal.#beginTidying();
      return journal;
    } catch (error) {
      throw openFailure(options.directory, error);
    }
  }

  get epoch(): string {
    return this.#epochs.at(-1)!.epoch;
  }

  get newest(): number {
    return this.#tail.newest;
  }

  get durable(): number {
    return this.#durable;
  }

  get oldest(): number {
    return this.#tail.oldest;
  }

  get oldestRetained(): number {
    return this.#thread.oldestStored ?? this.#tail.oldest;
  }

  get memoryBytes(): number {
    return this.#tail.bytes;
  }

  get pendingBytes(): number {
    return this.#pendingBytes;
  }

  get lastError(): string | undefined {
    return this.#trouble ?? this.#gone;
  }

  /** The chain of evidence behind the newest durable audit event. */
  get chain(): ChainState {
    return this.#durableChain;
  }

  append(batch: RecordBatch): Promise<void> {
    if (this.#isClosed) return Promise.reject(closed());
    this.#tail.append(batch);
    const durable = Promise.withResolvers<void>();
    // Whoever does not wait is told through `lastError`.
    durable.promise.catch(() => {});
    const bytes = batch.memoryBytes;
    this.#waiting.push({ batch, bytes, durable });
    this.#pendingBytes += bytes;
    if (this.#underway.size === 0) this.#commitNext();
    return durable.promise;
  }

  watch(listener: () => void): () => void {
    return this.#tail.watch(listener);
  }

  #commitNext(): void {
    const waiting = this.#nextGroup();
    if (waiting.length === 0) return;
    const group: Group = {
      waiting,
      first: waiting[0]!.batch.firstSequence,
      last: lastSequence(waiting.at(-1)!.batch),
      sent: undefined,
      isSettled: false,
    };
    const committing = this.#commit(group).finally(() => {
      this.#underway.delete(group);
      if (this.#underway.size === 0) this.#commitNext();
    });
    this.#underway.set(group, committing);
  }

  /** The oldest of what waits: at least one batch, where there is one. */
  #nextGroup(): Waiting[] {
    let bytes = 0;
    const end = this.#waiting.findIndex((waiting, index) => {
      bytes += waiting.bytes;
      return index > 0 && bytes > COMMIT_BYTES_MAX;
    });
    return this.#waiting.splice(0, end < 0 ? this.#waiting.length : end);
  }

  /** Makes a group durable or refuses it; never rejects. */
  async #commit(group: Group): Promise<void> {
    try {
      await this.#stored(group);
      this.#isDurable(group);
    } catch (error) {
      const { first, last, waiting } = group;
      const failure = this.#commitFailure(error);
      this.#refuse({ first, last, reason: "not_stored" });
      this.#durable = last;
      for (const { durable } of waiting) durable.reject(failure);
      this.#release(group);
    }
  }

  #isDurable(group: Group): void {
    if (group.isSettled) return;
    this.#durable = group.last;
    this.#durableChain = group.sent?.chain ?? this.#durableChain;
    this.#trouble = undefined;
    for (const { durable } of group.waiting) durable.resolve();
    this.#release(group);
  }

  #release(group: Group): void {
    group.isSettled = true;
    for (const { bytes } of group.waiting) this.#pendingBytes -= bytes;
    this.#tail.trim();
  }

  /** Resolves when the group is durable. */
  async #stored(group: Group): Promise<void> {
    if (this.#thread.end !== undefined) await this.#reopened();
    const cursors = this.#cursorsToKeep();
    try {
      await this.#send(group, cursors);
    } catch (error) {
      for (const [consumer] of cursors) this.#changedCursors.add(consumer);
      group.sent = undefined;
      if (this.#thread.end === undefined) this.#chain = this.#durableChain;
      else if (await this.#isStored(group.last, error)) return;
      throw error;
    }
  }

  /** Hands a commit to the thread. */
  async #send(group: Group, cursors: readonly [string, number][]): Promise<void> {
    const batches = group.waiting.map(({ batch }) => batch);
    for (const batch of batches) this.#settle(batch);
    const before = this.#chain;
    const { after, events } = sealed(batches, before);
    const range = this.#rangeOf(batches);
    this.#keptMs = range.appendedAtMs;
    const hasAudit = after.count > before.count;
    const chain = hasAudit ? { before, after } : undefined;
    this.#chain = after;
    const memory = range.lanes.map(({ bytes }) => bytes.buffer);
    const commit: Commit = { ranges: [range], cursors, chain, events };
    const committed = this.#thread.request({ kind: "commit", commit }, memory);
    group.sent = { id: this.#thread.lastId, chain: hasAudit ? after : undefined };
    const answer = await committed;
    if (answer.kind === "committed") this.#laneMemory.give(answer.memory);
  }

  /** Encodes what is stored, here and not while somebody logs. */
  #settle(batch: RecordBatch): void {
    const before = batch.memoryBytes;
    settle(batch);
    this.#tail.grown(batch.memoryBytes - before);
  }

  /** A commit is stored with one append time, which its batches get too: it is the same before and after a restart. */
  #rangeOf(batches: readonly RecordBatch[]): StoredRange {
    const { firstSequence, appendedAtMs } = batches[0]!;
    for (const batch of batches) batch.appendedAtMs = appendedAtMs;
    return {
      first: firstSequence,
      last: lastSequence(batches.at(-1)!),
      appendedAtMs,
      lanes: storedLanes(batches, (bytes) => this.#laneMemory.take(bytes)),
    };
  }

  /** Of a commit that was under way when the thread died. Throws `error` where nobody can tell. */
  async #isStored(last: number, error: unknown): Promise<boolean> {
    let newest: number;
    try {
      newest = await this.#reopened();
    } catch {
      throw error;
    }
    if (newest >= last) return true;
    throw new ThreadFailure({ kind: "refused", text: textOf(error) });
  }

  /**
   * After the thread has died: starts another one; answers the newest sequence that is stored. After `close` it would
   * keep the directory from the next gateway.
   */
  #reopened(): Promise<number> {
    if (this.#isClosed) return Promise.reject(closed());
    this.#reopening ??= this.#reopen().finally(() => (this.#reopening = undefined));
    return this.#reopening;
  }

  async #reopen(): Promise<number> {
    const why = this.#thread.end!.message;
    const { thread, state, damage } = await startThread(this.#options, {
      replaced: (epochs, found) => this.#replacedBy(epochs, found),
      trouble: (text) => this.#filesGone(text),
    });
    this.#options.alarm(`The journal's thread was started again: ${why}.`);
    if (damage !== undefined) this.#options.alarm(damage.text, damage);
    this.#thread = thread;
    this.#sendClock();
    this.#epochs = state.epochs;
    this.#holes = [...state.holes, ...this.#holes.filter(({ first }) => first > state.newest)];
    this.#chain = state.chain;
    this.#durableChain = state.chain;
    return state.newest;
  }

  /** Of what could not be stored nothing is given out from memory any more. */
  #refuse(hole: Hole): void {
    this.#tail.remove(hole.first, hole.last);
    const before = this.#holes.at(-1);
    if (before?.last === hole.first - 1 && before.reason === hole.reason) {
      this.#holes[this.#holes.length - 1] = { ...hole, first: before.first };
    } else this.#holes.push(hole);
  }

  #commitFailure(error: unknown): TailgateError {
    const kind = error instanceof ThreadFailure ? error.failure.kind : "unknown";
    const [code, text] = FAILURES[kind];
    const failure = new TailgateError(code, text, { cause: error });
    this.#trouble = `${failure.code}: ${textOf(error)}`;
    return failure;
  }

  readFrom(sequence: number): Batch | undefined {
    return this.#tail.readFrom(sequence);
  }

  async read(query: JournalQuery): Promise<JournalPage> {
    const known = this.#knownPage(query);
    if (known !== undefined) return known;
    if (this.#thread.end !== undefined) await this.#reopened();
    return this.#readPage(query, await this.#thread.request(this.#readRequest(query)));
  }

  readSync(query: JournalQuery, timeoutMs: number): JournalPage {
    const known = this.#knownPage(query);
    if (known !== undefined) return known;
    const answer = this.#thread.requestSync(this.#readRequest(query), timeoutMs);
    if (answer === undefined) throw new Error("the disk takes too long");
    return this.#readPage(query, answer);
  }

  /** What need not be read on the disk. */
  #knownPage(query: JournalQuery): JournalPage | undefined {
    const inMemory = this.#tail.read(query);
    if (inMemory !== undefined) return inMemory;
    const { order = "asc" } = query;
    const from = this.#startOf(query);
    if (from < 1 || from > this.newest) return emptyPage(query.from);
    const hole = this.#holes.find(({ first, last }) => first <= from && from <= last);
    return hole && holePage(hole, from, order);
  }

  #startOf({ from, order = "asc" }: JournalQuery): number {
    return order === "asc" ? from : Math.min(from, this.newest);
  }

  #readRequest(query: JournalQuery): Request {
    const { order = "asc", type, sinceMs, untilMs } = query;
    const from = this.#startOf(query);
    return { kind: "read", query: { from, order, type, sinceMs, untilMs } };
  }

  #readPage({ type, sinceMs, untilMs }: JournalQuery, answer: Answer): JournalPage {
    if (answer.kind !== "rows") throw new Error(`unexpected answer ${answer.kind}`);
    const page = pageOf(answer.rows, (sequences) => this.#tellOfRepairs(sequences));
    const isAll = type === undefined && sinceMs === undefined && untilMs === undefined;
    return this.#told(isAll ? complete(page) : page);
  }

  /** The operator is told of the first damage that is not known from the opening. */
  #told(page: JournalPage): JournalPage {
    const isKnown = ({ from, to }: Gap): boolean =>
      this.#holes.some(({ first, last }) => first <= from && to <= last);
    const damaged = page.gaps.find((gap) => gap.reason === "damaged" && !isKnown(gap));
    if (damaged !== undefined && !this.#hasToldOfDamage) {
      this.#hasToldOfDamage = true;
      const { from, to } = damaged;
      const text = `The journal is damaged: of its records ${from} to ${to} some are lost.`;
      const lost = { from, to };
      this.#options.alarm(text, { text, lost, isTrailIncomplete: false, kept: [] });
    }
    return page;
  }

  /** What was lost with the journal before is known from now on. */
  #replacedBy(epochs: readonly EpochStart[], { lost }: Damage): void {
    this.#epochs = epochs;
    if (lost === undefined) return;
    const { from: first, to: last } = lost;
    const later = this.#holes.filter((hole) => hole.first > last);
    this.#holes = [{ first, last, reason: "damaged" }, ...later];
  }

  /** Records that are sent meanwhile are refused; the thread looks every second. */
  #filesGone(text: string | undefined): void {
    this.#gone = text && `JOURNAL_REFUSED: ${text}`;
    if (text === undefined) this.#trouble = undefined;
    else this.#options.alarm(`The journal's files are gone, and nothing can be stored: ${text}`);
  }

  #tellOfRepairs(sequences: readonly number[]): void {
    if (this.#hasToldOfRepairs) return;
    this.#hasToldOfRepairs = true;
    this.#options.alarm(
      `An older version has stored damaged envelopes (${sequences.length} from sequence ${sequences[0]} on). Nothing is lost: each is made anew from its OpenTelemetry record when it is read.`,
    );
  }

  sharedUpTo(epoch: string, sequence: number): number | undefined {
    const index = this.#epochs.findIndex((start) => start.epoch === epoch);
    if (index < 0) return undefined;
    const next = this.#epochs[index + 1];
    return Math.min(sequence, next === undefined ? this.newest : next.first - 1);
  }

  /** Of epochs that begin at the same sequence the older ones have no record. */
  uidOf(sequence: number): string {
    const start = this.#epochs.findLast(({ first }) => first <= sequence);
    return `${(start ?? this.#epochs[0]!).epoch}:${sequence}`;
  }

  cursor(consumer: string): number | undefined {
    return this.#cursors.get(consumer) ?? (this.#hasLostCursors ? 0 : undefined);
  }

  saveCursor(consumer: string, sequence: number): void {
    if (this.#cursors.get(consumer) === sequence) return;
    this.#cursors.set(consumer, sequence);
    this.#changedCursors.add(consumer);
    this.#cursorTimer ??= setTimeout(() => this.#keepCursors(), CURSORS_MS).unref();
  }

  #cursorsToKeep(): [string, number][] {
    const now = performance.now();
    if (this.#changedCursors.size === 0 || now - this.#cursorsKeptAtMs < CURSORS_WITH_COMMIT_MS)
      return [];
    this.#cursorsKeptAtMs = now;
    return this.#changedCursorEntries();
  }

  #changedCursorEntries(): [string, number][] {
    clearTimeout(this.#cursorTimer);
    this.#cursorTimer = undefined;
    const entries = [...this.#changedCursors].map((consumer): [string, number] => [
      consumer,
      this.#cursors.get(consumer)!,
    ]);
    this.#changedCursors.clear();
    return entries;
  }

  /** Where no commit has taken them along. One that fails has only moved places back. */
  #keepCursors(memories: Commit["memories"] = []): void {
    const cursors = this.#changedCursorEntries();
    if (cursors.length === 0 && memories.length === 0) return;
    const commit: Commit = { ranges: [], cursors, memories, chain: undefined, events: [] };
    this.#thread.request({ kind: "commit", commit }).catch(() => {
      for (const [consumer] of cursors) this.#changedCursors.add(consumer);
    });
  }

  memory(owner: string): string | undefined {
    return this.#memories.get(owner);
  }

  async saveMemory(owner: string, text: string): Promise<void> {
    this.#memories.set(owner, text);
    if (this.#thread.end !== undefined) await this.#reopened();
    const memories = [[owner, text]] as const;
    const commit: Commit = {
      ranges: [],
      cursors: [],
      memories,
      chain: undefined,
      events: [],
    };
    await this.#thread.request({ kind: "commit", commit });
  }

  flushSync(timeoutMs: number): void {
    while (this.#waiting.length > 0) this.#commitNext();
    this.#thread.waitForAll(timeoutMs);
  }

  settleSync(timeoutMs: number): void {
    while (this.#waiting.length > 0) this.#commitNext();
    const groups = [...this.#underway.keys()].filter(({ isSettled }) => !isSettled);
    const firstId = Math.min(...groups.map(({ sent }) => sent?.id ?? 0));
    if (!this.#thread.waitForAll(timeoutMs, firstId)) return;
    for (const group of groups) this.#isDurable(group);
  }

  markCleanSync(timeoutMs: number): void {
    if (this.#isClosed || this.#thread.end !== undefined) return;
    this.#keepCursors(this.#clockToKeep());
    this.#thread.request({ kind: "rest", newest: this.newest }).catch(() => {});
    this.#thread.waitForAll(timeoutMs);
  }

  #beginTidying(): void {
    this.#tidy();
    this.#tidyTimer = setInterval(() => this.#tidy(), TIDY_MS).unref();
    this.clock.watch(({ kind }) => {
      if (kind === "confirmed") this.#tidy();
    });
  }

  /** The thread expires records by this clock. One that has ended gets it when it is started again. */
  #sendClock(): void {
    this.#thread.request({ kind: "tidy", clock: this.clock.reading() }).catch(() => {});
  }

  #tidy(): void {
    this.#sendClock();
    for (const [owner, text] of this.#clockToKeep()) {
      this.saveMemory(owner, text).catch(() => (this.#keptMs = -Infinity));
    }
  }

  /** As a memory, where what is kept of it is not enough for the next start. */
  #clockToKeep(): [string, string][] {
    const { kept } = this.clock;
    const isPersistent = kept.steps === this.#keptSteps;
    if (isPersistent && Math.abs(kept.lastMs - this.#keptMs) < UNKEPT_CLOCK_MS) return [];
    this.#keptSteps = kept.steps;
    this.#keptMs = kept.lastMs;
    return [[CLOCK, JSON.stringify(kept)]];
  }

  async close(): Promise<void> {
    clearInterval(this.#tidyTimer);
    while (this.#underway.size > 0) await Promise.all(this.#underway.values());
    this.#isClosed = true;
    await this.#reopening?.catch(() => {});
    this.#keepCursors(this.#clockToKeep());
    await this.#thread.request({ kind: "close", newest: this.newest }).catch(() => {});
    await this.#thread.ended();
  }
}

function laterOf(one: number | undefined, other: number | undefined): number | undefined {
  return one === undefined || other === undefined ? (one ?? other) : Math.max(one, other);
}

function startThread(
  { directory, retention, alarm }: SqliteJournalOptions,
  events: ThreadEvents,
): ReturnType<typeof JournalThread.open> {
  return JournalThread.open(directory, retention, {
    ...events,
    replaced(epochs, damage) {
      events.replaced(epochs, damage);
      alarm(damage.text, damage);
    },
  });
}

interface Sealed {
  /** The chain's state behind them. */
  readonly after: ChainState;
  /** Those that have a key. */
  readonly events: readonly StoredEvent[];
}

/** Ties each audit event of the batches to the one before it, from that state on. */
function sealed(batches: readonly RecordBatch[], before: ChainState): Sealed {
  const events: StoredEvent[] = [];
  let { count, seq, head } = before;
  for (const batch of batches) {
    for (let index = 0; index < batch.length; index++) {
      if (batch.type(index) !== "audit_log") continue;
      const data = batch.data(index);
      count++;
      seq = batch.sequence(index);
      head = auditHash(head, data, seq);
      batch.seal(index, head);
      const key = eventKeyOf(data);
      if (key !== undefined) events.push({ ...key, seq, hash: head });
    }
  }
  return { after: { count, seq, head }, events };
}

/** For each kind of failure its code, and what became of the records. */
const FAILURES = {
  full: ["JOURNAL_FULL", "The disk is full: the records were not stored."],
  refused: ["JOURNAL_REFUSED", "The disk has refused the records: they were not stored."],
  unknown: [
    "JOURNAL_FAILED",
    "The disk has failed: it is unknown whether the records were stored.",
  ],
  locked: ["JOURNAL_REFUSED", "The journal is locked: the records were not stored."],
  unusable: ["JOURNAL_REFUSED", "The journal cannot be used: the records were not stored."],
} as const;

function closed(): TailgateError {
  return new TailgateError("STOPPED", "The journal is closed.");
}

function openFailure(directory: string, error: unknown): Error {
  if (!(error instanceof ThreadFailure)) return error as Error;
  if (error.failure.kind === "locked") {
    const text = `Another gateway is at work in ${directory}.`;
    return new TailgateError("LOG_DIR_IN_USE", text, { cause: error });
  }
  const text = `The journal in ${directory} cannot be opened: ${error.message}.`;
  return new TailgateError("JOURNAL_UNUSABLE", text, { cause: error });
}

function lastSequence(batch: RecordBatch): number {
  return batch.firstSequence + batch.length - 1;
}

function holePage({ first, last, reason }: Hole, from: number, order: "asc" | "desc"): JournalPage {
  const [start, end] = order === "asc" ? [from, last] : [first, from];
  const gap: Gap = { from: start, to: end, reason };
  return { from: start, to: end, records: undefined, gaps: [gap] };
}

/** A stretch that was read, without the records of its first and last commit that lie outside of it. */
function pageOf(
  read: ReadRows,
  tellOfRepairs: (sequences: readonly number[]) => void,
): JournalPage {
  const { from, to, rows } = read;
  const { batch, unreadable } = batchOf(rows, tellOfRepairs);
  const lost = unreadable.map((row) => ({
    type: row.type,
    from: Math.max(row.firstSequence, from),
    to: Math.min(row.lastSequence, to),
    reason: "damaged" as const,
  }));
  const gaps = [...read.gaps, ...lost].sort((one, other) => one.from - other.from);
  if (batch === undefined) return { from, to, records: undefined, gaps };
  if (batch.sequence(0) >= from && batch.sequence(batch.length - 1) <= to) {
    return { from, to, records: batch, gaps };
  }
  const records = batch.select((index) => {
    const sequence = batch.sequence(index);
    return sequence >= from && sequence <= to;
  });
  return { from, to, records: records.length === 0 ? undefined : records, gaps };
}

interface ReadResult {
  readonly batch: RecordBatch | undefined;
  /** Rows that are as they were stored, and yet no records can be made of them. */
  readonly unreadable: readonly ReadRow[];
}

function batchOf(
  rows: readonly ReadRow[],
  tellOfRepairs: (sequences: readonly number[]) => void,
): ReadResult {
  if (rows.length === 0) return { batch: undefined, unreadable: [] };
  try {
    return { batch: readBatch(rows, tellOfRepairs), unreadable: [] };
  } catch (error) {
    const unreadable = rows.filter((row) => !isReadable(row));
    if (unreadable.length === 0) throw error;
    const { batch } = batchOf(
      rows.filter((row) => !unreadable.includes(row)),
      tellOfRepairs,
    );
    return { batch, unreadable };
  }
}

function isReadable(row: ReadRow): boolean {
  try {
    readBatch([row]);
    return true;
  } catch {
    return false;
  }
}

/**
 * Each sequence is that of a record or in a gap. What is neither was lost with an entry of the index, which nothing else
 * tells of.
 */
function complete(page: JournalPage): JournalPage {
  const { from, to, records, gaps } = page;
  if (gaps.length === 0 && records?.length === to - from + 1) return page;
  const lost: Gap[] = [];
  let next = from;
  for (const range of [...gaps, ...runsOf(records), { from: to + 1, to }].sort(byFrom)) {
    if (next < range.from) lost.push({ from: next, to: range.from - 1, reason: "damaged" });
    next = Math.max(next, range.to + 1);
  }
  return lost.length === 0 ? page : { ...page, gaps: [...gaps, ...lost].sort(byFrom) };
}

function runsOf(records: Batch | undefined): { from: number; to: number }[] {
  const runs: { from: number; to: number }[] = [];
  for (let index = 0; index < (records?.length ?? 0); index++) {
    const sequence = records!.sequence(index);
    const run = runs.at(-1);
    if (run?.to === sequence - 1) run.to = sequence;
    else runs.push({ from: sequence, to: sequence });
  }
  return runs;
}

function byFrom(one: { from: number }, other: { from: number }): number {
  return one.from - other.from;
}
