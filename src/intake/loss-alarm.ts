import type { HostLogger } from "../plugin/index.ts";

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
