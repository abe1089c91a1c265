/** A short `npm run fuzz`: the same targets with a fixed seed and a few inputs each. */

import { expect, test, vi } from "vitest";
import { campaign } from "./campaign.ts";
import { TARGET_NAMES } from "./target.ts";

/** Detecting a gateway that hangs takes longer than the default timeout. */
vi.setConfig({ testTimeout: 90_000 });

const OPTIONS = { seed: 1, runs: 200, hangSeconds: 5 };

/** First indexes that include inputs on which earlier versions failed. For the other targets, these are among the first. */
const FROM: Readonly<Record<string, number>> = { "otlp-json": 650, gzip: 1350 };

test.each(TARGET_NAMES)("%s: no crash, no hang, no slow turn, no altered data", async (target) => {
  const { inputs, failures } = await campaign(target, { ...OPTIONS, from: FROM[target] ?? 0 });
  const messages = failures.map(({ index, message }) => `index ${index}: ${message}`);
  expect(messages).toEqual([]);
  expect(inputs).toBe(OPTIONS.runs);
});
