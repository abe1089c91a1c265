/** Filters that change in a running subscription. */

import { setImmediate as nextTurn } from "node:timers/promises";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { parseFilter, type FilterQuery } from "tailgate/plugin";
import { JournalStage } from "../../harness/paged-journal.ts";
import { Rig } from "../../harness/websocket.ts";
import { emitMixed, numbers, startRig, startStage } from "../../harness/websocket-tests.ts";
import { SubprotocolViewer } from "./subprotocol-viewer.ts";

describe("filters in place", () => {
  test("a change holds from its echo on", async () => {
    const rig = await startRig();
    const subscription = { filter: { level: "ERROR" }, version: 1 };
    const viewer = await SubprotocolViewer.subscribe(rig.url(), subscription);
    emitMixed(rig, 20);
    await viewer.at(20);
    viewer.say({ type: "filter", filter: { type: "audit_log" }, version: 2 });
    await viewer.until("filter", 2);
    emitMixed(rig, 20);
    await viewer.at(40);
    expect(viewer.ledger.sequences).toEqual([7, 14, 30, 40]);
    expect(viewer.all("filter")).toEqual([
      { type: "filter", version: 1 },
      { type: "filter", version: 2 },
    ]);
  });

  test("a filter that is not understood leaves the one before", async () => {
    const rig = await startRig();
    const viewer = await SubprotocolViewer.subscribe(rig.url(), { filter: { level: "ERROR" } });
    viewer.say({ type: "filter", filter: { level: "LOUD" }, version: 2 });
    expect(await viewer.until("error")).toMatchObject({
      code: "FILTER_INVALID",
      message: expect.stringContaining('"level:LOUD"') as string,
    });
    emitMixed(rig, 20);
    await viewer.at(20);
    expect(viewer.ledger.sequences).toEqual([7, 14]);
  });

  test("a change during the search for the newest records searches anew", async () => {
    const { rig } = await startStage(30);
    emitMixed(rig, 1000);
    const viewer = await SubprotocolViewer.open(rig.url());
    viewer.say({ type: "subscribe", filter: { level: "ERROR" }, replay: 50 });
    viewer.say({ type: "filter", filter: { type: "audit" }, version: 2 });
    await viewer.until("caught_up");
    expect(viewer.ledger.sequences).toEqual(numbers(51, 100).map((tens) => 10 * tens));
  });

  test("changes at any point, in history and live: the stream is the whole one, filtered and split at the echoes", async () => {
    const filter = fc.constantFrom<FilterQuery>(
      {},
      { level: "ERROR" },
      { type: "audit" },
      { type: "system" },
      { q: "-7 level:ERROR" },
      { q: "nothing" },
    );
    const step = fc.oneof(
      fc.record({ do: fc.constant("emit"), count: fc.integer({ min: 1, max: 200 }) }),
      fc.record({ do: fc.constant("filter"), filter }),
      fc.record({ do: fc.constant("turn") }),
    );
    await fc.assert(
      fc.asyncProperty(
        filter,
        fc.array(step, { maxLength: 30 }),
        fc.constantFrom(30, 5000),
        changed,
      ),
      { numRuns: 60 },
    );
  });
});

type Step = { readonly do: string; readonly count?: number; readonly filter?: FilterQuery };

async function changed(
  first: FilterQuery,
  steps: readonly Step[],
  memoryRecords: number,
): Promise<void> {
  await using rig = await Rig.start({
    journal: (inner) => new JournalStage(inner, memoryRecords),
  });
  emitMixed(rig, 300);
  const viewer = await SubprotocolViewer.open(rig.url());
  const filters = [first];
  viewer.say({ type: "subscribe", filter: first, since: 0 });
  for (const { do: verb, count = 0, filter } of steps) {
    if (verb === "emit") emitMixed(rig, count, 30);
    if (verb === "turn") await nextTurn();
    if (verb === "filter") {
      viewer.say({ type: "filter", filter, version: filters.length });
      filters.push(filter!);
    }
  }
  await viewer.until("filter", filters.length - 1).catch((error: unknown) => {
    if (filters.length > 1) throw error;
  });
  emitMixed(rig, 7);
  const { newest } = rig.journal;
  await viewer.at(newest);
  const expected: number[] = [];
  let position = 0;
  let version = 0;
  const whole = rig.whole();
  for (const message of viewer.messages) {
    if (message.type === "filter") version = message.version;
    if (message.type !== "batch") continue;
    const oracle = parseFilter(filters[version]!);
    for (; position < message.to; position++) {
      if (oracle.matches(whole, position)) expected.push(position + 1);
    }
  }
  expect(viewer.ledger.sequences).toEqual(expected);
  expect([position, version, viewer.ledger.repeats]).toEqual([newest, filters.length - 1, 0]);
}
