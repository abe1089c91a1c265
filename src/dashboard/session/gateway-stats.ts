import type { GatewayClock } from "./gateway-clock.ts";

/** The part of the response of `/api/stats` that the dashboard uses. */
interface StatsResponse {
  /** Null if the gateway has no audit chain: its journal is in memory. */
  readonly audit: AuditChain | null;
  /** An address with `{trace_id}` in it; null if none is configured. */
  readonly trace_url: string | null;
  readonly components: readonly ComponentStats[];
}

export interface ComponentStats {
  readonly id: string;
  readonly kind: "intake" | "receiver" | "processor" | "exporter";
  /** True for an exporter that gets every record eventually: what is queued for it is its whole lag. */
  readonly durable?: boolean;
  readonly queue_records: number;
  /** The age of the records that it is writing. */
  readonly lag_seconds: number;
  /** Consecutive failed writes. */
  readonly retries?: number;
  /** Why the last write failed; null if it succeeded. */
  readonly trouble: string | null;
  /** Dropped records by reason. */
  readonly dropped: Readonly<Record<string, number>>;
}

export interface AuditChain {
  /** How many events are in the chain. */
  readonly count: number;
  /** The newest signed checkpoint; null before the first. */
  readonly checkpoint: { readonly time: string; readonly seq: number } | null;
}

const PATH = "api/stats";
const INTERVAL_MS = 5000;

/** Polls the gateway's statistics while the page is visible. */
export class GatewayStats {
  readonly #clock: GatewayClock;
  readonly #fetch: typeof fetch;
  #stats: StatsResponse | undefined;
  #timer: number | undefined;
  #requestedAtMs = -Infinity;
  readonly #listeners = new Set<() => void>();

  constructor(clock: GatewayClock, fetcher: typeof fetch) {
    this.#clock = clock;
    this.#fetch = fetcher;
  }

  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    if (this.#listeners.size === 1) {
      document.addEventListener("visibilitychange", this.#schedule);
      this.#schedule();
    }
    return () => {
      this.#listeners.delete(listener);
      if (this.#listeners.size > 0) return;
      document.removeEventListener("visibilitychange", this.#schedule);
      clearTimeout(this.#timer);
    };
  };

  /** Returns the last response; undefined before the first. */
  readonly current = (): StatsResponse | undefined => this.#stats;

  readonly #schedule = (): void => {
    clearTimeout(this.#timer);
    if (document.hidden || this.#listeners.size === 0) return;
    const waitMs = Math.max(0, this.#requestedAtMs + INTERVAL_MS - performance.now());
    this.#timer = window.setTimeout(() => void this.#request(), waitMs);
  };

  async #request(): Promise<void> {
    this.#requestedAtMs = performance.now();
    const sentAtMs = Date.now();
    try {
      const response = await this.#fetch(PATH);
      this.#clock.observe(response.headers, sentAtMs);
      if (response.ok) this.#stats = await response.json();
    } catch {
      // The streams report a lost connection.
    }
    for (const listener of this.#listeners) listener();
    this.#schedule();
  }
}
