/**
 * Node's timers as they are when this module is loaded: a test that replaces them (`vi.useFakeTimers()`,
 * `mock.timers.enable()`) does not hold up a gateway that runs beside it.
 */

import * as timers from "node:timers";
import { MessageChannel } from "node:worker_threads";

export const { setTimeout, setInterval, clearTimeout, clearInterval } = timers;

/** Calls `work` when what is under way in the event loop has had its turn. Keeps the process alive until then. */
export const onNextTurn: (work: () => void) => void = isReal(timers.setImmediate)
  ? timers.setImmediate
  : turnsByMessages();

/** Resolves when what is under way in the event loop has had its turn. */
export function nextTurn(): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  onNextTurn(resolve);
  return promise;
}

/** Whether Node knows what it schedules. It was replaced before this module was loaded otherwise. */
function isReal(setImmediate: typeof timers.setImmediate): boolean {
  const before = immediates();
  const immediate = setImmediate(() => {});
  const isKnown = immediates() > before;
  timers.clearImmediate(immediate);
  return isKnown;
}

function immediates(): number {
  return process.getActiveResourcesInfo().filter((name) => name === "Immediate").length;
}

/** Messages to oneself arrive in a later turn, too, and nobody replaces them. */
function turnsByMessages(): (work: () => void) => void {
  const { port1, port2 } = new MessageChannel();
  const waiting: (() => void)[] = [];
  port1.on("message", () => {
    const work = waiting.shift();
    if (waiting.length === 0) port1.unref();
    work?.();
  });
  port1.unref();
  return (work) => {
    waiting.push(work);
    port1.ref();
    port2.postMessage(undefined);
  };
}

/** Resolves when the signal aborts. */
export function whenAborted(signal: AbortSignal): Promise<void> {
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
  const clearing = new AbortController();
  // A test that replaces the timers does not replace this one, so that no end takes forever.
  AbortSignal.timeout(ms).addEventListener(
    "abort",
    () => {
      controller.abort(new Error(`Closing took longer than ${ms} ms and was not waited for.`));
      resolve();
    },
    { signal: clearing.signal },
  );
  return { signal: controller.signal, passed: promise, clear: () => clearing.abort() };
}

/**
 * Runs `work` with a signal that aborts with the first of `signals`, or after `timeoutMs`, for the same reason. Leaves
 * no listener behind: what `AbortSignal.any` makes is never freed on Node 22 while one of its signals lives.
 */
export async function withSignals<Result>(
  signals: readonly AbortSignal[],
  work: (signal: AbortSignal) => Promise<Result>,
  timeoutMs?: number,
): Promise<Result> {
  const controller = new AbortController();
  const abort = (event: Event): void => controller.abort((event.target as AbortSignal).reason);
  const timer = timeoutMs === undefined ? undefined : setTimeout(late, timeoutMs, controller);
  for (const signal of signals) {
    if (signal.aborted) controller.abort(signal.reason);
    else signal.addEventListener("abort", abort);
  }
  try {
    return await work(controller.signal);
  } finally {
    clearTimeout(timer);
    for (const signal of signals) signal.removeEventListener("abort", abort);
  }
}

/** Aborts as `AbortSignal.timeout` does. */
function late(controller: AbortController): void {
  controller.abort(new DOMException("The operation was aborted due to timeout", "TimeoutError"));
}
