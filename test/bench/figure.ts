import type { Samples } from "./rounds.ts";

export type Unit =
  | "ns/record"
  | "ns/delivery"
  | "records/s"
  | "records/CPU-s"
  | "deliveries/s"
  | "us/commit"
  | "MB/s"
  | "ms"
  | "kB"
  | "KiB"
  | "MB"
  | "share"
  | "records"
  | "bytes/record";

export type Target = `${"<=" | ">="} ${number}`;

/** A ratio of two figures, and its target. */
export interface Ratio<Name extends string> {
  readonly name: string;
  readonly of: Name;
  readonly to: Name;
  /** Such as `<= 1.35`; undefined if there is no target. */
  readonly target: Target | undefined;
}

export interface Spread {
  readonly median: number;
  readonly p25: number;
  readonly p75: number;
}

/** The measurements of one variant. */
export interface Figure extends Spread {
  readonly figure: string;
  readonly unit: Unit;
  readonly target?: Target | undefined;
  readonly rounds: number;
}

/** The ratio of two figures. */
export interface RatioFigure extends Spread {
  readonly figure: string;
  readonly of: string;
  readonly to: string;
  readonly target: Target | undefined;
  /** Whether higher is better. */
  readonly better: "higher" | "lower";
  readonly rounds: number;
}

const figures: Figure[] = [];
const ratioFigures: RatioFigure[] = [];

/** All figures printed so far. */
export function printed(): {
  readonly figures: readonly Figure[];
  readonly ratios: readonly RatioFigure[];
} {
  return { figures, ratios: ratioFigures };
}

/** Prints the figure of each variant, then the ratios between them, computed per round. */
export function printFigures<Name extends string>(
  unit: Unit,
  samples: Samples<Name>,
  ratios: readonly Ratio<Name>[],
): void {
  const values = Object.fromEntries(
    Object.entries<readonly number[]>(samples).map(([name, nanos]) => [
      name,
      nanos.map((value) => inUnit(unit, value)),
    ]),
  ) as Record<Name, number[]>;
  printCompared(unit, values, ratios);
}

/** The same for values that already have their unit. Targets apply to the values themselves. */
export function printCompared<Name extends string>(
  unit: Unit,
  values: Readonly<Record<Name, readonly number[]>>,
  ratios: readonly Ratio<Name>[],
  targetOf: (name: Name) => Target | undefined = () => undefined,
): void {
  for (const [name, ofName] of Object.entries<readonly number[]>(values)) {
    printValues(name, unit, ofName, targetOf(name as Name));
  }
  for (const ratio of ratios) printRatio(ratio, unit, values);
}

/** Prints measurements as they are, without comparing variants. */
export function printValues(
  figure: string,
  unit: Unit,
  values: readonly number[],
  target?: Target,
): void {
  const spread = spreadOf(values, digitsOf(unit));
  print({ figure, unit, ...spread, target, rounds: values.length }, figures);
  printRow(figure, spread, `${unit}${target ? `, target ${target}` : ""}`);
}

/** Converts from nanoseconds per unit; for megabytes, per byte. */
function inUnit(unit: Unit, nanos: number): number {
  switch (unit) {
    case "ns/record":
    case "ns/delivery":
      return nanos;
    case "us/commit":
      return nanos / 1_000;
    case "ms":
      return nanos / 1_000_000;
    case "MB/s":
      return 1_000 / nanos;
    default:
      return SECOND_NANOS / nanos;
  }
}

/** Formats times and sizes. */
const LESS_IS_BETTER: ReadonlySet<Unit> = new Set<Unit>([
  "ns/record",
  "ns/delivery",
  "us/commit",
  "ms",
  "kB",
  "KiB",
  "MB",
  "bytes/record",
]);

function printRatio<Name extends string>(
  { name, of, to, target }: Ratio<Name>,
  unit: Unit,
  values: Readonly<Record<Name, readonly number[]>>,
): void {
  const spread = spreadOf(
    values[of].map((value, round) => value / values[to][round]!),
    RATIO_DIGITS,
  );
  const rounds = values[of].length;
  print(
    { figure: name, of, to, ...spread, target, better: betterOf(unit, target), rounds },
    ratioFigures,
  );
  printRow(name, spread, `${of} to ${to}${target ? `, target ${target}` : ""}`);
}

function betterOf(unit: Unit, target: Target | undefined): RatioFigure["better"] {
  if (target) return target.startsWith(">=") ? "higher" : "lower";
  return LESS_IS_BETTER.has(unit) ? "lower" : "higher";
}

/** Whether a target is met; undefined if there is none. */
export function isMet({
  median,
  target,
}: Spread & { target?: Target | undefined }): boolean | undefined {
  if (!target) return undefined;
  const bound = Number(target.slice(2));
  return target.startsWith(">=") ? median >= bound : median <= bound;
}

const SECOND_NANOS = 1e9;
const RATIO_DIGITS = 3;

function digitsOf(unit: Unit): number {
  if (unit === "share") return RATIO_DIGITS;
  if (unit === "ms") return 2;
  return unit === "KiB" || unit === "MB" || unit === "kB" || unit === "bytes/record" ? 1 : 0;
}

export function spreadOf(values: readonly number[], digits: number): Spread {
  const sorted = values.toSorted((one, other) => one - other);
  const rounded = (share: number): number => Number(quantile(sorted, share).toFixed(digits));
  return { median: rounded(0.5), p25: rounded(0.25), p75: rounded(0.75) };
}

/** Returns a quantile of sorted values, interpolated linearly. */
export function quantile(sorted: readonly number[], share: number): number {
  const position = (sorted.length - 1) * share;
  const low = sorted[Math.floor(position)]!;
  const high = sorted[Math.ceil(position)]!;
  return low + (high - low) * (position % 1);
}

function print<Line extends object>(line: Line, lines: Line[]): void {
  lines.push(line);
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

function printRow(name: string, { median, p25, p75 }: Spread, remark: string): void {
  const [middle, low, high] = [median, p25, p75].map((value) => value.toLocaleString("en"));
  const numbers = `${middle!.padStart(12)}  ${`${low} - ${high}`.padEnd(26)}`;
  process.stderr.write(`${name.padEnd(38)}${numbers}${remark}\n`);
}
