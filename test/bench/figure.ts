import type { Samples } from "./rounds.ts";

export type Unit = "ns/record" | "records/s" | "deliveries/s" | "us/commit" | "MB/s";

export type Target = `${"<=" | ">="} ${number}`;

/** What is divided by what, and which result is wanted. */
export interface Ratio<Name extends string> {
  readonly name: string;
  readonly of: Name;
  readonly to: Name;
  /** Such as `<= 1.35`; undefined where the ratio is only of interest. */
  readonly target: Target | undefined;
}

/** Prints the figure of each variant, then the ratios of such figures, worked out for each round by itself. */
export function printFigures<Name extends string>(
  unit: Unit,
  samples: Samples<Name>,
  ratios: readonly Ratio<Name>[],
): void {
  for (const [name, values] of Object.entries<readonly number[]>(samples)) {
    printFigure(name, unit, values);
  }
  for (const ratio of ratios) printRatio(ratio, unit, samples);
}

function printFigure(figure: string, unit: Unit, nanos: readonly number[]): void {
  const spread = spreadOf(
    nanos.map((value) => inUnit(unit, value)),
    0,
  );
  printLine({ figure, unit, ...spread, rounds: nanos.length });
  printRow(figure, spread, unit);
}

/** Prints what was measured as it is, where no ways are compared. */
export function printValues(
  figure: string,
  unit: "ms" | "kB" | "MB" | "share" | "records/s",
  values: readonly number[],
  target?: Target,
): void {
  const spread = spreadOf(values, unit === "share" ? RATIO_DIGITS : 1);
  printLine({ figure, unit, ...spread, target, rounds: values.length });
  printRow(figure, spread, `${unit}${target ? `, target ${target}` : ""}`);
}

/** From the nanoseconds that one of them takes; of megabytes it is one byte. */
function inUnit(unit: Unit, nanos: number): number {
  switch (unit) {
    case "ns/record":
      return nanos;
    case "us/commit":
      return nanos / 1_000;
    case "MB/s":
      return 1_000 / nanos;
    default:
      return SECOND_NANOS / nanos;
  }
}

function printRatio<Name extends string>(
  { name, of, to, target }: Ratio<Name>,
  unit: Unit,
  samples: Samples<Name>,
): void {
  const values = samples[of].map((nanos) => inUnit(unit, nanos));
  const spread = spreadOf(
    values.map((value, round) => value / inUnit(unit, samples[to][round]!)),
    RATIO_DIGITS,
  );
  printLine({ figure: name, of, to, ...spread, target, rounds: values.length });
  printRow(name, spread, `${of} to ${to}${target ? `, target ${target}` : ""}`);
}

const SECOND_NANOS = 1e9;
const RATIO_DIGITS = 3;

interface Spread {
  readonly median: number;
  readonly p25: number;
  readonly p75: number;
}

function spreadOf(values: readonly number[], digits: number): Spread {
  const sorted = values.toSorted((one, other) => one - other);
  const rounded = (share: number): number => Number(quantile(sorted, share).toFixed(digits));
  return { median: rounded(0.5), p25: rounded(0.25), p75: rounded(0.75) };
}

/** Between two samples it is as far from one to the other as the share is. */
function quantile(sorted: readonly number[], share: number): number {
  const place = (sorted.length - 1) * share;
  const low = sorted[Math.floor(place)]!;
  const high = sorted[Math.ceil(place)]!;
  return low + (high - low) * (place % 1);
}

function printLine(figure: object): void {
  process.stdout.write(`${JSON.stringify(figure)}\n`);
}

function printRow(name: string, { median, p25, p75 }: Spread, remark: string): void {
  const [middle, low, high] = [median, p25, p75].map((value) => value.toLocaleString("en"));
  const numbers = `${middle!.padStart(12)}  ${`${low} - ${high}`.padEnd(26)}`;
  process.stderr.write(`${name.padEnd(38)}${numbers}${remark}\n`);
}
