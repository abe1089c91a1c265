import { auditHash } from "../envelope/audit-line.ts";
import { eventKeyOf } from "../envelope/event-key.ts";
import { encodeBlocks } from "../batch/block.ts";
import { settle } from "../batch/origin.ts";
import type { RecordBatch } from "../batch/record-batch.ts";
import { TailgateError, textOf } from "../wire/errors.ts";
import type { BlockRange } from "../history/block-range.ts";
import { HistorySearches } from "../history/history-search.ts";
import type {
  CountOptions,
  HistoryCounts,
  HistoryPage,
  HistoryQuery,
  HistorySearch,
} from "../history/history.ts";
import type { Limits } from "../history/merge-worker.ts";
import { Merger, type FreshRecords, type MergeStatus } from "../history/merger.ts";
import { ReadAhead } from "../history/read-ahead.ts";
import { readHistorySync, readRequestSync } from "../history/read-sync.ts";
import type { Batch, EnvelopeType, Gap, JournalPage, JournalQuery } from "../plugin/index.ts";
import { clearInterval, clearTimeout, setInterval, setTimeout } from "../runtime/timers.ts";
import { agedBefore, type ClockReading } from "./clock-reading.ts";
import type { Commit, OpenedState, RecordRange } from "./database.ts";
import type {
  ChainState,
  Damage,
  EpochStart,
  Journal,
  JournalHistory,
  Retention,
  SequenceGap,
  StoredEvent,
} from "./journal.ts";
import { MemoryTail } from "./memory.ts";
import { decodePage, emptyPage, pageOfBlocks, pageOfGap, type BlocksPage } from "./pages.ts";
import type { PageQuery } from "./page-reader.ts";
import { parseSavedClock, TrustedClock } from "./trusted-clock.ts";
import {
  BufferPool,
  WorkerError,
  WorkerThread,
  type WorkerReply,
  type WorkerRequest,
} from "./worker-thread.ts";

/** What is appended while a commit is under way goes into the next one, up to this size. */
const COMMIT_BYTES_MAX = 1 << 20;

/**
 * Cursors go with a commit, where they cost next to nothing, at most this often; without a commit they get one of their
 * own after the longer time.
 */
const CURSORS_WITH_COMMIT_MS = 100;
const CURSORS_MS = 1_000;

/** After a failed commit, how often the journal checks whether the disk accepts one again. */
const PROBE_MS = 1_000;

/** How often records expire by age. */
const TIDY_MS = 60_000;

/** The clock is saved when no record has told the time for this long. */
const UNSAVED_CLOCK_MS = 3_600_000;

/** The owner of the text in which the journal saves its clock. */
const CLOCK = "journal/clock";

export interface SqliteJournalOptions {
  /** The directory of the database; must exist. */
  readonly directory: string;
  readonly retention: Retention;
  /** A time that is known to have passed, for a journal without records. */
  readonly lastMs?: number | undefined;
  /** Called with what an operator has to know, and with the damage if there is any. */
  alarm(text: string, damage?: Damage): void;
}

interface Appended {
  readonly batch: RecordBatch;
  readonly bytes: number;
  readonly durable: PromiseWithResolvers<void>;
}

/** Batches that become durable with one commit. */
interface CommitGroup {
  readonly appended: readonly Appended[];
  readonly first: number;
  readonly last: number;
  /** Set when it was sent to the worker: the id of the request, and the chain after its last audit event. */
  sent: { readonly id: number; readonly chain: ChainState | undefined } | undefined;
  isSettled: boolean;
}

/**
 * The engine with a disk: node:sqlite in a worker thread, one block for each type of a commit. An idle journal commits
 * at once; what is appended while a commit is under way shares the next one (group commit).
 */
