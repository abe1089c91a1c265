import { setImmediate as nextTurn } from "node:timers/promises";

/**
 * Measures the processor time of each turn of the event loop, until the returned function is called: it resolves with
 * the longest, in ms. Unlike the time of day it does not depend on what else the machine does.
 */
export function longestTurnMs(): () => Promise<number> {
  const over = new AbortController();
  let longest = 0;
  const measure = async (): Promise<void> => {
    while (!over.signal.aborted) {
      const start = process.threadCpuUsage();
      await nextTurn();
      const { user, system } = process.threadCpuUsage(start);
      longest = Math.max(longest, (user + system) / 1000);
    }
  };
  const measured = measure();
  return async () => {
    over.abort();
    await measured;
    return longest;
  };
}
