/** Start positions of a subscription, and the switch from history to live. */

import { setImmediate as nextTurn } from "node:timers/promises";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { FilterQuery } from "tailgate/plugin";
import {
  PagedJournal,
  WebSocketHarness,
  emitMixed,
  mixed,
  numbers,
  startHarness,
  startPagedHarness,
} from "../../harness/websocket.ts";
import { Ledger } from "../../harness/ledger.ts";
import { SubprotocolClient } from "../../harness/subprotocol-client.ts";

describe("start positions", () => {
  test.each([Infinity, 50])("with memory for %s records: the newest N matches", async (memory) => {
    const { harness } = await startPagedHarness(memory);
    emitMixed(harness, 1000);
    const all = await SubprotocolClient.subscribe(harness.url(), { replay: 120 });
    expect(all.ledger.sequences).toEqual(numbers(881, 1000));
    const filter = { q: "type:audit -500" };
    const audit = await SubprotocolClient.subscribe(harness.url(), { filter, replay: 60 });
    const wanted = numbers(39, 100).map((tens) => 10 * tens);
    expect(audit.ledger.sequences).toEqual(
      wanted.filter((sequence) => sequence !== 500).slice(-60),
    );
    const lane = { type: "audit" };
    const more = await SubprotocolClient.subscribe(harness.url(), { filter: lane, replay: 5000 });
    expect(more.ledger.sequences).toEqual(numbers(1, 100).map((tens) => 10 * tens));
    const none = await SubprotocolClient.subscribe(harness.url(), {
      filter: { q: "nothing" },
      replay: 3,
    });
    expect(none.all("batch")).toEqual([]);
    emitMixed(harness, 10);
    for (const client of [all, audit, more]) await client.untilSequence(1010);
    expect([all.ledger.sequences.at(-10), audit.ledger.sequences.at(-1)]).toEqual([1001, 1010]);
  });

  test("since a time: records of that time or later up to the present, then everything", async () => {
    const { harness } = await startPagedHarness(20);
    const second = 1_000_000_000n;
    const start = 1_760_000_000n * second;
    for (let index = 0; index < 100; index++) {
      harness.emit([{ body: `${index}`, timestamp: start + BigInt(index) * second }]);
    }
    harness.emit([{ body: "late", timestamp: start }]);
    const ms = 1_760_000_040_000;
    for (const since of [ms, new Date(ms).toISOString(), "2025-10-09T10:54:00+02:00"]) {
      const client = await SubprotocolClient.subscribe(harness.url(), { since });
      expect(client.ledger.sequences).toEqual(numbers(41, 100));
      expect(client.ledger.resume!.sequence).toBe(harness.journal.newest);
    }
    const client = await SubprotocolClient.subscribe(harness.url(), { since: ms });
    harness.emit([{ body: "late and live", timestamp: start }]);
    await client.untilSequence(harness.journal.newest);
    expect(client.ledger.messages.at(-1)).toBe("late and live");
    expect(client.ledger.gaps).toEqual([]);
  });

  test("since a time is exact to the microsecond", async () => {
    const { harness } = await startPagedHarness(20);
    const start = 1_760_347_644_339_160_000n;
    for (let micros = 0n; micros < 60n; micros++) {
      harness.emit([{ timestamp: start + micros * 1000n }]);
    }
    for (const [since, first] of [
      ["2025-10-13T09:27:24.339163Z", 4],
      ["2025-10-13T11:27:24.339163999+02:00", 4],
      ["2025-10-13T09:27:24.33916Z", 1],
      ["2025-10-13T09:27:24.339Z", 1],
      ["2025-10-13T09:27:24.3392Z", 41],
      [1_760_347_644_339, 1],
      ["0001-01-01T00:00:00+12:00", 1],
    ] as const) {
      const client = await SubprotocolClient.subscribe(harness.url(), { since });
      expect([since, client.ledger.sequences]).toEqual([since, numbers(first, 60)]);
    }
    const later = { since: "9999-12-31T23:59:59.9999999-12:00" };
    const none = await SubprotocolClient.subscribe(harness.url(), later);
    expect(none.ledger.sequences).toEqual([]);
  });

  test("since a time that has expired: reports a gap, and only then", async () => {
    const harness = await startHarness({ journalBytesMax: 20_000 });
    const second = 1_000_000_000n;
    const start = 1_760_000_000n * second;
    for (let index = 0; index < 100; index++) {
      harness.emit([{ body: `${index}`, timestamp: start + BigInt(index) * second }]);
    }
    const { oldest } = harness.journal;
    expect(oldest).toBeGreaterThan(20);
    const gone = await SubprotocolClient.subscribe(harness.url(), { since: 1_760_000_000_000 });
    expect(gone.ledger.gaps).toEqual([
      { type: "gap", from: 1, to: oldest - 1, reason: "retention" },
    ]);
    expect(gone.ledger.sequences).toEqual(numbers(oldest, 100));
    const there = await SubprotocolClient.subscribe(harness.url(), { since: 1_760_000_098_000 });
    expect([there.ledger.gaps, there.ledger.sequences]).toEqual([[], [99, 100]]);
  });

  test.each([Infinity, 50])(
    "with memory for %s records: resumes after the last sequence it has seen",
    async (memory) => {
      const { harness } = await startPagedHarness(memory);
      emitMixed(harness, 300);
      const { epoch } = harness.journal;
      const client = await SubprotocolClient.subscribe(harness.url(), {
        resume: { epoch, sequence: 123 },
      });
      expect(client.ledger.sequences).toEqual(numbers(124, 300));
      expect(client.all("batch")[0]!.from).toBe(124);
      const current = await SubprotocolClient.subscribe(harness.url(), {
        resume: { epoch, sequence: 300 },
      });
      emitMixed(harness, 10);
      await current.untilSequence(310);
      expect(current.ledger.sequences).toEqual(numbers(301, 310));
    },
  );

  test("expired records are reported as a gap with its exact range", async () => {
    const harness = await startHarness({ journalBytesMax: 40_000 });
    emitMixed(harness, 500);
    const { epoch, oldest } = harness.journal;
    expect(oldest).toBeGreaterThan(100);
    const client = await SubprotocolClient.subscribe(harness.url(), {
      resume: { epoch, sequence: 50 },
    });
    expect(client.ledger.gaps).toEqual([
      { type: "gap", from: 51, to: oldest - 1, reason: "retention" },
    ]);
    expect(client.ledger.sequences).toEqual(numbers(oldest, 500));
  });

  test("after a crash: records beyond the shared sequences are reported as a gap", async () => {
    const { harness, journal } = await startPagedHarness(50);
    journal.sharedByEpoch.set("before", 80);
    emitMixed(harness, 200);
    const lost = await SubprotocolClient.subscribe(harness.url(), {
      resume: { epoch: "before", sequence: 95 },
    });
    expect(lost.ledger.gaps).toEqual([{ type: "gap", from: 81, to: 95, reason: "epoch" }]);
    expect(lost.ledger.sequences).toEqual(numbers(81, 200));
    const same = await SubprotocolClient.subscribe(harness.url(), {
      resume: { epoch: "before", sequence: 80 },
    });
    expect([same.ledger.gaps, same.ledger.sequences]).toEqual([[], numbers(81, 200)]);
  });

  test("an unknown epoch restarts from the beginning", async () => {
    const { harness } = await startPagedHarness(50);
    emitMixed(harness, 100);
    const client = await SubprotocolClient.subscribe(harness.url(), {
      resume: { epoch: "another gateway's", sequence: 7_000 },
    });
    expect(client.ledger.gaps).toEqual([{ type: "gap", from: 1, to: 7_000, reason: "epoch" }]);
    expect(client.ledger.sequences).toEqual(numbers(1, 100));
  });

  test("history and live records arrive with no gaps and no duplicates, in any interleaving", async () => {
    const step = fc.oneof(
      fc.record({ do: fc.constant("emit"), count: fc.integer({ min: 1, max: 300 }) }),
      fc.record({ do: fc.constant("append"), count: fc.integer({ min: 1, max: 300 }) }),
      fc.record({ do: fc.constant("turn") }),
      fc.record({ do: fc.constant("cut") }),
      fc.record({ do: fc.constant("connect"), filter: fc.constantFrom({}, { level: "ERROR" }) }),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 30 }), fc.constantFrom(30, 5000), interleaved),
      { numRuns: 40 },
    );
  });
});

