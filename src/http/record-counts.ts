import { LEVELS } from "../envelope.ts";
import { facetValue, type Facet } from "../facets.ts";
import type { Batch } from "../plugin.ts";
import { TimeBuckets } from "../time-buckets.ts";
import { timestampOf, type Sink } from "./journal-walk.ts";
import { Tally } from "./tally.ts";

/** So many values of a facet are told apart; the first ones that come. */
const VALUES_MAX = 1000;

/** Counts records instead of answering them. */
export class RecordCounts implements Sink {
  readonly isFull = false;
  readonly readsEnvelopes: boolean;
  readonly times = new TimeBuckets();
  readonly facets: ReadonlyMap<Facet, Tally>;

  constructor(facets: readonly Facet[]) {
    this.readsEnvelopes = facets.some((facet) => facet !== "logger");
    this.facets = new Map(facets.map((facet) => [facet, new Tally()]));
  }

  take(batch: Batch, index: number): void {
    const time = Buffer.from(timestampOf(batch, index)).toString("latin1");
    this.times.add(Date.parse(time), LEVELS.indexOf(batch.level(index)));
    for (const [facet, tally] of this.facets) {
      const value =
        facet === "logger" ? batch.logger(index) : facetValue(batch.envelope(index), facet);
      if (value !== undefined) tally.countUpTo(VALUES_MAX, value);
    }
  }
}
