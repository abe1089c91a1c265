import { useEffect, useState } from "react";

const TICK_MS = 1000;

/** The time in ms since 1970; renders anew every second while it is on. */
export function useNow(isOn: boolean): number {
  const [nowMs, setNowMs] = useState(Date.now);
  useEffect(() => {
    if (!isOn) return undefined;
    const tick = (): void => setNowMs(Date.now());
    tick();
    const timer = setInterval(tick, TICK_MS);
    return () => clearInterval(timer);
  }, [isOn]);
  return nowMs;
}
