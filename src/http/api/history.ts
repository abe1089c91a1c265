import type { ServerResponse } from "node:http";
import type { Context } from "koa";
import type { Access, Gap, HostJournal } from "../../plugin/index.ts";
import type { Endpoint } from "../server/application.ts";
import { READ_ACCESS } from "../server/routes.ts";
import type { AccessRecorder } from "../server/access-recorder.ts";
import type { ResponseBudget } from "../server/response-budget.ts";
import { resolveCursor, type JournalSearches } from "./journal-search.ts";
import type { LongPolling } from "./long-poll.ts";
import { cursorText, parseHistoryQuery, type HistoryRequest } from "./query.ts";
import { RecordPage } from "./record-page.ts";

export const HISTORY_PATH = "/api/logs";

const NDJSON_TYPE = "application/x-ndjson";

const JSON_ARRAY = { between: ",", after: "" };
const LINES = { between: "", after: "\n" };

interface HistoryOptions {
  readonly longPolling: LongPolling;
  readonly budget: ResponseBudget;
  /** Undefined if nobody wants to know who reads. */
  readonly recorder: AccessRecorder | undefined;
}

/**
 * GET /api/logs: the records of the journal that match a filter, one page at a time. A page may have fewer records than
 * `limit`, even none, and still a next cursor: the search has reached its limit and continues with the next request.
 * `since` is inclusive, `until` exclusive. `gaps` lists what the journal no longer has of the range that was searched.
 * With `wait`, a response that would be empty is delayed until a record arrives or the time is over. Its head is not sent
 * before that, so that no proxy treats it as a stream.
 */
export function history(
  journal: HostJournal,
  searches: JournalSearches,
  { longPolling, budget, recorder }: HistoryOptions,
): Endpoint {
  return {
    path: HISTORY_PATH,
    access: READ_ACCESS,
    async respond(context, { access }) {
      const query = parseHistoryQuery(context.querystring);
      const { epoch } = journal;
      const ascending = query.order === "asc";
      const { from, lost } = resolveCursor(journal, query.cursor, ascending);
      const { waitMs } = query;
      // A client with a cursor of another epoch has to learn about this one without delay.
      const isOtherEpoch = query.cursor !== undefined && query.cursor.epoch !== epoch;
      const wait =
        waitMs === undefined
          ? undefined
          : longPolling.start(isOtherEpoch ? 0 : waitMs, context.res, access);
      const format = prefersLines(context, query) ? LINES : JSON_ARRAY;
      const memory = budget.open(context.res);
      const page = new RecordPage(query.limit, format, { budget, memory });
      const searcher = { socket: context.req.socket, access };
      const result = await searches.run({ ...query, ascending, from }, page, searcher, wait);
      if (page.isRejected) throw budget.exceeded();
      recorder?.read(context.req, access, {
        records: page.count,
        isExport: format === LINES,
        query: context.querystring,
      });
      const gaps = [...(lost ? [lost] : []), ...result.gaps].map(gapJson);
      const cursor = result.next === undefined ? null : cursorText(epoch, result.next);
      const response = { epoch, page, gaps, cursor };
      const { length, content } =
        format === LINES ? linesBody(context, response) : jsonBody(context, response);
      cutAtEnd(access, context.res);
      context.body = content;
      context.length = length;
    },
  };
}

/** Cuts a response that its client has not read completely when its access ends. */
function cutAtEnd({ signal }: Access, response: ServerResponse): void {
  const cut = (): void => void response.destroy();
  signal?.addEventListener("abort", cut);
  response.once("close", () => signal?.removeEventListener("abort", cut));
}

/** Returns a gap as JSON; `lane` is the former name of `type`, for clients that know only that. */
function gapJson({ from, to, type, reason }: Gap): object {
  return { from, to, type, lane: type, reason };
}

function prefersLines(context: Context, { format }: HistoryRequest): boolean {
  if (format !== undefined) return format === "ndjson";
  return context.accepts("application/json", NDJSON_TYPE) === NDJSON_TYPE;
}

interface HistoryResponse {
  readonly epoch: string;
  readonly page: RecordPage;
  readonly gaps: readonly object[];
  readonly cursor: string | null;
}

type PageBody = ReturnType<RecordPage["body"]>;

function jsonBody(context: Context, { epoch, page, gaps, cursor }: HistoryResponse): PageBody {
  context.type = "application/json";
  return page.body(
    `{"epoch":${JSON.stringify(epoch)},"records":[`,
    `],"gaps":${JSON.stringify(gaps)},"next_cursor":${JSON.stringify(cursor)}}`,
  );
}

/** Epoch, gaps and cursor are headers: a reader of lines need not know about them. */
function linesBody(context: Context, { epoch, page, gaps, cursor }: HistoryResponse): PageBody {
  context.type = NDJSON_TYPE;
  context.set("X-Epoch", epoch);
  if (gaps.length > 0) context.set("X-Gaps", JSON.stringify(gaps));
  if (cursor !== null) context.set("X-Next-Cursor", cursor);
  return page.body("", "");
}
