import type { Socket } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import type {
  Access,
  Batch,
  Gap,
  HostJournal,
  JournalPage,
  JournalQuery,
} from "../../plugin/index.ts";
import type { CountOptions, HistoryCounts, HistorySearch } from "../../history/history.ts";
import type { WatchedJournal } from "../../journal/journal.ts";
import type { EnvelopeType } from "../../wire/envelope.ts";
import { bothFilters, PARSE_EFFORT_PER_BYTE, type Filter } from "../../filter/filter.ts";
import { heldRecord, type RecordFields } from "../../filter/records.ts";
import { HttpError } from "../server/rejections.ts";
import type { LongPoll } from "./long-poll.ts";
import type { PageCursor, HistoryRequest } from "./query.ts";
import type { SearchQueue } from "./search-queue.ts";
import { TimeSlice } from "./time-slice.ts";

/** A response has at most this many gaps: they must fit into a header. */
const GAPS_MAX = 64;

/** What one request may cost, in about as many microseconds of both threads; then it returns what it has found. */
const EFFORT_MAX = 250_000;
/** A search for more than the newest records costs less in the history. */
const QUICK_EFFORT_MAX = 2_000;
const LOOK_EFFORT = 1;
/** For a small record; a large one or a filter of many terms takes more. */
const MATCH_EFFORT_MIN = 5;
/** A more expensive match is made term by term, yielding in between. */
const MATCH_EFFORT_AT_ONCE = 1_000;
const PAGE_EFFORT = 5;
const READ_EFFORT = 1_000;
const BYTES_PER_EFFORT = 256;
/** Searching for a text in a whole batch. */
const SEARCHED_BYTES_PER_EFFORT = 1_000;

/** A request searches the part of the journal that has an index for about this time. */
const HISTORY_MS_MAX = 1_500;

const NEVER = new AbortController().signal;

/** Records that have left memory and are not on disk yet will be there soon. */
const UNREADABLE_DELAY_MS = 20;

/** Which records to search for, and where to start. */
export interface JournalSearch extends Pick<HistoryRequest, "filter" | "since" | "until"> {
  readonly ascending: boolean;
  /** The first sequence. */
  readonly from: number;
  /** True if it continues a search whose response has begun: it is not rejected any more. */
  readonly isContinued?: boolean;
}

/** Receives the records that match, in the order of the search. */
export interface MatchSink {
  /** True if it accepts no more records: the search ends. */
  readonly isFull: boolean;
  /** True if it reads parsed envelopes. */
  readonly readsEnvelopes: boolean;
  /** Returns false if the record does not fit: the search ends before it. */
  add(batch: Batch, index: number): boolean;
  /** How many more records it accepts. */
  readonly left: number;
  /** If it only counts: what it counts of the part of the journal that has an index, and how it receives that. */
  readonly counting?: CountOptions;
  addCounts?(counts: HistoryCounts): void;
}

/** Whom a search is for. */
export interface Searcher {
  /** The connection of the client. */
  readonly socket: Socket;
  /** What the client may read: the search finds nothing else. */
  readonly access: Access;
}

export interface SearchResult {
  /** The range that was searched, `from <= to`; if it is empty, `to` is `from - 1`. */
  readonly from: number;
  readonly to: number;
  /** What is missing of it, in the order of the search. */
  readonly gaps: readonly Gap[];
  /** The sequence to continue with; undefined at the end of the journal, unless the request waited for more. */
  readonly next: number | undefined;
}

/** Searches the journal, a limited part of it for each request. */
export class JournalSearches {
  readonly #journal: WatchedJournal;
  readonly #queue: SearchQueue;
  /** Requests read the disk in turn, so that a commit waits for at most one page. */
  #lastRead: Promise<unknown> = Promise.resolve();

  constructor(journal: WatchedJournal, queue: SearchQueue) {
    this.#journal = journal;
    this.#queue = queue;
  }

