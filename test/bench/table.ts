import { isMet, type Figure, type RatioFigure, type Spread } from "./figure.ts";

const HEAD = ["figure", "ours", "peer or limit", "its figure", "ratio (p25 - p75)", "target", ""];

/** The names of the gateway's own figures contain it. */
const OURS = "tailgate";

/** A Markdown table of all measurements: a row for each ratio, and for each figure that is in none or has a target. */
export function tableOf(figures: readonly Figure[], ratios: readonly RatioFigure[]): string {
  const byName = new Map(figures.map((figure) => [figure.figure, figure]));
  const compared = new Set(ratios.flatMap(({ of, to }) => [of, to]));
  const rows = [
    ...ratios.map((ratio) => ratioRow(ratio, byName)),
    ...figures.filter(({ figure, target }) => target || !compared.has(figure)).map(figureRow),
  ];
  return markdown([HEAD, ...rows]);
}

/** A speedup is the peer's time divided by ours; the table lists ours first anyway. */
function ratioRow(ratio: RatioFigure, figures: ReadonlyMap<string, Figure>): string[] {
  const { of, to, target } = ratio;
  const isSpeedup = !of.includes(OURS) && to.includes(OURS);
  const [ours, peer] = isSpeedup ? [to, of] : [of, to];
  const { median, p25, p75 } = ratio;
  return [
    ours,
    valueOf(figures.get(ours)),
    peer,
    valueOf(figures.get(peer)),
    `${median}${isSpeedup ? " x" : ""} (${p25} - ${p75})`,
    target ?? "",
    verdict(ratio),
  ];
}

function figureRow(figure: Figure): string[] {
  const { p25, p75 } = figure;
  const spread = p25 === p75 ? "" : `(${number(p25)} - ${number(p75)})`;
  return [figure.figure, valueOf(figure), "", "", spread, figure.target ?? "", verdict(figure)];
}

function valueOf(figure: Figure | undefined): string {
  return figure ? `${number(figure.median)} ${figure.unit}` : "";
}

function number(value: number): string {
  return value.toLocaleString("en");
}

function verdict(figure: Spread & Pick<Figure, "target">): string {
  const met = isMet(figure);
  if (met === undefined) return "";
  return met ? "ok" : "miss";
}

function markdown([head, ...rows]: readonly (readonly string[])[]): string {
  const widths = head!.map((_, column) =>
    Math.max(...[head!, ...rows].map((row) => row[column]!.length), 3),
  );
  const line = (row: readonly string[]): string =>
    `| ${row.map((cell, column) => cell.padEnd(widths[column]!)).join(" | ")} |\n`;
  const rule = line(widths.map((width) => "-".repeat(width)));
  return line(head!) + rule + rows.map(line).join("");
}
