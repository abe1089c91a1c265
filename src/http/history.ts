import type { Context } from "koa";
import type { Batch, HostJournal } from "../plugin.ts";
import type { Endpoint } from "./application.ts";
import { cursorText, parseHistoryQuery, type HistoryQuery } from "./history-query.ts";
import { HttpProblem } from "./problem.ts";
import { downwards, upwards, type Place } from "./tail.ts";
import { TimeSlice } from "./time-slice.ts";

export const HISTORY_PATH = "/api/logs";

/** One request looks at so many records, then answers what it found, and where to go on. */
const SCANNED_RECORDS_MAX = 20_000;

/** An answer with so many bytes takes no further record. */
const ANSWER_BYTES_MAX = 8 << 20;

const NDJSON_TYPE = "application/x-ndjson";

/** The timestamp in an envelope's `data`: after `{"timestamp":"`, and always as long (DESIGN "The envelope"). */
const TIMESTAMP_START = 14;
const TIMESTAMP_LENGTH = 27;

interface Page {
  readonly records: readonly Place[];
  /** The sequence that the next page starts with; undefined where memory holds none. */
  readonly next: number | undefined;
}

/**
 * GET /api/logs: the records in memory that match a filter, a page at a time. A page may have fewer records than
 * `limit`, even none, and yet a next cursor: the search has reached its bound and goes on with the next request.
 * `since` is the first moment that counts, `until` the first one that no longer does.
 */
export function history(journal: HostJournal): Endpoint {
  return {
    path: HISTORY_PATH,
    async answer(context) {
      const query = parseHistoryQuery(context.querystring, journal.epoch);
      const page = await scan(journal, query);
      const cursor = page.next === undefined ? null : cursorText(journal.epoch, page.next);
      if (wantsLines(context, query)) answerLines(context, page.records, cursor);
      else answerJson(context, page.records, journal.epoch, cursor);
    },
  };
}

async function scan(journal: HostJournal, query: HistoryQuery): Promise<Page> {
  const ascending = query.order === "asc";
  const places = ascending
    ? ascend(journal, query.from)
    : downwards(journal, query.from ?? Infinity);
  const records: Place[] = [];
  const slice = new TimeSlice();
  let next: number | undefined;
  let scanned = 0;
  let bytes = 0;
  for (const place of places) {
    if (
      scanned === SCANNED_RECORDS_MAX ||
      records.length === query.limit ||
      bytes >= ANSWER_BYTES_MAX
    )
      break;
    if (slice.isOver()) await slice.rest();
    const { batch, index } = place;
    scanned++;
    next = batch.sequence(index) + (ascending ? 1 : -1);
    if (!isWanted(query, batch, index)) continue;
    records.push(place);
    bytes += batch.bytes(index).length;
  }
  const isHeld =
    next !== undefined && next <= journal.newest && (ascending || next >= journal.oldest);
  return { records, next: isHeld ? next : undefined };
}

/** @throws HttpProblem CURSOR_GONE where records after the cursor have left memory: an answer would hide a hole. */
function ascend(journal: HostJournal, from: number | undefined): Generator<Place> {
  const { oldest, newest } = journal;
  if (from !== undefined && from < oldest) {
    const gone = `The records ${from} to ${oldest - 1} after the cursor are no longer in memory.`;
    throw new HttpProblem(410, "CURSOR_GONE", `${gone} Start again without a cursor.`);
  }
  return upwards(journal, from ?? oldest, newest);
}

function isWanted({ filter, since, until }: HistoryQuery, batch: Batch, index: number): boolean {
  if (since !== undefined || until !== undefined) {
    const timestamp = timestampOf(batch, index);
    if (since !== undefined && timestamp < since) return false;
    if (until !== undefined && timestamp >= until) return false;
  }
  return filter.matches(batch, index);
}

function timestampOf(batch: Batch, index: number): string {
  const { buffer, byteOffset } = batch.data(index);
  const start = byteOffset + TIMESTAMP_START;
  return Buffer.from(buffer, start, TIMESTAMP_LENGTH).toString("latin1");
}

function wantsLines(context: Context, { format }: HistoryQuery): boolean {
  if (format !== undefined) return format === "ndjson";
  return context.accepts("application/json", NDJSON_TYPE) === NDJSON_TYPE;
}

function answerJson(
  context: Context,
  records: readonly Place[],
  epoch: string,
  cursor: string | null,
): void {
  context.type = "application/json";
  context.body = Buffer.concat([
    Buffer.from(`{"epoch":${JSON.stringify(epoch)},"records":[`),
    ...records.flatMap((place, index) => (index === 0 ? pieces(place) : [COMMA, ...pieces(place)])),
    Buffer.from(`],"next_cursor":${JSON.stringify(cursor)}}`),
  ]);
}

function answerLines(context: Context, records: readonly Place[], cursor: string | null): void {
  context.type = NDJSON_TYPE;
  if (cursor !== null) context.set("X-Next-Cursor", cursor);
  context.body = Buffer.concat(records.flatMap((place) => [...pieces(place), LINE_END]));
}

const COMMA = Buffer.from(",");
const LINE_END = Buffer.from("\n");

/** The envelope with its sequence in front, without parsing it: all but its opening brace is taken as it is. */
function pieces({ batch, index }: Place): Uint8Array[] {
  return [Buffer.from(`{"sequence":${batch.sequence(index)},`), batch.bytes(index).subarray(1)];
}
