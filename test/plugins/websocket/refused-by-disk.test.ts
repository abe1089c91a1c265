/** Records that clients receive before the disk rejects them. */

import { setImmediate as nextTurn } from "node:timers/promises";
import { describe, expect, test, vi } from "vitest";
import { emitMixed, numbers, startPagedHarness } from "../../harness/websocket.ts";
import { SubprotocolClient } from "../../harness/subprotocol-client.ts";

describe("records rejected by the disk", () => {
  test("already sent: a gap for the sent ones, once it is known", async () => {
    const { harness, journal } = await startPagedHarness(Infinity);
    journal.durableTo = 0;
    const client = await SubprotocolClient.subscribe(harness.url());
    const errors = await SubprotocolClient.subscribe(harness.url(), { filter: { level: "ERROR" } });
    emitMixed(harness, 40);
    await client.untilSequence(40);
    expect(client.ledger.resume!.durable).toBe(0);
    journal.rejectWrites(11, 30);
    journal.durableTo = 40;
    const gap = { type: "gap", from: 11, to: 30, reason: "not_stored" };
    expect(await client.until("gap")).toEqual(gap);
    expect(await errors.until("gap")).toEqual(gap);
    emitMixed(harness, 10);
    await client.untilSequence(50);
    expect(client.all("gap")).toHaveLength(1);
  });

  test("not yet sent: a gap in their place", async () => {
    const { harness, journal } = await startPagedHarness(Infinity);
    emitMixed(harness, 40);
    journal.rejectWrites(11, 30);
    const client = await SubprotocolClient.subscribe(harness.url(), { since: 0 });
    expect(client.ledger.gaps).toEqual([{ type: "gap", from: 11, to: 30, reason: "not_stored" }]);
    expect(client.ledger.sequences).toEqual([...numbers(1, 10), ...numbers(31, 40)]);
  });

  test("during a slow client's replay: a gap for each part, sent or not", async () => {
    const { harness, journal } = await startPagedHarness(Infinity, {
      options: { stall_timeout_seconds: 1000 },
    });
    journal.durableTo = 0;
    const client = await SubprotocolClient.subscribe(harness.url());
    client.socket.pause();
    // The system's buffers accept some more after they first were full.
    for (let fullTurns = 0; fullTurns < 50; fullTurns++) {
      if (harness.metric("clients_unsent_bytes") === 0) {
        emitMixed(harness, 10, 10, "x".repeat(50_000));
        fullTurns = 0;
      }
      await nextTurn();
    }
    // More than the buffers can still grow: what follows waits until the client reads.
    emitMixed(harness, 100, 10, "x".repeat(50_000));
    const full = harness.journal.newest;
    emitMixed(harness, 100);
    const { reads } = journal;
    journal.rejectWrites(1, 20);
    journal.rejectWrites(full + 11, full + 30);
    journal.durableTo = harness.journal.newest;
    // Both gaps are read before the client reads, and what it has got by then is reported.
    await vi.waitFor(() => expect(journal.reads).toBe(reads + 2));
    await nextTurn();
    await nextTurn();
    client.socket.resume();
    await client.untilSequence(harness.journal.newest);
    expect(client.ledger.gaps.map(({ from, to }) => [from, to])).toEqual([
      [1, 20],
      [full + 11, full + 30],
    ]);
  });

  test("while the client is disconnected: a gap for what it had and was not durable", async () => {
    const { harness, journal } = await startPagedHarness(Infinity);
    journal.durableTo = 10;
    const client = await SubprotocolClient.subscribe(harness.url(), { since: 0 });
    emitMixed(harness, 40);
    await client.untilSequence(40);
    client.socket.terminate();
    await vi.waitFor(() => expect(harness.metric("clients")).toBe(0));
    journal.rejectWrites(11, 30);
    journal.durableTo = 40;
    const { resume } = client.ledger;
    expect(resume).toMatchObject({ sequence: 40, durable: 10 });
    const again = await SubprotocolClient.subscribe(harness.url(), { resume }, client.ledger);
    expect(await again.until("gap")).toEqual({
      type: "gap",
      from: 11,
      to: 30,
      reason: "not_stored",
    });
  });
});
