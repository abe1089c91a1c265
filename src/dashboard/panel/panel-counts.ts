import { isEntry, lastSequence, type Row } from "./rows.ts";
import type { MissingRange } from "../../client/index.ts";

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

/** A panel's account. */
export class Tally {
  #received = 0;
  #filtered = 0;
  #buffered = 0;
  #missing = 0;
  /** The highest sequence that has been in the list, or passed over. */
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

  /** The stream has told of so many sequences, of which so many records match. */
  receive(sequences: number, records: number): void {
    this.#received += sequences;
    this.#filtered += sequences - records;
  }

  buffer(records: number): void {
    this.#buffered += records;
  }

  /** Nothing waits any more. */
  showAll(upTo: number): void {
    this.#buffered = 0;
    this.#shownUpTo = Math.max(this.#shownUpTo, upTo);
  }

  /** Of the rows, the records that were not in the list before waited until now. */
  show(rows: readonly Row[]): void {
    const isNew = (row: Row): boolean => isEntry(row) && row.sequence > this.#shownUpTo;
    this.#buffered = Math.max(0, this.#buffered - rows.filter(isNew).length);
    if (rows.length > 0) this.#shownUpTo = Math.max(this.#shownUpTo, lastSequence(rows.at(-1)!));
  }

  /** What was told from that sequence on does not count, and of it so many records waited. */
  takeBack(from: number, waiting: number): void {
    this.#buffered -= waiting;
    this.#received -= waiting;
    this.#shownUpTo = Math.min(this.#shownUpTo, from - 1);
  }

  miss({ from, to }: Pick<MissingRange, "from" | "to">): void {
    this.#missing += to - from + 1;
  }

  /** Of the range all was found but what is in the gaps. */
  find(from: number, to: number, gaps: readonly MissingRange[]): void {
    const still = gaps.map((gap) => Math.max(0, Math.min(gap.to, to) - gap.from + 1));
    this.#missing -= still.reduce((rest, size) => rest - size, to - from + 1);
  }
}
