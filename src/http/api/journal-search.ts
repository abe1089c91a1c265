import type { Socket } from "node:net";
import { setTimeout as pause } from "node:timers/promises";
import { heldRecord, PARSE_EFFORT_PER_BYTE } from "../../wire/filter.ts";
import type { Batch, Gap, HostJournal, JournalPage, JournalQuery } from "../../plugin/index.ts";
import type { Cursor, HistoryQuery } from "./query.ts";
import type { SearchQueue } from "./search-queue.ts";
import { TimeSlice } from "./time-slice.ts";
import type { Wait } from "./long-poll.ts";
import { HttpProblem } from "../server/rejections.ts";

/** An answer with so many gaps goes no further: they must fit into a header. */
const ANSWER_GAPS_MAX = 64;

/** What one request may take, in about as many microseconds of both threads; then it answers what it has found. */
const EFFORT_MAX = 250_000;
const LOOK_EFFORT = 1;
/** Of a small record; a large one, or a filter of many terms, takes more. */
const MATCH_EFFORT_MIN = 5;
/** A match that takes more is made term by term, with pauses. */
const MATCH_EFFORT_AT_ONCE = 1_000;
const PAGE_EFFORT = 5;
const READ_EFFORT = 1_000;
const BYTES_OF_ONE_EFFORT = 256;

/** What has left memory and is not on the disk yet will be there soon. */
const UNREADABLE_PAUSE_MS = 20;

/** The timestamp in an envelope's `data`: after `{"timestamp":"`, and always as long (DESIGN "The envelope"). */
const TIMESTAMP_START = 14;
const TIMESTAMP_END = 41;

/** The time that an envelope tells, `2025-10-13T09:27:24.339163Z`. */
export function timestampOf(batch: Batch, index: number): Uint8Array {
  return batch.data(index).subarray(TIMESTAMP_START, TIMESTAMP_END);
}

/** Which records a walk is for. */
export interface Wanted extends Pick<HistoryQuery, "filter" | "since" | "until"> {
  readonly ascending: boolean;
  /** The sequence to begin with. */
  readonly from: number;
}

/** Takes the records that are wanted, in the order of the walk. */
export interface Sink {
  /** True where it takes no further one: the walk ends. */
  readonly isFull: boolean;
  /** True if it reads the parsed envelopes. */
  readonly readsEnvelopes: boolean;
  /** Returns false if it has no room for the record: the walk ends before it. */
  take(batch: Batch, index: number): boolean;
}

export interface Walked {
  /** The stretch that was looked at, `from <= to`; empty with `to = from - 1`. */
  readonly from: number;
  readonly to: number;
  /** What is missing of it, in the order of the walk. */
  readonly gaps: readonly Gap[];
  /** The sequence to go on with; undefined at the end of the journal where nobody would have waited for more. */
  readonly next: number | undefined;
}

/** Looks through the journal, a bounded piece of it for each request. */
export class JournalWalks {
  readonly #journal: HostJournal;
  readonly #queue: SearchQueue;
  /** The requests read the disk in turns: whoever waits for a commit waits for one page at most. */
  #turn: Promise<unknown> = Promise.resolve();

  constructor(journal: HostJournal, queue: SearchQueue) {
    this.#journal = journal;
    this.#queue = queue;
  }

  /**
   * Walks for the client of that socket, and ends early if it leaves. `wait`: what comes counts, too, as long as there is
   * nothing else; only upwards.
   * @throws HttpProblem SEARCHES_BUSY
   */
  async walk(wanted: Wanted, sink: Sink, socket: Socket, wait?: Wait): Promise<Walked> {
    const { epoch, newest } = this.#journal;
    const { ascending } = wanted;
    const start = ascending ? wanted.from : Math.min(wanted.from, newest);
    const walk = new Walk(wanted, { sink, socket }, start);
    await this.#searchInTurn(walk, wanted, newest);
    if (wait) await this.#searchOn(walk, wanted, { wait, epoch });
    const isMore = ascending ? wait || walk.next <= this.#journal.newest : walk.next >= 1;
    const [from, to] = ascending ? [start, walk.next - 1] : [walk.next + 1, start];
    return { from, to, gaps: walk.gaps, next: isMore ? walk.next : undefined };
  }

