import type { Batch, HostJournal } from "../../plugin/index.ts";
import { MessagePatterns } from "../../blocks/patterns.ts";
import type { CountOptions, HistoryCounts } from "../../history/history.ts";
import type { AccessRecorder } from "../server/access-recorder.ts";
import type { Endpoint } from "../server/application.ts";
import { READ_ACCESS } from "../server/routes.ts";
import type { JournalSearches, MatchSink } from "./journal-search.ts";
import { parsePatternsQuery } from "./query.ts";
import { summarize } from "./summary.ts";

export const PATTERNS_PATH = "/api/patterns";

/**
 * GET /api/patterns: the messages of the records that match, grouped by what they have in common, the largest groups first.
 * One request searches a limited part of the journal, the range `counted`, as with /api/counts.
 */
export function patterns(
  journal: HostJournal,
  searches: JournalSearches,
  recorder: AccessRecorder | undefined,
): Endpoint {
  return {
    path: PATTERNS_PATH,
    access: READ_ACCESS,
    async respond(context, { access }) {
      const query = parsePatternsQuery(context.querystring);
      const sink = new Patterns();
      const searcher = { socket: context.req.socket, access };
      const { next_cursor, ...summary } = await summarize(journal, searches, {
        query,
        sink,
        searcher,
      });
      const top = sink.patterns.top(query.limit);
      const grouped = top.reduce((sum, { count }) => sum + count, 0);
      // Each has the message of one record.
      recorder?.read(context.req, access, {
        records: top.length,
        isExport: false,
        query: context.querystring,
      });
      context.body = {
        ...summary,
        patterns: top,
        others: sink.messages - grouped,
        next_cursor,
      };
    },
  };
}

/** Groups messages. */
class Patterns implements MatchSink {
  readonly isFull = false;
  readonly readsEnvelopes = true;
  readonly left = Infinity;
  readonly counting: CountOptions = { fields: [], valuesMax: 0, instead: "patterns" };
  readonly patterns = new MessagePatterns();
  messages = 0;

  add(batch: Batch, index: number): boolean {
    this.patterns.add(batch.envelope(index).data.message, 1, batch.sequence(index));
    this.messages++;
    return true;
  }

  addCounts({ matches, patterns: counted }: HistoryCounts): void {
    for (const { pattern, count, sequence, example } of counted) {
      this.patterns.add(pattern, count, sequence, example);
    }
    this.messages += matches;
  }
}
