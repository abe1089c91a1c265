import { useSyncExternalStore } from "react";
import type { LogHistory, LogStream, StreamEvent, StreamStatus } from "../../client/index.ts";
import type { EnvelopeType } from "../../wire/envelope.ts";
import type { FilterQuery } from "../../wire/filter.ts";
import { PageLoader } from "./page-loader.ts";
import { PanelRows, type PanelCounts } from "./panel-rows.ts";
import type { GapRow, RowWindow, WindowLimits } from "./rows.ts";

const LIMITS: WindowLimits = { rowsMax: 10_000, weightMax: 8_000_000 };

const PAGE_RECORDS = 500;

/**
 * When the user scrolls to the end and the buffer has at most this fraction of a page, all of it is shown and the panel
 * follows; otherwise the next page is shown.
 */
const CATCH_UP_FRACTION = 0.2;

export interface PanelOptions {
  readonly type: EnvelopeType;
  readonly filter: FilterQuery;
  readonly stream: Pick<LogStream, "listen" | "setFilter" | "status">;
  readonly history: Pick<LogHistory, "page">;
  /** Calls back once, before the next frame is drawn. */
  readonly schedule: (publish: () => void) => void;
  readonly hasStart?: () => boolean;
  readonly limits?: WindowLimits;
  /** How many records are requested from the journal at a time. */
  readonly pageRecords?: number;
}

/**
 * The state of one panel: a window on the log, and what has arrived after it ({@link PanelRows}). It either follows the
 * latest records or stays still for the user to read.
 *
 * The newest record is at the bottom, as in a terminal and in `tailgate tail`: text, stack traces included, is read
 * downwards, and rows that are appended move nothing above them.
 *
 * React subscribes with {@link usePanelStore}; it is notified at most once a frame, however many records arrive.
 */
export class PanelStore {
  readonly type: EnvelopeType;
  /** True if the time range has a start: its first record need not be the first of the journal. */
  readonly hasStart: () => boolean;
  readonly #stream: PanelOptions["stream"];
  readonly #schedule: PanelOptions["schedule"];
  readonly #pageRecords: number;
  /** Loads pages; those that a panel may not load at any time have a method here. */
  readonly loader: PageLoader;
  readonly #rows: PanelRows;
  readonly #listeners = new Set<() => void>();
  #isScheduled = false;
  #version = 0;
  /** The filter that the gateway has not confirmed yet. */
  #pending: { readonly filter: FilterQuery; readonly version: number } | undefined;
  /** Why the gateway rejected the last filter; "" if it did not. It may be of another version than the page. */
  rejection = "";
  #isFollowing = true;
  #isPaused = false;
  #isCleared = false;

