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
