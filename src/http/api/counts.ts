import type { HostJournal } from "../../plugin/index.ts";
import type { Endpoint } from "../server/application.ts";
import { parseCountQuery } from "./count-query.ts";
import { cursorText } from "./history-query.ts";
import type { JournalWalks } from "./journal-walk.ts";
import { RecordCounts } from "./record-counts.ts";
import { startOf } from "./walk-start.ts";

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
