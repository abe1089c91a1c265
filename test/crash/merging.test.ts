import { setTimeout as wait } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { Program } from "../harness/program.ts";
import { allOf, JournalDirectory } from "../journal/journal-directory.ts";

const HOOKS = fileURLToPath(new URL("../harness/source-hooks.ts", import.meta.url));
const MAIN = fileURLToPath(new URL("merging-main.ts", import.meta.url));

/** `npm run test:crash` sets more. */
const MOMENTS = Math.ceil(Number(process.env["CRASH_MOMENTS"] ?? 20) / 10);
const MERGED_MS_MAX = 60;
const ROUND_MS_MAX = 30_000;

/** Returns the newest sequence that was durable when the program was killed. */
async function killWhileMerging(directory: JournalDirectory): Promise<number> {
  const args = ["--import", HOOKS, MAIN, directory.path];
  await using program = new Program(process.execPath, args, { cwd: directory.path });
  const hasMerged = Promise.withResolvers<void>();
  program.process.stdout!.on("data", () => {
    if (program.stdout.includes("merged")) hasMerged.resolve();
  });
  await Promise.race([hasMerged.promise, program.ended]);
  await wait(Math.random() * MERGED_MS_MAX);
  program.process.kill("SIGKILL");
  await program.ended;
  expect(program.stderr).toBe("");
  return Number(
    program.stdout
      .trim()
      .split("\n")
      .findLast((line) => line !== "merged"),
  );
}

test(
  `a process that is killed while it merges loses, doubles and reorders nothing, at ${MOMENTS} random moments`,
  async () => {
    await using directory = await JournalDirectory.create();
    for (let moment = 0; moment < MOMENTS; moment++) {
      const durable = await killWhileMerging(directory);
      const journal = await directory.open();
      expect(journal.mergedUpTo).toBeGreaterThan(0);
      const texts = await allOf(journal);
      expect(texts.length).toBeGreaterThanOrEqual(durable);
      for (const [index, text] of texts.entries()) {
        const sequence = index + 1;
        const kind = text.includes("audit") ? "audit" : "record";
        expect(text).toBe(`${sequence} ${kind} ${sequence}`);
      }
      await directory.close(journal);
    }
    expect(directory.alarms).toEqual([]);
  },
  ROUND_MS_MAX * MOMENTS,
);