  /**
   * Searches what a client may read, and ends early if it leaves. With `wait`, which needs ascending order, also searches
   * new records until there is a result.
   * @throws HttpError SEARCHES_BUSY, or UNAUTHENTICATED if the client's access ends meanwhile
   */
  async run(
    search: JournalSearch,
    sink: MatchSink,
    searcher: Searcher,
    wait?: LongPoll,
  ): Promise<SearchResult> {
    const { epoch, newest } = this.#journal;
    const { ascending } = search;
    const start = ascending ? search.from : Math.min(search.from, newest);
    const progress = new SearchProgress(search, { sink, searcher }, start);
    await this.#searchInTurn(progress, newest, search.isContinued);
    if (wait) await this.#waitForResult(progress, wait, epoch);
    if (searcher.access.signal?.aborted) throw accessEnded();
    const { next, gaps } = progress;
    const hasMore = ascending ? wait || next <= this.#journal.newest : next >= 1;
    const [from, to] = ascending ? [start, next - 1] : [next + 1, start];
    return { from, to, gaps, next: hasMore ? next : undefined };
  }

  /**
   * Returns the record with that sequence as a batch of its own; undefined if there is none or the client may not read it.
   * @throws HttpError SEARCHES_BUSY, or UNAUTHENTICATED if the client's access ends meanwhile
   */
  async find(sequence: number, { socket, access }: Searcher): Promise<Batch | undefined> {
    let found: Batch | undefined;
    const { type } = access.filter;
    const read = async (): Promise<void> => {
      const { records } = await this.#readInTurn({ from: sequence, type });
      if (records?.sequence(0) !== sequence || !access.filter.matches(records, 0)) return;
      found = records.select((index) => index === 0);
    };
    await this.#queue.run(socket, read, false);
    if (access.signal?.aborted) throw accessEnded();
    return found;
  }

  /**
   * A new epoch ends the search: the response reports the range in the epoch in which it was searched. Records that the
   * client may not read never end it, or the time of the response would reveal them.
   */
  async #waitForResult(progress: SearchProgress, wait: LongPoll, epoch: string): Promise<void> {
    const journal = this.#journal;
    while (progress.isEmpty && journal.epoch === epoch) {
      if (progress.isRestricted) progress.renewEffort();
      if (progress.isOver || wait.signal.aborted) return;
      // The event loop does not turn between this check and waiting, so no record can arrive unnoticed.
      if (progress.next <= journal.newest) {
        await this.#searchInTurn(progress, journal.newest, true);
      } else if (!(await wait.forRecords())) return;
    }
  }

  /** Runs as one of the searches that the queue allows; a request that only waits is not one of them. */
  async #searchInTurn(
    progress: SearchProgress,
    newest: number,
    isContinued = false,
  ): Promise<void> {
    if (progress.hasReached(newest)) return;
    const run = (): Promise<void> => this.#search(progress, newest);
    await this.#queue.run(progress.searcher.socket, run, isContinued);
  }

  async #search(progress: SearchProgress, newest: number): Promise<void> {
    const { ascending, since, until } = progress.search;
    // The journal's time index has a resolution of milliseconds.
    const query = {
      order: ascending ? "asc" : "desc",
      type: progress.type,
      sinceMs: since === undefined ? undefined : Date.parse(since),
      untilMs: until === undefined ? undefined : Date.parse(until) + 1,
    } as const;
    while (!progress.hasReached(newest)) {
      if (this.#prefersHistory(progress)) {
        await this.#searchHistory(progress);
        continue;
      }
      const page = await this.#read({ ...query, from: progress.next }, progress);
      if (page.to >= page.from) await progress.searchPage(page);
      else if (ascending) return delay(UNREADABLE_DELAY_MS);
      else progress.next = 0;
    }
  }

  /** What is in memory as well is searched there first: it needs no other thread, and often has enough. */
  #prefersHistory({ next, sink, isQuick }: SearchProgress): boolean {
    const { history, oldest } = this.#journal;
    if (history === undefined || next > history.mergedUpTo) return false;
    return next < oldest || sink.counting !== undefined || !isQuick;
  }

  /** Searches the part of the journal that has an index, until the request's time is over. */
  async #searchHistory(progress: SearchProgress): Promise<void> {
    const { history } = this.#journal;
    const { sink, next } = progress;
    const search = progress.historySearch(history!.mergedUpTo);
    const signal = progress.searcher.access.signal ?? NEVER;
    const until = performance.now() + HISTORY_MS_MAX;
    try {
      if (sink.counting) {
        for await (const counts of history!.count(search, sink.counting, signal)) {
          progress.addCounts(counts);
          if (progress.isOver) return;
          if (performance.now() >= until) return progress.exhaust();
        }
      } else {
        for await (const page of history!.find(search, sink.left, signal)) {
          await progress.searchPage(page, true);
          if (progress.isOver) return;
          if (performance.now() >= until) return progress.exhaust();
        }
      }
    } catch (error) {
      if (signal.aborted) return;
      throw error;
    }
    // Cannot be, as the ranges of the parts cover that of the search; but it would be a search without an end.
    if (progress.next === next) throw new Error("the search of the history has no result");
  }

  async #read(query: JournalQuery, progress: SearchProgress): Promise<JournalPage> {
    const isInMemory = query.from >= this.#journal.oldest;
    const page = await this.#readInTurn(query);
    if (!isInMemory) progress.addReadEffort(page);
    return page;
  }

  #readInTurn(query: JournalQuery): Promise<JournalPage> {
    if (query.from >= this.#journal.oldest) return this.#journal.read(query);
    const reading = this.#lastRead.then(() => this.#journal.read(query));
    this.#lastRead = reading.catch(() => {});
    return reading;
  }
}