  /** What the walk has passed is told in the numbering in which it has passed it: another one ends it. */
  async #searchOn(
    walk: Walk,
    wanted: Wanted,
    { wait, epoch }: { wait: Wait; epoch: string },
  ): Promise<void> {
    const journal = this.#journal;
    while (walk.isEmpty && !walk.isOver && journal.epoch === epoch) {
      if (wait.isOver) return;
      // Between this look at the newest record and the waiting there is no turn, in which one could come.
      if (walk.next <= journal.newest) await this.#searchInTurn(walk, wanted, journal.newest, true);
      else if (!(await wait.more())) return;
    }
  }

  /** A walk that only waits holds no place. */
  async #searchInTurn(
    walk: Walk,
    wanted: Wanted,
    newest: number,
    isContinued = false,
  ): Promise<void> {
    if (!isDue(walk, wanted, newest)) return;
    const search = (): Promise<void> => this.#search(walk, wanted, newest);
    await this.#queue.run(walk.socket, search, isContinued);
  }

  async #search(walk: Walk, wanted: Wanted, newest: number): Promise<void> {
    const { ascending } = wanted;
    const { sinceMs, untilMs } = hintsOf(wanted);
    const query = { order: ascending ? "asc" : "desc", type: wanted.filter.type } as const;
    while (isDue(walk, wanted, newest)) {
      const page = await this.#read({ ...query, from: walk.next, sinceMs, untilMs }, walk);
      if (page.to >= page.from) await walk.through(page);
      else if (ascending) return pause(UNREADABLE_PAUSE_MS);
      else walk.next = 0;
    }
  }

  async #read(query: JournalQuery, walk: Walk): Promise<JournalPage> {
    if (query.from >= this.#journal.oldest) return this.#journal.read(query);
    const reading = this.#turn.then(() => this.#journal.read(query));
    this.#turn = reading.catch(() => {});
    const page = await reading;
    walk.countRead(page);
    return page;
  }
}

/** One request's way through the pages. */
class Walk {
  readonly gaps: Gap[] = [];
  readonly #wanted: Wanted;
  readonly #sink: Sink;
  /** Where the answer goes to. */
  readonly socket: Socket;
  readonly #since: Uint8Array | undefined;
  readonly #until: Uint8Array | undefined;
  readonly #slice = new TimeSlice();
  #effort = 0;
  #hasTaken = false;
  /** The sequence that comes next. */
  next: number;

  constructor(wanted: Wanted, { sink, socket }: { sink: Sink; socket: Socket }, next: number) {
    this.#wanted = wanted;
    this.#sink = sink;
    this.socket = socket;
    this.#since = bytesOf(wanted.since);
    this.#until = bytesOf(wanted.until);
    this.next = next;
  }

  /** There is nothing to be told. */
  get isEmpty(): boolean {
    return !this.#hasTaken && this.gaps.length === 0;
  }

  get isOver(): boolean {
    return (
      this.#sink.isFull ||
      this.#effort >= EFFORT_MAX ||
      this.gaps.length >= ANSWER_GAPS_MAX ||
      this.socket.destroyed
    );
  }

  /** Counts what it took to read the page from the disk. */
  countRead({ records }: JournalPage): void {
    this.#effort += READ_EFFORT + (records?.byteLength ?? 0) / BYTES_OF_ONE_EFFORT;
  }

  /** Takes what is wanted of a page that begins with the next sequence, as far as the request still goes. */
  async through(page: JournalPage): Promise<void> {
    const start = this.next;
    const end = this.#endOf(page);
    this.#effort += PAGE_EFFORT;
    if (this.#slice.isOver(PAGE_EFFORT)) await this.#slice.rest();
    await this.#take(page.records, end);
    const { ascending } = this.#wanted;
    const [from, to] = ascending ? [start, this.next - 1] : [this.next + 1, start];
    for (const gap of inOrder(page.gaps, ascending)) this.#addGap(clipped(gap, from, to));
  }

  /** The first sequence behind the page, or behind those of its gaps that an answer has room for. */
  #endOf({ from, to, gaps }: JournalPage): number {
    const { ascending } = this.#wanted;
    const tooMany = inOrder(gaps, ascending)[ANSWER_GAPS_MAX - this.gaps.length];
    if (ascending) return Math.min(to + 1, tooMany?.from ?? Infinity);
    return Math.max(from - 1, tooMany?.to ?? -Infinity);
  }

