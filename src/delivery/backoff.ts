const FIRST_DELAY_MS = 100;
const DELAY_MS_MAX = 30_000;

/** Upper bound for `Retry-After`, which a misconfigured server may set to years. */
const RETRY_AFTER_MS_MAX = 600_000;

/**
 * Returns the delay before the next attempt: `retryAfterMs`, as requested by the destination, plus a backoff with full
 * jitter that doubles up to 30 s. `attempt` counts from 0.
 */
export function backoffMs(attempt: number, retryAfterMs = 0): number {
  const requestedMs = Math.min(Math.max(0, retryAfterMs || 0), RETRY_AFTER_MS_MAX);
  return requestedMs + Math.random() * Math.min(DELAY_MS_MAX, FIRST_DELAY_MS * 2 ** attempt);
}
