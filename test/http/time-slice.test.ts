import { expect, test } from "vitest";
import { TimeSlice } from "../../src/http/api/time-slice.ts";

test("works that rest at the same time go on one after the other, each in a turn of its own", async () => {
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
