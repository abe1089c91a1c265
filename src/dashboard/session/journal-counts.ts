import { fetchUnlessBusy } from "../../client/log-history.ts";
import { delay } from "../../client/timing.ts";
import { LEVELS } from "../../wire/envelope.ts";
import { FACETS, type Facet } from "../../wire/fields.ts";
import type { FilterQuery } from "../../wire/filter.ts";
import {
  OUTLIER_GAP_MS,
  OUTLIERS_MAX,
  TimeBuckets,
  type BucketsMessage,
  type LevelCounts,
} from "../../wire/histogram.ts";
import { isSliding, toBounds, type TimeBounds, type TimeRange } from "./view.ts";

const PATH = "/api/counts";

/** How much of the journal is counted, from the newest record back: each request scans a bounded part of it. */
const REQUESTS_MAX = 10;

/** New records are counted at most this often, and with at most this fraction of the time. */
const PAUSE_MS_MIN = 1000;
const BUSY_FRACTION = 0.05;

/**
 * A sliding range is recounted after this fraction of it: the time of the records that have left it is only known to
 * the width of a bucket.
 */
const RECOUNT_FRACTION = 0.05;
const RECOUNT_MS_MIN = 10_000;

const RETRY_MS = 5000;

interface JournalCountsOptions {
  readonly scope: CountScope;
  /** Increases when records arrive. */
  readonly received: () => number;
  /** The gateway's time, in ms since 1970; by default the browser's. */
  readonly now?: () => number;
  /** The epoch of the records that arrive, if known. */
  readonly epoch?: () => string | undefined;
  /** Counting pauses while the page is hidden. */
  readonly isHidden: () => boolean;
  /** The gateway's address; by default the page's origin. */
  readonly url?: string;
  readonly requestsMax?: number;
  /** By default the platform's. */
  readonly fetch?: typeof fetch;
}

interface CountScope {
  readonly filter: FilterQuery;
  readonly range: TimeRange;
}

/** Records outside the histogram, because their time is far from all others. */
interface Outliers {
  readonly before: number;
  readonly after: number;
  /** By rank of level. */
  readonly levels: Readonly<LevelCounts>;
}

const NO_OUTLIERS: Outliers = { before: 0, after: 0, levels: LEVELS.map(() => 0) };

/** The matching records of the journal, as far as they are counted. */
export interface JournalCount {
  readonly times: TimeBuckets;
  /** Records that are not in `times`. */
  readonly outliers: Outliers;
  /** Empty unless requested. */
  readonly facets: ReadonlyMap<Facet, ReadonlyMap<string, number>>;
  /** How many of the newest records have been scanned. */
  readonly scanned: number;
  /** `counting`: still in progress; `partial`: the journal has more; `complete`: all of the journal. */
  readonly extent: "counting" | "partial" | "complete";
}

/** Returns how many records there are of each level, by rank. */
export function countLevels({ times, outliers }: JournalCount): LevelCounts {
  return times.sums.map((count, rank) => count + outliers.levels[rank]!);
}

interface CountsResponse extends BucketsMessage {
  readonly epoch: string;
  readonly counted: { readonly from: number; readonly to: number };
  readonly before: number;
  readonly after: number;
  readonly levels: LevelCounts;
  readonly facets: Readonly<Partial<Record<Facet, Readonly<Record<string, number>>>>>;
  readonly next_cursor: string | null;
}

/** Where counting continues. */
interface CountCursor {
  readonly epoch: string;
  readonly next: number;
}

/**
 * Counts the records of the view in the whole journal, not only those that are loaded: from the newest record back, then
 * new ones as they arrive. The gateway counts them; this adds up its responses.
 */
export class JournalCounts {
  readonly #options: JournalCountsOptions;
  readonly #listeners = new Set<() => void>();
  #scope: CountScope;
  #hasFacets = false;
  #count: JournalCount | undefined;
  #run = new AbortController();

  constructor(options: JournalCountsOptions) {
    this.#options = options;
    this.#scope = options.scope;
    this.#restart();
  }

  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  /** Returns undefined before the first response to the current scope. */
  readonly current = (): JournalCount | undefined => this.#count;

  show(scope: CountScope): void {
    this.#scope = scope;
    this.#restart();
  }

  /** Whether facets are counted, which takes the gateway longer. */
  setFacets(hasFacets: boolean): void {
    if (hasFacets === this.#hasFacets) return;
    this.#hasFacets = hasFacets;
    this.#restart();
  }

  close(): void {
    this.#run.abort();
  }

  #restart(): void {
    this.#run.abort();
    this.#run = new AbortController();
    this.#publish(undefined);
    void this.#countUntilAborted(this.#run.signal);
  }

