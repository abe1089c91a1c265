import { NO_HASH } from "../envelope/audit-line.ts";
import type { ChainState } from "../journal/journal.ts";
import type { Batch, Gap, JournalPage, JournalQuery } from "../plugin/index.ts";
import type { ChainSnapshot } from "./checkpoint.ts";

/** The state of the hash chain before the first event. */
export const EMPTY_CHAIN: ChainSnapshot = { count: 0, seq: 0, head: NO_HASH, day: "", lines: 0 };

/** The last event of a day so far. */
interface DayEnd {
  readonly day: string;
  seq: number;
  head: string;
  /** The number of events that were read, up to and including this one. */
  read: number;
}

interface ReadDays {
  readonly days: readonly DayEnd[];
  readonly read: number;
  /** The last sequence at which an event may be missing; 0 if none is. */
  readonly lostTo: number;
}

/**
 * Returns the state of the chain after the last event of each UTC day since `from`, the oldest first. The last one is
 * `to`, the state after the newest event. A checkpoint of each keeps the first line of a day's file provable after the
 * files before it were deleted.
 *
 * A generator so that the caller chooses how to wait: it yields queries and expects the journal's pages.
 */
export function* dayEnds(
  from: ChainSnapshot,
  to: ChainState,
): Generator<JournalQuery, ChainSnapshot[], JournalPage> {
  const { days, read, lostTo } = yield* readDays(from, to.seq);
  if (days.length === 0) return [{ ...to, day: from.day, lines: 0 }];
  // The number of missing events is unknown, and counting backwards from the end works only up to them.
  const ends = days.filter(({ seq }, index) => seq > lostTo || index === days.length - 1);
  // If none is missing, all events since `from` were read, and `from` is known to be right.
  const isExact = lostTo === 0 && read === to.count - from.count;
  return ends.map(({ day, ...end }, index) => {
    const isLast = index === ends.length - 1;
    const count = to.count - (read - end.read);
    return {
      count,
      seq: isLast ? to.seq : end.seq,
      head: isLast ? to.head : end.head,
      day,
      lines: index > 0 ? end.read - ends[index - 1]!.read : isExact ? firstLines() : 0,
    };
    function firstLines(): number {
      if (day !== from.day) return end.read;
      return from.lines === 0 ? 0 : from.lines + end.read;
    }
  });
}

function* readDays(
  from: ChainSnapshot,
  last: number,
): Generator<JournalQuery, ReadDays, JournalPage> {
  const days: DayEnd[] = [];
  let read = 0;
  let lostTo = 0;
  for (let next = from.seq + 1; next <= last;) {
    const page = yield { from: next, type: "audit_log" };
    if (page.to < page.from) break;
    for (const { to } of page.gaps.filter(lacksEvents)) lostTo = Math.max(lostTo, to);
    if (page.records) read += addToDays(page.records, last, days, from.day, read);
    next = page.to + 1;
  }
  return { days, read, lostTo };
}

/** Events that could not be stored were never part of the chain. */
function lacksEvents({ type, reason }: Gap): boolean {
  return type !== "system_log" && reason !== "not_stored";
}

/** As in the audit files, an event belongs to no earlier day than the one before it, even if the clock went back. */
function addToDays(
  batch: Batch,
  last: number,
  days: DayEnd[],
  firstDay: string,
  readBefore: number,
): number {
  let day = days.at(-1)?.day ?? firstDay;
  let read = 0;
  for (let index = 0; index < batch.length; index++) {
    const seq = batch.sequence(index);
    if (seq > last) break;
    read++;
    const appended = utcDay(batch.appendedAt(index));
    if (appended > day) day = appended;
    const end = { day, seq, head: batch.hash(index), read: readBefore + read };
    if (days.at(-1)?.day === day) days[days.length - 1] = end;
    else days.push(end);
  }
  return read;
}

/** Returns the day as it is written in the names of audit files: `20261124`. */
export function utcDay(timeMs: number): string {
  return new Date(timeMs).toISOString().slice(0, 10).replaceAll("-", "");
}
