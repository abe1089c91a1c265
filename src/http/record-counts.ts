import { LEVELS } from "../envelope.ts";
import { facetValue, type Facet } from "../facets.ts";
import type { Batch } from "../plugin.ts";
import { TimeBuckets, type LevelCounts } from "../time-buckets.ts";
import { timestampOf, type Sink } from "./journal-walk.ts";
import { Tally } from "./tally.ts";

/** So many values of a facet are told apart; the first ones that come. */
const VALUES_MAX = 1000;

/** What the values of all facets take together, in characters: they can be as long as a record. */
const VALUE_CHARACTERS_MAX = 1 << 20;

/**
 * A record's time is an outlier if it is further from the gateway's clock than these: seconds that were sent as
 * nanoseconds are of 1970, an unset time as an unsigned number is of 2554. Outliers must not make all others one bucket.
 */
const PAST_MS_MAX = 10 * 365 * 86_400_000;
const FUTURE_MS_MAX = 86_400_000;

/** The times that are asked for. */
interface Times {
  readonly since?: string | undefined;
  readonly until?: string | undefined;
}

/** Counts records instead of answering them. */
export class RecordCounts implements Sink {
  readonly isFull = false;
  readonly readsEnvelopes: boolean;
  readonly times = new TimeBuckets();
  readonly facets: ReadonlyMap<Facet, Tally>;
  /** All records, by the rank of their level. */
  readonly levels: LevelCounts = LEVELS.map(() => 0);
  /** How many are not in `times`, as their time is too early or too late. */
  before = 0;
  after = 0;
  readonly #firstMs: number;
  readonly #lastMs: number;
  #characters = 0;

  /** If there is a bound, what is within it is no outlier. */
  constructor(facets: readonly Facet[], { since, until }: Times = {}, nowMs = Date.now()) {
    this.#firstMs = since === undefined ? nowMs - PAST_MS_MAX : -Infinity;
    this.#lastMs = until === undefined ? nowMs + FUTURE_MS_MAX : Infinity;
    this.readsEnvelopes = facets.some((facet) => facet !== "logger");
    this.facets = new Map(facets.map((facet) => [facet, new Tally()]));
  }

  take(batch: Batch, index: number): boolean {
    const time = Buffer.from(timestampOf(batch, index)).toString("latin1");
    this.#countTime(Date.parse(time), LEVELS.indexOf(batch.level(index)));
    for (const [facet, tally] of this.facets) {
      const value =
        facet === "logger" ? batch.logger(index) : facetValue(batch.envelope(index), facet);
      if (value !== undefined) this.#count(tally, value);
    }
    return true;
  }

  #countTime(timeMs: number, rank: number): void {
    this.levels[rank]!++;
    if (timeMs < this.#firstMs) this.before++;
    else if (timeMs > this.#lastMs) this.after++;
    else this.times.add(timeMs, rank);
  }

  #count(tally: Tally, value: string): void {
    const isNew = tally.countUpTo(this.#hasRoom(value) ? VALUES_MAX : 0, value);
    if (isNew) this.#characters += value.length;
  }

  #hasRoom(value: string): boolean {
    return this.#characters + value.length <= VALUE_CHARACTERS_MAX;
  }
}
