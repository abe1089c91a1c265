import type { ComponentStatus, GatewayView } from "../../gateway/status.ts";
import type { Batch, HostJournal } from "../../plugin/index.ts";
import { packageVersion } from "../../runtime/package.ts";
import { ENVELOPE_TYPES, LEVELS } from "../../wire/envelope.ts";
import { PARSE_EFFORT_PER_BYTE } from "../../wire/filter.ts";
import type { Endpoint } from "../server/application.ts";
import { READ_ACCESS } from "../server/routes.ts";
import { NameCounts } from "./counts.ts";
import { TimeSlice } from "./time-slice.ts";

export const STATS_PATH = "/api/stats";

/** Responses are reused for this long, so that many requests cost no more than one. */
const CACHE_MS = 1000;

/** How many of the most frequent loggers and actions are listed. */
const NAMES_MAX = 20;

/** GET /api/stats: the components, the outcomes of records, and statistics of the records in memory. */
export function stats(view: GatewayView): Endpoint {
  let response: Promise<object> | undefined;
  let collectedAtMs = -Infinity;
  return {
    path: STATS_PATH,
    access: READ_ACCESS,
    async respond(context) {
      const nowMs = performance.now();
      if (response === undefined || nowMs - collectedAtMs >= CACHE_MS) {
        response = collectStats(view);
        collectedAtMs = nowMs;
      }
      context.body = await response;
    },
  };
}

async function collectStats(view: GatewayView): Promise<object> {
  const { epoch, oldest, newest } = view.journal;
  const { unconfirmedClockMs: clockMs } = view;
  return {
    version: packageVersion(),
    started_at: new Date(view.startedAtMs).toISOString(),
    uptime_seconds: Math.round((Date.now() - view.startedAtMs) / 1000),
    journal: { epoch, oldest, newest, ...damageStats(view) },
    audit: auditStats(view),
    trace_url: view.traceUrl ?? null,
    // Absent while the system clock is trusted.
    ...(clockMs && { clock: { unconfirmed_seconds: Math.round(clockMs / 1000) } }),
    components: view.components.map(componentStats),
    tail: await tailStats(view.journal),
  };
}

/** Empty unless the journal is damaged. */
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

/** Null if the journal has no hash chain. */
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

/** Counts the records in memory; `from` and `to` are their sequences, null if there are none. */
async function tailStats(journal: HostJournal): Promise<object> {
  const { oldest, newest } = journal;
  const types = new NameCounts(ENVELOPE_TYPES);
  const levels = new NameCounts(LEVELS);
  const loggers = new NameCounts();
  const actions = new NameCounts();
  const slice = new TimeSlice();
  for await (const batch of readMemory(journal, oldest, newest)) {
    for (let index = 0; index < batch.length; index++) {
      const isAudit = batch.type(index) === "audit_log";
      if (slice.isOver(isAudit ? PARSE_EFFORT_PER_BYTE * batch.size(index) : 1))
        await slice.yield();
      types.count(batch.type(index));
      levels.count(batch.level(index));
      loggers.count(batch.logger(index));
      if (!isAudit) continue;
      const { action } = batch.envelope(index).data;
      if (typeof action === "string") actions.count(action);
    }
  }
  const isEmpty = oldest > newest;
  return {
    from: isEmpty ? null : oldest,
    to: isEmpty ? null : newest,
    types: types.all(),
    levels: levels.all(),
    loggers: loggers.mostFrequent(NAMES_MAX),
    actions: actions.mostFrequent(NAMES_MAX),
  };
}

/**
 * Reads the records from `first` to `last` in memory, oldest first. Records that could not be stored are missing; it ends
 * early if the next ones leave memory meanwhile.
 */
async function* readMemory(
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