/** Returns a time as envelopes show it in microseconds since 1970. */
function microsOf(time: string): number {
  return Date.parse(time) * 1_000 + Number(time.slice(23, 26));
}

function accessEnded(): HttpError {
  return new HttpError(401, "UNAUTHENTICATED", "The credentials have expired or were revoked.");
}

/** How far one request has searched. */
class SearchProgress {
  readonly gaps: Gap[] = [];
  readonly searcher: Searcher;
  readonly search: JournalSearch;
  /** The only type that can match; undefined if both can. */
  readonly type: EnvelopeType | undefined;
  /**
   * A record must match all of them, in this order: what the request asks for is not evaluated on records that the client
   * may not read.
   */
  readonly #filters: readonly Filter[];
  readonly #sink: MatchSink;
  readonly #slice = new TimeSlice();
  #effort = 0;
  #hasRecords = false;
  /** The next sequence to search. */
  next: number;

  constructor(
    search: JournalSearch,
    { sink, searcher }: { sink: MatchSink; searcher: Searcher },
    next: number,
  ) {
    const { filter: permitted } = searcher.access;
    this.search = search;
    this.#sink = sink;
    this.searcher = searcher;
    this.type = bothFilters(permitted, search.filter).type;
    this.#filters = permitted.key === "" ? [search.filter] : [permitted, search.filter];
    this.next = next;
  }

  /** True if the client may not read all records. */
  get isRestricted(): boolean {
    return this.#filters.length > 1;
  }

  /** True if it has not taken longer yet than opening a block of the history does. */
  get isQuick(): boolean {
    return this.#effort < QUICK_EFFORT_MAX;
  }

  /** What to search for in the history, which is complete up to `merged`. */
  historySearch(merged: number): HistorySearch {
    const { ascending, since, until } = this.search;
    return {
      ...(ascending ? { from: this.next, to: merged } : { from: 1, to: this.next }),
      order: ascending ? "asc" : "desc",
      filters: this.#filters.map(({ node }) => node),
      type: this.type,
      sinceMicros: since === undefined ? undefined : microsOf(since),
      untilMicros: until === undefined ? undefined : microsOf(until),
    };
  }

  get sink(): MatchSink {
    return this.#sink;
  }

