import type { Batch, HostJournal } from "../../plugin/index.ts";
import type { Endpoint } from "../server/application.ts";
import { cursorText, parseCountQuery } from "./query.ts";
import { type JournalWalks, type Sink, startOf, timestampOf } from "./journal-search.ts";
import { LEVELS } from "../../wire/envelope.ts";
import { type Facet, facetValue } from "../../wire/fields.ts";
import { type LevelCounts, STRAY_GAP_MS, STRAYS_MAX, TimeBuckets } from "../../wire/histogram.ts";

export const COUNTS_PATH = "/api/counts";

/**
 * GET /api/counts: how many records match, over time and by level, and with which values of the facets that are asked
 * for. Records whose time is an outlier are in no bucket; `before` and `after` count them. As with /api/logs one request looks at a bounded part of the journal: `counted` tells which, and the next
 * cursor leads to the rest; the answers' numbers are to be added up.
 */
export function counts(journal: HostJournal, walks: JournalWalks): Endpoint {
  return {
    path: COUNTS_PATH,
    async answer(context) {
      const query = parseCountQuery(context.querystring);
      const { epoch } = journal;
      const ascending = query.order === "asc";
      const { from } = startOf(journal, query.cursor, ascending);
      const found = new RecordCounts(query.facets, query);
      const { socket } = context.req;
      const walked = await walks.walk({ ...query, ascending, from }, found, socket);
      const { times, before, after } = found.times.result();
      context.body = {
        epoch,
        counted: { from: walked.from, to: walked.to },
        ...times.toJSON(),
        before,
        after,
        levels: found.levels,
        facets: Object.fromEntries([...found.facets].map(([facet, tally]) => [facet, tally.all()])),
        next_cursor: walked.next === undefined ? null : cursorText(epoch, walked.next),
      };
    },
  };
}

/** So many values of a facet are told apart; the first ones that come. */
const VALUES_MAX = 1000;

/** What the values of all facets take together, in characters: they can be as long as a record. */
const VALUE_CHARACTERS_MAX = 1 << 20;

/** Counts records instead of answering them. */
export class RecordCounts implements Sink {
  readonly isFull = false;
  readonly readsEnvelopes: boolean;
  readonly times: CountedTimes;
  readonly facets: ReadonlyMap<Facet, Tally>;
  /** All records, by the rank of their level. */
  readonly levels: LevelCounts = LEVELS.map(() => 0);
  #characters = 0;

  constructor(facets: readonly Facet[], asked: TimesAskedFor) {
    this.times = new CountedTimes(asked, Date.now());
    this.readsEnvelopes = facets.some((facet) => facet !== "logger");
    this.facets = new Map(facets.map((facet) => [facet, new Tally()]));
  }

  take(batch: Batch, index: number): boolean {
    const time = Buffer.from(timestampOf(batch, index)).toString("latin1");
    const rank = LEVELS.indexOf(batch.level(index));
    this.levels[rank]!++;
    this.times.add(Date.parse(time), rank);
    for (const [facet, tally] of this.facets) {
      const value =
        facet === "logger" ? batch.logger(index) : facetValue(batch.envelope(index), facet);
      if (value !== undefined) this.#count(tally, value);
    }
    return true;
  }

  #count(tally: Tally, value: string): void {
    const isNew = tally.countUpTo(this.#hasRoom(value) ? VALUES_MAX : 0, value);
    if (isNew) this.#characters += value.length;
  }

  #hasRoom(value: string): boolean {
    return this.#characters + value.length <= VALUE_CHARACTERS_MAX;
  }
}

/**
 * Times further from the gateway's clock than these are outliers: seconds that were sent as nanoseconds are of 1970, an
 * unset time as an unsigned number is of 2554.
 */
const PAST_MS_MAX = 10 * 365 * 86_400_000;
const FUTURE_MS_MAX = 86_400_000;

/** This part of all records may be strays: long before all others, as from a device without a clock. */
const STRAY_PART = 0.01;

/** Records are counted apart in stretches of this length first. */
const STRETCH_MS = 30 * 86_400_000;

/** The times that are asked for. */
export interface TimesAskedFor {
  readonly since?: string | undefined;
  readonly until?: string | undefined;
}

/** Records over time, by level; times that are far off do not set the range, but are only counted. */
export class CountedTimes {
  readonly #hasStart: boolean;
  readonly #firstMs: number;
  readonly #lastMs: number;
  readonly #stretches = new Map<number, TimeBuckets>();
  #before = 0;
  #after = 0;

  /** A time within a bound that was asked for is no outlier. */
  constructor({ since, until }: TimesAskedFor, nowMs: number) {
    this.#hasStart = since !== undefined;
    this.#firstMs = this.#hasStart ? -Infinity : nowMs - PAST_MS_MAX;
    this.#lastMs = until === undefined ? nowMs + FUTURE_MS_MAX : Infinity;
  }

  add(timeMs: number, rank: number): void {
    if (timeMs < this.#firstMs) this.#before++;
    else if (timeMs > this.#lastMs) this.#after++;
    else this.#stretchOf(timeMs).add(timeMs, rank);
  }

  #stretchOf(timeMs: number): TimeBuckets {
    const number = Math.floor(timeMs / STRETCH_MS);
    let stretch = this.#stretches.get(number);
    if (!stretch) this.#stretches.set(number, (stretch = new TimeBuckets()));
    return stretch;
  }

  /** Returns the counts over time, and how many records are before and after them. */
  result(): { times: TimeBuckets; before: number; after: number } {
    const newestFirst = [...this.#stretches.values()].toSorted(
      (one, other) => other.firstMs - one.firstMs,
    );
    let rest = newestFirst.reduce((sum, { count }) => sum + count, 0);
    const straysMax = this.#hasStart ? 0 : Math.max(STRAYS_MAX, STRAY_PART * rest);
    const times = new TimeBuckets();
    for (const stretch of newestFirst) {
      const isFar = times.firstMs - stretch.lastMs > STRAY_GAP_MS && times.count > 0;
      if (isFar && rest <= straysMax) break;
      times.merge(stretch);
      rest -= stretch.count;
    }
    return { times, before: this.#before + rest, after: this.#after };
  }
}

/** Counts names. */
export class Tally {
  readonly #counts: Map<string, number>;

  /** `known` names are there, and come first, even where they are never counted. */
  constructor(known: readonly string[] = []) {
    this.#counts = new Map(known.map((name) => [name, 0]));
  }

  count(name: string): void {
    this.#counts.set(name, (this.#counts.get(name) ?? 0) + 1);
  }

  /** The same, but of names that are new only as long as there are not so many yet. Returns true for a new one. */
  countUpTo(namesMax: number, name: string): boolean {
    const isKnown = this.#counts.has(name);
    if (!isKnown && this.#counts.size >= namesMax) return false;
    this.count(name);
    return !isKnown;
  }

  all(): Record<string, number> {
    return Object.fromEntries(this.#counts);
  }

  /** The names that were counted most often, the first one first. */
  most(namesMax: number): { name: string; count: number }[] {
    return [...this.#counts]
      .map(([name, count]) => ({ name, count }))
      .toSorted((one, other) => other.count - one.count)
      .slice(0, namesMax);
  }
}
