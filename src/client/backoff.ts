const FIRST_DELAY_MS = 500;
const DELAY_MS_MAX = 30_000;

/** How long to wait before the next attempt: full jitter, doubling up to 30 s. `failures` counts from 0. */
export function backoffMs(failures: number): number {
  return Math.random() * Math.min(DELAY_MS_MAX, FIRST_DELAY_MS * 2 ** failures);
}
