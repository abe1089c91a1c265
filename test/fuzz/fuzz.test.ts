/** The short form of `npm run fuzz`: the same targets with a fixed seed and a few inputs each. */

import { expect, test, vi } from "vitest";
import { campaign } from "./campaign.ts";
import { TARGET_NAMES } from "./target.ts";

/** A gateway that hangs is waited for longer than a test may take by default. */
vi.setConfig({ testTimeout: 90_000 });

const OPTIONS = { seed: 1, runs: 200, hangSeconds: 5 };

/** Where inputs begin that earlier versions failed at; the other targets had theirs among the first. */
const FROM: Readonly<Record<string, number>> = { "otlp-json": 650, gzip: 1350 };

test.each(TARGET_NAMES)("%s: no crash, hang, slow turn or alteration", async (target) => {
  const { inputs, failures } = await campaign(target, { ...OPTIONS, from: FROM[target] ?? 0 });
  const told = failures.map(({ index, message }) => `index ${index}: ${message}`);
  expect(told).toEqual([]);
  expect(inputs).toBe(OPTIONS.runs);
});
