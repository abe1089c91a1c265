import type { HostLogger } from "../plugin.ts";

const QUIET_MS = 10_000;

/** Tells the operator of audit events that were lost: at once, and then at most every ten seconds. */
export class LossAlarm {
  readonly #log: HostLogger;
  #untold = 0;
  #toldAtMs = -Infinity;
  #timer: NodeJS.Timeout | undefined;

  constructor(log: HostLogger) {
    this.#log = log;
  }

  raise(events: number, cause: unknown): void {
    if (events === 0) return;
    this.#untold += events;
    const quietMs = this.#toldAtMs + QUIET_MS - performance.now();
    if (quietMs <= 0) return this.#tell(cause);
    this.#timer ??= setTimeout(() => this.#tell(cause), quietMs).unref();
  }

  #tell(cause: unknown): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const events = this.#untold === 1 ? "1 audit event was" : `${this.#untold} audit events were`;
    this.#untold = 0;
    this.#toldAtMs = performance.now();
    this.#log.error(`${events} not stored:`, cause);
  }
}
