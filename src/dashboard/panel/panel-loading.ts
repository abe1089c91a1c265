import type { HistoryPage } from "../../client/index.ts";
import type { JournalPages } from "./page-loader.ts";
import type { PanelRows } from "./panel-rows.ts";
import { firstSequence, inOrder, lastSequence, type GapRow, type Row } from "./rows.ts";

/**
 * Brings a panel's rows from the journal. While an answer is under way the rows can become others, and their ends can
 * move: what does not fit any more is dropped.
 */
export class PanelLoading {
  readonly #pages: JournalPages;
  readonly #rows: PanelRows;
  readonly #gaps = new Set<GapRow>();
  #goal: number | undefined;
  /** Raised where a jump is given up for something else. */
  #jumps = 0;

  constructor(pages: JournalPages, rows: PanelRows) {
    this.#pages = pages;
    this.#rows = rows;
  }

  get isLoadingOlder(): boolean {
    return this.#pages.isReading("desc");
  }

  isLoadingGap(row: GapRow): boolean {
    return this.#gaps.has(row);
  }

  /** Puts what is older in front of the list. */
  async loadOlder(): Promise<void> {
    const { older } = this.#rows;
    if (!older || older.from < 1 || this.isLoadingOlder) return;
    const page = await this.#pages.read("desc", older);
    if (page && this.#rows.older === older) this.#rows.prepend(rowsOf(page), page.nextCursor);
  }

  /** Puts what comes next behind the list, up to where the buffer begins. */
  async loadNewer(): Promise<void> {
    const { newer, hasHole } = this.#rows;
    if (!newer || !hasHole || this.#pages.isReading("asc")) return;
    const page = await this.#pages.read("asc", newer);
    if (page && this.#rows.newer === newer) this.#rows.append(rowsOf(page), page.nextCursor);
  }

  /** Puts the records of a gap in its place, as far as the journal has them. */
  async loadGap(row: GapRow): Promise<void> {
    if (this.#gaps.has(row)) return;
    this.#gaps.add(row);
    const page = await this.#readGap(row);
    this.#gaps.delete(row);
    const { window, tally } = this.#rows;
    const index = window.indexOf(row);
    if (!page || index < 0) return;
    const { from, to } = row.gap;
    const all = rowsOf(page);
    const found = all.filter((one) => firstSequence(one) <= to);
    const isRest = page.nextCursor !== null && found.length === all.length;
    const next = isRest ? lastSequence(found.at(-1)!) + 1 : to + 1;
    const rest = next <= to ? [{ gap: { ...row.gap, from: next } }] : [];
    window.replace(index, [...found, ...rest]);
    tally.find(from, next - 1, page.gaps);
    this.#rows.trimFarEnd();
  }

  /** The first page with anything in it, or the last one. */
  async #readGap({ gap: { from } }: GapRow): Promise<HistoryPage | undefined> {
    let page = await this.#pages.read("asc", { from });
    while (page && isEmpty(page) && page.nextCursor !== null) {
      page = await this.#pages.read("asc", { from, cursor: page.nextCursor });
    }
    return page;
  }

  /** Shows what is around a record, or where it would be. */
  async goTo(sequence: number): Promise<void> {
    const jump = ++this.#jumps;
    await this.#rows.started;
    const [before, after] = await Promise.all([
      this.#pages.read("desc", { from: sequence }),
      this.#pages.read("asc", { from: sequence + 1 }),
    ]);
    if (!before || !after || jump !== this.#jumps) return;
    this.#pages.startAnew();
    this.#goal = this.#rows.showAround(
      sequence,
      { rows: rowsOf(before), cursor: before.nextCursor },
      { rows: rowsOf(after), cursor: after.nextCursor },
    );
  }

  giveUpJump(): void {
    this.#jumps++;
  }

  /** The ordinal of the row that is to be brought into view; given once. */
  takeGoal(): number | undefined {
    const goal = this.#goal;
    this.#goal = undefined;
    return goal;
  }
}

function rowsOf({ entries, gaps }: HistoryPage): Row[] {
  return inOrder(entries, gaps);
}

function isEmpty({ entries, gaps }: HistoryPage): boolean {
  return entries.length + gaps.length === 0;
}
