import { LEVELS, type Level } from "../envelope.ts";
import type { Mark } from "./loaded.ts";

/** How many records of each level fall into equal stretches of time. */
export interface Bins {
  readonly fromMs: number;
  readonly toMs: number;
  /** By stretch, then by the rank of the level. */
  readonly counts: readonly (readonly number[])[];
  /** Of all levels of a stretch, the most. */
  readonly most: number;
}

/** Undefined where there is nothing to see: no records, or all of one moment. */
export function binsOf(marks: readonly Mark[], size: number): Bins | undefined {
  let [fromMs, lastMs] = [Infinity, -Infinity];
  for (const { timeMs } of marks) {
    fromMs = Math.min(fromMs, timeMs);
    lastMs = Math.max(lastMs, timeMs);
  }
  if (!(lastMs > fromMs)) return undefined;
  // The last record is within the last stretch.
  const toMs = lastMs + 1;
  const counts = Array.from({ length: size }, () => LEVELS.map(() => 0));
  for (const { timeMs, level } of marks) {
    const bin = counts[Math.floor(((timeMs - fromMs) / (toMs - fromMs)) * size)]!;
    bin[rankOf(level)]!++;
  }
  const sums = counts.map((bin) => bin.reduce((sum, count) => sum + count, 0));
  return { fromMs, toMs, counts, most: Math.max(...sums) };
}

function rankOf(level: Level): number {
  return LEVELS.indexOf(level);
}
