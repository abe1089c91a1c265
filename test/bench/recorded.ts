import { readFileSync, writeFileSync } from "node:fs";
import type { RatioFigure } from "./figure.ts";

/** The medians of ratios as they were when they were recorded last, under `figure of to`. */
type Recorded = Readonly<Record<string, number>>;

const FILE = new URL("recorded.json", import.meta.url);

/** By how much a ratio may be worse: machines and their neighbours differ. */
const FACTOR = 2;

/** Keeps the ratios; those that were not measured now stay as they are. */
export function record(ratios: readonly RatioFigure[]): void {
  const now = ratios.map((ratio) => [keyOf(ratio), ratio.median] as const);
  const all = Object.entries({ ...recorded(), ...Object.fromEntries(now) });
  const sorted = Object.fromEntries(all.toSorted(([one], [other]) => (one < other ? -1 : 1)));
  writeFileSync(FILE, `${JSON.stringify(sorted, undefined, 2)}\n`);
}

/** Which ratios are worse than half of what they were, a line each. */
export function comparison(ratios: readonly RatioFigure[]): string {
  const before = recorded();
  const known = ratios.filter((ratio) => keyOf(ratio) in before);
  const worse = known.filter((ratio) => worseningOf(ratio, before) > FACTOR);
  const lines = worse.map(
    (ratio) => `fell: ${keyOf(ratio)}: ${before[keyOf(ratio)]} recorded, ${ratio.median} now`,
  );
  const summary = `${worse.length} of ${known.length} ratios fell by more than half against test/bench/recorded.json`;
  return [...lines, summary].map((line) => `${line}\n`).join("");
}

function recorded(): Recorded {
  return JSON.parse(readFileSync(FILE, "utf8")) as Recorded;
}

function keyOf({ figure, of, to }: RatioFigure): string {
  return `${figure}: ${of} to ${to}`;
}

function worseningOf(ratio: RatioFigure, before: Recorded): number {
  const was = before[keyOf(ratio)]!;
  return ratio.better === "higher" ? was / ratio.median : ratio.median / was;
}
