import { cpuMicros } from "./cpu-clock.ts";

/** How much to measure. */
export interface Scale {
  readonly rounds: number;
  /** The share of a round's usual work, from 0 to 1. */
  readonly share: number;
  /** Skips slow measurements. */
  readonly quick: boolean;
}

/** Microseconds since an arbitrary time. */
type Clock = () => number;

/** Wall time, for work that waits for a disk or another process. */
export function wallMicros(): number {
  return 1000 * performance.now();
}

/** One of the compared variants. */
export interface Variant<Name extends string> {
  readonly name: Name;
  /** Prepares what `run` needs, without being measured. */
  prepare?(): void | Promise<void>;
  /** Does one slice of a round's work; returns the number of records or deliveries. */
  run(): number | Promise<number>;
}

/** For each variant, the time per record, delivery or byte in nanoseconds, by round. */
export type Samples<Name extends string> = Readonly<Record<Name, readonly number[]>>;

/** Warm-up rounds, until the measured code has been compiled. */
const WARM_UP_ROUNDS = 2;

/** The number of turns of the variants within a round. */
export const ROUND_SLICES = 8;

/**
 * Measures all variants in each round, in small alternating slices: a temporary slowdown of the machine affects all of
 * them. Each turn starts with another variant, and every other one runs backwards, so that none always pays for the
 * garbage of the same predecessor.
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

/** One of the variants whose waiting times are compared. */
export interface Waiter<Name extends string> {
  readonly name: Name;
  /** Does it once. */
  run(): void | Promise<void>;
}

/** For each variant, the median of its waiting times in nanoseconds, by round; alternating as above. */
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

/** Measures one variant in one round. */
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
