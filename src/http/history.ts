import type { Context } from "koa";
import type { Gap, HostJournal } from "../plugin.ts";
import type { Endpoint } from "./application.ts";
import { cursorText, parseHistoryQuery, type Cursor, type HistoryQuery } from "./history-query.ts";
import { HistorySearch, type Found } from "./history-search.ts";
import { HttpProblem } from "./problem.ts";
import type { WaitingRoom } from "./waiting-room.ts";

export const HISTORY_PATH = "/api/logs";

const NDJSON_TYPE = "application/x-ndjson";

/** Where a walk through the journal begins, and what was lost of it since the page before. */
interface Start {
  readonly from: number;
  readonly lost?: Gap;
}

/**
 * GET /api/logs: the records of the journal that match a filter, a page at a time. A page may have fewer records than
 * `limit`, even none, and yet a next cursor: the search has reached its bound and goes on with the next request.
 * `since` is the first moment that counts, `until` the first one that no longer does. What the journal does not have
 * any more of the stretch that was looked at stands in `gaps`.
 * With `wait` an answer that would have nothing comes when there is something, or when the time is over; its head is
 * not sent before, so that nothing on the way takes it for a stream.
 */
export function history(journal: HostJournal, waitingRoom: WaitingRoom): Endpoint {
  const search = new HistorySearch(journal);
  return {
    path: HISTORY_PATH,
    async answer(context) {
      const query = parseHistoryQuery(context.querystring);
      const { epoch } = journal;
      const ascending = query.order === "asc";
      const { from, lost } = startOf(journal, query.cursor, ascending);
      const { waitMs } = query;
      // Who comes with another numbering has to know of this one.
      const isAnother = query.cursor !== undefined && query.cursor.epoch !== epoch;
      const wait =
        waitMs === undefined ? undefined : waitingRoom.admit(isAnother ? 0 : waitMs, context.res);
      const found = await search.find({ ...query, ascending, from }, wait);
      const gaps = [...(lost ? [lost] : []), ...found.gaps].map(gapOf);
      const cursor = found.next === undefined ? null : cursorText(epoch, found.next);
      const page = { epoch, records: found.records, gaps, cursor };
      if (wantsLines(context, query)) answerLines(context, page);
      else answerJson(context, page);
    },
  };
}

/**
 * After an unclean end the newest numbers were given out again: the walk goes on with what has survived.
 * @throws HttpProblem CURSOR_GONE where the journal does not know the cursor's epoch.
 */
function startOf(journal: HostJournal, cursor: Cursor | undefined, ascending: boolean): Start {
  if (cursor === undefined) return { from: ascending ? 1 : journal.newest };
  const { epoch, sequence } = cursor;
  if (epoch === journal.epoch) return { from: sequence };
  const seen = ascending ? sequence - 1 : sequence;
  const shared = journal.sharedUpTo(epoch, seen);
  if (shared === undefined) {
    const why = "This journal does not know the cursor's epoch: it is of another one.";
    throw new HttpProblem(410, "CURSOR_GONE", `${why} Start again without a cursor.`);
  }
  if (ascending) return { from: shared + 1 };
  if (shared === seen) return { from: shared };
  return { from: shared, lost: { from: shared + 1, to: seen, reason: "not_stored" } };
}

/** A gap as it is answered: `lane` where it is one of a single lane. */
function gapOf({ from, to, type: lane, reason }: Gap): object {
  return { from, to, lane, reason };
}

function wantsLines(context: Context, { format }: HistoryQuery): boolean {
  if (format !== undefined) return format === "ndjson";
  return context.accepts("application/json", NDJSON_TYPE) === NDJSON_TYPE;
}

interface Page extends Pick<Found, "records"> {
  readonly epoch: string;
  readonly gaps: readonly object[];
  readonly cursor: string | null;
}

function answerJson(context: Context, { epoch, records, gaps, cursor }: Page): void {
  context.type = "application/json";
  context.body = Buffer.concat([
    Buffer.from(`{"epoch":${JSON.stringify(epoch)},"records":[`),
    ...records.flatMap((record, index) => (index === 0 ? [record] : [COMMA, record])),
    Buffer.from(`],"gaps":${JSON.stringify(gaps)},"next_cursor":${JSON.stringify(cursor)}}`),
  ]);
}

/** Beside the lines, in the head: who reads lines need not know of it. */
function answerLines(context: Context, { epoch, records, gaps, cursor }: Page): void {
  context.type = NDJSON_TYPE;
  context.set("X-Epoch", epoch);
  if (gaps.length > 0) context.set("X-Gaps", JSON.stringify(gaps));
  if (cursor !== null) context.set("X-Next-Cursor", cursor);
  context.body = Buffer.concat(records.flatMap((record) => [record, LINE_END]));
}

const COMMA = Buffer.from(",");
const LINE_END = Buffer.from("\n");
