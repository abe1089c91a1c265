import type { EnvelopeType } from "../envelope.ts";
import type { FilterQuery } from "../filter.ts";
import {
  firstSequence,
  inOrder,
  isEntry,
  lastSequence,
  type GapRow,
  type ResetRow,
  type Row,
} from "./row.ts";
import { RowWindow, type WindowLimits } from "./row-window.ts";
import type {
  HistoryPage,
  LogEntry,
  LogHistory,
  LogStream,
  MissingRange,
  StreamEvent,
  StreamStatus,
} from "../client/index.ts";

const LIMITS: WindowLimits = { rowsMax: 10_000, weightMax: 8_000_000 };

const PAGE_RECORDS = 500;

/** At the end of the list this part of a page is shown at once, and following begins; of more, a page, to be read on. */
const CATCH_UP_PART = 0.2;

/** The rows have become others while the journal was asked. */
const STALE = Symbol("stale");

export interface PanelOptions {
  readonly lane: EnvelopeType;
  readonly filter: FilterQuery;
  readonly stream: Pick<LogStream, "listen" | "setFilter" | "status">;
  readonly history: Pick<LogHistory, "page">;
  /** Calls back once, before the next frame is drawn. */
  readonly schedule: (publish: () => void) => void;
  readonly limits?: WindowLimits;
  /** How many records are asked of the journal at a time. */
  readonly pageRecords?: number;
}

/** What came of the records of the stream; `received` is the sum of `shown`, `filtered` and `buffered`. */
export interface PanelCounts {
  /** All sequences that the stream has told of, but for gaps. */
  readonly received: number;
  /** Put into the list, or passed over on the way to the newest. */
  readonly shown: number;
  /** Not of this panel, or not matching the filter. */
  readonly filtered: number;
  /** New since the panel stopped following. */
  readonly buffered: number;
  /** In gaps that were not loaded. */
  readonly missing: number;
}

/** Where the list goes on into the journal. */
interface Edge {
  readonly from: number;
  readonly cursor?: string | undefined;
}

/**
 * One panel's records: a window on the log, and what has arrived behind it.
 *
 * - `rows` is what can be scrolled through. While the panel follows, records go there at once. Else nothing that the
 *   stream brings touches it, so that what is being read stays.
 * - `buffer` takes what arrives then. When it is full its oldest leave: they are in the journal.
 * - Where the end of the rows and the start of the buffer do not meet there is a hole, which is loaded on the way down,
 *   as what is older is on the way up.
 *
 * The newest record is at the bottom, as in a terminal and in `tailgate tail`: texts are read downwards, a stack trace
 * too, and rows that come at the end move nothing that is above them.
 *
 * React reads this through `subscribe` and `version`; it hears of changes once a frame, however many records came.
 */
export class PanelStore {
  readonly lane: EnvelopeType;
  readonly rows: RowWindow;
  readonly #stream: PanelOptions["stream"];
  readonly #history: PanelOptions["history"];
  readonly #schedule: PanelOptions["schedule"];
  readonly #pageRecords: number;
  readonly #buffer: RowWindow;
  readonly #listeners = new Set<() => void>();
  #filter: FilterQuery;
  #wantedVersion: number | undefined;

  #isFollowing = true;
  #isPaused = false;
  #isScheduled = false;
  #version = 0;

  /** Raised where the rows became others altogether: answers about the former ones are dropped then. */
  #generation = 0;
  /** The last sequence that the stream has told of; undefined before the first. */
  #position: number | undefined;
  /** Null where the journal begins with the first row. */
  #older: Edge | null | undefined;
  #newer: Edge | undefined;
  /** All of the stream from here on is in the buffer. Of use only while the panel does not follow. */
  #bufferStart = 0;
  #isLoadingOlder = false;
  #isLoadingNewer = false;
  #clearedAt: number | undefined;
  readonly #loadingGaps = new Set<GapRow>();
  #trouble = "";
  #goal: number | undefined;
  /** Raised where a jump is given up for something else. */
  #jumps = 0;
  /** Resolved when the stream has told where it is. */
  readonly #started = Promise.withResolvers<void>();

  /** The highest sequence that has been in the rows. */
  #shownUpTo = 0;
  #received = 0;
  #filtered = 0;
  #buffered = 0;
  #missing = 0;

