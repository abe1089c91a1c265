import { cpuMicros } from "./cpu-clock.ts";

/** How much to measure. */
export interface Scale {
  readonly rounds: number;
  /** What is done of the usual work of a round, from 0 to 1. */
  readonly share: number;
  /** Leaves out what takes long. */
  readonly quick: boolean;
}

/** Microseconds since some moment. */
type Clock = () => number;

/** For what waits, for a disk or for others: the time on the wall. */
export function wallMicros(): number {
  return 1000 * performance.now();
}

/** One of the ways that are compared. */
export interface Variant<Name extends string> {
  readonly name: Name;
  /** Makes ready what `run` needs and what does not count. */
  prepare?(): void | Promise<void>;
  /** Does one slice of the work of a round; answers how many records, or deliveries, that were. */
  run(): number | Promise<number>;
}

/** For each variant the time that one record, delivery or byte took, in nanoseconds, round by round. */
export type Samples<Name extends string> = Readonly<Record<Name, readonly number[]>>;

/** Rounds that are not counted, until the code that is measured has been compiled. */
const WARM_UP_ROUNDS = 2;

/** How often the variants take turns within a round. */
export const ROUND_SLICES = 8;

/**
 * Measures all variants in each round, in small slices that take turns: whatever slows the machine down for a while
 * slows all of them. Each turn begins with another variant, and every other one runs backwards, so that none always
 * pays for what the same one before it left behind.
 */
export async function measured<Name extends string>(
  variants: readonly Variant<Name>[],
  rounds: number,
  clock: Clock = cpuMicros,
): Promise<Samples<Name>> {
  const samples = new Map<Name, number[]>(variants.map(({ name }) => [name, []]));
  for (let round = -WARM_UP_ROUNDS; round < rounds; round++) {
    const meters = variants.map((variant) => new Meter(variant, clock));
    for (let slice = 0; slice < ROUND_SLICES; slice++) {
      for (const meter of inTurn(meters, slice)) await meter.runSlice();
    }
    if (round < 0) continue;
    for (const { variant, nanosForEach } of meters) samples.get(variant.name)!.push(nanosForEach);
  }
  return Object.fromEntries(samples) as Record<Name, number[]>;
}

/** One of the ways whose waiting times are compared. */
export interface Waiter<Name extends string> {
  readonly name: Name;
  /** Does it once. */
  run(): void | Promise<void>;
}

/** For each way the median of its waiting times, in nanoseconds, round by round; in turns as above. */
export async function medianWaits<Name extends string>(
  waiters: readonly Waiter<Name>[],
  rounds: number,
  timesInSlice: number,
): Promise<Samples<Name>> {
  const samples = new Map<Name, number[]>(waiters.map(({ name }) => [name, []]));
  for (let round = -WARM_UP_ROUNDS; round < rounds; round++) {
    const waits = new Map<Name, number[]>(waiters.map(({ name }) => [name, []]));
    for (let slice = 0; slice < ROUND_SLICES; slice++) {
      for (const waiter of inTurn(waiters, slice)) {
        for (let time = 0; time < timesInSlice; time++) {
          const start = wallMicros();
          await waiter.run();
          waits.get(waiter.name)!.push(1000 * (wallMicros() - start));
        }
      }
    }
    if (round < 0) continue;
    for (const [name, nanos] of waits) samples.get(name)!.push(medianOf(nanos));
  }
  return Object.fromEntries(samples) as Record<Name, number[]>;
}

function medianOf(values: readonly number[]): number {
  return values.toSorted((one, other) => one - other)[values.length >> 1]!;
}

/** What one variant takes in one round. */
class Meter<Name extends string> {
  readonly variant: Variant<Name>;
  readonly #clock: Clock;
  #micros = 0;
  #count = 0;

  constructor(variant: Variant<Name>, clock: Clock) {
    this.variant = variant;
    this.#clock = clock;
  }

  async runSlice(): Promise<void> {
    await this.variant.prepare?.();
    const start = this.#clock();
    this.#count += await this.variant.run();
    this.#micros += this.#clock() - start;
  }

  get nanosForEach(): number {
    return (1000 * this.#micros) / this.#count;
  }
}

function inTurn<Item>(items: readonly Item[], turn: number): Item[] {
  const first = turn % items.length;
  const rotated = [...items.slice(first), ...items.slice(0, first)];
  return turn % 2 === 0 ? rotated : rotated.toReversed();
}
