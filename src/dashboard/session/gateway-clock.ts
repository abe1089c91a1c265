/** Smaller differences between the clocks are not worth reporting. */
const SKEW_MS_MIN = 5000;

/** The `Date` header has whole seconds. */
const DATE_RESOLUTION_MS = 1000;

/** About a minute of responses of {@link GatewayStats}. */
const CONTRADICTIONS_MAX = 12;

const RESPONSE_TIMEOUT_MS = 2000;

/** Bounds of how far the gateway's clock is ahead of the browser's. */
interface ClockOffset {
  readonly minMs: number;
  readonly maxMs: number;
}

/**
 * The gateway's clock, estimated from the `Date` header of its responses. Timestamps of records and time ranges are in
 * the gateway's time; the browser's clock may be off by any amount.
 *
 * Each response narrows the bounds of the offset. A response that contradicts them is ignored, because it may have been
 * delayed or cached by a proxy; about a minute of contradictions replaces them.
 */
export class GatewayClock {
  #offset: ClockOffset | undefined;
  #latest: ClockOffset | undefined;
  #contradictions = 0;

  /** Returns the time in ms since 1970, by the browser's clock before the first response. */
  readonly now = (): number => Date.now() + (this.#offset ? middle(this.#offset) : 0);

  /** How far the gateway's clock was ahead in the latest response; 0 if the difference is too small to report. */
  get skewMs(): number {
    if (!this.#latest) return 0;
    const { minMs, maxMs } = this.#latest;
    return minMs >= SKEW_MS_MIN || maxMs <= -SKEW_MS_MIN ? middle(this.#latest) : 0;
  }

  /** Requests the gateway's time; resolves without it if there is no response in time. */
  async learn(): Promise<void> {
    const sentAtMs = Date.now();
    try {
      const signal = AbortSignal.timeout(RESPONSE_TIMEOUT_MS);
      const response = await fetch("healthz", { method: "HEAD", cache: "no-store", signal });
      this.observe(response.headers, sentAtMs);
    } catch {
      // The streams report a lost connection.
    }
  }

  /** Takes the time from a response that has just arrived. `sentAtMs`: when it was requested, by the browser's clock. */
  observe(headers: Headers, sentAtMs: number): void {
    const dateMs = Date.parse(headers.get("Date") ?? "");
    if (Number.isNaN(dateMs)) return;
    const latest = { minMs: dateMs - Date.now(), maxMs: dateMs + DATE_RESOLUTION_MS - sentAtMs };
    this.#latest = latest;
    const known = this.#offset ?? latest;
    const minMs = Math.max(known.minMs, latest.minMs);
    const maxMs = Math.min(known.maxMs, latest.maxMs);
    if (minMs <= maxMs) {
      this.#offset = { minMs, maxMs };
      this.#contradictions = 0;
    } else if (++this.#contradictions >= CONTRADICTIONS_MAX) {
      this.#offset = latest;
      this.#contradictions = 0;
    }
  }
}

function middle({ minMs, maxMs }: ClockOffset): number {
  return Math.round((minMs + maxMs) / 2);
}