  constructor({ lane, filter, stream, history, schedule, ...sizes }: PanelOptions) {
    const { limits = LIMITS, pageRecords = PAGE_RECORDS } = sizes;
    this.#pageRecords = pageRecords;
    this.lane = lane;
    this.#filter = filter;
    this.#stream = stream;
    this.#history = history;
    this.#schedule = schedule;
    this.rows = new RowWindow(limits);
    this.#buffer = new RowWindow(limits);
    stream.listen((event) => this.#take(event));
  }

  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  readonly version = (): number => this.#version;

  get status(): StreamStatus {
    return this.#stream.status;
  }

  get filter(): FilterQuery {
    return this.#filter;
  }

  /** True while the newest record is kept in view. */
  get isFollowing(): boolean {
    return this.#isFollowing && !this.#isPaused;
  }

  get isPaused(): boolean {
    return this.#isPaused;
  }

  get isLoadingOlder(): boolean {
    return this.#isLoadingOlder;
  }

  /** True where no older record is in the journal. */
  get isAtBeginning(): boolean {
    return this.#older === null || (this.#older?.from ?? 1) < 1;
  }

  get isCleared(): boolean {
    return this.#clearedAt !== undefined;
  }

  isLoadingGap(row: GapRow): boolean {
    return this.#loadingGaps.has(row);
  }

  /** Why the journal could not be read, "" where it could. */
  get trouble(): string {
    return this.#trouble;
  }

  get generation(): number {
    return this.#generation;
  }

  get counts(): PanelCounts {
    return {
      received: this.#received,
      shown: this.#received - this.#filtered - this.#buffered,
      filtered: this.#filtered,
      buffered: this.#buffered,
      missing: this.#missing,
    };
  }

  get #hasHole(): boolean {
    return this.#newer !== undefined && this.#newer.from < this.#bufferStart;
  }

  // What the stream brings

  #take(event: StreamEvent): void {
    switch (event.type) {
      case "records":
        this.#takeRecords(event.entries, event.from, event.to);
        break;
      case "gap":
        this.#takeGap(event.gap);
        break;
      case "filter":
        if (event.version === this.#wantedVersion) this.#startAnew();
        break;
      case "caught_up":
        this.#beginAt(event.sequence + 1);
        this.#position ??= event.sequence;
        break;
      case "reset":
        this.#takeBack(event);
        break;
      default:
    }
    this.#changed();
  }

