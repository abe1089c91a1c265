/**
 * For `node --import`: reports the longest turn of this process's event loop since the last report, whenever the parent
 * process asks for it. Measures the CPU time between two ticks of a timer, which span whole turns, so that other processes
 * on a busy machine do not count.
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
  // Ends with the parent, even if that was killed.
  process.on("disconnect", () => process.exit());
  process.channel?.unref();
}

function cpuMs(): number {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1000;
}
