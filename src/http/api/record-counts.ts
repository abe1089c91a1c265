import { LEVELS } from "../../wire/envelope.ts";
import { facetValue, type Facet } from "../../wire/fields.ts";
import type { Batch } from "../../plugin/index.ts";
import type { LevelCounts } from "../../wire/histogram.ts";
import { CountedTimes, type TimesAskedFor } from "./counted-times.ts";
import { timestampOf, type Sink } from "./journal-walk.ts";
import { Tally } from "./tally.ts";

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
