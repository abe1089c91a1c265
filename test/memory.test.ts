/** How much a gateway holds in memory, measured in a process of its own, against the bound of its journal in memory. */

import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, it } from "vitest";

const path = (name: string): string => fileURLToPath(new URL(name, import.meta.url));

const MIB = 1 << 20;

/** The journal in memory holds 64 MiB, counted to within half of it; everything else has a few pieces of memory. */
const HELD_MAX = 1.5 * 64 * MIB;

/** By how much the heap and the memory beside it have grown after so much traffic of each kind. */
async function growthAfter(traffic: Record<string, number>): Promise<Record<string, number>> {
  const { stdout } = await promisify(execFile)(process.execPath, [
    "--expose-gc",
    "--import",
    path("harness/source-hooks.ts"),
    path("harness/memory-main.ts"),
    JSON.stringify(traffic),
  ]);
  return JSON.parse(stdout) as Record<string, number>;
}

/** Each would hold more than the bound if what it keeps alive counted as what its records say. */
const traffic = {
  filtered: 130,
  "filtered-rare": 150,
  slices: 250,
  lists: 450,
  burst: 400,
  larger: 120,
  "large-otlp": 300,
  small: 1000,
  "small-rare": 1000,
  single: 8000,
  many: 8000,
};

it("memory is bounded by the in-memory journal's limit, regardless of what records retain", async () => {
  const grown = await growthAfter(traffic);
  expect(Object.keys(grown)).toEqual(Object.keys(traffic));
  expect(Object.entries(grown).filter(([, bytes]) => bytes > HELD_MAX)).toEqual([]);
}, 60_000);
