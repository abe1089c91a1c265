import { once } from "node:events";
import * as fc from "fast-check";
import { describe, expect, test, vi } from "vitest";
import type { LogRecord } from "tailgate/plugin";
import {
  firstWords,
  LARGE,
  numberTexts,
  untilReceived,
  WebSocketHarness,
  Client,
  numbered,
  startHarness,
} from "../../harness/websocket.ts";

describe("replay", () => {
  test("the newest N come first, oldest first, then the live stream", async () => {
    const harness = await startHarness();
    harness.emit(numbered(0, 50));
    harness.emit(numbered(50, 50));
    const client = await Client.open(harness.url("?replay=60"));
    harness.emit(numbered(100, 10));
    await untilReceived(client, 70);
    expect(client.messages).toEqual(numberTexts(40, 70));
  });

  test("fewer than N records all arrive", async () => {
    const harness = await startHarness();
    harness.emit(numbered(0, 5));
    const client = await Client.open(harness.url("?replay=1000"));
    harness.emit(numbered(5, 1));
    await untilReceived(client, 6);
    expect(client.messages).toEqual(numberTexts(0, 6));
  });

  test("a request for more than the maximum receives the maximum", async () => {
    const harness = await startHarness();
    for (let from = 0; from < 1500; from += 500) harness.emit(numbered(from, 500));
    const client = await Client.open(harness.url("?replay=5000"));
    harness.emit([{ body: "live" }]);
    await untilReceived(client, 1001);
    expect(client.messages).toEqual([...numberTexts(500, 1000), "live"]);
  });

  test("N counts matching records, however far back they are", async () => {
    const harness = await startHarness();
    for (let from = 0; from < 10_000; from += 500) {
      harness.emit([...numbered(from, 499), { body: `${from + 499}`, severityText: "ERROR" }]);
    }
    const client = await Client.open(harness.url("?replay=7&q=level:ERROR"));
    await untilReceived(client, 7);
    harness.emit([{ body: "no" }, { body: "live", severityText: "CRITICAL" }]);
    await untilReceived(client, 8);
    const found = Array.from({ length: 7 }, (_, offset) => `${6999 + 500 * offset}`);
    expect(client.messages).toEqual([...found, "live"]);
  });

  test("without matches the live stream begins", async () => {
    const harness = await startHarness();
    harness.emit(numbered(0, 3000));
    const client = await Client.open(harness.url("?replay=5&level=ERROR"));
    harness.emit([{ body: "live", severityText: "ERROR" }]);
    await untilReceived(client, 1);
    expect(client.messages).toEqual(["live"]);
  });

  test("on an empty journal the live stream begins", async () => {
    const harness = await startHarness();
    const client = await Client.open(harness.url("?replay=5"));
    harness.emit(numbered(0, 2));
    await untilReceived(client, 2);
    expect(client.messages).toEqual(numberTexts(0, 2));
  });

  test("history larger than all buffers arrives completely", async () => {
    const harness = await startHarness();
    for (let index = 0; index < 300; index++) harness.emit([{ body: `${index} ${LARGE}` }]);
    const client = await Client.open(harness.url("?replay=300"));
    harness.emit([{ body: "live" }]);
    await untilReceived(client, 301);
    expect(firstWords(client.messages)).toEqual([...numberTexts(0, 300), "live"]);
  });

  test("history and live records arrive with no gaps and no duplicates, in any interleaving", async () => {
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

/**
 * Runs the steps and compares what each client received with what was due, given when it connected.
 */
async function interleaved(steps: readonly { readonly do: string }[]): Promise<void> {
  await using harness = await WebSocketHarness.start();
  const undelivered: ReturnType<WebSocketHarness["append"]>[] = [];
  const clients: { client: Client; step: Step & { do: "connect" }; from: number; to: number }[] =
    [];
  const opening: Promise<unknown>[] = [];
  for (const step of [...steps, { do: "settle" }] as (Step | { do: "settle" })[]) {
    if (step.do === "append") {
      undelivered.push(harness.append(sevenths(harness.journal.newest + 1, step.count)));
    } else if (step.do === "deliver") {
      harness.deliver(undelivered.shift() ?? []);
    } else if (step.do === "turn") {
      await new Promise((resolve) => setImmediate(resolve));
    } else if (step.do === "connect") {
      const entry = {
        client: new Client(harness.url(`?replay=${step.replay}${step.query}`)),
        step,
        from: harness.journal.newest,
        to: 0,
      };
      clients.push(entry);
      const open = once(entry.client.socket, "open");
      entry.client.socket.once("open", () => {
        entry.to = harness.journal.newest;
      });
      opening.push(open);
      if (step.wait) await open;
    } else {
      await Promise.all(opening);
      for (const batches of undelivered) harness.deliver(batches);
      harness.emit([{ body: "end 77", severityText: "ERROR" }]);
    }
  }
  const newest = harness.journal.newest - 1;
  for (const { client, step, from, to } of clients) {
    await vi.waitFor(() => expect(client.messages.at(-1)).toBe("end 77"));
    const possible = Array.from({ length: to - from + 1 }, (_, offset) =>
      [...expectedMessages(from + offset, newest, step), "end 77"].join(" "),
    );
    expect(possible).toContain(client.messages.join(" "));
  }
}

/** Every seventh is an ERROR. */
function sevenths(from: number, count: number): Partial<LogRecord>[] {
  return Array.from({ length: count }, (_, offset) => ({
    body: `${from + offset}`,
    severityText: (from + offset) % 7 === 0 ? "ERROR" : "INFO",
  }));
}

/** The messages for a client that was admitted when `admitted` was the newest sequence. */
function expectedMessages(
  admitted: number,
  newest: number,
  { replay, query }: { replay: number; query: string },
): string[] {
  const matching = numberTexts(1, newest).filter((number) => {
    if (query === "&level=ERROR") return Number(number) % 7 === 0;
    return query === "" || number.includes("77");
  });
  const history = matching.filter((number) => Number(number) <= admitted);
  const live = matching.filter((number) => Number(number) > admitted);
  return [...(replay === 0 ? [] : history.slice(-replay)), ...live];
}