  /** Ends the search: it has taken all the time that a request has. */
  exhaust(): void {
    this.#effort = EFFORT_MAX;
  }

  addCounts(counts: HistoryCounts): void {
    this.#sink.addCounts!(counts);
    if (counts.matches > 0) this.#hasRecords = true;
    const { ascending } = this.search;
    this.next = ascending ? counts.to + 1 : counts.from - 1;
    for (const gap of inOrder(counts.gaps, ascending)) this.#addGap(gap);
  }

  /** Lets a search that waits for records continue. */
  renewEffort(): void {
    this.#effort = 0;
  }

  /** True if there is nothing to report yet. */
  get isEmpty(): boolean {
    return !this.#hasRecords && this.gaps.length === 0;
  }

  get isOver(): boolean {
    return (
      this.#sink.isFull ||
      this.#effort >= EFFORT_MAX ||
      this.gaps.length >= GAPS_MAX ||
      this.#isAbandoned
    );
  }

  /** True if the client has left or may no longer read. */
  get #isAbandoned(): boolean {
    const { socket, access } = this.searcher;
    return socket.destroyed || access.signal?.aborted === true;
  }

  /** True if the search is over or has passed this sequence, the last one of an ascending search. */
  hasReached(newest: number): boolean {
    return this.isOver || (this.search.ascending ? this.next > newest : this.next < 1);
  }

  /** Adds what it cost to read the page from disk. */
  addReadEffort({ records }: JournalPage): void {
    this.#effort += READ_EFFORT + (records?.byteLength ?? 0) / BYTES_PER_EFFORT;
  }

  /**
   * Searches a page that starts with the next sequence, as far as the request's limits allow. `isFound`: all its records
   * match.
   */
  async searchPage(page: JournalPage, isFound = false): Promise<void> {
    const start = this.next;
    const end = this.#endOf(page);
    this.#effort += PAGE_EFFORT;
    if (this.#slice.isOver(PAGE_EFFORT)) await this.#slice.yield();
    await this.#searchRecords(page.records, end, isFound ? [] : this.#filters);
    const { ascending } = this.search;
    const [from, to] = ascending ? [start, this.next - 1] : [this.next + 1, start];
    for (const gap of inOrder(page.gaps, ascending)) {
      this.#addGap({ ...gap, from: Math.max(gap.from, from), to: Math.min(gap.to, to) });
    }
  }

  /** Returns the first sequence after the page, or after those of its gaps that fit into a response. */
  #endOf({ from, to, gaps }: JournalPage): number {
    const { ascending } = this.search;
    const tooMany = inOrder(gaps, ascending)[GAPS_MAX - this.gaps.length];
    if (ascending) return Math.min(to + 1, tooMany?.from ?? Infinity);
    return Math.max(from - 1, tooMany?.to ?? -Infinity);
  }

  async #searchRecords(
    batch: Batch | undefined,
    end: number,
    filters: readonly Filter[],
  ): Promise<void> {
    const { ascending } = this.search;
    const length = batch?.length ?? 0;
    // What clients may not read is not searched for what they request.
    const required = filters[0]?.required;
    if (required) this.#effort += (batch?.byteLength ?? 0) / SEARCHED_BYTES_PER_EFFORT;
    for (let step = 0; step < length; step++) {
      const index = ascending ? step : length - 1 - step;
      const sequence = batch!.sequence(index);
      if (ascending ? sequence >= end : sequence <= end) break;
      this.#effort += LOOK_EFFORT;
      if (this.#slice.isOver(LOOK_EFFORT) && !(await this.#yield())) return;
      let isMatch = mayMatch(batch!, index, required) && this.#isInTime(batch!, index);
      for (let position = 0; isMatch && position < filters.length; position++) {
        const effort = this.#matchEffort(position, batch!.size(index));
        this.#effort += effort;
        if (this.#slice.isOver(effort) && !(await this.#yield())) return;
        const filter = filters[position]!;
        isMatch =
          effort <= MATCH_EFFORT_AT_ONCE
            ? filter.matches(batch!, index)
            : await this.#matchesInSteps(filter, heldRecord(batch!, index), effort);
      }
      if (isMatch) {
        this.next = sequence;
        if (!this.#sink.add(batch!, index)) return;
        this.#hasRecords = true;
      }
      this.next = sequence + (ascending ? 1 : -1);
      if (this.#sink.isFull || this.#effort >= EFFORT_MAX) return;
    }
    this.next = end;
  }

  /** Yields to the event loop. Returns false if there is no one left to search for. */
  async #yield(): Promise<boolean> {
    await this.#slice.yield();
    return !this.#isAbandoned;
  }

  #isInTime(batch: Batch, index: number): boolean {
    const { since, until } = this.search;
    if (since === undefined && until === undefined) return true;
    const timestamp = batch.timestamp(index);
    return (since ?? "") <= timestamp && (until === undefined || timestamp < until);
  }

  /** The sink parses envelopes that match the last filter. */
  #matchEffort(position: number, bytes: number): number {
    const isLast = position === this.#filters.length - 1;
    const parseEffort = isLast && this.#sink.readsEnvelopes ? PARSE_EFFORT_PER_BYTE * bytes : 0;
    return Math.max(MATCH_EFFORT_MIN, this.#filters[position]!.effort(bytes) + parseEffort);
  }

  async #matchesInSteps({ terms }: Filter, record: RecordFields, effort: number): Promise<boolean> {
    for (const term of terms) {
      if (!term.matches(record, 0)) return false;
      if (this.#slice.isOver(effort / terms.length)) await this.#slice.yield();
    }
    return true;
  }

  /** Merges adjacent gaps of the same kind. */
  #addGap(gap: Gap): void {
    if (gap.from > gap.to) return;
    const index = this.gaps.findIndex(
      (other) =>
        other.type === gap.type &&
        other.reason === gap.reason &&
        (other.to + 1 === gap.from || gap.to + 1 === other.from),
    );
    if (index < 0) return void this.gaps.push(gap);
    const other = this.gaps[index]!;
    const [from, to] = [Math.min(other.from, gap.from), Math.max(other.to, gap.to)];
    this.gaps[index] = { ...other, from, to };
  }
}

