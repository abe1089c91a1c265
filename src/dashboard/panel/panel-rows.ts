import type { LogEntry, MissingRange } from "../../client/index.ts";
import {
  firstSequence,
  isEntry,
  lastSequence,
  RowWindow,
  type ResetRow,
  type PanelRow,
  type WindowLimits,
} from "./rows.ts";

/** Where loading continues in the journal. */
export interface Edge {
  readonly from: number;
  readonly cursor?: string | undefined;
}

/** A page of the journal as rows, and the cursor of the next page; null at the end. */
export interface RowPage {
  readonly rows: readonly PanelRow[];
  readonly cursor: string | null;
}

/**
 * The records that a panel has loaded, and where loading continues.
 *
 * - The `window` is what can be scrolled through. While the panel follows, new records go there at once. Otherwise the
 *   stream does not touch it, so that what the user is reading stays in place.
 * - The buffer holds what arrives in the meantime. When it is full its oldest records are dropped: the journal has them.
 * - `older` and `newer` are where the window continues in the journal. If the end of the window and the start of the
 *   buffer do not meet, the records between them are loaded as the user scrolls down, just as older records are loaded
 *   as the user scrolls up.
 */
export class PanelRows {
  readonly window: RowWindow;
  readonly counter = new PanelCounter();
  readonly #buffer: RowWindow;
  readonly #isFollowing: () => boolean;
  /** The last sequence that the stream has reported; undefined before the first. */
  #position: number | undefined;
  /** Null if the first row is the first of the journal; undefined before anything was received. */
  older: Edge | null | undefined;
  newer: Edge | undefined;
  /** The buffer has everything that the stream delivers from here on. Only meaningful while the panel does not follow. */
  #bufferStart = 0;
  readonly #started = Promise.withResolvers<void>();

  constructor(limits: WindowLimits, isFollowing: () => boolean) {
    this.window = new RowWindow(limits);
    this.#buffer = new RowWindow(limits);
    this.#isFollowing = isFollowing;
  }

  /** Resolves when the stream has reported its position. */
  get started(): Promise<void> {
    return this.#started.promise;
  }

  get hasPosition(): boolean {
    return this.#position !== undefined;
  }

  /** True if no records are missing between the window and the buffer. */
  get isContiguous(): boolean {
    return this.newer === undefined || this.newer.from >= this.#bufferStart;
  }

  get bufferedRows(): number {
    return this.#buffer.length;
  }

  /** The sequence that the stream reports next. */
  get #next(): number {
    return (this.#position ?? 0) + 1;
  }

  // From the stream

  receive(entries: readonly LogEntry[], from: number, to: number): void {
    this.#startAt(from);
    this.counter.receive(to - from + 1, entries.length);
    this.#position = to;
    this.#add(entries, entries.length);
  }

  /** `isOwn`: false if the gap affects the other panel's records only. */
  receiveGap(gap: MissingRange, isOwn: boolean): void {
    this.#startAt(gap.from);
    this.#position = gap.to;
    if (!isOwn) return;
    this.counter.addMissing(gap);
    this.#add([{ gap }], 0);
  }

  catchUp(sequence: number): void {
    this.#startAt(sequence + 1);
    this.#position ??= sequence;
  }

  /** Drops the records of these sequences: they were never stored, and other records will have their sequences. */
  reset(reset: ResetRow["reset"]): void {
    const { from } = reset;
    const isDropped = (row: PanelRow): boolean => firstSequence(row) >= from;
    this.window.dropEnd(isDropped);
    this.counter.reset(from, this.#buffer.dropEnd(isDropped).filter(isEntry).length);
    this.#position = from - 1;
    this.#bufferStart = Math.min(this.#bufferStart, from);
    if (this.newer && this.newer.from >= from) this.newer = { from };
    if (this.older && this.older.from >= from) this.older = { from: from - 1 };
    this.#add([{ reset }], 0);
  }

  /** Older records are loaded from before the first one received. */
  #startAt(sequence: number): void {
    if (this.older === undefined) this.older = { from: sequence - 1 };
    this.#started.resolve();
  }

