/** Reading the past of the journal: pages for many clients, and where a subscription starts. */

import type {
  Access,
  Batch,
  Filter,
  FilterTerm,
  Gap,
  HostJournal,
  JournalPage,
  JournalQuery,
} from "tailgate/plugin";
import type { CursorContext } from "./cursor.ts";
import type { Selector } from "./matcher.ts";

export type ReadPage = (query: JournalQuery) => Promise<JournalPage>;

/**
 * Returns a function that reads one page at a time, in the order of the calls. Commits get their turn in between, rather
 * than waiting for all clients that read history at the same moment.
 */
export function createPageReader(journal: HostJournal): ReadPage {
  let last: Promise<unknown> = Promise.resolve();
  return (query) => {
    const page = last.then(() => journal.read(query));
    last = page.catch(() => {});
    return page;
  };
}

interface ReplaySearch {
  readonly filter: Filter;
  readonly count: number;
  /** The last sequence to consider. */
  readonly last: number;
  /** False when the result is no longer needed. */
  isOpen(): boolean;
}

/** Returns the sequence of the first of the newest `count` records that match; `last + 1` if there are none. */
export async function findReplayStart(
  { journal, readPage, matcher, nextTurn }: CursorContext,
  { filter, count, last, isOpen }: ReplaySearch,
): Promise<number> {
  const isInMemory = journal.oldest <= 1 || last + 1 - count >= journal.oldest;
  if (filter.key === "" && isInMemory) return Math.max(journal.oldest, last + 1 - count);
  let start = last + 1;
  let missing = count;
  let from = last;
  while (missing > 0 && from >= 1 && isOpen()) {
    const page = await readPage({ from, order: "desc", type: filter.type });
    if (page.to < page.from) break;
    const { records } = page;
    const found = records && (await matcher.matched(records, filter, isOpen));
    const length = Math.min(missing, found?.length ?? 0);
    if (length > 0) start = found!.sequence(found!.length - length);
    missing -= length;
    from = page.from - 1;
    await nextTurn();
  }
  return start;
}

const TIMESTAMP_EFFORT = 0.3;

/** Selects records of the past from a point in time on. */
export class Since {
  /** In ms since 1970. */
  readonly ms: number;
  /** In the format of envelopes, so that texts can be compared. */
  readonly #timestamp: string;

  /** @param micros the six digits after the second */
  private constructor(ms: number, micros: string) {
    this.ms = ms;
    this.#timestamp = `${new Date(ms).toISOString().slice(0, 20)}${micros}Z`;
  }

  /** Parses ISO 8601 or ms since 1970 with a precision of microseconds; further digits are cut off, as in envelopes. */
  static parse(time: string | number): Since {
    const given = typeof time === "number" ? time : Date.parse(time);
    const ms = Math.min(Math.max(given, MS_MIN), MS_MAX);
    const [, fraction] = /\.(\d+)/.exec(String(time)) ?? [];
    const isExact = fraction !== undefined && ms === given;
    const digits = isExact ? fraction : String(new Date(ms).getUTCMilliseconds()).padStart(3, "0");
    return new Since(ms, digits.slice(0, 6).padEnd(6, "0"));
  }

  restrict(filter: Filter): Selector {
    const term: FilterTerm = {
      matches: (records, index) => records.envelope(index).data.timestamp >= this.#timestamp,
    };
    return {
      key: `${filter.key}\nsince:${this.#timestamp}`,
      terms: [term, ...filter.terms],
      effort: (bytes) => TIMESTAMP_EFFORT + filter.effort(bytes),
      matches: (records, index) => this.#includes(records, index) && filter.matches(records, index),
    };
  }

  #includes(records: Batch, index: number): boolean {
    return records.timestamp(index) >= this.#timestamp;
  }

  /**
   * Returns whether a gap may concern records from this time on. Retention does not if the oldest retained record is
   * older, and one that the client may read: the time of another is not its business.
   */
  async concerns(
    { to, type, reason }: Gap,
    { readPage, access }: { readPage: ReadPage; access: Access },
  ): Promise<boolean> {
    if (reason !== "retention") return true;
    const { records } = await readPage({ from: to + 1, type });
    if (records === undefined || !access.filter.matches(records, 0)) return true;
    return this.#includes(records, 0);
  }
}

/** The years that timestamps can express. */
const MS_MIN = Date.parse("0000-01-01T00:00:00Z");
const MS_MAX = Date.parse("9999-12-31T23:59:59.999Z");
