/** A difference between the clocks that people should know of. */
const SKEW_MS_MIN = 5000;

/** The `Date` of an answer is cut to seconds. */
const DATE_MS = 1000;

/** With the answers of {@link GatewayStats}, about a minute. */
const CONTRADICTIONS_MAX = 12;

const ANSWER_MS_MAX = 2000;

/** By how much the gateway's clock is ahead of the page's own: between these bounds. */
interface Offset {
  readonly minMs: number;
  readonly maxMs: number;
}

/**
 * The gateway's clock, by the `Date` of its answers: records have its time, and so do the time ranges that are asked
 * for. The page's own clock may be anything.
 *
 * Each answer narrows the bounds of the difference. Answers that contradict them change them only once a minute's worth
 * of them has: one that was on its way for long, or was kept by a proxy, must not move what is shown.
 */
export class GatewayClock {
  #offset: Offset | undefined;
  #latest: Offset | undefined;
  #contradictions = 0;

  /** In whole ms since 1970; the page's own time before the first answer. */
  readonly now = (): number => Date.now() + (this.#offset ? middleOf(this.#offset) : 0);

  /** By how much the gateway was ahead in the latest answer; 0 if that is too little to be told. */
  get skewMs(): number {
    if (!this.#latest) return 0;
    const { minMs, maxMs } = this.#latest;
    return minMs >= SKEW_MS_MIN || maxMs <= -SKEW_MS_MIN ? middleOf(this.#latest) : 0;
  }

  /** Asks the gateway for its time; resolves without it if there is no answer soon. */
  async learn(): Promise<void> {
    const sentAtMs = Date.now();
    try {
      const signal = AbortSignal.timeout(ANSWER_MS_MAX);
      const answer = await fetch("/healthz", { method: "HEAD", cache: "no-store", signal });
      this.observe(answer.headers, sentAtMs);
    } catch {
      // The streams say why there is no connection.
    }
  }

  /** Takes the time out of an answer that has just come; `sentAtMs`: when it was asked for, by the page's own clock. */
  observe(headers: Headers, sentAtMs: number): void {
    const dateMs = Date.parse(headers.get("Date") ?? "");
    if (Number.isNaN(dateMs)) return;
    const latest = { minMs: dateMs - Date.now(), maxMs: dateMs + DATE_MS - sentAtMs };
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

function middleOf({ minMs, maxMs }: Offset): number {
  return Math.round((minMs + maxMs) / 2);
}
