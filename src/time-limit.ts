/** Resolves when the signal aborts. */
export function aborted(signal: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  if (signal.aborted) resolve();
  else signal.addEventListener("abort", () => resolve(), { once: true });
  return promise;
}

/** A signal that aborts after a time, and a promise that then resolves; `clear` lets the process end earlier. */
export function timeLimit(ms: number): {
  signal: AbortSignal;
  passed: Promise<void>;
  clear(): void;
} {
  const controller = new AbortController();
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(() => {
    controller.abort(new Error(`Closing took longer than ${ms} ms and was not waited for.`));
    resolve();
  }, ms);
  return { signal: controller.signal, passed: promise, clear: () => clearTimeout(timer) };
}
