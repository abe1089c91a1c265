/** How long a gateway may take to answer a handshake or a message. */
export const ANSWER_TIMEOUT_MS = 10_000;

/** Calls `work` with a signal that aborts after this time, and when `signal` does. */
export async function withTimeLimit<Result>(
  timeoutMs: number,
  signal: AbortSignal | undefined,
  work: (limit: AbortSignal) => Promise<Result>,
): Promise<Result> {
  // AbortSignal.any would live as long as the other signal, and AbortSignal.timeout until it expires.
  const controller = new AbortController();
  const abort = (): void => controller.abort();
  const timer = setTimeout(abort, timeoutMs);
  signal?.addEventListener("abort", abort);
  if (signal?.aborted) abort();
  try {
    return await work(controller.signal);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", abort);
  }
}

/** Resolves after this time, and when the signal aborts. */
export function delay(ms: number, signal: AbortSignal): Promise<void> {
  return withTimeLimit(ms, signal, async (limit) => {
    if (limit.aborted) return;
    await new Promise((resolve) => limit.addEventListener("abort", resolve));
  });
}
