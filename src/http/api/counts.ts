import type { Batch, HostJournal } from "../../plugin/index.ts";
import type { CountOptions, HistoryCounts } from "../../history/history.ts";
import { LEVELS } from "../../wire/envelope.ts";
import {
  OUTLIER_GAP_MS,
  OUTLIERS_MAX,
  TimeBuckets,
  type LevelCounts,
} from "../../wire/histogram.ts";
import type { Endpoint } from "../server/application.ts";
import { READ_ACCESS } from "../server/routes.ts";
import type { JournalSearches, MatchSink } from "./journal-search.ts";
import { parseCountQuery, type CountRequest } from "./query.ts";
import { summarize } from "./summary.ts";
import { ValueCounts, VALUES_MAX } from "./value-counts.ts";

export const COUNTS_PATH = "/api/counts";

/**
 * GET /api/counts: how many records match, over time and by level, and by the values of the requested facets. Records
 * whose time is an outlier are in no bucket; `before` and `after` count them. As with /api/logs, one request searches a
 * limited part of the journal, the range `counted`, and the next cursor leads to the rest. The counts of the pages add up.
 */
export function counts(journal: HostJournal, searches: JournalSearches): Endpoint {
  return {
    path: COUNTS_PATH,
    access: READ_ACCESS,
    async respond(context, { access }) {
      const query = parseCountQuery(context.querystring);
      const records = new RecordCounts(query);
      const searcher = { socket: context.req.socket, access };
      const { epoch, counted, next_cursor } = await summarize(journal, searches, {
        query,
        sink: records,
        searcher,
      });
      const { buckets, before, after } = records.times.result();
      context.body = {
        epoch,
        counted,
        ...buckets.toJSON(),
        before,
        after,
        levels: records.levels,
        facets: records.values.toJSON(),
        next_cursor,
      };
    },
  };
}

/** Counts records instead of returning them. */
class RecordCounts implements MatchSink {
  readonly isFull = false;
  readonly readsEnvelopes: boolean;
  readonly times: CountsOverTime;
  readonly values: ValueCounts;
  /** All records, by the rank of their level. */
  readonly levels: LevelCounts = LEVELS.map(() => 0);
  readonly left = Infinity;
  readonly counting: CountOptions;

  constructor(query: CountRequest) {
    const { facets } = query;
    this.values = new ValueCounts(facets);
    this.counting = { fields: facets, valuesMax: VALUES_MAX };
    this.times = new CountsOverTime(query, Date.now());
    this.readsEnvelopes = this.values.readsEnvelopes;
  }

  add(batch: Batch, index: number): boolean {
    const rank = LEVELS.indexOf(batch.level(index));
    this.levels[rank]!++;
    this.times.add(Date.parse(batch.timestamp(index)), rank);
    this.values.add(batch, index);
    return true;
  }

  addCounts({ times, values }: HistoryCounts): void {
    for (const [startMs, ...byRank] of times) {
      for (const [rank, count] of byRank.entries()) this.levels[rank]! += count;
      this.times.addCounts(startMs!, byRank);
    }
    this.values.addCounts(values);
  }
}

/**
 * Times further from the gateway's clock than this are outliers: seconds sent as nanoseconds are in 1970, an unset time
 * as an unsigned integer is in 2554.
 */
const PAST_MS_MAX = 10 * 365 * 86_400_000;
const FUTURE_MS_MAX = 86_400_000;

/** At most this share of all records may be strays: long before all others, as from a device without a clock. */
const STRAY_SHARE = 0.01;

/** Records are first counted by periods of this length. */
const PERIOD_MS = 30 * 86_400_000;

/** Counts records over time, by level. Outliers do not extend the range of the buckets and are only counted. */
class CountsOverTime {
  readonly #hasStart: boolean;
  readonly #firstMs: number;
  readonly #lastMs: number;
  readonly #periods = new Map<number, TimeBuckets>();
  #before = 0;
  #after = 0;

  /** A time within a requested bound is no outlier. */
  constructor({ since, until }: Pick<CountRequest, "since" | "until">, nowMs: number) {
    this.#hasStart = since !== undefined;
    this.#firstMs = this.#hasStart ? -Infinity : nowMs - PAST_MS_MAX;
    this.#lastMs = until === undefined ? nowMs + FUTURE_MS_MAX : Infinity;
  }

  add(timeMs: number, rank: number): void {
    if (timeMs < this.#firstMs) this.#before++;
    else if (timeMs > this.#lastMs) this.#after++;
    else this.#periodOf(timeMs).add(timeMs, rank);
  }

  addCounts(startMs: number, byRank: LevelCounts): void {
    const sum = byRank.reduce((one, other) => one + other, 0);
    if (startMs < this.#firstMs) this.#before += sum;
    else if (startMs > this.#lastMs) this.#after += sum;
    else this.#periodOf(startMs).addCounts(startMs, byRank);
  }

  #periodOf(timeMs: number): TimeBuckets {
    const number = Math.floor(timeMs / PERIOD_MS);
    let period = this.#periods.get(number);
    if (!period) this.#periods.set(number, (period = new TimeBuckets()));
    return period;
  }

  /** Returns the counts over time, and how many records are before and after them. */
  result(): { buckets: TimeBuckets; before: number; after: number } {
    const newestFirst = [...this.#periods.values()].toSorted(
      (one, other) => other.firstMs - one.firstMs,
    );
    let rest = newestFirst.reduce((sum, { count }) => sum + count, 0);
    const straysMax = this.#hasStart ? 0 : Math.max(OUTLIERS_MAX, STRAY_SHARE * rest);
    const buckets = new TimeBuckets();
    for (const period of newestFirst) {
      const isFar = buckets.firstMs - period.lastMs > OUTLIER_GAP_MS && buckets.count > 0;
      if (isFar && rest <= straysMax) break;
      buckets.merge(period);
      rest -= period.count;
    }
    return { buckets, before: this.#before + rest, after: this.#after };
  }
}
