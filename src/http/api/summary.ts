import type { HostJournal } from "../../plugin/index.ts";
import {
  resolveCursor,
  type JournalSearches,
  type MatchSink,
  type Searcher,
} from "./journal-search.ts";
import { cursorText, type SearchRequest } from "./query.ts";

/** The members that all responses have that summarize records instead of returning them. */
interface Summary {
  readonly epoch: string;
  /** The range of sequences that was searched. */
  readonly counted: { readonly from: number; readonly to: number };
  readonly next_cursor: string | null;
}

/** Summarizes the records that match, of a limited part of the journal; the next cursor leads to the rest. */
export async function summarize(
  journal: HostJournal,
  searches: JournalSearches,
  request: {
    readonly query: SearchRequest;
    readonly sink: MatchSink;
    readonly searcher: Searcher;
  },
): Promise<Summary> {
  const { query, sink, searcher } = request;
  const { epoch } = journal;
  const ascending = query.order === "asc";
  const { from } = resolveCursor(journal, query.cursor, ascending);
  const result = await searches.run({ ...query, ascending, from }, sink, searcher);
  return {
    epoch,
    counted: { from: result.from, to: result.to },
    next_cursor: result.next === undefined ? null : cursorText(epoch, result.next),
  };
}
