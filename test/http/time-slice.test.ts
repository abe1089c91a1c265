import { expect, test } from "vitest";
import { TimeSlice } from "../../src/http/api/time-slice.ts";

test("tasks that yield at the same time resume one after another, each in its own turn", async () => {
  let turn = 0;
  let next: NodeJS.Immediate | undefined;
  const count = (): void => {
    turn++;
    next = setImmediate(count);
  };
  count();
  const turns: number[] = [];
  const work = async (): Promise<void> => {
    const slice = new TimeSlice();
    for (let rests = 0; rests < 3; rests++) {
      await slice.yield();
      turns.push(turn);
    }
  };
  await Promise.all(Array.from({ length: 10 }, work));
  clearImmediate(next);
  expect(turns).toHaveLength(30);
  expect(new Set(turns).size).toBe(30);
});
