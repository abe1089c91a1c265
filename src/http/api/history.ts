import type { ServerResponse } from "node:http";
import type { Context } from "koa";
import type { Access, HostJournal, HostLogger } from "../../plugin/index.ts";
import type { Endpoint } from "../server/application.ts";
import { READ_ACCESS } from "../server/routes.ts";
import type { AccessRecorder } from "../server/access-recorder.ts";
import { HttpError } from "../server/rejections.ts";
import { streamOf, type ResponseBudget } from "../server/response-budget.ts";
import { TailgateError } from "../../wire/errors.ts";
import { resolveCursor, type JournalSearches } from "./journal-search.ts";
import type { LongPolling } from "./long-poll.ts";
import { cursorText, parseHistoryQuery, type HistoryRequest } from "./query.ts";
import { gapJson, LINES, RecordPage, type Separators } from "./record-page.ts";
import { RecordStream } from "./record-stream.ts";

export const HISTORY_PATH = "/api/logs";

const NDJSON_TYPE = "application/x-ndjson";

const JSON_ARRAY: Separators = { between: ",", after: "" };

interface HistoryOptions {
  readonly longPolling: LongPolling;
  readonly budget: ResponseBudget;
  /** Undefined if nobody wants to know who reads. */
  readonly recorder: AccessRecorder | undefined;
  readonly log: HostLogger;
}

/**
 * GET /api/logs: the records of the journal that match a filter, one page at a time. A page may have fewer records than
 * `limit`, even none, and still a next cursor: the search has reached its limit and continues with the next request.
 * `since` is inclusive, `until` exclusive. `gaps` lists what the journal no longer has of the range that was searched.
 * With `wait`, a response that would be empty is delayed until a record arrives or the time is over. Its head is not sent
 * before that, so that no proxy treats it as a stream. With `limit=all`, it is a stream of all records ({@link RecordStream}).
 */
export function history(
  journal: HostJournal,
  searches: JournalSearches,
  options: HistoryOptions,
): Endpoint {
  const { longPolling, budget, recorder } = options;
  return {
    path: HISTORY_PATH,
    access: READ_ACCESS,
    async respond(context, { access }) {
      const query = parseHistoryQuery(context.querystring);
      const { epoch } = journal;
      const ascending = query.order === "asc";
      const { from, lost } = resolveCursor(journal, query.cursor, ascending);
      const { waitMs, limit } = query;
      if (limit === undefined) {
        const stream = new RecordStream({ ...query, ascending, from }, lost, {
          journal,
          searches,
          budget,
          response: context.res,
          searcher: { socket: context.req.socket, access },
          isStopping: () => longPolling.isClosed,
        });
        const chunks = await stream.begin();
        context.type = NDJSON_TYPE;
        context.set("X-Epoch", epoch);
        cutAtEnd(access, context.res);
        context.body = streamOf(recorded(stream, chunks, context, access, options));
        return;
      }
      // A client with a cursor of another epoch has to learn about this one without delay.
      const isOtherEpoch = query.cursor !== undefined && query.cursor.epoch !== epoch;
      const wait =
        waitMs === undefined
          ? undefined
          : longPolling.start(isOtherEpoch ? 0 : waitMs, context.res, access);
      const format = prefersLines(context, query) ? LINES : JSON_ARRAY;
      const memory = budget.open(context.res);
      const page = new RecordPage(limit, format, { budget, memory });
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

/** Yields the chunks of a response that has begun: an error cuts it. Records what was read when it ends. */
async function* recorded(
  stream: RecordStream,
  chunks: AsyncIterable<Buffer>,
  context: Context,
  access: Access,
  { recorder, log }: HistoryOptions,
): AsyncGenerator<Buffer> {
  try {
    yield* chunks;
  } catch (error) {
    const isExpected = error instanceof HttpError || TailgateError.is(error, "STOPPED");
    if (!isExpected) log.error(`${context.method} ${context.path} failed.`, error);
    context.res.destroy();
  } finally {
    recorder?.read(context.req, access, {
      records: stream.records,
      isExport: true,
      query: context.querystring,
    });
  }
}

/** Cuts a response that its client has not read completely when its access ends. */
function cutAtEnd({ signal }: Access, response: ServerResponse): void {
  const cut = (): void => void response.destroy();
  signal?.addEventListener("abort", cut);
  response.once("close", () => signal?.removeEventListener("abort", cut));
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