  constructor({ type, filter, stream, history, schedule, ...options }: PanelOptions) {
    const { limits = LIMITS, pageRecords = PAGE_RECORDS, hasStart = () => false } = options;
    this.type = type;
    this.#stream = stream;
    this.#schedule = schedule;
    this.#pageRecords = pageRecords;
    this.hasStart = hasStart;
    this.#rows = new PanelRows(limits, () => this.isFollowing);
    this.loader = new PageLoader({
      history,
      rows: this.#rows,
      type,
      filter,
      pageRecords,
      epoch: () => stream.status.epoch,
      onChange: () => this.#notify(),
    });
    stream.listen((event) => this.#handle(event));
  }

  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  /** Increases with each notification. */
  readonly version = (): number => this.#version;

  #notify(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    this.#schedule(() => {
      this.#isScheduled = false;
      this.#version++;
      for (const listener of this.#listeners) listener();
    });
  }

  /** The rows that can be scrolled through. */
  get rows(): RowWindow {
    return this.#rows.window;
  }

  get status(): StreamStatus {
    return this.#stream.status;
  }

  /** The filter that was set last. */
  get filter(): FilterQuery {
    return this.#pending?.filter ?? this.loader.filter;
  }

  get counts(): PanelCounts {
    return this.#rows.counter.counts;
  }

  /** True while the latest record is kept in view. */
  get isFollowing(): boolean {
    return this.#isFollowing && !this.#isPaused;
  }

  get isPaused(): boolean {
    return this.#isPaused;
  }

  get isCleared(): boolean {
    return this.#isCleared;
  }

  /** True if the journal has no older record. */
  get isAtBeginning(): boolean {
    const { older } = this.#rows;
    return older === null || (older?.from ?? 1) < 1;
  }

  /** True if no records are missing between the rows and the buffer. */
  get isContiguous(): boolean {
    return this.#rows.isContiguous;
  }

  #handle(event: StreamEvent): void {
    switch (event.type) {
      case "records":
        this.#rows.receive(event.entries, event.from, event.to);
        break;
      case "gap":
        this.#rows.receiveGap(event.gap, (event.gap.type ?? this.type) === this.type);
        break;
      case "filter":
        if (event.version === this.#pending?.version) this.#restart(this.#pending.filter);
        break;
      case "refused":
        if (event.version !== this.#pending?.version) break;
        this.#pending = undefined;
        this.rejection = event.reason;
        break;
      case "caught_up":
        this.#rows.catchUp(event.sequence);
        break;
      case "reset":
        this.#rows.reset(event);
        break;
      default:
    }
    this.#notify();
  }

  // Following

  /** From now on the rows stay as they are. */
  stopFollowing(): void {
    if (!this.#isFollowing) return;
    if (!this.#isPaused) this.#rows.startBuffering();
    this.#isFollowing = false;
    this.#notify();
  }

  setPaused(isPaused: boolean): void {
    if (isPaused === this.#isPaused) return;
    if (isPaused && this.#isFollowing) this.#rows.startBuffering();
    this.#isPaused = isPaused;
    if (!isPaused && this.#isFollowing) this.follow();
    this.#notify();
  }

  /** Jumps to the latest record, and keeps it in view from then on. */
  follow(): void {
    this.loader.cancelJump();
    if (!this.#rows.isContiguous) this.loader.invalidate();
    this.#rows.showBuffer();
    this.#isFollowing = true;
    if (this.#isPaused) this.#rows.startBuffering();
    if (this.rows.length === 0) void this.loadOlder();
    this.#notify();
  }

  /** Called when the list is scrolled to its end: shows what comes next, and follows when nothing does. */
  reachEnd(): void {
    if (this.isFollowing) return;
    if (!this.#rows.isContiguous) return void this.loader.loadNewer();
    if (this.#isPaused) return;
    if (this.#rows.bufferedRows <= CATCH_UP_FRACTION * this.#pageRecords) return this.follow();
    this.#rows.showBuffered(this.#pageRecords);
    this.#notify();
  }

  /** Drops the records before this time, unless the user has stopped following to read. */
  dropBefore(timeMs: number): void {
    if (this.isFollowing && this.#rows.dropBefore(timeMs)) this.#notify();
  }

  // Loading from the journal

  async loadOlder(): Promise<void> {
    if (!this.#isCleared) await this.loader.loadOlder();
  }

  /** Replaces a gap by its records, as far as the journal has them. */
  loadGap(row: GapRow): Promise<void> {
    if (!this.loader.isLoadingGap(row)) this.stopFollowing();
    return this.loader.loadGap(row);
  }

  /** Shows the records around a sequence; {@link PageLoader.takeScrollTarget} then has the row to scroll to. */
  goTo(sequence: number): Promise<void> {
    this.stopFollowing();
    return this.loader.goTo(sequence);
  }

  // Filtering and clearing

  /** Once the gateway confirms the filter, the rows are replaced by those that match it. */
  setFilter(filter: FilterQuery): void {
    const version = this.#stream.setFilter({ ...filter, type: this.type });
    this.#pending = { filter, version };
    this.rejection = "";
    this.#notify();
  }

  /** Empties the list; older records are not loaded until `showCleared`. */
  clear(): void {
    this.loader.invalidate();
    this.#rows.clear();
    this.#isCleared = true;
    this.#notify();
  }

  showCleared(): void {
    this.#isCleared = false;
    void this.loadOlder();
  }

  /** Shows the records that match, from the newest one back. */
  #restart(filter: FilterQuery): void {
    this.#pending = undefined;
    this.loader.filter = filter;
    this.clear();
    this.#isCleared = false;
    this.#isFollowing = true;
    if (this.#rows.hasPosition) void this.loadOlder();
    else this.#rows.resetStart();
  }
}

/** Re-renders when the panel changes, at most once a frame. */
export function usePanelStore(store: PanelStore): void {
  useSyncExternalStore(store.subscribe, store.version);
}
