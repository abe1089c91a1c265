import type { ComponentStatus, GatewayView } from "../../gateway/status.ts";
import type { Access, Batch, HostJournal } from "../../plugin/index.ts";
import { packageVersion } from "../../runtime/package.ts";
import { ENVELOPE_TYPES, LEVELS } from "../../wire/envelope.ts";
import { PARSE_EFFORT_PER_BYTE, type Filter } from "../../filter/filter.ts";
import type { Endpoint } from "../server/application.ts";
import { READ_ACCESS } from "../server/routes.ts";
import { readsEverything, readsTrail, troubleOf } from "../server/visibility.ts";
import { NameCounts } from "./value-counts.ts";
import { TimeSlice } from "./time-slice.ts";

export const STATS_PATH = "/api/stats";

/** Responses are reused for this long, so that many requests cost no more than one. */
const CACHE_MS = 1000;

/** How many responses are cached: principals with the same permissions share one. */
const RESPONSES_MAX = 100;

/** How many of the most frequent loggers and actions are listed. */
const NAMES_MAX = 20;

/**
 * GET /api/stats: the components, the outcomes of records, and statistics of the records in memory. A principal with a
 * filter gets statistics of the records that it may read, and no texts that may quote others.
 */
export function stats(view: GatewayView): Endpoint {
  const responses = new ResponseCache();
  return {
    path: STATS_PATH,
    access: READ_ACCESS,
    async respond(context, { access }) {
      const key = `${readsTrail(access)} ${access.filter.key}`;
      context.body = await responses.get(key, () => collectStats(view, access));
    },
  };
}

interface CachedResponse {
  readonly body: Promise<object>;
  /** When it was completed; Infinity until then. */
  completedAtMs: number;
}

/** Recent responses by what their readers may read. */
class ResponseCache {
  readonly #responses = new Map<string, CachedResponse>();
  #last: Promise<unknown> = Promise.resolve();

  /** Collects one response at a time: however many filters there are, their statistics take turns. */
  get(key: string, collect: () => Promise<object>): Promise<object> {
    const cached = this.#responses.get(key);
    if (cached && performance.now() - cached.completedAtMs < CACHE_MS) return cached.body;
    const body = this.#last.then(collect);
    const response = { body, completedAtMs: Infinity };
    this.#last = complete(response);
    this.#responses.delete(key);
    this.#responses.set(key, response);
    const [oldest] = this.#responses.keys();
    if (this.#responses.size > RESPONSES_MAX) this.#responses.delete(oldest!);
    return body;
  }
}

async function complete(response: CachedResponse): Promise<void> {
  await Promise.allSettled([response.body]);
  response.completedAtMs = performance.now();
}

async function collectStats(view: GatewayView, access: Access): Promise<object> {
  const { epoch, oldest, newest } = view.journal;
  const { unconfirmedClockMs: clockMs } = view;
  const showsTexts = readsEverything(access);
  return {
    version: packageVersion(),
    started_at: new Date(view.startedAtMs).toISOString(),
    uptime_seconds: Math.round((Date.now() - view.startedAtMs) / 1000),
    journal: {
      epoch,
      oldest,
      newest,
      ...mergeStats(view, showsTexts),
      ...(showsTexts && damageStats(view)),
    },
    audit: readsTrail(access) ? auditStats(view) : null,
    trace_url: view.traceUrl ?? null,
    // Absent while the system clock is trusted.
    ...(clockMs && { clock: { unconfirmed_seconds: Math.round(clockMs / 1000) } }),
    components: view.components.map((component) => componentStats(component, access)),
    tail: await tailStats(view.journal, access.filter),
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

/** Empty if the journal has no history. */
function mergeStats({ journal }: GatewayView, showsTexts: boolean): object {
  const { merging, mergedUpTo } = journal;
  if (merging === undefined || mergedUpTo === undefined) return {};
  const { waiting, isRunning, unindexed, lastError } = merging;
  return {
    merge: {
      merged: mergedUpTo,
      waiting,
      running: isRunning,
      unindexed,
      error: (showsTexts && lastError) || null,
    },
  };
}

/** Null if the journal has no hash chain. */
function auditStats({ audit }: GatewayView): object | null {
  if (audit === undefined) return null;
  const { chain, checkpoint } = audit;
  const newest = checkpoint && { time: checkpoint.time, seq: checkpoint.seq, key: checkpoint.key };
  return { count: chain.count, seq: chain.seq, head: chain.head, checkpoint: newest ?? null };
}

function componentStats(component: ComponentStatus, access: Access): object {
  const { id, kind, counters, queueBytes, queueRecords, lagMs } = component;
  const { isDurable, retries } = component;
  const { received, filtered, sent, failed, dropped } = counters;
  return {
    id,
    kind,
    trouble: troubleOf(component, access),
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

/**
 * Counts the records in memory that a filter matches. `from` and `to` are the sequences of all records in memory, null if
 * there are none.
 */
async function tailStats(journal: HostJournal, filter: Filter): Promise<object> {
  const { oldest, newest } = journal;
  const types = new NameCounts(ENVELOPE_TYPES);
  const levels = new NameCounts(LEVELS);
  const loggers = new NameCounts();
  const actions = new NameCounts();
  const slice = new TimeSlice();
  for await (const batch of readMemory(journal, oldest, newest)) {
    for (let index = 0; index < batch.length; index++) {
      const isAudit = batch.type(index) === "audit_log";
      const bytes = batch.size(index);
      const effort = filter.effort(bytes) + (isAudit ? PARSE_EFFORT_PER_BYTE * bytes : 1);
      if (slice.isOver(effort)) await slice.yield();
      if (!filter.matches(batch, index)) continue;
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
