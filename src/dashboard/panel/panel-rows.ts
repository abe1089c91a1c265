import type { LogEntry, MissingRange } from "../../client/index.ts";
import type { Edge } from "./page-loader.ts";
import { firstSequence, isEntry, lastSequence, type ResetRow, type Row } from "./rows.ts";
import { RowWindow, type WindowLimits } from "./row-window.ts";
import { Tally } from "./panel-counts.ts";

/**
 * What a panel has of the log, and where that ends.
 *
 * - `window` is what can be scrolled through. While the panel follows, records go there at once. Else nothing that the
 *   stream brings touches it, so that what is being read stays.
 * - A buffer takes what arrives then. When it is full its oldest leave: they are in the journal.
 * - `older` and `newer` are where the window goes on in the journal. Where its end and the start of the buffer do not
 *   meet there is a hole, which is loaded on the way down, as what is older is on the way up.
 */
export class PanelRows {
  readonly window: RowWindow;
  readonly tally = new Tally();
  readonly #buffer: RowWindow;
  readonly #isFollowing: () => boolean;
  /** The last sequence that the stream has told of; undefined before the first. */
  #position: number | undefined;
  #older: Edge | null | undefined;
  #newer: Edge | undefined;
  /** All of the stream from here on is in the buffer. Of use only while the panel does not follow. */
  #bufferStart = 0;
  readonly #started = Promise.withResolvers<void>();

  constructor(limits: WindowLimits, isFollowing: () => boolean) {
    this.window = new RowWindow(limits);
    this.#buffer = new RowWindow(limits);
    this.#isFollowing = isFollowing;
  }

  /** Resolved when the stream has told where it is. */
  get started(): Promise<void> {
    return this.#started.promise;
  }

  /** True before the stream has told where it is. */
  get isUntold(): boolean {
    return this.#position === undefined;
  }

  /** Null where the journal begins with the first row, undefined before anything has come. */
  get older(): Edge | null | undefined {
    return this.#older;
  }

  get newer(): Edge | undefined {
    return this.#newer;
  }

  /** True where records of the stream are missing between the window and the buffer. */
  get hasHole(): boolean {
    return this.#newer !== undefined && this.#newer.from < this.#bufferStart;
  }

  /** How many rows wait in the buffer. */
  get waiting(): number {
    return this.#buffer.length;
  }

  /** The sequence that the stream tells of next. */
  get #next(): number {
    return (this.#position ?? 0) + 1;
  }

  // What the stream brings

  take(entries: readonly LogEntry[], from: number, to: number): void {
    this.#beginAt(from);
    this.tally.receive(to - from + 1, entries.length);
    this.#position = to;
    this.#arrive(entries, entries.length);
  }

  /** `isOurs`: false where the other panel's records alone are missing. */
  takeGap(gap: MissingRange, isOurs: boolean): void {
    this.#beginAt(gap.from);
    this.#position = gap.to;
    if (!isOurs) return;
    this.tally.miss(gap);
    this.#arrive([{ gap }], 0);
  }

  catchUp(sequence: number): void {
    this.#beginAt(sequence + 1);
    this.#position ??= sequence;
  }

