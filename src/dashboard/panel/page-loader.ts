import type { EnvelopeType } from "../../wire/envelope.ts";
import type { FilterQuery } from "../../wire/filter.ts";
import type { HistoryPage, LogHistory } from "../../client/index.ts";

type Order = "asc" | "desc";

/** Where to go on in the journal. */
export interface Edge {
  readonly from: number;
  readonly cursor?: string | undefined;
}

interface JournalPagesOptions {
  readonly history: Pick<LogHistory, "page">;
  readonly lane: EnvelopeType;
  readonly filter: FilterQuery;
  readonly pageRecords: number;
  /** The numbering that sequences belong to. */
  readonly epoch: () => string | undefined;
  /** Told where a request begins and where it ends. */
  readonly changed: () => void;
}

/** A panel's way to the past: pages of the journal, for the rows that there are. */
export class JournalPages {
  /** What the pages are to match, beside the lane. */
  filter: FilterQuery;
  readonly #options: JournalPagesOptions;
  /** How many requests are under way; another object for other rows. */
  #reading = { asc: 0, desc: 0 };
  #generation = 0;
  #trouble = "";

  constructor(options: JournalPagesOptions) {
    this.#options = options;
    this.filter = options.filter;
  }

  /** Another number for other rows. */
  get generation(): number {
    return this.#generation;
  }

  /** Why the journal could not be read last, "" where it could. */
  get trouble(): string {
    return this.#trouble;
  }

  isReading(order: Order): boolean {
    return this.#reading[order] > 0;
  }

  /** Undefined where the journal could not be read, and where the rows have become others meanwhile. */
  async read(order: Order, { from, cursor }: Edge): Promise<HistoryPage | undefined> {
    const { history, lane, pageRecords, epoch, changed } = this.#options;
    const filter = { ...this.filter, type: lane };
    const place = cursor === undefined ? { from, epoch: epoch() } : { cursor };
    const reading = this.#reading;
    reading[order]++;
    changed();
    try {
      const page = await history.page({ filter, order, limit: pageRecords, ...place });
      this.#trouble = "";
      return reading === this.#reading ? page : undefined;
    } catch (error) {
      this.#trouble = error instanceof Error ? error.message : String(error);
      return undefined;
    } finally {
      reading[order]--;
      changed();
    }
  }

  /** The rows have become others altogether: answers about the former ones are dropped. */
  startAnew(): void {
    this.#reading = { asc: 0, desc: 0 };
    this.#generation++;
  }
}