export class SqliteJournal implements Journal {
  readonly isPersistent = true;
  readonly clock: TrustedClock;
  readonly storedEvents: readonly StoredEvent[];
  #options: SqliteJournalOptions;
  readonly #tail: MemoryTail;
  readonly #pool = new BufferPool();
  readonly #merger: Merger;
  readonly #searches: HistorySearches;
  readonly #pages: ReadAhead;
  readonly history: JournalHistory;
  #worker: WorkerThread;
  #epochs: readonly EpochStart[];
  /** In order. */
  #gaps: SequenceGap[];
  readonly #cursors: Map<string, number>;
  /** A consumer without a cursor may not be new, then. */
  readonly #hasLostCursors: boolean;
  readonly #changedCursors = new Set<string>();
  readonly #memories: Map<string, string>;
  #cursorsSavedAtMs = -Infinity;
  #cursorTimer: NodeJS.Timeout | undefined;
  #waiting: Appended[] = [];
  /** What waits and what is under way. */
  pendingBytes = 0;
  durable: number;
  /** The chain after the last audit event that was sent to the worker. */
  #sentChain: ChainState;
  chain: ChainState;
  /** In order; more than one only if the process is about to die. */
  readonly #underway = new Map<CommitGroup, Promise<void>>();
  #commitError: string | undefined;
  #probeTimer: NodeJS.Timeout | undefined;
  /** Why there are no files to write to, as the worker has noticed without a commit. */
  #filesError: string | undefined;
  #hasReportedDamage = false;
  #hasReportedRepairs = false;
  #hasReportedUnindexed = false;
  #restarting: Promise<number> | undefined;
  #isClosed = false;
  #tidyTimer: NodeJS.Timeout | undefined;
  /** The clock's steps as they were saved. */
  #savedSteps: ClockReading["steps"];
  /** The newest time that was saved, with the clock or with a record. */
  #savedMs: number;

