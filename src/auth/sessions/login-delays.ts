import { networkOf } from "../limits/network.ts";

/** People mistype; this many attempts in a row have no delay. */
const FREE_FAILURES = 4;

const DELAY_MS_MIN = 1_000;
const DELAY_MS_MAX = 60_000;

/** Failures are forgotten after this time without another one. */
const FORGET_MS = 15 * 60_000;

/** The memory of all addresses is bounded; the oldest failures are forgotten first. */
const ADDRESSES_MAX = 10_000;

interface Failures {
  count: number;
  lastMs: number;
}

/**
 * Delays logins from an address after failures: one second after the fifth in a row, then twice as long each time, up to a
 * minute. An IPv6 address counts as its /64 network, which one client has for itself.
 */
export class LoginDelays {
  /** By network; the oldest failure first. */
  readonly #failures = new Map<string, Failures>();
  readonly #now: () => number;

  /** `now`: a monotonic clock in milliseconds. */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  /** Returns how long the address must wait before its next attempt; 0 if it may try now. */
  waitMs(address: string): number {
    const failures = this.#find(networkOf(address));
    if (failures === undefined || failures.count <= FREE_FAILURES) return 0;
    const delayMs = Math.min(
      DELAY_MS_MAX,
      DELAY_MS_MIN * 2 ** (failures.count - FREE_FAILURES - 1),
    );
    return Math.max(0, failures.lastMs + delayMs - this.#now());
  }

  failed(address: string): void {
    const network = networkOf(address);
    const count = (this.#find(network)?.count ?? 0) + 1;
    this.#failures.delete(network);
    this.#failures.set(network, { count, lastMs: this.#now() });
    if (this.#failures.size <= ADDRESSES_MAX) return;
    const [oldest] = this.#failures.keys();
    this.#failures.delete(oldest!);
  }

  succeeded(address: string): void {
    this.#failures.delete(networkOf(address));
  }

  #find(network: string): Failures | undefined {
    const failures = this.#failures.get(network);
    if (failures === undefined || this.#now() - failures.lastMs < FORGET_MS) return failures;
    this.#failures.delete(network);
    return undefined;
  }
}
