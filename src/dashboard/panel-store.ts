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
import { JournalPages, type Edge } from "./journal-pages.ts";
import { RowWindow, type WindowLimits } from "./row-window.ts";
import { Tally, type PanelCounts } from "./tally.ts";
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

export interface PanelOptions {
  readonly lane: EnvelopeType;
  readonly filter: FilterQuery;
  readonly stream: Pick<LogStream, "listen" | "setFilter" | "status">;
  readonly history: Pick<LogHistory, "page">;
  /** Calls back once, before the next frame is drawn. */
  readonly schedule: (publish: () => void) => void;
  /** True where the records are of a time that has a start: it is not the journal that begins with the first one. */
  readonly hasStart?: () => boolean;
  readonly limits?: WindowLimits;
  /** How many records are asked of the journal at a time. */
  readonly pageRecords?: number;
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
  readonly #schedule: PanelOptions["schedule"];
  readonly #hasStart: () => boolean;
  readonly #pageRecords: number;
  readonly #pages: JournalPages;
  readonly #tally = new Tally();
  readonly #buffer: RowWindow;
  readonly #listeners = new Set<() => void>();
  /** Asked for, and not taken by the gateway yet. */
  #wanted: { readonly filter: FilterQuery; readonly version: number } | undefined;

  #isFollowing = true;
  #isPaused = false;
  #isScheduled = false;
  #version = 0;

  /** The last sequence that the stream has told of; undefined before the first. */
  #position: number | undefined;
  /** Null where the journal begins with the first row. */
  #older: Edge | null | undefined;
  #newer: Edge | undefined;
  /** All of the stream from here on is in the buffer. Of use only while the panel does not follow. */
  #bufferStart = 0;
  #isCleared = false;
  readonly #loadingGaps = new Set<GapRow>();
  #goal: number | undefined;
  /** Raised where a jump is given up for something else. */
  #jumps = 0;
  /** Resolved when the stream has told where it is. */
  readonly #started = Promise.withResolvers<void>();

