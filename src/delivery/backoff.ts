const FIRST_DELAY_MS = 100;
const DELAY_MS_MAX = 30_000;

/** However long the other side wants to be left alone: by mistake it may say years. */
const RETRY_AFTER_MS_MAX = 600_000;

/**
 * How long to wait before the next attempt: full jitter, doubling up to 30 s, behind what the other side has asked
 * for. `attempt` counts from 0.
 */
export function backoffMs(attempt: number, retryAfterMs = 0): number {
  const askedMs = Math.min(Math.max(0, retryAfterMs || 0), RETRY_AFTER_MS_MAX);
  return askedMs + Math.random() * Math.min(DELAY_MS_MAX, FIRST_DELAY_MS * 2 ** attempt);
}
