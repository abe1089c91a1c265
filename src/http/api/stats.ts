import { ENVELOPE_TYPES, LEVELS } from "../../wire/envelope.ts";
import { PARSE_EFFORT_PER_BYTE } from "../../wire/filter.ts";
import type { ComponentStatus, GatewayView } from "../../gateway/status.ts";
import type { Batch, HostJournal } from "../../plugin/index.ts";
import type { Endpoint } from "../server/application.ts";
import { Tally } from "./counts.ts";
import { TimeSlice } from "./time-slice.ts";
import { packageVersion } from "../../runtime/package.ts";

export const STATS_PATH = "/api/stats";

/** How old an answer may be, so that many requests cost no more than one. */
const ANSWER_AGE_MS_MAX = 1000;

/** How many loggers and actions are listed, the most frequent first. */
const NAMES_MAX = 20;

/** GET /api/stats: what runs, what became of the records, and what memory holds of them. */
export function stats(view: GatewayView): Endpoint {
  let counted: Promise<object> | undefined;
  let countedAtMs = -Infinity;
  return {
    path: STATS_PATH,
    async answer(context) {
      const nowMs = performance.now();
      if (counted === undefined || nowMs - countedAtMs >= ANSWER_AGE_MS_MAX) {
        counted = statsOf(view);
        countedAtMs = nowMs;
      }
      context.body = await counted;
    },
  };
}

async function statsOf(view: GatewayView): Promise<object> {
  const { epoch, oldest, newest } = view.journal;
  return {
    version: packageVersion(),
    started_at: new Date(view.startedAtMs).toISOString(),
    uptime_seconds: Math.round((Date.now() - view.startedAtMs) / 1000),
    journal: { epoch, oldest, newest, ...damageStats(view) },
    audit: auditStats(view),
    trace_url: view.traceUrl ?? null,
    ...clockStats(view),
    components: view.components.map(componentStats),
    tail: await tailStats(view.journal),
  };
}

/** Nothing while the system clock is trusted. */
function clockStats({ unconfirmedClockMs = 0 }: GatewayView): object {
  if (unconfirmedClockMs === 0) return {};
  return { clock: { unconfirmed_seconds: Math.round(unconfirmedClockMs / 1000) } };
}

/** Nothing for a journal that is not damaged. */
function damageStats({ journalDamage = [] }: GatewayView): object {
  if (journalDamage.length === 0) return {};
  const damage = journalDamage.map(({ atMs, text, lost, kept }) => ({
    time: new Date(atMs).toISOString(),
    text,
    lost: lost ?? null,
    kept,
  }));
  return { damage };
}

/** Null where the journal keeps no chain of evidence. */
function auditStats({ audit }: GatewayView): object | null {
  if (audit === undefined) return null;
  const { chain, checkpoint } = audit;
  const newest = checkpoint && { time: checkpoint.time, seq: checkpoint.seq, key: checkpoint.key };
  return { count: chain.count, seq: chain.seq, head: chain.head, checkpoint: newest ?? null };
}

function componentStats(component: ComponentStatus): object {
  const { id, kind, counters, queueBytes, queueRecords, lagMs, lastError } = component;
  const { isDurable, retries } = component;
  const { received, filtered, sent, failed, dropped } = counters;
  return {
    id,
    kind,
    trouble: lastError ?? null,
    received,
    filtered,
    [kind === "intake" ? "accepted" : "sent"]: sent,
    failed,
    dropped: Object.fromEntries(dropped),
    queue_bytes: queueBytes,
    queue_records: queueRecords,
    lag_seconds: lagMs / 1000,
    ...(kind === "exporter" && { durable: isDurable, retries }),
  };
}

/** Counts over the records in memory; `from` and `to` are their sequences, null where there are none. */
async function tailStats(journal: HostJournal): Promise<object> {
  const { oldest, newest } = journal;
  const types = new Tally(ENVELOPE_TYPES);
  const levels = new Tally(LEVELS);
  const loggers = new Tally();
  const actions = new Tally();
  const slice = new TimeSlice();
  for await (const run of upwards(journal, oldest, newest)) {
    for (let index = 0; index < run.length; index++) {
      const isAudit = run.type(index) === "audit_log";
      if (slice.isOver(isAudit ? PARSE_EFFORT_PER_BYTE * run.size(index) : 1)) await slice.rest();
      types.count(run.type(index));
      levels.count(run.level(index));
      loggers.count(run.logger(index));
      if (!isAudit) continue;
      const { action } = run.envelope(index).data;
      if (typeof action === "string") actions.count(action);
    }
  }
  const isEmpty = oldest > newest;
  return {
    from: isEmpty ? null : oldest,
    to: isEmpty ? null : newest,
    types: types.all(),
    levels: levels.all(),
    loggers: loggers.most(NAMES_MAX),
    actions: actions.most(NAMES_MAX),
  };
}

/**
 * What memory holds from `first` to `last`, oldest first; the disk may have refused records in between. It may end early
 * where memory lets records go meanwhile.
 */
export async function* upwards(
  journal: HostJournal,
  first: number,
  last: number,
): AsyncGenerator<Batch> {
  for (let next = first; next <= last && next >= journal.oldest;) {
    const { from, to, records } = await journal.read({ from: next });
    if (to < from) return;
    if (records !== undefined) yield records;
    next = to + 1;
  }
}
