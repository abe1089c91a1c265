/** What the page takes of the answer of `/api/stats`. */
export interface Stats {
  /** Null where the gateway keeps no chain: its journal is in memory. */
  readonly audit: AuditChain | null;
  /** With `{trace_id}` in it; null where there is nothing that shows traces. */
  readonly trace_url: string | null;
  readonly components: readonly ComponentStats[];
}

/** What became of the records of a part of the gateway. */
interface ComponentStats {
  readonly id: string;
  readonly kind: "intake" | "receiver" | "processor" | "exporter";
  /** True for an exporter that gets every record in the end: what waits for it is all that it is behind. */
  readonly durable?: boolean;
  readonly queue_records: number;
  /** The age of what it is writing. */
  readonly lag_seconds: number;
  /** Writes that have failed in a row. */
  readonly retries?: number;
  /** Why the last write failed, null where it did not. */
  readonly trouble: string | null;
  /** Given up, by reason. */
  readonly dropped: Readonly<Record<string, number>>;
}

export interface AuditChain {
  /** How many events are chained. */
  readonly count: number;
  /** The newest signature over the chain; null before the first. */
  readonly checkpoint: { readonly time: string; readonly seq: number } | null;
}

/** What hears of the gateway's time. */
interface Clock {
  observe(headers: Headers, sentAtMs: number): void;
}

const PATH = "/api/stats";
const INTERVAL_MS = 5000;

/** The gateway's account of itself, asked again and again while somebody looks at the page. */
export class GatewayStats {
  readonly #clock: Clock;
  #stats: Stats | undefined;
  #timer: number | undefined;
  #askedAtMs = -Infinity;
  readonly #listeners = new Set<() => void>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    if (this.#listeners.size === 1) {
      document.addEventListener("visibilitychange", this.#plan);
      this.#plan();
    }
    return () => {
      this.#listeners.delete(listener);
      if (this.#listeners.size > 0) return;
      document.removeEventListener("visibilitychange", this.#plan);
      clearTimeout(this.#timer);
    };
  };

  /** Undefined before the first answer. The last one stays while the gateway does not answer. */
  readonly current = (): Stats | undefined => this.#stats;

  readonly #plan = (): void => {
    clearTimeout(this.#timer);
    if (document.hidden || this.#listeners.size === 0) return;
    const waitMs = Math.max(0, this.#askedAtMs + INTERVAL_MS - performance.now());
    this.#timer = window.setTimeout(() => void this.#ask(), waitMs);
  };

  async #ask(): Promise<void> {
    this.#askedAtMs = performance.now();
    const sentAtMs = Date.now();
    try {
      const answer = await fetch(PATH);
      this.#clock.observe(answer.headers, sentAtMs);
      if (answer.ok) this.#stats = await answer.json();
    } catch {
      // The streams say why there is no connection.
    }
    for (const listener of this.#listeners) listener();
    this.#plan();
  }
}
