/** So often is asked again, and no longer than this is waited for it. */
const RETRIES_MAX = 10;
const RETRY_AFTER_SECONDS_MAX = 30;

/** Up to this part of the wait is added to it, so that many clients do not come back at once. */
const JITTER_PART = 0.5;

/**
 * Sends a request, and sends it again when the gateway is busy: it answers 503 and says in `Retry-After` when to come
 * back. Resolves with any other answer, or with that one if the gateway stays busy. Rejects as `fetch` does.
 */
export async function fetchUnlessBusy(
  send: () => Promise<Response>,
  signal: AbortSignal,
): Promise<Response> {
  for (let retries = 0; ; retries++) {
    const response = await send();
    const seconds = Number(response.headers.get("Retry-After") ?? NaN);
    const isBusy = response.status === 503 && seconds >= 0;
    if (!isBusy || retries === RETRIES_MAX) return response;
    await response.body?.cancel();
    const waitMs = 1000 * Math.min(seconds, RETRY_AFTER_SECONDS_MAX);
    await pause(waitMs * (1 + JITTER_PART * Math.random()), signal);
  }
}

/** Rejects with the signal's reason when it aborts. */
function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const giveUp = (): void => {
      clearTimeout(timer);
      reject(signal.reason as Error);
    };
    const timer = setTimeout(() => {
      signal.removeEventListener("abort", giveUp);
      resolve();
    }, ms);
    signal.addEventListener("abort", giveUp, { once: true });
    if (signal.aborted) giveUp();
  });
}