  #takeRecords(entries: readonly LogEntry[], from: number, to: number): void {
    this.#beginAt(from);
    this.#received += to - from + 1;
    this.#filtered += to - from + 1 - entries.length;
    this.#position = to;
    this.#arrive(entries, entries.length);
  }

  #takeGap(gap: MissingRange): void {
    this.#beginAt(gap.from);
    this.#position = gap.to;
    if (gap.lane !== undefined && gap.lane !== this.lane) return;
    this.#missing += gap.to - gap.from + 1;
    this.#arrive([{ gap }], 0);
  }

  /** The list goes on into the journal in front of the first that came. */
  #beginAt(sequence: number): void {
    if (this.#older === undefined) this.#older = { from: sequence - 1 };
    this.#started.resolve();
  }

  #arrive(rows: readonly Row[], records: number): void {
    if (this.isFollowing) {
      this.rows.append(rows);
      this.#trimStart();
      this.#shownUpTo = this.#position!;
      return;
    }
    this.#buffer.append(rows);
    this.#buffered += records;
    if (this.#buffer.trimStart() > 0) this.#bufferStart = this.#bufferFirst();
  }

  /** What the list has of these sequences was never stored; others come under the same. */
  #takeBack(reset: ResetRow["reset"]): void {
    const { from } = reset;
    const isGone = (row: Row): boolean => firstSequence(row) >= from;
    this.rows.dropEnd(isGone);
    const unseen = this.#buffer.dropEnd(isGone).filter(isEntry).length;
    this.#buffered -= unseen;
    this.#received -= unseen;
    this.#position = from - 1;
    this.#shownUpTo = Math.min(this.#shownUpTo, from - 1);
    this.#bufferStart = Math.min(this.#bufferStart, from);
    if (this.#newer && this.#newer.from >= from) this.#newer = { from };
    if (this.#older && this.#older.from >= from) this.#older = { from: from - 1 };
    this.#arrive([{ reset }], 0);
  }

  #changed(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    this.#schedule(() => {
      this.#isScheduled = false;
      this.#version++;
      for (const listener of this.#listeners) listener();
    });
  }

  // Following and holding still

  /** What is in the list stays as it is from now on. */
  stopFollowing(): void {
    if (!this.#isFollowing) return;
    if (!this.#isPaused) this.#holdStill();
    this.#isFollowing = false;
    this.#changed();
  }

  setPaused(isPaused: boolean): void {
    if (isPaused === this.#isPaused) return;
    if (isPaused && this.#isFollowing) this.#holdStill();
    this.#isPaused = isPaused;
    if (!isPaused && this.#isFollowing) this.followNewest();
    this.#changed();
  }

  #holdStill(): void {
    const next = (this.#position ?? 0) + 1;
    this.#bufferStart = next;
    this.#newer = { from: next };
  }

  /** Shows the newest, and keeps them in view. */
  followNewest(): void {
    this.#jumps++;
    if (this.#hasHole) {
      this.#replaceRows();
      this.#older = { from: this.#bufferStart - 1 };
    }
    this.rows.append(this.#buffer.shift(this.#buffer.length));
    this.#buffered = 0;
    this.#shownUpTo = this.#position ?? 0;
    this.#trimStart();
    this.#newer = undefined;
    this.#isFollowing = true;
    if (this.#isPaused) this.#holdStill();
    if (this.rows.length === 0) void this.loadOlder();
    this.#changed();
  }

  /** The list is scrolled to its end: goes on with what comes next, and follows when nothing does. */
  readOn(): void {
    if (this.isFollowing) return;
    if (this.#hasHole) void this.loadNewer();
    else if (!this.#isPaused && this.#buffer.length <= CATCH_UP_PART * this.#pageRecords)
      this.followNewest();
    else if (!this.#isPaused) this.#readOnInBuffer();
  }

  #readOnInBuffer(): void {
    const rows = this.#buffer.shift(this.#pageRecords);
    this.rows.append(rows);
    this.#bufferStart = this.#bufferFirst();
    this.#newer = { from: this.#bufferStart };
    this.#countShown(rows);
    this.#trimStart();
    this.#changed();
  }

  #bufferFirst(): number {
    const row = this.#buffer.at(0);
    return row ? firstSequence(row) : (this.#position ?? 0) + 1;
  }

  /** Of the rows, those that were not shown before are no longer buffered. */
  #countShown(rows: readonly Row[]): void {
    const isNew = (row: Row): boolean => isEntry(row) && row.sequence > this.#shownUpTo;
    this.#buffered = Math.max(0, this.#buffered - rows.filter(isNew).length);
    if (rows.length > 0) this.#shownUpTo = Math.max(this.#shownUpTo, lastSequence(rows.at(-1)!));
  }

  #trimStart(): void {
    if (this.rows.trimStart() > 0) this.#older = { from: firstSequence(this.rows.at(0)!) - 1 };
  }

  /** What is read is in front, or, while the panel follows, at the end. */
  #trimFarEnd(): void {
    if (this.isFollowing) this.#trimStart();
    else if (this.rows.trimEnd() > 0) this.#newer = { from: lastSequence(this.rows.last!) + 1 };
  }

  // The journal

  /** Puts what is older in front of the list. */
  async loadOlder(): Promise<void> {
    const edge = this.#older;
    if (!edge || edge.from < 1 || this.#isLoadingOlder || this.isCleared) return;
    this.#isLoadingOlder = true;
    const page = await this.#page("desc", edge);
    if (page === STALE) return;
    this.#isLoadingOlder = false;
    if (!page || this.#older !== edge) return;
    const rows = inOrder(page.entries, page.gaps);
    this.rows.prepend(rows);
    const from = rows.length > 0 ? firstSequence(rows[0]!) - 1 : edge.from;
    this.#older = page.nextCursor === null ? null : { from, cursor: page.nextCursor };
    this.#trimFarEnd();
  }

  /** Puts what comes next behind the list, up to where the buffer begins. */
  async loadNewer(): Promise<void> {
    const edge = this.#newer;
    if (!edge || !this.#hasHole || this.#isLoadingNewer) return;
    this.#isLoadingNewer = true;
    const page = await this.#page("asc", edge);
    if (page === STALE) return;
    this.#isLoadingNewer = false;
    if (!page || this.#newer !== edge) return;
    this.#appendNewer(inOrder(page.entries, page.gaps), page.nextCursor);
    this.#trimStart();
  }

  /** Up to where the buffer begins. */
  #appendNewer(found: readonly Row[], cursor: string | null): void {
    const rows = found.filter((row) => firstSequence(row) < this.#bufferStart);
    this.rows.append(rows);
    this.#countShown(rows);
    const isMet = cursor === null || rows.length < found.length;
    const from = rows.length > 0 ? lastSequence(rows.at(-1)!) + 1 : this.#newer!.from;
    this.#newer = isMet ? { from: this.#bufferStart } : { from, cursor };
  }

  /** Puts the records of a gap in its place, as far as the journal has them. */
  async loadGap(row: GapRow): Promise<void> {
    if (this.#loadingGaps.has(row)) return;
    this.stopFollowing();
    this.#loadingGaps.add(row);
    const { from, to } = row.gap;
    let page = await this.#page("asc", { from });
    while (page && page !== STALE && isEmpty(page) && page.nextCursor !== null) {
      page = await this.#page("asc", { from, cursor: page.nextCursor });
    }
    this.#loadingGaps.delete(row);
    const index = this.rows.indexOf(row);
    if (!page || page === STALE || index < 0) return;
    const all = inOrder(page.entries, page.gaps);
    const found = all.filter((one) => firstSequence(one) <= to);
    const isRest = page.nextCursor !== null && found.length === all.length;
    const next = isRest ? lastSequence(found.at(-1)!) + 1 : to + 1;
    const rest = next <= to ? [{ gap: { ...row.gap, from: next } }] : [];
    this.rows.replace(index, [...found, ...rest]);
    this.#missing -= next - from - sizeOf(page.gaps, to);
    this.#trimFarEnd();
  }

  /** Shows what is around a record, or where it would be; the list is told to bring it into view. */
  async goTo(sequence: number): Promise<void> {
    this.stopFollowing();
    const jump = ++this.#jumps;
    await this.#started.promise;
    const [before, after] = await Promise.all([
      this.#page("desc", { from: sequence }),
      this.#page("asc", { from: sequence + 1 }),
    ]);
    if (!before || !after || before === STALE || after === STALE) return;
    if (jump !== this.#jumps) return;
    this.#replaceRows();
    this.#buffer.clear();
    this.#bufferStart = this.#position! + 1;
    const rows = inOrder(before.entries, before.gaps);
    const behind = inOrder(after.entries, after.gaps);
    this.#goal = this.rows.first + rows.length - 1;
    this.#older =
      before.nextCursor === null
        ? null
        : { from: rows[0] ? firstSequence(rows[0]) - 1 : sequence, cursor: before.nextCursor };
    this.rows.append(rows);
    this.#newer = { from: sequence + 1 };
    this.#appendNewer(behind, after.nextCursor);
  }

  /** The ordinal of the row that is to be brought into view; given once. */
  takeGoal(): number | undefined {
    const goal = this.#goal;
    this.#goal = undefined;
    return goal;
  }

  /** Undefined where the journal could not be read. */
  async #page(
    order: "asc" | "desc",
    { from, cursor }: Edge,
  ): Promise<HistoryPage | typeof STALE | undefined> {
    const generation = this.#generation;
    const filter = { ...this.#filter, type: this.lane };
    const place = cursor === undefined ? { from, epoch: this.status.epoch } : { cursor };
    this.#changed();
    try {
      const page = await this.#history.page({ filter, order, limit: this.#pageRecords, ...place });
      this.#trouble = "";
      return generation === this.#generation ? page : STALE;
    } catch (error) {
      this.#trouble = error instanceof Error ? error.message : String(error);
      return generation === this.#generation ? undefined : STALE;
    } finally {
      this.#changed();
    }
  }

  // The view as a whole

  /** From the answer of the gateway on, the list has what matches this filter. */
  setFilter(filter: FilterQuery): void {
    this.#filter = filter;
    this.#wantedVersion = this.#stream.setFilter({ ...filter, type: this.lane });
    this.#changed();
  }

  /** Empties the list; `loadOlder` brings nothing back before `showCleared`. */
  clear(): void {
    this.#replaceRows();
    this.#buffer.clear();
    this.#buffered = 0;
    const next = (this.#position ?? 0) + 1;
    this.#older = { from: next - 1 };
    this.#newer = { from: next };
    this.#bufferStart = next;
    this.#clearedAt = next;
    this.#changed();
  }

  showCleared(): void {
    this.#clearedAt = undefined;
    void this.loadOlder();
  }

  #startAnew(): void {
    this.clear();
    this.#clearedAt = undefined;
    this.#isFollowing = true;
    if (this.#position === undefined) this.#older = undefined;
    else void this.loadOlder();
  }

  #replaceRows(): void {
    this.rows.clear();
    this.#generation++;
    this.#isLoadingOlder = false;
    this.#isLoadingNewer = false;
  }
}

function isEmpty({ entries, gaps }: HistoryPage): boolean {
  return entries.length + gaps.length === 0;
}

/** How many sequences of the gaps are not above `to`. */
function sizeOf(gaps: readonly MissingRange[], to: number): number {
  return gaps.reduce((size, gap) => size + Math.max(0, Math.min(gap.to, to) - gap.from + 1), 0);
}
