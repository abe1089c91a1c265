import { readFileSync, writeFileSync } from "node:fs";
import { cpus } from "node:os";
import type { RatioFigure } from "./figure.ts";

/** The medians of the ratios as last recorded, by `figure of to`. */
type Recorded = Readonly<Record<string, number>>;

const FILE = new URL("recorded.json", import.meta.url);

/** The factor by which a ratio may be worse, because machines and their load differ. */
const FACTOR = 2;

const PAGE = new URL("../../docs/benchmarks.md", import.meta.url);
const TABLE = /(?<=<!-- figures:begin -->\n).*?(?=<!-- figures:end -->)/s;

/** Stores the ratios and the table in docs/benchmarks.md; ratios that were not measured now are unchanged. */
export function record(ratios: readonly RatioFigure[], table: string): void {
  const now = ratios.map((ratio) => [keyOf(ratio), ratio.median] as const);
  const all = Object.entries({ ...recorded(), ...Object.fromEntries(now) });
  const sorted = Object.fromEntries(all.toSorted(([one], [other]) => (one < other ? -1 : 1)));
  writeFileSync(FILE, `${JSON.stringify(sorted, undefined, 2)}\n`);
  const text = `\n${machine()}\n\n${table}\n`;
  writeFileSync(
    PAGE,
    readFileSync(PAGE, "utf8").replace(TABLE, () => text),
  );
}

/** Returns the ratios that are less than half as good as recorded, one line each. */
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

function machine(): string {
  const [{ model } = { model: "unknown" }, ...others] = cpus();
  const day = new Date().toISOString().slice(0, 10);
  return `${day}, Node ${process.version}, ${others.length + 1} x ${model.trim()}`;
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
