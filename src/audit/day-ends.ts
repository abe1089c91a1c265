import { NO_HASH } from "../envelope/audit-line.ts";
import type { ChainState } from "../journal/journal.ts";
import type { Batch, Gap, HostJournal, JournalPage, JournalQuery } from "../plugin/index.ts";
import type { Standing } from "./checkpoint.ts";

/** Before the first event. */
export const NOTHING: Standing = { count: 0, seq: 0, head: NO_HASH, day: "", lines: 0 };

/** The last event of a day, so far. */
interface DayEnd {
  readonly day: string;
  seq: number;
  head: string;
  /** How many events were seen up to it. */
  seen: number;
}

/**
 * How the chain stood behind the last event of each UTC day since `from`, the oldest first; the last one is `to`,
 * behind the newest event. A checkpoint of each keeps the first line of a day's file provable when the files before it
 * are deleted.
 */
export async function dayEnds(
  journal: Pick<HostJournal, "read">,
  from: Standing,
  to: ChainState,
): Promise<Standing[]> {
  const walk = dayEndsWalk(from, to);
  let step = walk.next();
  while (step.done !== true) step = walk.next(await journal.read(step.value));
  return step.value;
}

/** The same for whoever cannot wait: it asks for the pages of the journal that it needs. */
export function* dayEndsWalk(
  from: Standing,
  to: ChainState,
): Generator<JournalQuery, Standing[], JournalPage> {
  const { days, seen, lostTo } = yield* walked(from, to.seq);
  if (days.length === 0) return [{ ...to, day: from.day, lines: 0 }];
  // How many are missing nobody knows: what is counted from the end lies behind them, but for the end itself.
  const ends = days.filter(({ seq }, index) => seq > lostTo || index === days.length - 1);
  // Where nothing was missing, all events since `from` were seen, and `from` is known to be right.
  const isExact = lostTo === 0 && seen === to.count - from.count;
  return ends.map(({ day, ...end }, index) => {
    const isLast = index === ends.length - 1;
    const count = to.count - (seen - end.seen);
    return {
      count,
      seq: isLast ? to.seq : end.seq,
      head: isLast ? to.head : end.head,
      day,
      lines: index > 0 ? end.seen - ends[index - 1]!.seen : isExact ? firstLines() : 0,
    };
    function firstLines(): number {
      if (day !== from.day) return end.seen;
      return from.lines === 0 ? 0 : from.lines + end.seen;
    }
  });
}

/** `lostTo`: the last sequence of which an event may be missing; 0 where none is. */
function* walked(
  from: Standing,
  last: number,
): Generator<JournalQuery, { days: DayEnd[]; seen: number; lostTo: number }, JournalPage> {
  const days: DayEnd[] = [];
  let seen = 0;
  let lostTo = 0;
  for (let next = from.seq + 1; next <= last;) {
    const page = yield { from: next, type: "audit_log" };
    if (page.to < page.from) break;
    for (const { to } of page.gaps.filter(lacksEvents)) lostTo = Math.max(lostTo, to);
    if (page.records) seen += gather(page.records, last, days, from.day, seen);
    next = page.to + 1;
  }
  return { days, seen, lostTo };
}

/** Events that could not be stored were never part of the chain. */
function lacksEvents({ type, reason }: Gap): boolean {
  return type !== "system_log" && reason !== "not_stored";
}

/** A clock that goes back leads into no older file. */
function gather(
  records: Batch,
  last: number,
  days: DayEnd[],
  firstDay: string,
  seenBefore: number,
): number {
  let day = days.at(-1)?.day ?? firstDay;
  let seen = 0;
  for (let index = 0; index < records.length; index++) {
    const seq = records.sequence(index);
    if (seq > last) break;
    seen++;
    const appended = utcDay(records.appendedAt(index));
    if (appended > day) day = appended;
    const end = { day, seq, head: records.hash(index), seen: seenBefore + seen };
    if (days.at(-1)?.day === day) days[days.length - 1] = end;
    else days.push(end);
  }
  return seen;
}

/** The day as the names of audit files have it: `20261124`. */
export function utcDay(timeMs: number): string {
  return new Date(timeMs).toISOString().slice(0, 10).replaceAll("-", "");
}
