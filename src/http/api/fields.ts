import type { Batch, HostJournal } from "../../plugin/index.ts";
import { FieldCounts } from "../../filter/field-counts.ts";
import type { CountOptions, HistoryCounts } from "../../history/history.ts";
import { fold } from "../../wire/query/fold.ts";
import type { Endpoint } from "../server/application.ts";
import { READ_ACCESS } from "../server/routes.ts";
import type { JournalSearches, MatchSink } from "./journal-search.ts";
import { parseFieldsQuery, parseValuesQuery, type ValuesRequest } from "./query.ts";
import { summarize } from "./summary.ts";
import { ValueCounts, VALUES_MAX } from "./value-counts.ts";

export const FIELDS_PATH = "/api/fields";
export const VALUES_PATH = `${FIELDS_PATH}/{name}/values`;

/**
 * GET /api/fields: the fields of the records that match, by their names in the filter language, the most frequent ones
 * first. One request searches a limited part of the journal, the range `counted`, as with /api/counts.
 */
export function fields(journal: HostJournal, searches: JournalSearches): Endpoint {
  return {
    path: FIELDS_PATH,
    access: READ_ACCESS,
    async respond(context, { access }) {
      const query = parseFieldsQuery(context.querystring);
      const sink = new FieldNames();
      const searcher = { socket: context.req.socket, access };
      const { next_cursor, ...summary } = await summarize(journal, searches, {
        query,
        sink,
        searcher,
      });
      context.body = { ...summary, fields: sink.fields.mostFrequent(), next_cursor };
    },
  };
}

/** GET /api/fields/{name}/values: the values of one field, the most frequent ones first. */
export function fieldValues(journal: HostJournal, searches: JournalSearches): Endpoint {
  return {
    path: VALUES_PATH,
    access: READ_ACCESS,
    async respond(context, { access, id }) {
      const query = parseValuesQuery(id, context.querystring);
      const sink = new FieldValues(query);
      const searcher = { socket: context.req.socket, access };
      const { next_cursor, ...summary } = await summarize(journal, searches, {
        query,
        sink,
        searcher,
      });
      const values = Object.entries(sink.values.of(id).all())
        .map(([value, count]) => ({ value, count }))
        .toSorted((one, other) => other.count - one.count || (one.value < other.value ? -1 : 1))
        .slice(0, query.limit);
      context.body = { ...summary, values, next_cursor };
    },
  };
}

/** Collects the names of fields. */
class FieldNames implements MatchSink {
  readonly isFull = false;
  readonly readsEnvelopes = true;
  readonly left = Infinity;
  readonly counting: CountOptions = { fields: [], valuesMax: 0, instead: "fields" };
  readonly fields = new FieldCounts();

  add(batch: Batch, index: number): boolean {
    this.fields.addEnvelope(batch.envelope(index));
    return true;
  }

  addCounts({ fields: counted }: HistoryCounts): void {
    for (const field of counted) this.fields.add(field);
  }
}

/** Counts the values of one field. */
class FieldValues implements MatchSink {
  readonly isFull = false;
  readonly readsEnvelopes: boolean;
  readonly left = Infinity;
  readonly counting: CountOptions;
  readonly values: ValueCounts;

  constructor({ field, prefix = "" }: ValuesRequest) {
    const folded = fold(prefix);
    const isCounted = (value: string): boolean => fold(value).startsWith(folded);
    this.values = new ValueCounts([field], prefix === "" ? undefined : isCounted);
    this.counting = { fields: [field], valuesMax: VALUES_MAX, prefix: prefix || undefined };
    this.readsEnvelopes = this.values.readsEnvelopes;
  }

  add(batch: Batch, index: number): boolean {
    this.values.add(batch, index);
    return true;
  }

  addCounts({ values }: HistoryCounts): void {
    this.values.addCounts(values);
  }
}