/** Returns false if a record surely does not match a filter that requires one of these texts. */
function mayMatch(
  records: RecordFields,
  index: number,
  required: readonly string[] | undefined,
): boolean {
  return required === undefined || records.mayHaveText?.(index, required) !== false;
}

function inOrder<Item>(items: readonly Item[], ascending: boolean): readonly Item[] {
  return ascending ? items : items.toReversed();
}

/** Returns the error for a position that the journal does not know. */
export function journalChanged(text: string): HttpError {
  return new HttpError(410, "CURSOR_GONE", text);
}

/**
 * Returns the sequence at which a search starts, and what was lost since the previous page. After a crash the newest
 * sequences may have been assigned again: the search continues with the records that survived.
 * @throws HttpError CURSOR_GONE if the journal does not know the cursor's epoch.
 */
export function resolveCursor(
  journal: HostJournal,
  cursor: PageCursor | undefined,
  ascending: boolean,
): { readonly from: number; readonly lost?: Gap } {
  if (cursor === undefined) return { from: ascending ? 1 : journal.newest };
  const { epoch } = cursor;
  // There is nothing before the first record, and an ascending search would not get past it.
  const sequence = ascending ? Math.max(1, cursor.sequence) : cursor.sequence;
  if (epoch === journal.epoch) return { from: sequence };
  const seen = ascending ? sequence - 1 : sequence;
  const shared = journal.sharedUpTo(epoch, seen);
  if (shared === undefined) {
    throw journalChanged(
      "This journal does not know the cursor's epoch: the cursor is from another journal. Start again without a cursor.",
    );
  }
  if (ascending) return { from: shared + 1 };
  if (shared === seen) return { from: shared };
  return { from: shared, lost: { from: shared + 1, to: seen, reason: "not_stored" } };
}
