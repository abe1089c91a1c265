import { once } from "node:events";
import * as fc from "fast-check";
import { describe, expect, test, vi } from "vitest";
import type { LogRecord } from "tailgate/plugin";
import { firstWords, LARGE, numbers, untilReceived } from "../../harness/plain-clients.ts";
import { Rig, Viewer } from "../../harness/websocket.ts";
import { numbered, startRig } from "../../harness/websocket-tests.ts";

describe("replay", () => {
  test("the newest N come first, oldest first, then the live stream", async () => {
    const rig = await startRig();
    rig.emit(numbered(0, 50));
    rig.emit(numbered(50, 50));
    const viewer = await Viewer.open(rig.url("?replay=60"));
    rig.emit(numbered(100, 10));
    await untilReceived(viewer, 70);
    expect(viewer.messages).toEqual(numbers(40, 70));
  });

  test("with fewer than N records all of them come", async () => {
    const rig = await startRig();
    rig.emit(numbered(0, 5));
    const viewer = await Viewer.open(rig.url("?replay=1000"));
    rig.emit(numbered(5, 1));
    await untilReceived(viewer, 6);
    expect(viewer.messages).toEqual(numbers(0, 6));
  });

  test("who asks for more than may be replayed gets as many as may", async () => {
    const rig = await startRig();
    for (let from = 0; from < 1500; from += 500) rig.emit(numbered(from, 500));
    const viewer = await Viewer.open(rig.url("?replay=5000"));
    rig.emit([{ body: "live" }]);
    await untilReceived(viewer, 1001);
    expect(viewer.messages).toEqual([...numbers(500, 1000), "live"]);
  });

  test("N counts the records that match, however far back they are", async () => {
    const rig = await startRig();
    for (let from = 0; from < 10_000; from += 500) {
      rig.emit([...numbered(from, 499), { body: `${from + 499}`, severityText: "ERROR" }]);
    }
    const viewer = await Viewer.open(rig.url("?replay=7&q=level:ERROR"));
    await untilReceived(viewer, 7);
    rig.emit([{ body: "no" }, { body: "live", severityText: "CRITICAL" }]);
    await untilReceived(viewer, 8);
    const found = Array.from({ length: 7 }, (_, offset) => `${6999 + 500 * offset}`);
    expect(viewer.messages).toEqual([...found, "live"]);
  });

  test("where nothing matches the live stream begins", async () => {
    const rig = await startRig();
    rig.emit(numbered(0, 3000));
    const viewer = await Viewer.open(rig.url("?replay=5&level=ERROR"));
    rig.emit([{ body: "live", severityText: "ERROR" }]);
    await untilReceived(viewer, 1);
    expect(viewer.messages).toEqual(["live"]);
  });

  test("on an empty journal the live stream begins", async () => {
    const rig = await startRig();
    const viewer = await Viewer.open(rig.url("?replay=5"));
    rig.emit(numbered(0, 2));
    await untilReceived(viewer, 2);
    expect(viewer.messages).toEqual(numbers(0, 2));
  });

  test("history larger than all buffers arrives whole", async () => {
    const rig = await startRig();
    for (let index = 0; index < 300; index++) rig.emit([{ body: `${index} ${LARGE}` }]);
    const viewer = await Viewer.open(rig.url("?replay=300"));
    rig.emit([{ body: "live" }]);
    await untilReceived(viewer, 301);
    expect(firstWords(viewer.messages)).toEqual([...numbers(0, 300), "live"]);
  });

  test("history and live records come without a hole or a repeat, however they interleave", async () => {
    const step = fc.oneof(
      {
        weight: 4,
        arbitrary: fc.record({
          do: fc.constant("append"),
          count: fc.integer({ min: 1, max: 700 }),
        }),
      },
      { weight: 3, arbitrary: fc.record({ do: fc.constant("deliver") }) },
      { weight: 2, arbitrary: fc.record({ do: fc.constant("turn") }) },
      {
        weight: 2,
        arbitrary: fc.record({
          do: fc.constant("connect"),
          replay: fc.integer({ min: 0, max: 1000 }),
          query: fc.constantFrom("", "&level=ERROR", "&q=77"),
          wait: fc.boolean(),
        }),
      },
    );
    await fc.assert(fc.asyncProperty(fc.array(step, { maxLength: 40 }), interleaved), {
      numRuns: 60,
    });
  });
});

type Step =
  | { readonly do: "append"; readonly count: number }
  | { readonly do: "deliver" | "turn" }
  | {
      readonly do: "connect";
      readonly replay: number;
      readonly query: string;
      readonly wait: boolean;
    };

/** Runs the steps and compares what each viewer got with what it could have got, given when it came. */
async function interleaved(steps: readonly { readonly do: string }[]): Promise<void> {
  await using rig = await Rig.start();
  const undelivered: ReturnType<Rig["append"]>[] = [];
  const viewers: { viewer: Viewer; step: Step & { do: "connect" }; from: number; to: number }[] =
    [];
  const opening: Promise<unknown>[] = [];
  for (const step of [...steps, { do: "settle" }] as (Step | { do: "settle" })[]) {
    if (step.do === "append") {
      undelivered.push(rig.append(sevenths(rig.journal.newest + 1, step.count)));
    } else if (step.do === "deliver") {
      rig.deliver(undelivered.shift() ?? []);
    } else if (step.do === "turn") {
      await new Promise((resolve) => setImmediate(resolve));
    } else if (step.do === "connect") {
      const entry = {
        viewer: new Viewer(rig.url(`?replay=${step.replay}${step.query}`)),
        step,
        from: rig.journal.newest,
        to: 0,
      };
      viewers.push(entry);
      const open = once(entry.viewer.socket, "open");
      entry.viewer.socket.once("open", () => {
        entry.to = rig.journal.newest;
      });
      opening.push(open);
      if (step.wait) await open;
    } else {
      await Promise.all(opening);
      for (const batches of undelivered) rig.deliver(batches);
      rig.emit([{ body: "end 77", severityText: "ERROR" }]);
    }
  }
  const newest = rig.journal.newest - 1;
  for (const { viewer, step, from, to } of viewers) {
    await vi.waitFor(() => expect(viewer.messages.at(-1)).toBe("end 77"));
    const possible = Array.from({ length: to - from + 1 }, (_, offset) =>
      [...expectedMessages(from + offset, newest, step), "end 77"].join(" "),
    );
    expect(possible).toContain(viewer.messages.join(" "));
  }
}

/** Every seventh is an ERROR. */
function sevenths(from: number, count: number): Partial<LogRecord>[] {
  return Array.from({ length: count }, (_, offset) => ({
    body: `${from + offset}`,
    severityText: (from + offset) % 7 === 0 ? "ERROR" : "INFO",
  }));
}

/** What a viewer gets that was admitted when `admitted` was the newest sequence. */
function expectedMessages(
  admitted: number,
  newest: number,
  { replay, query }: { replay: number; query: string },
): string[] {
  const matching = numbers(1, newest).filter((number) => {
    if (query === "&level=ERROR") return Number(number) % 7 === 0;
    return query === "" || number.includes("77");
  });
  const history = matching.filter((number) => Number(number) <= admitted);
  const live = matching.filter((number) => Number(number) > admitted);
  return [...(replay === 0 ? [] : history.slice(-replay)), ...live];
}
