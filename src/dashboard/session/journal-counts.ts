import { fetchUnlessBusy } from "../../client/log-history.ts";
import { LEVELS } from "../../wire/envelope.ts";
import { FACETS, type Facet } from "../../wire/fields.ts";
import type { FilterQuery } from "../../wire/filter.ts";
import {
  STRAY_GAP_MS,
  STRAYS_MAX,
  TimeBuckets,
  type BucketsMessage,
  type LevelCounts,
} from "../../wire/histogram.ts";
import { boundsOf, isSliding, type TimeBounds, type TimeRange } from "./view.ts";

const PATH = "/api/counts";

/** From the newest record back so much of the journal is counted: each request looks at a bounded part of it. */
const REQUESTS_MAX = 10;

/** What comes is counted so often at most, and with no more than this part of the time. */
const PAUSE_MS_MIN = 1000;
const BUSY_PART = 0.05;

/** A range that slides is counted anew after this part of it: what has left it is known to a bucket's width only. */
const RECOUNT_PART = 0.05;
const RECOUNT_MS_MIN = 10_000;

/** After a failure. */
const RETRY_MS = 5000;

export interface JournalCountsOptions {
  readonly wish: CountWish;
  /** Grows when records come. */
  readonly received: () => number;
  /** The gateway's time, in ms since 1970; the page's own where absent. */
  readonly now?: () => number;
  /** The epoch of the records that come, if it is known. */
  readonly epoch?: () => string | undefined;
  /** Nothing is counted meanwhile. */
  readonly isHidden: () => boolean;
  /** The gateway's; the page's own where absent. */
  readonly url?: string;
  readonly requestsMax?: number;
}

/** What is to be counted. */
export interface CountWish {
  readonly filter: FilterQuery;
  readonly range: TimeRange;
}

interface Outliers {
  readonly before: number;
  readonly after: number;
  /** By the rank of their level. */
  readonly levels: Readonly<LevelCounts>;
}

const NO_OUTLIERS: Outliers = { before: 0, after: 0, levels: LEVELS.map(() => 0) };

/** The records of the journal that match, as far as they are counted. */
export interface Counted {
  readonly times: TimeBuckets;
  /** Records whose time is an outlier: they are not in `times`. */
  readonly outliers: Outliers;
  /** Empty where they are not asked for. */
  readonly facets: ReadonlyMap<Facet, ReadonlyMap<string, number>>;
  /** So many of the newest records have been looked at. */
  readonly looked: number;
  /** `counting`: there is more, and it goes on; `part`: there is more; `all`: that is all of the journal. */
  readonly extent: "counting" | "part" | "all";
}

interface Answer extends BucketsMessage {
  readonly epoch: string;
  readonly counted: { readonly from: number; readonly to: number };
  readonly before: number;
  readonly after: number;
  readonly levels: LevelCounts;
  readonly facets: Readonly<Partial<Record<Facet, Readonly<Record<string, number>>>>>;
  readonly next_cursor: string | null;
}

/**
 * Counts what the view is about in the journal, not in the rows that happen to be loaded: from the newest record back,
 * and on with what comes. The gateway counts; its answers are added up here.
 */
export class JournalCounts {
  readonly #options: JournalCountsOptions;
  readonly #listeners = new Set<() => void>();
  #wish: CountWish;
  #hasFacets = false;
  #counted: Counted | undefined;
  #run = new AbortController();

  constructor(options: JournalCountsOptions) {
    this.#options = options;
    this.#wish = options.wish;
    this.#startAnew();
  }

  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  /** Undefined before the first answer to what is wanted now. */
  readonly current = (): Counted | undefined => this.#counted;

  show(wish: CountWish): void {
    this.#wish = wish;
    this.#startAnew();
  }

  /** Whether values of facets are counted, too: that takes the gateway longer. */
  setFacets(hasFacets: boolean): void {
    if (hasFacets === this.#hasFacets) return;
    this.#hasFacets = hasFacets;
    this.#startAnew();
  }

  close(): void {
    this.#run.abort();
  }

  #startAnew(): void {
    this.#run.abort();
    this.#run = new AbortController();
    this.#publish(undefined);
    void this.#count(this.#run.signal);
  }

