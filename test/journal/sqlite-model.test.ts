import fc from "fast-check";
import { describe, it } from "vitest";
import { JournalDirectory } from "./journal-directory.ts";
import { commands, reopened } from "./journal-model.ts";

/** Each restart starts a thread, and a plan has up to 14: that is work, not waiting. */
const TIMEOUT_MS = 120_000;

describe("the sqlite journal", () => {
  it(
    "behaves like an array across restarts, crashes and expiry",
    { timeout: TIMEOUT_MS },
    async () => {
      await fc.assert(
        fc.asyncProperty(fc.commands(commands, { maxCommands: 14 }), async (plan) => {
          await using directory = await JournalDirectory.create();
          await fc.asyncModelRun(
            async () => ({
              model: { bodies: [], durable: 0 },
              real: { directory, journal: await reopened(directory) },
            }),
            plan,
          );
        }),
        { numRuns: 10 },
      );
    },
  );
});
