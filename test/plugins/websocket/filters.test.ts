/** Changing the filter of a running subscription. */

import { setImmediate as nextTurn } from "node:timers/promises";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { parseFilter, type FilterQuery } from "tailgate/plugin";
import {
  PagedJournal,
  WebSocketHarness,
  emitMixed,
  numbers,
  startHarness,
  startPagedHarness,
} from "../../harness/websocket.ts";
import { SubprotocolClient } from "../../harness/subprotocol-client.ts";

describe("filter changes", () => {
  test("a change applies from its acknowledgment on", async () => {
    const harness = await startHarness();
    const subscription = { filter: { level: "ERROR" }, version: 1 };
    const client = await SubprotocolClient.subscribe(harness.url(), subscription);
    emitMixed(harness, 20);
    await client.untilSequence(20);
    client.send({ type: "filter", filter: { type: "audit_log" }, version: 2 });
    await client.until("filter", 2);
    emitMixed(harness, 20);
    await client.untilSequence(40);
    expect(client.ledger.sequences).toEqual([7, 14, 30, 40]);
    expect(client.all("filter")).toEqual([
      { type: "filter", version: 1 },
      { type: "filter", version: 2 },
    ]);
  });

  test("an invalid filter leaves the previous one in effect", async () => {
    const harness = await startHarness();
    const client = await SubprotocolClient.subscribe(harness.url(), { filter: { level: "ERROR" } });
    client.send({ type: "filter", filter: { level: "LOUD" }, version: 2 });
    expect(await client.until("error")).toMatchObject({
      code: "FILTER_INVALID",
      message: expect.stringContaining('"level:LOUD"') as string,
    });
    emitMixed(harness, 20);
    await client.untilSequence(20);
    expect(client.ledger.sequences).toEqual([7, 14]);
  });

  test("a change during the search for the newest records restarts the search", async () => {
    const { harness } = await startPagedHarness(30);
    emitMixed(harness, 1000);
    const client = await SubprotocolClient.open(harness.url());
    client.send({ type: "subscribe", filter: { level: "ERROR" }, replay: 50 });
    client.send({ type: "filter", filter: { type: "audit" }, version: 2 });
    await client.until("caught_up");
    expect(client.ledger.sequences).toEqual(numbers(51, 100).map((tens) => 10 * tens));
  });

  test("changes at any point, in history and live: the full stream, filtered and split at the acknowledgments", async () => {
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
  await using harness = await WebSocketHarness.start({
    journal: (inner) => new PagedJournal(inner, memoryRecords),
  });
  emitMixed(harness, 300);
  const client = await SubprotocolClient.open(harness.url());
  const filters = [first];
  client.send({ type: "subscribe", filter: first, since: 0 });
  for (const { do: verb, count = 0, filter } of steps) {
    if (verb === "emit") emitMixed(harness, count, 30);
    if (verb === "turn") await nextTurn();
    if (verb === "filter") {
      client.send({ type: "filter", filter, version: filters.length });
      filters.push(filter!);
    }
  }
  await client.until("filter", filters.length - 1).catch((error: unknown) => {
    if (filters.length > 1) throw error;
  });
  emitMixed(harness, 7);
  const { newest } = harness.journal;
  await client.untilSequence(newest);
  const expected: number[] = [];
  let position = 0;
  let version = 0;
  const whole = harness.asBatch();
  for (const message of client.messages) {
    if (message.type === "filter") version = message.version;
    if (message.type !== "batch") continue;
    const oracle = parseFilter(filters[version]!);
    for (; position < message.to; position++) {
      if (oracle.matches(whole, position)) expected.push(position + 1);
    }
  }
  expect(client.ledger.sequences).toEqual(expected);
  expect([position, version, client.ledger.duplicates]).toEqual([newest, filters.length - 1, 0]);
}
