import type { HistoryPage, LogHistory } from "../../client/index.ts";
import type { EnvelopeType } from "../../wire/envelope.ts";
import type { FilterQuery } from "../../wire/filter.ts";
import type { Edge, PanelRows, RowPage } from "./panel-rows.ts";
import { firstSequence, lastSequence, toRows, type GapRow } from "./rows.ts";

type Order = "asc" | "desc";

interface PageLoaderOptions {
  readonly history: Pick<LogHistory, "page">;
  readonly rows: PanelRows;
  readonly type: EnvelopeType;
  readonly filter: FilterQuery;
  readonly pageRecords: number;
  /** The epoch that sequences belong to. */
  readonly epoch: () => string | undefined;
  /** Called when a request starts and when it ends. */
  readonly onChange: () => void;
}

/**
 * Loads a panel's rows from the journal, page by page. While a request is running the rows may be replaced or trimmed:
 * a response that no longer fits is dropped.
 */
export class PageLoader {
  /** Pages have records that match this, of the panel's type. */
  filter: FilterQuery;
  readonly #options: PageLoaderOptions;
  readonly #rows: PanelRows;
  /** Running requests; replaced when the rows are. */
  #running = { asc: 0, desc: 0 };
  /** Changes when the rows are replaced. */
  generation = 0;
  /** Why the last request failed; "" if it succeeded. */
  lastError = "";
  readonly #loadingGaps = new Set<GapRow>();
  #scrollTarget: number | undefined;
  /** Incremented to cancel a jump. */
  #jumps = 0;

  constructor(options: PageLoaderOptions) {
    this.#options = options;
    this.#rows = options.rows;
    this.filter = options.filter;
  }

  get isLoadingOlder(): boolean {
    return this.#running.desc > 0;
  }

  isLoadingGap(row: GapRow): boolean {
    return this.#loadingGaps.has(row);
  }

  /** Prepends a page of older records. */
  async loadOlder(): Promise<void> {
    const { older } = this.#rows;
    if (!older || older.from < 1 || this.isLoadingOlder) return;
    const page = await this.#read("desc", older);
    if (page && this.#rows.older === older) this.#rows.prepend(toRowPage(page));
  }

  /** Appends a page of newer records, up to the start of the buffer. */
  async loadNewer(): Promise<void> {
    const { newer, isContiguous } = this.#rows;
    if (!newer || isContiguous || this.#running.asc > 0) return;
    const page = await this.#read("asc", newer);
    if (page && this.#rows.newer === newer) this.#rows.append(toRowPage(page));
  }

  /** Replaces a gap by its records, as far as the journal has them. */
  async loadGap(row: GapRow): Promise<void> {
    if (this.#loadingGaps.has(row)) return;
    this.#loadingGaps.add(row);
    const page = await this.#readGap(row);
    this.#loadingGaps.delete(row);
    const { window, counter } = this.#rows;
    const index = window.indexOf(row);
    if (!page || index < 0) return;
    const { from, to } = row.gap;
    const { rows } = toRowPage(page);
    const found = rows.filter((one) => firstSequence(one) <= to);
    const isPartial = page.nextCursor !== null && found.length === rows.length;
    const next = isPartial ? lastSequence(found.at(-1)!) + 1 : to + 1;
    const rest = next <= to ? [{ gap: { ...row.gap, from: next } }] : [];
    window.replace(index, [...found, ...rest]);
    counter.subtractFound(from, next - 1, page.gaps);
    this.#rows.trimFarEnd();
  }

  /** Returns the first page that is not empty, or the last page. */
  async #readGap({ gap: { from } }: GapRow): Promise<HistoryPage | undefined> {
    let page = await this.#read("asc", { from });
    while (page && isEmpty(page) && page.nextCursor !== null) {
      page = await this.#read("asc", { from, cursor: page.nextCursor });
    }
    return page;
  }

  /** Shows the records around a sequence. */
  async goTo(sequence: number): Promise<void> {
    const jump = ++this.#jumps;
    await this.#rows.started;
    const [before, after] = await Promise.all([
      this.#read("desc", { from: sequence }),
      this.#read("asc", { from: sequence + 1 }),
    ]);
    if (!before || !after || jump !== this.#jumps) return;
    this.invalidate();
    this.#scrollTarget = this.#rows.replaceAround(sequence, toRowPage(before), toRowPage(after));
  }

  cancelJump(): void {
    this.#jumps++;
  }

  /** Returns the ordinal of the row to scroll to, once. */
  takeScrollTarget(): number | undefined {
    const target = this.#scrollTarget;
    this.#scrollTarget = undefined;
    return target;
  }

  /** Drops the responses of running requests: the rows are being replaced. */
  invalidate(): void {
    this.#running = { asc: 0, desc: 0 };
    this.generation++;
  }

  /** Returns undefined if the request fails, or if the rows were replaced in the meantime. */
  async #read(order: Order, { from, cursor }: Edge): Promise<HistoryPage | undefined> {
    const { history, type, pageRecords, epoch, onChange } = this.#options;
    const filter = { ...this.filter, type };
    const position = cursor === undefined ? { from, epoch: epoch() } : { cursor };
    const running = this.#running;
    running[order]++;
    onChange();
    try {
      const page = await history.page({ filter, order, limit: pageRecords, ...position });
      this.lastError = "";
      return running === this.#running ? page : undefined;
    } catch (error) {
      this.lastError = error instanceof Error ? error.message : String(error);
      return undefined;
    } finally {
      running[order]--;
      onChange();
    }
  }
}

function toRowPage({ entries, gaps, nextCursor }: HistoryPage): RowPage {
  return { rows: toRows(entries, gaps), cursor: nextCursor };
}

function isEmpty({ entries, gaps }: HistoryPage): boolean {
  return entries.length + gaps.length === 0;
}
