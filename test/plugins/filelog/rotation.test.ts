import fc from "fast-check";
import { expect, test, vi } from "vitest";
import { TestFollower } from "./follower.ts";

const RUNS = Number(process.env["FILELOG_RUNS"] ?? 12);

type Step = "append" | "rename" | "copy and truncate" | "restart" | "stop" | "start" | "read";

const STEPS: fc.Arbitrary<Step[]> = fc.array(
  fc.oneof(
    { weight: 4, arbitrary: fc.constant<Step>("append") },
    {
      weight: 3,
      arbitrary: fc.constantFrom<Step>("rename", "copy and truncate", "stop", "start", "read"),
    },
    { weight: 1, arbitrary: fc.constant<Step>("restart") },
  ),
  { maxLength: 20 },
);

/** Follows one file through the steps; `include` may match its rotated files as well. */
async function run(steps: readonly Step[], include: string): Promise<void> {
  const follower = await TestFollower.create([include], { start_at: "beginning" });
  const written: string[] = [];
  const append = (): void => {
    const lines = Array.from({ length: 5 }, (_, index) => `line ${written.length + index}`);
    written.push(...lines);
    follower.append("app.log", lines.map((line) => `${line}\n`).join(""));
  };
  const read = (): Promise<void> =>
    vi.waitFor(() => expect(follower.bodies.length).toBeGreaterThanOrEqual(written.length), {
      timeout: 10_000,
      interval: 5,
    });
  append();
  await follower.start();
  let isRunning = true;
  const actions: Record<Step, () => Promise<void> | void> = {
    append,
    rename: () => follower.rename("app.log"),
    "copy and truncate": () => follower.copyAndTruncate("app.log"),
    read: async () => {
      append();
      if (isRunning) await read();
    },
    stop: () => {
      isRunning = false;
      return follower.stop();
    },
    start: async () => {
      if (!isRunning) await follower.start();
      isRunning = true;
    },
    restart: async () => {
      if (!isRunning) return;
      await follower.stop();
      await follower.start();
    },
  };
  for (const step of steps) await actions[step]();
  await actions.start();
  append();
  await read();
  await follower.stop();
  // The order of files with other names is not known.
  const isOrdered = include === "app.log";
  expect(isOrdered ? follower.bodies : follower.bodies.toSorted()).toEqual(
    isOrdered ? written : written.toSorted(),
  );
}

test.each(["app.log", "app.log*"])(
  "each line of %s arrives once, whatever happens to the file",
  async (include) => {
    await fc.assert(
      fc.asyncProperty(STEPS, (steps) => run(steps, include)),
      { numRuns: RUNS },
    );
  },
);