  /** What there is of these sequences was never stored; others come under the same. */
  takeBack(reset: ResetRow["reset"]): void {
    const { from } = reset;
    const isGone = (row: Row): boolean => firstSequence(row) >= from;
    this.window.dropEnd(isGone);
    this.tally.takeBack(from, this.#buffer.dropEnd(isGone).filter(isEntry).length);
    this.#position = from - 1;
    this.#bufferStart = Math.min(this.#bufferStart, from);
    if (this.#newer && this.#newer.from >= from) this.#newer = { from };
    if (this.#older && this.#older.from >= from) this.#older = { from: from - 1 };
    this.#arrive([{ reset }], 0);
  }

  /** The list goes on into the journal in front of the first that came. */
  #beginAt(sequence: number): void {
    if (this.#older === undefined) this.#older = { from: sequence - 1 };
    this.#started.resolve();
  }

  #arrive(rows: readonly Row[], records: number): void {
    if (this.#isFollowing()) {
      this.window.append(rows);
      this.#trimStart();
      return this.tally.showAll(this.#position!);
    }
    this.#buffer.append(rows);
    this.tally.buffer(records);
    if (this.#buffer.trimStart() > 0) this.#bufferStart = this.#bufferFirst();
  }

  // Holding still and going on

  /** From now on the buffer takes what comes. */
  holdStill(): void {
    this.#bufferStart = this.#next;
    this.#newer = { from: this.#next };
  }

  /** Puts all of the buffer behind the window, or, where there is a hole between them, in its place. */
  joinBuffer(): void {
    if (this.hasHole) {
      this.window.clear();
      this.#older = { from: this.#bufferStart - 1 };
    }
    this.window.append(this.#buffer.shift(this.#buffer.length));
    this.tally.showAll(this.#position ?? 0);
    this.#trimStart();
    this.#newer = undefined;
  }

  /** Puts so many rows of the buffer behind the window. */
  readBuffer(count: number): void {
    const rows = this.#buffer.shift(count);
    this.window.append(rows);
    this.#bufferStart = this.#bufferFirst();
    this.#newer = { from: this.#bufferStart };
    this.tally.show(rows);
    this.#trimStart();
  }

  #bufferFirst(): number {
    const row = this.#buffer.at(0);
    return row ? firstSequence(row) : this.#next;
  }

  // What the journal gives

  prepend(rows: readonly Row[], cursor: string | null): void {
    const from = rows.length > 0 ? firstSequence(rows[0]!) - 1 : this.#older!.from;
    this.window.prepend(rows);
    this.#older = cursor === null ? null : { from, cursor };
    this.trimFarEnd();
  }

  append(rows: readonly Row[], cursor: string | null): void {
    this.#appendNewer(rows, cursor);
    this.#trimStart();
  }

  /** Up to where the buffer begins. */
  #appendNewer(found: readonly Row[], cursor: string | null): void {
    const rows = found.filter((row) => firstSequence(row) < this.#bufferStart);
    this.window.append(rows);
    this.tally.show(rows);
    const isMet = cursor === null || rows.length < found.length;
    const from = rows.length > 0 ? lastSequence(rows.at(-1)!) + 1 : this.#newer!.from;
    this.#newer = isMet ? { from: this.#bufferStart } : { from, cursor };
  }

  /** Has what is around a sequence instead of all else; answers the ordinal of the last row up to it. */
  showAround(sequence: number, before: Found, after: Found): number {
    this.window.clear();
    this.#buffer.clear();
    this.#bufferStart = this.#next;
    const { rows, cursor } = before;
    const goal = this.window.first + rows.length - 1;
    const from = rows[0] ? firstSequence(rows[0]) - 1 : sequence;
    this.#older = cursor === null ? null : { from, cursor };
    this.window.append(rows);
    this.#newer = { from: sequence + 1 };
    this.#appendNewer(after.rows, after.cursor);
    return goal;
  }

  // What leaves

  /** Has nothing but what comes. */
  clear(): void {
    this.window.clear();
    this.#buffer.clear();
    this.tally.showAll(this.#position ?? 0);
    this.#older = { from: this.#next - 1 };
    this.holdStill();
  }

  /** The stream is to tell anew where the list goes on into the journal. */
  forgetStart(): void {
    this.#older = undefined;
  }

  /** Drops the rows of before that time from the beginning; answers whether there were any. */
  forgetBefore(timeMs: number): boolean {
    let count = 0;
    for (let index = 0; index < this.window.length; index++) {
      const row = this.window.at(index)!;
      if (!isEntry(row)) continue;
      if (Date.parse(row.envelope.data.timestamp) >= timeMs) break;
      count = index + 1;
    }
    this.window.shift(count);
    const first = this.window.at(0);
    if (count > 0 && this.#older && first) this.#older = { from: firstSequence(first) - 1 };
    return count > 0;
  }

  /** What is read is in front, or, while the panel follows, at the end. */
  trimFarEnd(): void {
    if (this.#isFollowing()) this.#trimStart();
    else if (this.window.trimEnd() > 0) this.#newer = { from: lastSequence(this.window.last!) + 1 };
  }

  #trimStart(): void {
    if (this.window.trimStart() > 0) this.#older = { from: firstSequence(this.window.at(0)!) - 1 };
  }
}

/** What the journal has on one side of a place, and its cursor for the rest. */
interface Found {
  readonly rows: readonly Row[];
  readonly cursor: string | null;
}
