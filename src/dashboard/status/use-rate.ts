import { useEffect, useState } from "react";

const TICK_MS = 1000;
/** Over how many ticks the rate is taken. */
const TICKS = 5;

export interface Rate {
  readonly perSecond: number;
  readonly nowMs: number;
}

/** By how much a count grows a second; renders anew every second. */
export function useRate(count: () => number): Rate {
  const [rate, setRate] = useState<Rate>(() => ({ perSecond: 0, nowMs: Date.now() }));
  useEffect(() => {
    const samples = [{ count: count(), atMs: performance.now() }];
    const timer = setInterval(() => {
      const now = { count: count(), atMs: performance.now() };
      samples.push(now);
      if (samples.length > TICKS + 1) samples.shift();
      const first = samples[0]!;
      const perSecond = (1000 * (now.count - first.count)) / (now.atMs - first.atMs);
      setRate({ perSecond: Math.max(0, perSecond), nowMs: Date.now() });
    }, TICK_MS);
    return () => clearInterval(timer);
  }, [count]);
  return rate;
}
