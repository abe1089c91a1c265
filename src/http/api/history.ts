import type { Context } from "koa";
import type { Gap, HostJournal } from "../../plugin/index.ts";
import type { Endpoint } from "../server/application.ts";
import { cursorText, type HistoryQuery, parseHistoryQuery } from "./query.ts";
import { FoundRecords } from "./record-page.ts";
import { type JournalWalks, startOf } from "./journal-search.ts";
import type { AnswerBudget } from "../server/response-budget.ts";
import type { WaitingRoom } from "./long-poll.ts";

export const HISTORY_PATH = "/api/logs";

const NDJSON_TYPE = "application/x-ndjson";

/**
 * GET /api/logs: the records of the journal that match a filter, a page at a time. A page may have fewer records than
 * `limit`, even none, and yet a next cursor: the search has reached its bound and goes on with the next request.
 * `since` is the first moment that counts, `until` the first one that no longer does. What the journal does not have
 * any more of the stretch that was looked at stands in `gaps`.
 * With `wait` an answer that would have nothing comes when there is something, or when the time is over; its head is
 * not sent before, so that nothing on the way takes it for a stream.
 */
export function history(
  journal: HostJournal,
  walks: JournalWalks,
  { waitingRoom, budget }: { waitingRoom: WaitingRoom; budget: AnswerBudget },
): Endpoint {
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
      const form = wantsLines(context, query) ? LINES : JSON_FORM;
      const account = budget.open(context.res);
      const found = new FoundRecords(query.limit, form, { budget, account });
      const { socket } = context.req;
      const walked = await walks.walk({ ...query, ascending, from }, found, socket, wait);
      if (found.isRefused) throw budget.refusal();
      const gaps = [...(lost ? [lost] : []), ...walked.gaps].map(gapJson);
      const cursor = walked.next === undefined ? null : cursorText(epoch, walked.next);
      const page = { epoch, found, gaps, cursor };
      if (form === LINES) answerLines(context, page);
      else answerJson(context, page);
    },
  };
}

/** Returns a gap as JSON; `lane` is the former name of `type`, for clients that know only that. */
function gapJson({ from, to, type, reason }: Gap): object {
  return { from, to, type, lane: type, reason };
}

function wantsLines(context: Context, { format }: HistoryQuery): boolean {
  if (format !== undefined) return format === "ndjson";
  return context.accepts("application/json", NDJSON_TYPE) === NDJSON_TYPE;
}

interface Page {
  readonly epoch: string;
  readonly found: FoundRecords;
  readonly gaps: readonly object[];
  readonly cursor: string | null;
}

const JSON_FORM = { between: ",", after: "" };
const LINES = { between: "", after: "\n" };

function answerJson(context: Context, { epoch, found, gaps, cursor }: Page): void {
  const head = `{"epoch":${JSON.stringify(epoch)},"records":[`;
  const tail = `],"gaps":${JSON.stringify(gaps)},"next_cursor":${JSON.stringify(cursor)}}`;
  context.type = "application/json";
  setBody(context, found.body(head, tail));
}

/** Beside the lines, in the head: who reads lines need not know of it. */
function answerLines(context: Context, { epoch, found, gaps, cursor }: Page): void {
  context.type = NDJSON_TYPE;
  context.set("X-Epoch", epoch);
  if (gaps.length > 0) context.set("X-Gaps", JSON.stringify(gaps));
  if (cursor !== null) context.set("X-Next-Cursor", cursor);
  setBody(context, found.body("", ""));
}

function setBody(context: Context, { length, content }: ReturnType<FoundRecords["body"]>): void {
  context.body = content;
  context.length = length;
}