  /** Looks back and goes on, again and again; ends with the signal alone. */
  async #count(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        await this.#follow(await this.#lookBack(signal), signal);
      } catch {
        // The gateway is away, or the cursor is of another journal. The streams say why, and what was counted stays.
        await pause(RETRY_MS, signal);
      }
    }
  }

  /** Answers where that what comes begins. */
  async #lookBack(signal: AbortSignal): Promise<Place> {
    const { requestsMax = REQUESTS_MAX } = this.#options;
    const first = await this.#ask({ order: "desc" }, signal);
    let cursor = first.next_cursor;
    this.#add(undefined, first, cursor === null ? "all" : "counting");
    for (let request = 1; cursor !== null; request++) {
      if (request === requestsMax) {
        this.#publish({ ...this.#counted!, extent: "part" });
        break;
      }
      const answer = await this.#ask({ order: "desc", cursor }, signal);
      cursor = answer.next_cursor;
      this.#add(this.#counted, answer, cursor === null ? "all" : "counting");
    }
    return { epoch: first.epoch, next: first.counted.to + 1 };
  }

  /** Until it is time to count anew, or there is another journal. */
  async #follow({ epoch, next }: Place, signal: AbortSignal): Promise<void> {
    const { range } = this.#wish;
    const endAtMs = performance.now() + recountMs(range);
    let seen = -1;
    let pauseMs = PAUSE_MS_MIN;
    while (performance.now() < endAtMs) {
      await pause(pauseMs, signal);
      signal.throwIfAborted();
      if (this.#options.isHidden()) continue;
      // The gateway has another journal: of this one nothing more comes.
      if ((this.#options.epoch?.() ?? epoch) !== epoch) return;
      this.#slide(range);
      const received = this.#options.received();
      if (received === seen) continue;
      const askedAtMs = performance.now();
      const answer = await this.#ask({ order: "asc", cursor: `${epoch}:${next}` }, signal);
      if (answer.epoch !== epoch) return;
      this.#add(this.#counted, answer, this.#counted!.extent);
      next = answer.counted.to + 1;
      if (answer.next_cursor === null) seen = received;
      pauseMs = Math.max(PAUSE_MS_MIN, (performance.now() - askedAtMs) / BUSY_PART);
    }
  }

  async #ask(place: Readonly<Record<string, string>>, signal: AbortSignal): Promise<Answer> {
    const { filter, range } = this.#wish;
    const bounds = this.#boundsOf(range);
    const query = new URLSearchParams(place);
    const times = { since: bounds.sinceMs, until: bounds.untilMs };
    for (const [name, value] of Object.entries({ ...filter, ...times })) {
      if (value !== undefined) query.set(name, String(value));
    }
    if (this.#hasFacets) query.set("facets", FACETS.join(","));
    const url = `${this.#options.url ?? ""}${PATH}?${query}`;
    const answer = await fetchUnlessBusy(() => fetch(url, { signal }), signal);
    if (!answer.ok) throw new Error(`The gateway answers HTTP ${answer.status}.`);
    return answer.json();
  }

  #boundsOf(range: TimeRange): TimeBounds {
    return boundsOf(range, (this.#options.now ?? Date.now)());
  }

  /** Drops what has left the range. */
  #slide(range: TimeRange): void {
    const { sinceMs } = this.#boundsOf(range);
    if (!isSliding(range) || sinceMs === undefined || !this.#counted) return;
    this.#counted.times.dropBefore(sinceMs);
    this.#publish({ ...this.#counted });
  }

  /** `before`: what was counted already; undefined where that begins anew. */
  #add(before: Counted | undefined, answer: Answer, extent: Counted["extent"]): void {
    const { outliers = NO_OUTLIERS, facets, looked = 0 } = before ?? {};
    const { times, strays } = this.#merged(before?.times, TimeBuckets.of(answer));
    const { from, to } = answer.counted;
    const sums = FACETS.map(
      (facet) => [facet, sumOf(facets?.get(facet), answer.facets[facet])] as const,
    );
    this.#publish({
      times,
      outliers: withMore(outliers, answer, strays),
      facets: new Map(sums),
      looked: looked + to - from + 1,
      extent,
    });
  }

  /** What is wanted from a time on has no strays. */
  #merged(times: TimeBuckets | undefined, more: TimeBuckets): Merged {
    const { sinceMs } = this.#boundsOf(this.#wish.range);
    const [older, newer] = !times || more.lastMs > times.lastMs ? [times, more] : [more, times];
    if (!older) return { times: newer, strays: undefined };
    const isFar = newer.firstMs - older.lastMs > STRAY_GAP_MS && newer.count > 0;
    if (isFar && older.count <= STRAYS_MAX && sinceMs === undefined) {
      return { times: newer, strays: older };
    }
    newer.merge(older);
    return { times: newer, strays: undefined };
  }

  #publish(counted: Counted | undefined): void {
    this.#counted = counted;
    for (const listener of this.#listeners) listener();
  }
}

/** All that is counted, by the rank of the level. */
export function levelsOf({ times, outliers }: Counted): LevelCounts {
  return times.sums.map((count, rank) => count + outliers.levels[rank]!);
}

/** Counts over time; `strays` are not in them. */
interface Merged {
  readonly times: TimeBuckets;
  readonly strays: TimeBuckets | undefined;
}

function withMore(sum: Outliers, answer: Answer, strays: TimeBuckets | undefined): Outliers {
  const within = TimeBuckets.of(answer).sums;
  const outside = answer.levels.map((count, rank) => count - within[rank]!);
  const more = strays?.sums ?? NO_OUTLIERS.levels;
  return {
    before: sum.before + answer.before + (strays?.count ?? 0),
    after: sum.after + answer.after,
    levels: sum.levels.map((count, rank) => count + outside[rank]! + more[rank]!),
  };
}

function recountMs(range: TimeRange): number {
  if (!("lastMinutes" in range)) return Infinity;
  return Math.max(RECOUNT_MS_MIN, RECOUNT_PART * range.lastMinutes * 60_000);
}

/** Where counting goes on. */
interface Place {
  readonly epoch: string;
  readonly next: number;
}

function sumOf(
  counts: ReadonlyMap<string, number> | undefined,
  more: Readonly<Record<string, number>> = {},
): ReadonlyMap<string, number> {
  const sum = new Map(counts);
  for (const [value, count] of Object.entries(more)) sum.set(value, (sum.get(value) ?? 0) + count);
  return sum;
}

/** Resolves at the end of the time, and earlier when the signal aborts. */
function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const end = (): void => {
      clearTimeout(timer);
      signal.removeEventListener("abort", end);
      resolve();
    };
    const timer = setTimeout(end, ms);
    signal.addEventListener("abort", end);
    if (signal.aborted) end();
  });
}
