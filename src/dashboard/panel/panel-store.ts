import type { EnvelopeType } from "../../wire/envelope.ts";
import type { FilterQuery } from "../../wire/filter.ts";
import type { LogHistory, LogStream, StreamEvent, StreamStatus } from "../../client/index.ts";
import { FrameNews } from "./frame-news.ts";
import { JournalPages } from "./page-loader.ts";
import { PanelLoading } from "./panel-loading.ts";
import { PanelRows } from "./panel-rows.ts";
import type { GapRow } from "./rows.ts";
import type { RowWindow, WindowLimits } from "./row-window.ts";
import type { PanelCounts } from "./panel-counts.ts";

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
 * One panel's records: a window on the log, and what has arrived behind it ({@link PanelRows}). It follows the newest,
 * or holds still for who reads.
 *
 * The newest record is at the bottom, as in a terminal and in `tailgate tail`: texts are read downwards, a stack trace
 * too, and rows that come at the end move nothing that is above them.
 *
 * React reads this through `subscribe` and `version`; it hears of changes once a frame, however many records came.
 */
export class PanelStore {
  readonly lane: EnvelopeType;
  /** Hears of changes. */
  readonly subscribe: FrameNews["subscribe"];
  readonly version: FrameNews["version"];
  readonly #stream: PanelOptions["stream"];
  readonly #pageRecords: number;
  readonly #hasStart: () => boolean;
  readonly #news: FrameNews;
  readonly #pages: JournalPages;
  readonly #rows: PanelRows;
  readonly #loading: PanelLoading;
  /** Asked for, and not taken by the gateway yet. */
  #wanted: { readonly filter: FilterQuery; readonly version: number } | undefined;
  #refusal = "";
  #isFollowing = true;
  #isPaused = false;
  #isCleared = false;