  async #countUntilAborted(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        await this.#countNew(await this.#countExisting(signal), signal);
      } catch {
        // The gateway is unreachable, or the cursor is of another journal. The streams report that; the counts stay.
        await delay(RETRY_MS, signal);
      }
    }
  }

  async #countExisting(signal: AbortSignal): Promise<CountCursor> {
    const { requestsMax = REQUESTS_MAX } = this.#options;
    const first = await this.#request({ order: "desc" }, signal);
    let cursor = first.next_cursor;
    this.#add(undefined, first, cursor === null ? "complete" : "counting");
    for (let request = 1; cursor !== null; request++) {
      if (request === requestsMax) {
        this.#publish({ ...this.#count!, extent: "partial" });
        break;
      }
      const response = await this.#request({ order: "desc", cursor }, signal);
      cursor = response.next_cursor;
      this.#add(this.#count, response, cursor === null ? "complete" : "counting");
    }
    return { epoch: first.epoch, next: first.counted.to + 1 };
  }

  /** Resolves when it is time to recount, or when the gateway has another journal. */
  async #countNew({ epoch, next }: CountCursor, signal: AbortSignal): Promise<void> {
    const { range } = this.#scope;
    const endAtMs = performance.now() + recountMs(range);
    let counted = -1;
    let pauseMs = PAUSE_MS_MIN;
    while (performance.now() < endAtMs) {
      await delay(pauseMs, signal);
      signal.throwIfAborted();
      if (this.#options.isHidden()) continue;
      if ((this.#options.epoch?.() ?? epoch) !== epoch) return;
      this.#slide(range);
      const received = this.#options.received();
      if (received === counted) continue;
      const requestedAtMs = performance.now();
      const response = await this.#request({ order: "asc", cursor: `${epoch}:${next}` }, signal);
      if (response.epoch !== epoch) return;
      this.#add(this.#count, response, this.#count!.extent);
      next = response.counted.to + 1;
      if (response.next_cursor === null) counted = received;
      pauseMs = Math.max(PAUSE_MS_MIN, (performance.now() - requestedAtMs) / BUSY_FRACTION);
    }
  }

  async #request(
    position: Readonly<Record<string, string>>,
    signal: AbortSignal,
  ): Promise<CountsResponse> {
    const { filter, range } = this.#scope;
    const bounds = this.#toBounds(range);
    const parameters = new URLSearchParams(position);
    const times = { since: bounds.sinceMs, until: bounds.untilMs };
    for (const [name, value] of Object.entries({ ...filter, ...times })) {
      if (value !== undefined) parameters.set(name, String(value));
    }
    if (this.#hasFacets) parameters.set("facets", FACETS.join(","));
    const url = `${this.#options.url ?? "."}${PATH}?${parameters}`;
    const { fetch: fetcher = fetch } = this.#options;
    const response = await fetchUnlessBusy(() => fetcher(url, { signal }), signal);
    if (!response.ok) throw new Error(`The gateway responded with HTTP ${response.status}.`);
    return response.json();
  }

  #toBounds(range: TimeRange): TimeBounds {
    return toBounds(range, (this.#options.now ?? Date.now)());
  }

  /** Drops what has left a sliding range. */
  #slide(range: TimeRange): void {
    const { sinceMs } = this.#toBounds(range);
    if (!isSliding(range) || sinceMs === undefined || !this.#count) return;
    this.#count.times.dropBefore(sinceMs);
    this.#publish({ ...this.#count });
  }

  /** Adds a response to `before`, or starts from zero if that is undefined. */
  #add(
    before: JournalCount | undefined,
    response: CountsResponse,
    extent: JournalCount["extent"],
  ): void {
    const { outliers = NO_OUTLIERS, facets, scanned = 0 } = before ?? {};
    const { times, early } = this.#merge(before?.times, TimeBuckets.fromMessage(response));
    const { from, to } = response.counted;
    const sum = (facet: Facet) => addCounts(facets?.get(facet), response.facets[facet]);
    this.#publish({
      times,
      outliers: addOutliers(outliers, response, early),
      facets: new Map(FACETS.map((facet) => [facet, sum(facet)])),
      scanned: scanned + to - from + 1,
      extent,
    });
  }

  /**
   * Returns the sum as `times`. Outliers long before all other records are not in it, but are returned as `early`; a
   * range with a start has none.
   */
  #merge(times: TimeBuckets | undefined, more: TimeBuckets) {
    const { sinceMs } = this.#toBounds(this.#scope.range);
    const [older, newer] = !times || more.lastMs > times.lastMs ? [times, more] : [more, times];
    if (!older) return { times: newer };
    const isFar = newer.firstMs - older.lastMs > OUTLIER_GAP_MS && newer.count > 0;
    if (isFar && older.count <= OUTLIERS_MAX && sinceMs === undefined) {
      return { times: newer, early: older };
    }
    newer.merge(older);
    return { times: newer };
  }

  #publish(count: JournalCount | undefined): void {
    this.#count = count;
    for (const listener of this.#listeners) listener();
  }
}

function addOutliers(
  sum: Outliers,
  response: CountsResponse,
  early: TimeBuckets | undefined,
): Outliers {
  const within = TimeBuckets.fromMessage(response).sums;
  const outside = response.levels.map((count, rank) => count - within[rank]!);
  const more = early?.sums ?? NO_OUTLIERS.levels;
  return {
    before: sum.before + response.before + (early?.count ?? 0),
    after: sum.after + response.after,
    levels: sum.levels.map((count, rank) => count + outside[rank]! + more[rank]!),
  };
}

function addCounts(
  counts: ReadonlyMap<string, number> | undefined,
  more: Readonly<Record<string, number>> = {},
): ReadonlyMap<string, number> {
  const sum = new Map(counts);
  for (const [value, count] of Object.entries(more)) sum.set(value, (sum.get(value) ?? 0) + count);
  return sum;
}

function recountMs(range: TimeRange): number {
  if (!("lastMinutes" in range)) return Infinity;
  return Math.max(RECOUNT_MS_MIN, RECOUNT_FRACTION * range.lastMinutes * 60_000);
}
