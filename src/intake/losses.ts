import { LEVELS, type Level, type LevelRank } from "../wire/envelope.ts";
import type { LogRecord, Value, HostLogger } from "../plugin/index.ts";

/** The stream is told of losses once in this time, so that telling of them is not the next overload. */
const MARKER_INTERVAL_MS = 1_000;

/** Who says that system logs were lost. */
const LOSS_LOGGER = "tailgate.intake";

const WARN = 13;

/** What is lost and not yet told. */
interface Untold {
  readonly since: string;
  readonly levels: Partial<Record<Level, number>>;
  readonly reasons: Record<string, number>;
  count: number;
}

/** System logs that were lost, until a loss marker in the stream has told of them. */
export class Losses {
  #untold: Untold | undefined;
  #toldAtMs = -Infinity;

  add(reason: string, rank: LevelRank, count = 1): void {
    this.#untold ??= { since: new Date().toISOString(), levels: {}, reasons: {}, count: 0 };
    const { levels, reasons } = this.#untold;
    const level = LEVELS[rank];
    levels[level] = (levels[level] ?? 0) + count;
    reasons[reason] = (reasons[reason] ?? 0) + count;
    this.#untold.count += count;
  }

  /** In how many milliseconds the stream is to be told; undefined where there is nothing to tell. */
  get dueInMs(): number | undefined {
    if (this.#untold === undefined) return undefined;
    return Math.max(0, this.#toldAtMs + MARKER_INTERVAL_MS - performance.now());
  }

  /** What the loss marker says. The journal confirms it, or {@link restore} takes it back. */
  take(): Marker {
    const untold = this.#untold!;
    this.#untold = undefined;
    this.#toldAtMs = performance.now();
    return { untold, record: recordOf(untold) };
  }

  /** The marker has not been stored: what it said goes into the next one. */
  restore({ untold }: Marker): void {
    const newer = this.#untold;
    this.#untold = untold;
    if (newer === undefined) return;
    untold.count += newer.count;
    addAll(untold.levels, newer.levels);
    addAll(untold.reasons, newer.reasons);
  }
}

export interface Marker {
  readonly untold: Untold;
  readonly record: LogRecord;
}

function addAll(sums: Record<string, number>, added: Readonly<Record<string, number>>): void {
  for (const [name, count] of Object.entries(added)) sums[name] = (sums[name] ?? 0) + count;
}

const MILLI_NANOS = 1_000_000n;

function recordOf({ since, levels, reasons, count }: Untold): LogRecord {
  const now = BigInt(Date.now()) * MILLI_NANOS;
  return {
    timestamp: now,
    observedTimestamp: now,
    severityNumber: WARN,
    severityText: "WARNING",
    body: `${count} system ${count === 1 ? "log was" : "logs were"} lost before this line.`,
    eventName: "",
    attributes: new Map<string, Value>([
      ["lost", BigInt(count)],
      ["lost_levels", countsOf(levels)],
      ["lost_reasons", countsOf(reasons)],
      ["lost_since", since],
    ]),
    traceId: "",
    spanId: "",
    flags: 0,
    resource: null,
    scope: { name: LOSS_LOGGER, version: "", attributes: new Map() },
  };
}

function countsOf(counts: Readonly<Record<string, number>>): Map<string, Value> {
  return new Map(Object.entries(counts).map(([name, count]) => [name, BigInt(count)]));
}

const QUIET_MS = 10_000;

/** Tells the operator of audit events that were lost: at once, and then at most every ten seconds. */
export class LossAlarm {
  readonly #log: HostLogger;
  #untold = 0;
  /** Of the last one. */
  #cause: unknown;
  #toldAtMs = -Infinity;
  #timer: NodeJS.Timeout | undefined;

  constructor(log: HostLogger) {
    this.#log = log;
  }

  raise(events: number, cause: unknown): void {
    if (events === 0) return;
    this.#untold += events;
    this.#cause = cause;
    const quietMs = this.#toldAtMs + QUIET_MS - performance.now();
    if (quietMs <= 0) return this.flush();
    this.#timer ??= setTimeout(() => this.flush(), quietMs).unref();
  }

  /** Tells of those that nobody was told of yet. */
  flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#untold === 0) return;
    const events = this.#untold === 1 ? "1 audit event was" : `${this.#untold} audit events were`;
    this.#untold = 0;
    this.#toldAtMs = performance.now();
    this.#log.error(`${events} not stored:`, this.#cause);
  }
}
