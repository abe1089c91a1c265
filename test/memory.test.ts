/** The memory of a gateway, measured in a process of its own, against the limit of its in-memory journal. */

import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, it } from "vitest";

const path = (name: string): string => fileURLToPath(new URL(name, import.meta.url));

const MIB = 1 << 20;

/** The in-memory journal is limited to 64 MiB, accurate to within half; everything else uses a few MiB. */
const HELD_MAX = 1.5 * 64 * MIB;

/** Returns the growth of heap and external memory after the given traffic of each kind. */
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

/** Each would exceed the limit if the memory that a record retains counted as the size of its text. */
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