  async #take(batch: Batch | undefined, end: number): Promise<void> {
    const { ascending } = this.#wanted;
    const length = batch?.length ?? 0;
    for (let step = 0; step < length; step++) {
      const index = ascending ? step : length - 1 - step;
      const sequence = batch!.sequence(index);
      if (ascending ? sequence >= end : sequence <= end) break;
      this.#effort += LOOK_EFFORT;
      if (this.#slice.isOver(LOOK_EFFORT) && !(await this.#rest())) return;
      if (this.#isInTime(batch!, index)) {
        const effort = this.#matchEffort(batch!, index);
        this.#effort += effort;
        if (this.#slice.isOver(effort) && !(await this.#rest())) return;
        const isWanted =
          effort <= MATCH_EFFORT_AT_ONCE
            ? this.#wanted.filter.matches(batch!, index)
            : await this.#matchesInSteps(batch!, index, effort);
        if (isWanted && !this.#give(batch!, index)) {
          this.next = sequence;
          return;
        }
      }
      this.next = sequence + (ascending ? 1 : -1);
      if (this.#sink.isFull || this.#effort >= EFFORT_MAX) return;
    }
    this.next = end;
  }

  /** Lets the event loop turn. Returns whether the client is still there. */
  async #rest(): Promise<boolean> {
    await this.#slice.rest();
    return !this.socket.destroyed;
  }

  #isInTime(batch: Batch, index: number): boolean {
    if (this.#since === undefined && this.#until === undefined) return true;
    const timestamp = timestampOf(batch, index);
    if (this.#since !== undefined && Buffer.compare(timestamp, this.#since) < 0) return false;
    return this.#until === undefined || Buffer.compare(timestamp, this.#until) < 0;
  }

  #matchEffort(batch: Batch, index: number): number {
    const bytes = batch.size(index);
    const { filter } = this.#wanted;
    const readEffort = this.#sink.readsEnvelopes ? PARSE_EFFORT_PER_BYTE * bytes : 0;
    return Math.max(MATCH_EFFORT_MIN, filter.effort(bytes) + readEffort);
  }

  async #matchesInSteps(batch: Batch, index: number, effort: number): Promise<boolean> {
    const { terms } = this.#wanted.filter;
    const record = heldRecord(batch, index);
    for (const term of terms) {
      if (!term.matches(record, index)) return false;
      if (this.#slice.isOver(effort / terms.length)) await this.#slice.rest();
    }
    return true;
  }

  #give(batch: Batch, index: number): boolean {
    const isTaken = this.#sink.take(batch, index);
    this.#hasTaken ||= isTaken;
    return isTaken;
  }

  /** Gaps that touch one another are one. */
  #addGap(gap: Gap): void {
    if (gap.from > gap.to) return;
    const place = this.gaps.findIndex(
      (known) =>
        known.type === gap.type &&
        known.reason === gap.reason &&
        (known.to + 1 === gap.from || gap.to + 1 === known.from),
    );
    if (place < 0) return void this.gaps.push(gap);
    const known = this.gaps[place]!;
    const [from, to] = [Math.min(known.from, gap.from), Math.max(known.to, gap.to)];
    this.gaps[place] = { ...known, from, to };
  }
}

/** True if there is more to look at. */
function isDue(walk: Walk, { ascending }: Wanted, newest: number): boolean {
  return !walk.isOver && (ascending ? walk.next <= newest : walk.next >= 1);
}

function bytesOf(text: string | undefined): Uint8Array | undefined {
  return text === undefined ? undefined : Buffer.from(text, "latin1");
}

/** The journal knows times by the millisecond. */
function hintsOf({ since, until }: Wanted): Pick<JournalQuery, "sinceMs" | "untilMs"> {
  return {
    sinceMs: since === undefined ? undefined : Date.parse(since),
    untilMs: until === undefined ? undefined : Date.parse(until) + 1,
  };
}

function clipped(gap: Gap, from: number, to: number): Gap {
  return { ...gap, from: Math.max(gap.from, from), to: Math.min(gap.to, to) };
}

function inOrder<Item>(items: readonly Item[], ascending: boolean): readonly Item[] {
  return ascending ? items : items.toReversed();
}

/** Where a walk through the journal begins, and what was lost of it since the page before. */
interface Start {
  readonly from: number;
  readonly lost?: Gap;
}

/**
 * After an unclean end the newest numbers were given out again: the walk goes on with what has survived.
 * @throws HttpProblem CURSOR_GONE where the journal does not know the cursor's epoch.
 */
export function startOf(
  journal: HostJournal,
  cursor: Cursor | undefined,
  ascending: boolean,
): Start {
  if (cursor === undefined) return { from: ascending ? 1 : journal.newest };
  const { epoch } = cursor;
  // Upwards nothing lies before the first record, and a walk from there would not get on.
  const sequence = ascending ? Math.max(1, cursor.sequence) : cursor.sequence;
  if (epoch === journal.epoch) return { from: sequence };
  const seen = ascending ? sequence - 1 : sequence;
  const shared = journal.sharedUpTo(epoch, seen);
  if (shared === undefined) {
    const why = "This journal does not know the cursor's epoch: it is of another one.";
    throw new HttpProblem(410, "CURSOR_GONE", `${why} Start again without a cursor.`);
  }
  if (ascending) return { from: shared + 1 };
  if (shared === seen) return { from: shared };
  return { from: shared, lost: { from: shared + 1, to: seen, reason: "not_stored" } };
}