  constructor({ lane, filter, stream, history, schedule, ...sizes }: PanelOptions) {
    const { limits = LIMITS, pageRecords = PAGE_RECORDS, hasStart = () => false } = sizes;
    this.#hasStart = hasStart;
    this.#pageRecords = pageRecords;
    this.lane = lane;
    this.#stream = stream;
    this.#pages = new JournalPages({
      history,
      lane,
      filter,
      pageRecords,
      epoch: () => stream.status.epoch,
      changed: () => this.#changed(),
    });
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

  /** The one that is wanted. */
  get filter(): FilterQuery {
    return this.#wanted?.filter ?? this.#pages.filter;
  }

  /** True while the newest record is kept in view. */
  get isFollowing(): boolean {
    return this.#isFollowing && !this.#isPaused;
  }

  get isPaused(): boolean {
    return this.#isPaused;
  }

  get isLoadingOlder(): boolean {
    return this.#pages.isReading("desc");
  }

  /** True where no older record is in the journal. */
  get isAtBeginning(): boolean {
    return this.#older === null || (this.#older?.from ?? 1) < 1;
  }

  /** True where the time that is shown has a start. */
  get hasStart(): boolean {
    return this.#hasStart();
  }

  get isCleared(): boolean {
    return this.#isCleared;
  }

  isLoadingGap(row: GapRow): boolean {
    return this.#loadingGaps.has(row);
  }

  /** Why the journal could not be read, "" where it could. */
  get trouble(): string {
    return this.#pages.trouble;
  }

  /** Another number where the rows have become others altogether. */
  get generation(): number {
    return this.#pages.generation;
  }

  get counts(): PanelCounts {
    return this.#tally.counts;
  }

  /** True where no newer record of the stream is missing between the rows and what is buffered. */
  get isAtNewest(): boolean {
    return !this.#hasHole;
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
        if (event.version === this.#wanted?.version) this.#startAnew(this.#wanted.filter);
        break;
      case "refused":
        if (event.version === this.#wanted?.version) this.#wanted = undefined;
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
    this.#tally.receive(to - from + 1, entries.length);
    this.#position = to;
    this.#arrive(entries, entries.length);
  }

  #takeGap(gap: MissingRange): void {
    this.#beginAt(gap.from);
    this.#position = gap.to;
    if (gap.lane !== undefined && gap.lane !== this.lane) return;
    this.#tally.miss(gap);
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
      return this.#tally.showAll(this.#position!);
    }
    this.#buffer.append(rows);
    this.#tally.buffer(records);
    if (this.#buffer.trimStart() > 0) this.#bufferStart = this.#bufferFirst();
  }

  /** What the list has of these sequences was never stored; others come under the same. */
  #takeBack(reset: ResetRow["reset"]): void {
    const { from } = reset;
    const isGone = (row: Row): boolean => firstSequence(row) >= from;
    this.rows.dropEnd(isGone);
    this.#tally.takeBack(from, this.#buffer.dropEnd(isGone).filter(isEntry).length);
    this.#position = from - 1;
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
    this.#tally.showAll(this.#position ?? 0);
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
    this.#tally.show(rows);
    this.#trimStart();
    this.#changed();
  }

  #bufferFirst(): number {
    const row = this.#buffer.at(0);
    return row ? firstSequence(row) : (this.#position ?? 0) + 1;
  }

  #trimStart(): void {
    if (this.rows.trimStart() > 0) this.#older = { from: firstSequence(this.rows.at(0)!) - 1 };
  }

  /** What is read is in front, or, while the panel follows, at the end. */
  #trimFarEnd(): void {
    if (this.isFollowing) this.#trimStart();
    else if (this.rows.trimEnd() > 0) this.#newer = { from: lastSequence(this.rows.last!) + 1 };
  }

  /** Drops the rows of before that time from the list's beginning, unless somebody reads there. */
  forgetBefore(timeMs: number): void {
    if (!this.isFollowing) return;
    let count = 0;
    for (let index = 0; index < this.rows.length; index++) {
      const row = this.rows.at(index)!;
      if (!isEntry(row)) continue;
      if (Date.parse(row.envelope.data.timestamp) >= timeMs) break;
      count = index + 1;
    }
    if (count === 0) return;
    this.rows.shift(count);
    const first = this.rows.at(0);
    if (this.#older && first) this.#older = { from: firstSequence(first) - 1 };
    this.#changed();
  }

  // The journal

  /** Puts what is older in front of the list. */
  async loadOlder(): Promise<void> {
    const edge = this.#older;
    if (!edge || edge.from < 1 || this.isLoadingOlder || this.#isCleared) return;
    const page = await this.#pages.read("desc", edge);
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
    if (!edge || !this.#hasHole || this.#pages.isReading("asc")) return;
    const page = await this.#pages.read("asc", edge);
    if (!page || this.#newer !== edge) return;
    this.#appendNewer(inOrder(page.entries, page.gaps), page.nextCursor);
    this.#trimStart();
  }

  /** Up to where the buffer begins. */
  #appendNewer(found: readonly Row[], cursor: string | null): void {
    const rows = found.filter((row) => firstSequence(row) < this.#bufferStart);
    this.rows.append(rows);
    this.#tally.show(rows);
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
    let page = await this.#pages.read("asc", { from });
    while (page && isEmpty(page) && page.nextCursor !== null) {
      page = await this.#pages.read("asc", { from, cursor: page.nextCursor });
    }
    this.#loadingGaps.delete(row);
    const index = this.rows.indexOf(row);
    if (!page || index < 0) return;
    const all = inOrder(page.entries, page.gaps);
    const found = all.filter((one) => firstSequence(one) <= to);
    const isRest = page.nextCursor !== null && found.length === all.length;
    const next = isRest ? lastSequence(found.at(-1)!) + 1 : to + 1;
    const rest = next <= to ? [{ gap: { ...row.gap, from: next } }] : [];
    this.rows.replace(index, [...found, ...rest]);
    this.#tally.find(from, next - 1, page.gaps);
    this.#trimFarEnd();
  }

  /** Shows what is around a record, or where it would be; the list is told to bring it into view. */
  async goTo(sequence: number): Promise<void> {
    this.stopFollowing();
    const jump = ++this.#jumps;
    await this.#started.promise;
    const [before, after] = await Promise.all([
      this.#pages.read("desc", { from: sequence }),
      this.#pages.read("asc", { from: sequence + 1 }),
    ]);
    if (!before || !after || jump !== this.#jumps) return;
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

  // The view as a whole

  /** From the answer of the gateway on, the list has what matches this filter. */
  setFilter(filter: FilterQuery): void {
    const version = this.#stream.setFilter({ ...filter, type: this.lane });
    this.#wanted = { filter, version };
    this.#changed();
  }

  /** Empties the list; `loadOlder` brings nothing back before `showCleared`. */
  clear(): void {
    this.#replaceRows();
    this.#buffer.clear();
    this.#tally.showAll(this.#position ?? 0);
    const next = (this.#position ?? 0) + 1;
    this.#older = { from: next - 1 };
    this.#newer = { from: next };
    this.#bufferStart = next;
    this.#isCleared = true;
    this.#changed();
  }

  showCleared(): void {
    this.#isCleared = false;
    void this.loadOlder();
  }

  /** With what matches the filter, from the gateway's newest record back. */
  #startAnew(filter: FilterQuery): void {
    this.#wanted = undefined;
    this.#pages.filter = filter;
    this.clear();
    this.#isCleared = false;
    this.#isFollowing = true;
    if (this.#position === undefined) this.#older = undefined;
    else void this.loadOlder();
  }

  #replaceRows(): void {
    this.rows.clear();
    this.#pages.startAnew();
  }
}

function isEmpty({ entries, gaps }: HistoryPage): boolean {
  return entries.length + gaps.length === 0;
}