type Step = { readonly do: string; readonly count?: number; readonly filter?: FilterQuery };

/**
 * Clients connect, are cut off and reconnect at any point; finally each has all matches since it
 * first connected.
 */
async function interleaved(steps: readonly Step[], memoryRecords: number): Promise<void> {
  let journal: PagedJournal | undefined;
  await using harness = await WebSocketHarness.start({
    journal: (inner) => (journal = new PagedJournal(inner, memoryRecords)),
  });
  const clients: { filter: FilterQuery; ledger: Ledger; client: SubprotocolClient }[] = [];
  const connect = async (filter: FilterQuery, ledger: Ledger): Promise<SubprotocolClient> => {
    const client = await SubprotocolClient.open(harness.url(), ledger);
    const { resume } = ledger;
    client.send({ type: "subscribe", filter, ...(resume ? { resume } : { since: 0 }) });
    return client;
  };
  for (const { do: verb, count = 0, filter } of steps) {
    if (verb === "emit") emitMixed(harness, count, 40);
    if (verb === "append") harness.append(mixed(harness.journal.newest + 1, count));
    if (verb === "turn") await nextTurn();
    if (verb === "connect") {
      const ledger = new Ledger();
      clients.push({ filter: filter!, ledger, client: await connect(filter!, ledger) });
    }
    const last = clients.at(-1);
    if (verb === "cut" && last) {
      last.client.socket.terminate();
      last.client = await connect(last.filter, last.ledger);
    }
  }
  emitMixed(harness, 7);
  const { newest } = harness.journal;
  expect(journal!.newest).toBe(newest);
  for (const { filter, ledger, client } of clients) {
    await client.untilSequence(newest);
    // Records that delivery wrote late may have left memory by then.
    const skipped = ledger.gaps.map(({ from, to, reason }) => {
      expect([reason, memoryRecords]).toEqual(["slow", 30]);
      return [from, to] as const;
    });
    const wanted = numbers(1, newest)
      .filter((number) => !filter.level || number % 7 === 0)
      .filter((n) => n % 10 === 0 || !skipped.some(([from, to]) => from <= n && n <= to));
    expect([ledger.sequences, ledger.duplicates]).toEqual([wanted, 0]);
  }
}
