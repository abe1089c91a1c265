/**
 * For `node --import`: tells the parent process, each time it asks, the longest turn of this process's event loop since
 * it asked last. Between two ticks of a timer lie whole turns, and the processor time that they took is known: so other
 * processes on a busy machine do not count.
 */

import { isMainThread } from "node:worker_threads";

const TICK_MS = 5;

if (isMainThread && process.send !== undefined) {
  let lastMs = cpuMs();
  let turnMs = 0;
  setInterval(() => {
    const nowMs = cpuMs();
    turnMs = Math.max(turnMs, nowMs - lastMs);
    lastMs = nowMs;
  }, TICK_MS).unref();
  process.on("message", () => {
    process.send!({ turnMs });
    turnMs = 0;
  });
  // A parent that was killed leaves nothing behind.
  process.on("disconnect", () => process.exit());
  process.channel?.unref();
}

function cpuMs(): number {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1000;
}
