import { Refusal } from "./refusal.ts";

/** What a timer of Node's can wait for; longer ones are as good as none. */
const TIMER_MS_MAX = 2 ** 31 - 1;

const UNIT_MS: Readonly<Record<string, number>> = {
  H: 3_600_000,
  M: 60_000,
  S: 1000,
  m: 1,
  u: 1e-3,
  n: 1e-6,
};

/**
 * The header `grpc-timeout` in milliseconds; undefined where it is absent.
 * @throws Refusal 400
 */
export function timeoutMsOf(header: string | undefined): number | undefined {
  if (header === undefined) return undefined;
  const [, digits, unit] = /^(\d{1,8})([HMSmun])$/.exec(header) ?? [];
  if (unit === undefined) {
    throw new Refusal(400, `grpc-timeout ${JSON.stringify(header)} is not understood.`);
  }
  return Math.min(Math.ceil(Number(digits) * UNIT_MS[unit]!), TIMER_MS_MAX);
}
