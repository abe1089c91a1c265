/** How long a key may send at several times its rate before it is limited. */
const BURST_MS = 5_000;

/** How many keys are remembered. Beyond it, the keys that were used least recently start afresh. */
const KEYS_MAX = 10_000;

export interface RateLimitOptions {
  readonly perSecond: number;
  /** Default: 5 s. */
  readonly burstMs?: number;
  /** Default: 10,000. */
  readonly keysMax?: number;
}

/**
 * Token buckets, one for each key. A key may overdraw its bucket once, and is then limited until its debt is paid: requests
 * of any size pass sooner or later, and the average never exceeds the rate.
 *
 * Of each bucket only the time is kept at which it will be full again. Times are monotonic and in milliseconds.
 */
export class RateLimit {
  readonly perSecond: number;
  readonly #msPerUnit: number;
  readonly #burstMs: number;
  readonly #keysMax: number;
  /** In the order of their last use. */
  readonly #fullAtMs = new Map<string, number>();

  constructor({ perSecond, burstMs = BURST_MS, keysMax = KEYS_MAX }: RateLimitOptions) {
    this.perSecond = perSecond;
    this.#msPerUnit = 1000 / perSecond;
    this.#burstMs = burstMs;
    this.#keysMax = keysMax;
  }

  /** The number of keys whose buckets are not known to be full. */
  get size(): number {
    return this.#fullAtMs.size;
  }

  /** Returns after how many milliseconds the key may send again; 0 if it may do so now. */
  waitMs(key: string, nowMs: number): number {
    const fullAtMs = this.#fullAtMs.get(key);
    return fullAtMs === undefined ? 0 : Math.max(0, fullAtMs - this.#burstMs - nowMs);
  }

  /** Takes `amount` from the bucket of the key, even if that overdraws it. */
  charge(key: string, amount: number, nowMs: number): void {
    const fullAtMs = Math.max(nowMs, this.#fullAtMs.get(key) ?? nowMs);
    this.#fullAtMs.delete(key);
    if (this.#fullAtMs.size >= this.#keysMax) this.#makeRoom(nowMs);
    this.#fullAtMs.set(key, fullAtMs + amount * this.#msPerUnit);
  }

  /** Forgets buckets that are full again, and in any case a quarter of them, so that it is called rarely. */
  #makeRoom(nowMs: number): void {
    const sizeMax = Math.floor((this.#keysMax * 3) / 4);
    for (const [key, fullAtMs] of this.#fullAtMs) {
      if (fullAtMs <= nowMs) this.#fullAtMs.delete(key);
    }
    for (const key of this.#fullAtMs.keys()) {
      if (this.#fullAtMs.size <= sizeMax) return;
      this.#fullAtMs.delete(key);
    }
  }
}