  private constructor(options: SqliteJournalOptions, worker: WorkerThread, state: OpenedState) {
    this.#options = options;
    this.#worker = worker;
    this.#memories = new Map(state.memories);
    const saved = parseSavedClock(this.#memories.get(CLOCK));
    this.#savedSteps = saved?.steps ?? [];
    const savedMs = later(saved?.lastMs, state.lastMs);
    this.clock = new TrustedClock({ lastMs: savedMs ?? options.lastMs, steps: this.#savedSteps });
    this.#savedMs = savedMs ?? this.clock.now();
    this.#tail = new MemoryTail(this.clock, {
      newest: state.newest,
      durable: () => this.durable,
    });
    this.#epochs = state.epochs;
    this.#gaps = [...state.gaps];
    this.storedEvents = state.events;
    this.#cursors = new Map(state.cursors);
    this.#hasLostCursors = state.hasLostCursors;
    this.durable = state.newest;
    this.#sentChain = state.chain;
    this.chain = state.chain;
    this.#searches = new HistorySearches(options.directory);
    const mergedUpTo = (): number => this.mergedUpTo;
    this.history = {
      get mergedUpTo() {
        return mergedUpTo();
      },
      find: (search, limit, signal) => this.#find(search, limit, signal),
      count: (search, counted, signal) => this.#count(search, counted, signal),
    };
    this.#pages = new ReadAhead({
      read: (query) => this.#readHistory(query),
      requestOf: (block) => readRequestSync(options.directory, block),
      has: (sequence) => sequence >= 1 && sequence <= this.mergedUpTo,
    });
    this.#merger = new Merger({
      directory: options.directory,
      merged: state.merged,
      fresh: this.#freshRecords(),
      expired: () => this.#pages.clear(),
      lost: (range, why, aside) => this.#onHistoryLost(range, why, aside),
      unindexed: (ranges) => this.#onUnindexed(ranges),
      failed: (text) => this.#onMergeFailed(text),
    });
  }

  /**
   * Opens the journal of a directory, and creates one if there is none.
   * @throws TailgateError LOG_DIR_IN_USE if another gateway uses it, JOURNAL_UNUSABLE if it cannot be opened.
   */
  static async open(options: SqliteJournalOptions): Promise<SqliteJournal> {
    let journal: SqliteJournal | undefined;
    try {
      const { thread, state, damage } = await SqliteJournal.#startWorker(options, () => journal);
      if (damage !== undefined) options.alarm(damage.text, damage);
      journal = new SqliteJournal(options, thread, state);
      await journal.#merger.open();
      journal.#startTidying();
      return journal;
    } catch (error) {
      throw openError(options.directory, error);
    }
  }

  /** `journal`: returns the journal that unsolicited messages are for, once there is one. */
  static #startWorker(
    { directory, retention, alarm }: SqliteJournalOptions,
    journal: () => SqliteJournal | undefined,
  ): ReturnType<typeof WorkerThread.open> {
    return WorkerThread.open(directory, retention, {
      replaced(epochs, damage) {
        const opened = journal();
        if (opened !== undefined) opened.#onReplaced(epochs, damage);
        alarm(damage.text, damage);
      },
      unavailable(text) {
        const opened = journal();
        if (opened !== undefined) opened.#onUnavailable(text);
      },
    });
  }

  get epoch(): string {
    return this.#epochs.at(-1)!.epoch;
  }

  get newest(): number {
    return this.#tail.newest;
  }

  get oldest(): number {
    return this.#tail.oldest;
  }

  get oldestRetained(): number {
    return this.#merger.oldest ?? this.#worker.oldestStored ?? this.#tail.oldest;
  }

  get mergedUpTo(): number {
    return this.#merger.mergedUpTo;
  }

  get merging(): MergeStatus {
    return this.#merger.status;
  }

  get memoryBytes(): number {
    return this.#tail.bytes;
  }

  get diskWaitMs(): number {
    return this.#worker.oldestRequestMs;
  }

  get lastError(): string | undefined {
    return this.#commitError ?? this.#filesError;
  }

  append(batch: RecordBatch): Promise<void> {
    if (this.#isClosed) return Promise.reject(closedError());
    this.#tail.append(batch);
    const durable = Promise.withResolvers<void>();
    // If nobody waits, `lastError` tells.
    durable.promise.catch(() => {});
    const bytes = batch.memoryBytes;
    this.#waiting.push({ batch, bytes, durable });
    this.pendingBytes += bytes;
    if (this.#underway.size === 0) this.#commitNext();
    return durable.promise;
  }

  watch(listener: () => void): () => void {
    return this.#tail.watch(listener);
  }

  #commitNext(): void {
    const appended = this.#nextGroup();
    if (appended.length === 0) return;
    const group: CommitGroup = {
      appended,
      first: appended[0]!.batch.firstSequence,
      last: lastSequence(appended.at(-1)!.batch),
      sent: undefined,
      isSettled: false,
    };
    const committing = this.#commit(group).finally(() => {
      this.#underway.delete(group);
      if (this.#underway.size === 0) this.#commitNext();
    });
    this.#underway.set(group, committing);
  }

  /** Takes the oldest batches that wait: at least one, if there is one. */
  #nextGroup(): Appended[] {
    let bytes = 0;
    const end = this.#waiting.findIndex((appended, index) => {
      bytes += appended.bytes;
      return index > 0 && bytes > COMMIT_BYTES_MAX;
    });
    return this.#waiting.splice(0, end < 0 ? this.#waiting.length : end);
  }

  /** Makes a group durable or rejects it; never rejects itself. */
  async #commit(group: CommitGroup): Promise<void> {
    try {
      await this.#store(group);
      this.#resolve(group);
    } catch (error) {
      const { first, last, appended } = group;
      const rejection = this.#commitFailed(error);
      this.#addGap({ first, last, reason: "not_stored" });
      this.durable = last;
      for (const { durable } of appended) durable.reject(rejection);
      this.#release(group);
    }
  }

  #resolve(group: CommitGroup): void {
    if (group.isSettled) return;
    this.durable = group.last;
    this.chain = group.sent?.chain ?? this.chain;
    this.#commitError = undefined;
    for (const { durable } of group.appended) durable.resolve();
    this.#release(group);
  }

  #release(group: CommitGroup): void {
    group.isSettled = true;
    for (const { bytes } of group.appended) this.pendingBytes -= bytes;
    this.#tail.trim();
    this.#merger.committed();
  }

  #freshRecords(): FreshRecords {
    const durable = (): number => this.durable;
    const isBusy = (): boolean => this.#waiting.length > 0;
    return {
      get durable() {
        return durable();
      },
      get isBusy() {
        return isBusy();
      },
      read: async (from) => {
        const reply = await this.#request({ kind: "fresh", from });
        if (reply.kind !== "page") throw new Error(`unexpected reply ${reply.kind}`);
        return reply.page;
      },
      merged: async ({ merged, floors }) => {
        const reply = await this.#request({ kind: "merged", merged, floors });
        if (reply.kind !== "merged") throw new Error(`unexpected reply ${reply.kind}`);
        return reply.freshBytes;
      },
      lost: async (from) => {
        const reply = await this.#request({ kind: "lost", from });
        return reply.kind === "lost" ? reply.range : undefined;
      },
      limits: (freshBytes) => ({
        system_log: this.#limits("system_log", freshBytes),
        audit_log: this.#limits("audit_log", freshBytes),
      }),
    };
  }

  /** Sends a request to the worker, which is started again if it has died. */
  async #request(request: WorkerRequest): Promise<WorkerReply> {
    if (this.#worker.endCause !== undefined) await this.#restarted();
    return this.#worker.request(request);
  }

  /** Returns what the history may keep of a type. */
  #limits(type: EnvelopeType, freshBytes: Readonly<Record<EnvelopeType, number>>): Limits {
    const { bytes, ms } = this.#options.retention[type];
    const expiredBeforeMs = agedBefore(ms, this.clock.reading());
    return { bytes: Math.max(0, bytes - freshBytes[type]), expiredBeforeMs };
  }

  #onHistoryLost(range: BlockRange | undefined, why: string, aside: string | undefined): void {
    this.#pages.clear();
    const found = aside === undefined ? "" : ` The file in its place was put aside as ${aside}.`;
    const loss =
      range === undefined
        ? "No record is lost."
        : `The records ${range.from} to ${range.to} are lost, and are reported as a gap.`;
    const text = `The history (history.db) is unusable: ${why}.${found} ${loss}`;
    if (range !== undefined) {
      const { from: first, to: last } = range;
      const others = this.#gaps.filter((gap) => gap.last < first || gap.first > last);
      this.#gaps = [...others, { first, last, reason: "damaged" as const }].sort(
        (one, other) => one.first - other.first,
      );
    }
    this.#options.alarm(text, {
      text,
      ...(range && { lost: range }),
      isTrailIncomplete: range !== undefined && this.chain.seq >= range.from,
      kept: aside === undefined ? [] : [aside],
    });
  }

  /** Reports the first ones; the metric counts all. */
  #onUnindexed([first]: readonly BlockRange[]): void {
    if (this.#hasReportedUnindexed) return;
    this.#hasReportedUnindexed = true;
    const text = `No index can be made of some records, the first of which is ${first!.from}. They are stored in the history (history.db) as they are, and searches read all of them. If some are damaged, they are reported as a gap when they are read.`;
    this.#options.alarm(text, { text, isTrailIncomplete: false, kept: [] });
  }

  #onMergeFailed(text: string | undefined): void {
    if (text === undefined) return;
    this.#options.alarm(
      `Records cannot be moved to the history (history.db): ${text}. They stay in journal.db, which grows meanwhile; another attempt is made every minute.`,
    );
  }

  /** Moves everything that is durable to the history. */
  async merge(): Promise<void> {
    await this.#merger.merge();
  }

  /** Resolves when the group is durable. */
  async #store(group: CommitGroup): Promise<void> {
    if (this.#worker.endCause !== undefined) await this.#restarted();
    const cursors = this.#cursorsToSave();
    try {
      await this.#send(group, cursors);
    } catch (error) {
      for (const [consumer] of cursors) this.#changedCursors.add(consumer);
      group.sent = undefined;
      if (this.#worker.endCause === undefined) this.#sentChain = this.chain;
      else if (await this.#wasStored(group.last, error)) return;
      throw error;
    }
  }

  /** Sends a commit to the worker. */
  async #send(group: CommitGroup, cursors: readonly [string, number][]): Promise<void> {
    const batches = group.appended.map(({ batch }) => batch);
    for (const batch of batches) this.#settle(batch);
    const before = this.#sentChain;
    const { after, events } = seal(batches, before);
    const range = this.#encodeRange(batches);
    this.#savedMs = range.appendedAtMs;
    const hasAudit = after.count > before.count;
    const chain = hasAudit ? { before, after } : undefined;
    this.#sentChain = after;
    const memory = range.blocks.map(({ bytes }) => bytes.buffer);
    const commit: Commit = { ranges: [range], cursors, chain, events };
    const committed = this.#worker.request({ kind: "commit", commit }, memory);
    group.sent = { id: this.#worker.lastId, chain: hasAudit ? after : undefined };
    const reply = await committed;
    if (reply.kind === "committed") this.#pool.release(reply.memory);
  }

  /** Encodes what is stored, here and not while somebody logs. */
  #settle(batch: RecordBatch): void {
    const before = batch.memoryBytes;
    settle(batch);
    this.#tail.bytes += batch.memoryBytes - before;
  }

  /** A commit is stored with one append time. Its batches get it too, so that it is the same after a restart. */
  #encodeRange(batches: readonly RecordBatch[]): RecordRange {
    const { firstSequence, appendedAtMs } = batches[0]!;
    for (const batch of batches) batch.appendedAtMs = appendedAtMs;
    return {
      first: firstSequence,
      last: lastSequence(batches.at(-1)!),
      appendedAtMs,
      blocks: encodeBlocks(batches, (bytes) => this.#pool.allocate(bytes)),
    };
  }

  /** Whether a commit was stored that was under way when the worker died. Throws `error` if that is unknown. */
  async #wasStored(last: number, error: unknown): Promise<boolean> {
    let newest: number;
    try {
      newest = await this.#restarted();
    } catch {
      throw error;
    }
    if (newest >= last) return true;
    throw new WorkerError({ kind: "rejected", text: textOf(error) });
  }

  /**
   * Starts another worker after one has died. Returns the newest sequence that is stored. After `close` a worker would
   * keep the directory from the next gateway.
   */
  #restarted(): Promise<number> {
    if (this.#isClosed) return Promise.reject(closedError());
    this.#restarting ??= this.#restart().finally(() => (this.#restarting = undefined));
    return this.#restarting;
  }

  async #restart(): Promise<number> {
    const why = this.#worker.endCause!.message;
    const { thread, state, damage } = await SqliteJournal.#startWorker(this.#options, () => this);
    this.#options.alarm(`The journal's thread was restarted: ${why}.`);
    if (damage !== undefined) this.#options.alarm(damage.text, damage);
    this.#worker = thread;
    this.#sendClock();
    this.#epochs = state.epochs;
    this.#gaps = [...state.gaps, ...this.#gaps.filter(({ first }) => first > state.newest)];
    this.#sentChain = state.chain;
    this.chain = state.chain;
    return state.newest;
  }

  /** Removes records from memory that could not be stored. */
  #addGap(gap: SequenceGap): void {
    this.#tail.remove(gap.first, gap.last);
    const before = this.#gaps.at(-1);
    if (before?.last === gap.first - 1 && before.reason === gap.reason) {
      this.#gaps[this.#gaps.length - 1] = { ...gap, first: before.first };
    } else this.#gaps.push(gap);
  }

  #commitFailed(error: unknown): TailgateError {
    const kind = error instanceof WorkerError ? error.failure.kind : "unknown";
    const [code, text] = COMMIT_ERRORS[kind];
    this.#commitError = `${code}: ${textOf(error)}`;
    this.#scheduleProbe();
    return new TailgateError(code, text, { cause: error });
  }

  #scheduleProbe(): void {
    if (this.#isClosed) return;
    this.#probeTimer ??= setTimeout(() => {
      this.#probeTimer = undefined;
      void this.#probe();
    }, PROBE_MS).unref();
  }

  /** Nobody may log until the gateway is ready again, so the journal tries a commit of its own. */
  async #probe(): Promise<void> {
    if (this.#commitError === undefined || this.#isClosed) return;
    try {
      await this.saveMemory(CLOCK, JSON.stringify(this.clock.saved));
      this.#commitError = undefined;
    } catch {
      this.#scheduleProbe();
    }
  }

  readFrom(sequence: number): Batch | undefined {
    return this.#tail.readFrom(sequence);
  }

  async read(query: JournalQuery): Promise<JournalPage> {
    const known = this.#readInMemory(query);
    if (known !== undefined) return known;
    if (this.#worker.endCause !== undefined) await this.#restarted();
    if (this.#startOf(query) <= this.mergedUpTo) {
      return this.#toHistoryPage(query, await this.#pages.read(this.#pageQuery(query)));
    }
    return this.#toPage(query, await this.#worker.request(this.#readRequest(query)));
  }

  /** If the file cannot be read, the thread that writes it finds out what is wrong. */
  async #readHistory(query: HistoryQuery): Promise<HistoryPage> {
    try {
      return await this.#searches.read(query);
    } catch {
      return this.#merger.read(query);
    }
  }

  readSync(query: JournalQuery, timeoutMs: number): JournalPage {
    const known = this.#readInMemory(query);
    if (known !== undefined) return known;
    if (this.#startOf(query) <= this.mergedUpTo) {
      const page = readHistorySync(this.#options.directory, this.#pageQuery(query));
      return this.#toHistoryPage(query, page);
    }
    const reply = this.#worker.requestSync(this.#readRequest(query), timeoutMs);
    if (reply === undefined) throw new Error("the disk takes too long");
    return this.#toPage(query, reply);
  }

  /** Returns a page that can be made without the disk. */
  #readInMemory(query: JournalQuery): JournalPage | undefined {
    const page = this.#tail.read(query);
    if (page !== undefined) return page;
    const { order = "asc" } = query;
    const from = this.#startOf(query);
    if (from < 1 || from > this.newest) return emptyPage(query.from);
    const gap = this.#gaps.find(({ first, last }) => first <= from && from <= last);
    return gap && pageOfGap(gap, from, order);
  }

  #startOf({ from, order }: JournalQuery): number {
    return order === "desc" ? Math.min(from, this.newest) : from;
  }

  #readRequest(query: JournalQuery): WorkerRequest {
    return { kind: "read", query: this.#pageQuery(query) };
  }

  #pageQuery(query: JournalQuery): PageQuery {
    const { order = "asc", type, sinceMs, untilMs } = query;
    return { from: this.#startOf(query), order, type, sinceMs, untilMs };
  }

  #toHistoryPage(query: JournalQuery, found: HistoryPage): JournalPage {
    const stored = this.#withOwnGaps(found);
    const page = pageOfBlocks(query, stored, (sequences) => this.#reportRepairs(sequences));
    this.#reportDamage(page);
    return page;
  }

  #withOwnGaps({ from, to, blocks, gaps }: HistoryPage): BlocksPage {
    return {
      from,
      to,
      blocks: blocks.map((block) => ({ ...block, lastSequence: to })),
      gaps: this.#allGaps({ from, to }, gaps),
    };
  }

  /** The journal knows the gaps that the history does not. */
  #allGaps({ from, to }: BlockRange, known: readonly Gap[]): Gap[] {
    const own = this.#gaps
      .filter(({ first, last }) => last >= from && first <= to)
      .map(({ first, last, reason }) => ({
        from: Math.max(first, from),
        to: Math.min(last, to),
        reason,
      }));
    return [...known, ...own].sort((one, other) => one.from - other.from);
  }

  async *#find(
    search: HistorySearch,
    limit: number,
    signal: AbortSignal,
  ): AsyncGenerator<JournalPage> {
    for await (const found of this.#searches.find(search, limit, signal)) {
      const stored = this.#withOwnGaps(found);
      const page = decodePage(stored, (sequences) => this.#reportRepairs(sequences));
      this.#reportDamage(page);
      yield page;
    }
  }

  async *#count(
    search: HistorySearch,
    options: CountOptions,
    signal: AbortSignal,
  ): AsyncGenerator<HistoryCounts> {
    for await (const counts of this.#searches.count(search, options, signal)) {
      yield { ...counts, gaps: this.#allGaps(counts, counts.gaps) };
    }
  }

  #toPage(query: JournalQuery, reply: WorkerReply): JournalPage {
    if (reply.kind !== "page") throw new Error(`unexpected reply ${reply.kind}`);
    const page = pageOfBlocks(query, reply.page, (sequences) => this.#reportRepairs(sequences));
    this.#reportDamage(page);
    return page;
  }

  /** Reports the first damage that was not known when the journal was opened. */
  #reportDamage({ gaps }: JournalPage): void {
    if (this.#hasReportedDamage) return;
    const isKnown = ({ from, to }: Gap): boolean =>
      this.#gaps.some(({ first, last }) => first <= from && to <= last);
    const damaged = gaps.find((gap) => gap.reason === "damaged" && !isKnown(gap));
    if (damaged === undefined) return;
    this.#hasReportedDamage = true;
    const lost = { from: damaged.from, to: damaged.to };
    const text = `The journal is damaged: of its records ${lost.from} to ${lost.to} some are lost.`;
    this.#options.alarm(text, { text, lost, isTrailIncomplete: false, kept: [] });
  }

  #reportRepairs(sequences: readonly number[]): void {
    if (this.#hasReportedRepairs) return;
    this.#hasReportedRepairs = true;
    this.#options.alarm(
      `An older version of Tailgate has stored damaged envelopes (${sequences.length} from sequence ${sequences[0]} on). Nothing is lost: they are rebuilt from their OpenTelemetry records when they are read.`,
    );
  }

  /** Remembers what was lost with the replaced journal as a gap. */
  #onReplaced(epochs: readonly EpochStart[], { lost }: Damage): void {
    this.#epochs = epochs;
    if (lost === undefined) return;
    const { from: first, to: last } = lost;
    const older = this.#gaps.filter((gap) => gap.last < first);
    const newer = this.#gaps.filter((gap) => gap.first > last);
    this.#gaps = [...older, { first, last, reason: "damaged" }, ...newer];
  }

  /** Records are rejected meanwhile; the worker checks every second. */
  #onUnavailable(text: string | undefined): void {
    this.#filesError = text && `JOURNAL_REFUSED: ${text}`;
    if (text === undefined) this.#commitError = undefined;
    else {
      this.#options.alarm(
        `The journal's files are gone, and no records can be stored until they can be recreated: ${text}`,
      );
    }
  }

  sharedUpTo(epoch: string, sequence: number): number | undefined {
    const index = this.#epochs.findIndex((start) => start.epoch === epoch);
    if (index < 0) return undefined;
    const next = this.#epochs[index + 1];
    return Math.min(sequence, next === undefined ? this.newest : next.first - 1);
  }

  uidOf(sequence: number): string {
    // Of epochs that start at the same sequence, the older ones have no records.
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
    this.#cursorTimer ??= setTimeout(() => this.#saveState(), CURSORS_MS).unref();
  }

  #cursorsToSave(): [string, number][] {
    const now = performance.now();
    if (this.#changedCursors.size === 0 || now - this.#cursorsSavedAtMs < CURSORS_WITH_COMMIT_MS)
      return [];
    this.#cursorsSavedAtMs = now;
    return this.#takeChangedCursors();
  }

  #takeChangedCursors(): [string, number][] {
    clearTimeout(this.#cursorTimer);
    this.#cursorTimer = undefined;
    const entries = [...this.#changedCursors].map((consumer): [string, number] => [
      consumer,
      this.#cursors.get(consumer)!,
    ]);
    this.#changedCursors.clear();
    return entries;
  }

  /** Saves cursors that no commit has taken along, and texts. A failure only means that cursors are out of date. */
  #saveState(memories: Commit["memories"] = []): void {
    const cursors = this.#takeChangedCursors();
    if (cursors.length === 0 && memories.length === 0) return;
    this.#worker.request(stateCommit(cursors, memories)).catch(() => {
      for (const [consumer] of cursors) this.#changedCursors.add(consumer);
    });
  }

  memory(owner: string): string | undefined {
    return this.#memories.get(owner);
  }

  async saveMemory(owner: string, text: string): Promise<void> {
    this.#memories.set(owner, text);
    if (this.#worker.endCause !== undefined) await this.#restarted();
    await this.#worker.request(stateCommit([], [[owner, text]]));
  }

  flushSync(timeoutMs: number): void {
    while (this.#waiting.length > 0) this.#commitNext();
    this.#worker.waitForAll(timeoutMs);
  }

  settleSync(timeoutMs: number): void {
    while (this.#waiting.length > 0) this.#commitNext();
    const groups = [...this.#underway.keys()].filter(({ isSettled }) => !isSettled);
    const firstId = Math.min(...groups.map(({ sent }) => sent?.id ?? 0));
    if (!this.#worker.waitForAll(timeoutMs, firstId)) return;
    for (const group of groups) this.#resolve(group);
  }

  markCleanSync(timeoutMs: number): void {
    if (this.#isClosed || this.#worker.endCause !== undefined) return;
    this.#saveState(this.#clockToSave());
    this.#worker.request({ kind: "markClean", newest: this.newest }).catch(() => {});
    this.#worker.waitForAll(timeoutMs);
  }

  #startTidying(): void {
    this.#tidy();
    this.#tidyTimer = setInterval(() => this.#tidy(), TIDY_MS).unref();
    this.clock.watch(({ kind }) => {
      if (kind === "confirmed") this.#tidy();
    });
  }

  /** Sends the clock by which the worker expires records; a restarted worker needs it, too. */
  #sendClock(): void {
    this.#worker.request({ kind: "clock", clock: this.clock.reading() }).catch(() => {});
  }

  #tidy(): void {
    this.#sendClock();
    void this.#merger.tidy();
    for (const [owner, text] of this.#clockToSave()) {
      this.saveMemory(owner, text).catch(() => (this.#savedMs = -Infinity));
    }
  }

  /** Returns the clock as a text to save, unless what was saved of it is enough for the next start. */
  #clockToSave(): [string, string][] {
    const { saved } = this.clock;
    const isSaved = saved.steps === this.#savedSteps;
    if (isSaved && Math.abs(saved.lastMs - this.#savedMs) < UNSAVED_CLOCK_MS) return [];
    this.#savedSteps = saved.steps;
    this.#savedMs = saved.lastMs;
    return [[CLOCK, JSON.stringify(saved)]];
  }

  setRetention(retention: Retention): void {
    // A restarted worker gets it, too.
    this.#options = { ...this.#options, retention };
    this.#worker.request({ kind: "retention", retention }).catch(() => {});
    void this.#merger.tidy();
  }

  async close(): Promise<void> {
    clearInterval(this.#tidyTimer);
    clearTimeout(this.#probeTimer);
    while (this.#underway.size > 0) await Promise.all(this.#underway.values());
    this.#pages.clear();
    await this.#searches.close();
    await this.#merger.close();
    this.#isClosed = true;
    await this.#restarting?.catch(() => {});
    this.#saveState(this.#clockToSave());
    await this.#worker.request({ kind: "close", newest: this.newest }).catch(() => {});
    await this.#worker.ended();
  }
}

/** A commit without records. */
function stateCommit(
  cursors: Commit["cursors"],
  memories: NonNullable<Commit["memories"]>,
): WorkerRequest {
  const commit: Commit = { ranges: [], cursors, memories, chain: undefined, events: [] };
  return { kind: "commit", commit };
}

/**
 * Links each audit event of the batches to the one before it, starting from that state of the hash chain. Returns the
 * state after them, and the events that have a key.
 */
function seal(
  batches: readonly RecordBatch[],
  before: ChainState,
): { after: ChainState; events: StoredEvent[] } {
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
const COMMIT_ERRORS = {
  full: ["JOURNAL_FULL", "The disk is full: the records were not stored."],
  rejected: ["JOURNAL_REFUSED", "The disk has refused the records: they were not stored."],
  unknown: [
    "JOURNAL_FAILED",
    "The disk has failed: it is unknown whether the records were stored.",
  ],
  locked: ["JOURNAL_REFUSED", "The journal is locked: the records were not stored."],
  unusable: ["JOURNAL_REFUSED", "The journal cannot be used: the records were not stored."],
} as const;

function closedError(): TailgateError {
  return new TailgateError("STOPPED", "The journal is closed.");
}

function openError(directory: string, error: unknown): Error {
  if (!(error instanceof WorkerError)) return error as Error;
  if (error.failure.kind === "locked") {
    const text = `Another gateway is using ${directory}.`;
    return new TailgateError("LOG_DIR_IN_USE", text, { cause: error });
  }
  const text = `The journal in ${directory} cannot be opened: ${error.message}.`;
  return new TailgateError("JOURNAL_UNUSABLE", text, { cause: error });
}

function lastSequence(batch: RecordBatch): number {
  return batch.firstSequence + batch.length - 1;
}

function later(one: number | undefined, other: number | undefined): number | undefined {
  return one === undefined || other === undefined ? (one ?? other) : Math.max(one, other);
}