  constructor({ lane, filter, stream, history, schedule, ...others }: PanelOptions) {
    const { limits = LIMITS, pageRecords = PAGE_RECORDS, hasStart = () => false } = others;
    this.lane = lane;
    this.#stream = stream;
    this.#pageRecords = pageRecords;
    this.#hasStart = hasStart;
    this.#news = new FrameNews(schedule);
    this.subscribe = this.#news.subscribe;
    this.version = this.#news.version;
    this.#rows = new PanelRows(limits, () => this.isFollowing);
    this.#pages = new JournalPages({
      history,
      lane,
      filter,
      pageRecords,
      epoch: () => stream.status.epoch,
      changed: this.#news.changed,
    });
    this.#loading = new PanelLoading(this.#pages, this.#rows);
    stream.listen((event) => this.#take(event));
  }

  /** What can be scrolled through. */
  get rows(): RowWindow {
    return this.#rows.window;
  }

  get status(): StreamStatus {
    return this.#stream.status;
  }

  /** The one that is wanted. */
  get filter(): FilterQuery {
    return this.#wanted?.filter ?? this.#pages.filter;
  }

  get counts(): PanelCounts {
    return this.#rows.tally.counts;
  }

  /** True while the newest record is kept in view. */
  get isFollowing(): boolean {
    return this.#isFollowing && !this.#isPaused;
  }

  get isPaused(): boolean {
    return this.#isPaused;
  }

  get isCleared(): boolean {
    return this.#isCleared;
  }

  get isLoadingOlder(): boolean {
    return this.#loading.isLoadingOlder;
  }

  isLoadingGap(row: GapRow): boolean {
    return this.#loading.isLoadingGap(row);
  }

  /** True where no older record is in the journal. */
  get isAtBeginning(): boolean {
    const { older } = this.#rows;
    return older === null || (older?.from ?? 1) < 1;
  }

  /** True where no newer record of the stream is missing between the rows and what is buffered. */
  get isAtNewest(): boolean {
    return !this.#rows.hasHole;
  }

  /** True where the time that is shown has a start. */
  get hasStart(): boolean {
    return this.#hasStart();
  }

  /** Why the gateway refused the filter that was set last, "" if it did not: it may be another version than the page. */
  get refusal(): string {
    return this.#refusal;
  }

  /** Why the journal could not be read, "" where it could. */
  get trouble(): string {
    return this.#pages.trouble;
  }

  /** Another number where the rows have become others altogether. */
  get generation(): number {
    return this.#pages.generation;
  }

  #take(event: StreamEvent): void {
    switch (event.type) {
      case "records":
        this.#rows.take(event.entries, event.from, event.to);
        break;
      case "gap":
        this.#rows.takeGap(event.gap, (event.gap.lane ?? this.lane) === this.lane);
        break;
      case "filter":
        if (event.version === this.#wanted?.version) this.#startAnew(this.#wanted.filter);
        break;
      case "refused":
        if (event.version !== this.#wanted?.version) break;
        this.#wanted = undefined;
        this.#refusal = event.reason;
        break;
      case "caught_up":
        this.#rows.catchUp(event.sequence);
        break;
      case "reset":
        this.#rows.takeBack(event);
        break;
      default:
    }
    this.#news.changed();
  }

  // Following and holding still

  /** What is in the list stays as it is from now on. */
  stopFollowing(): void {
    if (!this.#isFollowing) return;
    if (!this.#isPaused) this.#rows.holdStill();
    this.#isFollowing = false;
    this.#news.changed();
  }

  setPaused(isPaused: boolean): void {
    if (isPaused === this.#isPaused) return;
    if (isPaused && this.#isFollowing) this.#rows.holdStill();
    this.#isPaused = isPaused;
    if (!isPaused && this.#isFollowing) this.followNewest();
    this.#news.changed();
  }

  /** Shows the newest, and keeps them in view. */
  followNewest(): void {
    this.#loading.giveUpJump();
    if (this.#rows.hasHole) this.#pages.startAnew();
    this.#rows.joinBuffer();
    this.#isFollowing = true;
    if (this.#isPaused) this.#rows.holdStill();
    if (this.rows.length === 0) void this.loadOlder();
    this.#news.changed();
  }

  /** The list is scrolled to its end: goes on with what comes next, and follows when nothing does. */
  readOn(): void {
    if (this.isFollowing) return;
    if (this.#rows.hasHole) return void this.loadNewer();
    if (this.#isPaused) return;
    if (this.#rows.waiting <= CATCH_UP_PART * this.#pageRecords) return this.followNewest();
    this.#rows.readBuffer(this.#pageRecords);
    this.#news.changed();
  }

  /** Drops the rows of before that time from the list's beginning, unless somebody reads there. */
  forgetBefore(timeMs: number): void {
    if (this.isFollowing && this.#rows.forgetBefore(timeMs)) this.#news.changed();
  }

  // The journal

  /** Puts what is older in front of the list. */
  async loadOlder(): Promise<void> {
    if (!this.#isCleared) await this.#loading.loadOlder();
  }

  /** Puts what comes next behind the list, up to where the buffer begins. */
  loadNewer(): Promise<void> {
    return this.#loading.loadNewer();
  }

  /** Puts the records of a gap in its place, as far as the journal has them. */
  loadGap(row: GapRow): Promise<void> {
    if (!this.isLoadingGap(row)) this.stopFollowing();
    return this.#loading.loadGap(row);
  }

  /** Shows what is around a record, or where it would be; the list is told to bring it into view. */
  goTo(sequence: number): Promise<void> {
    this.stopFollowing();
    return this.#loading.goTo(sequence);
  }

  /** The ordinal of the row that is to be brought into view; given once. */
  takeGoal(): number | undefined {
    return this.#loading.takeGoal();
  }

  // The view as a whole

  /** From the answer of the gateway on, the list has what matches this filter. */
  setFilter(filter: FilterQuery): void {
    const version = this.#stream.setFilter({ ...filter, type: this.lane });
    this.#wanted = { filter, version };
    this.#refusal = "";
    this.#news.changed();
  }

  /** Empties the list; `loadOlder` brings nothing back before `showCleared`. */
  clear(): void {
    this.#pages.startAnew();
    this.#rows.clear();
    this.#isCleared = true;
    this.#news.changed();
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
    if (this.#rows.isUntold) this.#rows.forgetStart();
    else void this.loadOlder();
  }
}
