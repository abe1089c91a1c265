import type { Random } from "./random.ts";

/** Measures a call into the gateway, as the part of a check that would run in one turn of its event loop. */
export type Timed = <T>(call: () => T) => T;

/** One kind of external input, and its invariants. */
export interface FuzzTarget {
  /** Generates an input. The same random numbers give the same input. */
  input(random: Random): Uint8Array;
  /** Throws if an invariant is violated. */
  check(input: Uint8Array, timed: Timed): void | Promise<void>;
  /** Number of inputs that are checked at a time; default: 1. */
  readonly concurrency?: number;
  /** Throws if an invariant is violated that only shows after several inputs, such as a slow turn. */
  settle?(): Promise<void>;
  close?(): Promise<void>;
}

/** The longest acceptable turn of the event loop, because all other work waits for it. */
export const TURN_MS_MAX = 100;

/** Thrown if a turn took too long, which a busy machine can also cause. */
export class SlowTurn extends Error {
  constructor(turnMs: number) {
    super(
      `A turn of the event loop took ${Math.round(turnMs)} ms; at most ${TURN_MS_MAX} are allowed.`,
    );
  }
}

/** Throws if two values differ, with the position of the difference. */
export function same(actual: string, expected: string, what: string): void {
  if (actual === expected) return;
  let at = 0;
  while (actual[at] === expected[at]) at++;
  const around = (text: string): string =>
    JSON.stringify(text.slice(Math.max(0, at - 40), at + 60));
  throw new Error(
    `${what} differs at character ${at} of ${expected.length}: ${around(actual)} instead of ${around(expected)}`,
  );
}

type OpenTarget = () => Promise<FuzzTarget>;

/** Loaded on demand, because each target loads a part of the gateway. */
const TARGETS: ReadonlyMap<string, OpenTarget> = new Map<string, OpenTarget>([
  ["otlp-protobuf", async () => (await import("./targets/otlp-protobuf.ts")).otlpProtobuf()],
  ["otlp-json", async () => (await import("./targets/otlp-json.ts")).otlpJson()],
  ["gzip", async () => (await import("./targets/gzip.ts")).gzip()],
  ["filter", async () => (await import("./targets/filter.ts")).filter()],
  ["cursor", async () => (await import("./targets/cursor.ts")).cursor()],
  ["credentials", async () => (await import("./targets/credentials.ts")).credentials()],
  ["config", async () => (await import("./targets/config.ts")).config()],
  ["audit-file", async () => (await import("./targets/audit-file.ts")).auditFile()],
  ["http", async () => (await import("./targets/http.ts")).http()],
  ["grpc", async () => (await import("./targets/grpc.ts")).grpc()],
  ["websocket", async () => (await import("./targets/websocket.ts")).websocket()],
]);

export const TARGET_NAMES: readonly string[] = [...TARGETS.keys()];

/** @throws RangeError for an unknown name. */
export function openTarget(name: string): Promise<FuzzTarget> {
  const open = TARGETS.get(name);
  if (open === undefined) {
    const names = TARGET_NAMES.join(", ");
    throw new RangeError(`Unknown fuzz target ${JSON.stringify(name)}. The targets are ${names}.`);
  }
  return open();
}
