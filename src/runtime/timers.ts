/**
 * Node's timers, captured when this module is loaded: a test with fake timers (`vi.useFakeTimers()`,
 * `mock.timers.enable()`) does not stop a gateway that runs in the same process.
 */

import * as timers from "node:timers";
import { MessageChannel } from "node:worker_threads";

export const { setTimeout, setInterval, clearTimeout, clearInterval } = timers;

/** Calls `work` in a later turn of the event loop. Keeps the process alive until then. */
export const onNextTurn: (work: () => void) => void = isReal(timers.setImmediate)
  ? timers.setImmediate
  : nextTurnByMessage();

export function nextTurn(): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  onNextTurn(resolve);
  return promise;
}

/** Returns false if `setImmediate` was replaced before this module was loaded: Node does not know its callbacks then. */
function isReal(setImmediate: typeof timers.setImmediate): boolean {
  const before = countImmediates();
  const immediate = setImmediate(() => {});
  const isKnown = countImmediates() > before;
  timers.clearImmediate(immediate);
  return isKnown;
}

function countImmediates(): number {
  return process.getActiveResourcesInfo().filter((name) => name === "Immediate").length;
}

/** Posts messages to itself: they arrive in a later turn too, and test tools do not replace them. */
function nextTurnByMessage(): (work: () => void) => void {
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

export function whenAborted(signal: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  if (signal.aborted) resolve();
  else signal.addEventListener("abort", () => resolve(), { once: true });
  return promise;
}

/** Settles like `work`; rejects with an error of this text if that takes longer. */
export async function within<Result>(
  ms: number,
  text: string,
  work: Result | Promise<Result>,
): Promise<Result> {
  const { promise: late, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new Error(text)), ms);
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Returns a signal that aborts after a time and a promise that resolves then. `clear` lets the process exit earlier. */
export function timeLimit(ms: number): {
  signal: AbortSignal;
  passed: Promise<void>;
  clear(): void;
} {
  const controller = new AbortController();
  const { signal } = controller;
  const clearing = new AbortController();
  const text = `Closing took longer than ${ms} ms; the shutdown continues without it.`;
  // Fake timers do not replace this one, so that a shutdown always ends.
  AbortSignal.timeout(ms).addEventListener("abort", () => controller.abort(new Error(text)), {
    signal: clearing.signal,
  });
  return { signal, passed: whenAborted(signal), clear: () => clearing.abort() };
}

/**
 * Runs `work` with a signal that aborts when one of `signals` aborts, with the same reason, or after `timeoutMs`. Removes its
 * listeners; a signal of `AbortSignal.any` is not freed on Node 22 as long as one of its sources lives.
 */
export async function withSignals<Result>(
  signals: readonly AbortSignal[],
  work: (signal: AbortSignal) => Promise<Result>,
  timeoutMs?: number,
): Promise<Result> {
  const controller = new AbortController();
  const abort = (event: Event): void => controller.abort((event.target as AbortSignal).reason);
  const timer = timeoutMs === undefined ? undefined : setTimeout(abortLate, timeoutMs, controller);
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

/** Aborts with the same error as `AbortSignal.timeout`. */
function abortLate(controller: AbortController): void {
  controller.abort(new DOMException("The operation was aborted due to timeout", "TimeoutError"));
}