  #add(rows: readonly PanelRow[], records: number): void {
    if (this.#isFollowing()) {
      this.window.append(rows);
      this.#trimStart();
      return this.counter.showAll(this.#position!);
    }
    this.#buffer.append(rows);
    this.counter.buffer(records);
    if (this.#buffer.trimStart() > 0) this.#bufferStart = this.#firstBuffered();
  }

  // Buffering

  /** From now on new records go to the buffer. */
  startBuffering(): void {
    this.#bufferStart = this.#next;
    this.newer = { from: this.#next };
  }

  /** Moves the whole buffer to the window: to its end, or, if records between them are missing, in its place. */
  showBuffer(): void {
    if (!this.isContiguous) {
      this.window.clear();
      this.older = { from: this.#bufferStart - 1 };
    }
    this.window.append(this.#buffer.shift(this.#buffer.length));
    this.counter.showAll(this.#position ?? 0);
    this.#trimStart();
    this.newer = undefined;
  }

  /** Moves up to `count` rows from the buffer to the end of the window. */
  showBuffered(count: number): void {
    const rows = this.#buffer.shift(count);
    this.window.append(rows);
    this.#bufferStart = this.#firstBuffered();
    this.newer = { from: this.#bufferStart };
    this.counter.show(rows);
    this.#trimStart();
  }

  #firstBuffered(): number {
    const row = this.#buffer.at(0);
    return row ? firstSequence(row) : this.#next;
  }

  // From the journal

  prepend({ rows, cursor }: RowPage): void {
    const from = rows.length > 0 ? firstSequence(rows[0]!) - 1 : this.older!.from;
    this.window.prepend(rows);
    this.older = cursor === null ? null : { from, cursor };
    this.trimFarEnd();
  }

  append(page: RowPage): void {
    this.#appendNewer(page);
    this.#trimStart();
  }

  /** Appends the rows of the page that the buffer does not have. */
  #appendNewer({ rows: found, cursor }: RowPage): void {
    const rows = found.filter((row) => firstSequence(row) < this.#bufferStart);
    this.window.append(rows);
    this.counter.show(rows);
    const isComplete = cursor === null || rows.length < found.length;
    const from = rows.length > 0 ? lastSequence(rows.at(-1)!) + 1 : this.newer!.from;
    this.newer = isComplete ? { from: this.#bufferStart } : { from, cursor };
  }

  /** Replaces all rows by those around a sequence; returns the ordinal of the last row up to it. */
  replaceAround(sequence: number, before: RowPage, after: RowPage): number {
    this.window.clear();
    this.#buffer.clear();
    this.#bufferStart = this.#next;
    const { rows, cursor } = before;
    const target = this.window.first + rows.length - 1;
    const from = rows[0] ? firstSequence(rows[0]) - 1 : sequence;
    this.older = cursor === null ? null : { from, cursor };
    this.window.append(rows);
    this.newer = { from: sequence + 1 };
    this.#appendNewer(after);
    return target;
  }

  // Dropping

  /** Drops everything; only new records are shown from here on. */
  clear(): void {
    this.window.clear();
    this.#buffer.clear();
    this.counter.showAll(this.#position ?? 0);
    this.older = { from: this.#next - 1 };
    this.startBuffering();
  }

  /** Loads older records from before whatever the stream reports next. */
  resetStart(): void {
    this.older = undefined;
  }

  /** Drops the records before this time from the start of the window; returns whether there were any. */
  dropBefore(timeMs: number): boolean {
    let count = 0;
    for (let index = 0; index < this.window.length; index++) {
      const row = this.window.at(index)!;
      if (!isEntry(row)) continue;
      if (Date.parse(row.envelope.data.timestamp) >= timeMs) break;
      count = index + 1;
    }
    this.window.shift(count);
    const first = this.window.at(0);
    if (count > 0 && this.older && first) this.older = { from: firstSequence(first) - 1 };
    return count > 0;
  }

  /** The user reads at the start of the window, or, while the panel follows, at its end. */
  trimFarEnd(): void {
    if (this.#isFollowing()) this.#trimStart();
    else if (this.window.trimEnd() > 0) this.newer = { from: lastSequence(this.window.last!) + 1 };
  }

  #trimStart(): void {
    if (this.window.trimStart() > 0) this.older = { from: firstSequence(this.window.at(0)!) - 1 };
  }
}

/** What became of the records of the stream: `received` = `shown` + `filtered` + `buffered`. */
export interface PanelCounts {
  /** All sequences that the stream has reported, except gaps. */
  readonly received: number;
  /** Added to the list, or skipped on the way to the latest record. */
  readonly shown: number;
  /** Not of this panel's type, or not matching the filter. */
  readonly filtered: number;
  /** New since the panel stopped following. */
  readonly buffered: number;
  /** In gaps that were not loaded. */
  readonly missing: number;
}

class PanelCounter {
  #received = 0;
  #filtered = 0;
  #buffered = 0;
  #missing = 0;
  /** The highest sequence that has been in the list, or was skipped. */
  #shownUpTo = 0;

  get counts(): PanelCounts {
    return {
      received: this.#received,
      shown: this.#received - this.#filtered - this.#buffered,
      filtered: this.#filtered,
      buffered: this.#buffered,
      missing: this.#missing,
    };
  }

  /** `records` of the `sequences` match. */
  receive(sequences: number, records: number): void {
    this.#received += sequences;
    this.#filtered += sequences - records;
  }

  buffer(records: number): void {
    this.#buffered += records;
  }

  showAll(upTo: number): void {
    this.#buffered = 0;
    this.#shownUpTo = Math.max(this.#shownUpTo, upTo);
  }

  /** Records that were never in the list before have been in the buffer until now. */
  show(rows: readonly PanelRow[]): void {
    const isNew = (row: PanelRow): boolean => isEntry(row) && row.sequence > this.#shownUpTo;
    this.#buffered = Math.max(0, this.#buffered - rows.filter(isNew).length);
    if (rows.length > 0) this.#shownUpTo = Math.max(this.#shownUpTo, lastSequence(rows.at(-1)!));
  }

  /** Discounts the records from this sequence on, of which `buffered` were in the buffer. */
  reset(from: number, buffered: number): void {
    this.#buffered -= buffered;
    this.#received -= buffered;
    this.#shownUpTo = Math.min(this.#shownUpTo, from - 1);
  }

  addMissing({ from, to }: Pick<MissingRange, "from" | "to">): void {
    this.#missing += to - from + 1;
  }

  /** All records of the range were found, except those in the gaps. */
  subtractFound(from: number, to: number, gaps: readonly MissingRange[]): void {
    const sizes = gaps.map((gap) => Math.max(0, Math.min(gap.to, to) - gap.from + 1));
    this.#missing -= sizes.reduce((found, size) => found - size, to - from + 1);
  }
}
