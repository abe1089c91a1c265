/** What the thread of the journal knows of the clock; loads nothing else, so that the thread starts quickly. */

/** A step forward during which no time passed: records stamped before `atMs` are `byMs` younger than their stamps say. */
export interface ClockStep {
  readonly atMs: number;
  readonly byMs: number;
}

/** What it takes to compute the age of a stamp; can be sent between threads. */
export interface ClockReading {
  readonly nowMs: number;
  /** In order of time. */
  readonly steps: readonly ClockStep[];
}

/** Returns the stamp before which everything is older than `ageMs`: goes back in time, over the steps on the way. */
export function agedBefore(ageMs: number, { nowMs, steps }: ClockReading): number {
  let momentMs = nowMs - ageMs;
  for (const { atMs, byMs } of steps.toReversed()) if (momentMs < atMs) momentMs -= byMs;
  return momentMs;
}
