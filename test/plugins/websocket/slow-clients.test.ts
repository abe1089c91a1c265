import { setImmediate as nextTurn } from "node:timers/promises";
import { describe, expect, test, vi } from "vitest";
import {
  RawPeer,
  AUDIT,
  emitMixed,
  numbered,
  numbers,
  startPagedHarness,
} from "../../harness/websocket.ts";
import { SubprotocolClient } from "../../harness/subprotocol-client.ts";

describe("slow clients", () => {
  const PADDING = ` ${"x".repeat(20_000)}`;
  /** What the two sockets and the system's buffers between them may hold. */
  const RECORDS = 1500;

  test.each([
    ["both lanes", {}],
    ["system logs alone", { type: "system" }],
  ])(
    "%s: a gap with its exact range, and every audit event, beside a healthy client",
    async (_name, filter) => {
      const { harness } = await startPagedHarness(200);
      const healthy = await SubprotocolClient.subscribe(harness.url());
      const slow = await SubprotocolClient.subscribe(harness.url(), { filter });
      slow.socket.pause();
      for (let done = 0; done < RECORDS; done += 50) {
        emitMixed(harness, 50, 10, PADDING);
        await healthy.untilSequence(harness.journal.newest);
        expect(harness.metric("clients_unsent_bytes")).toBeLessThanOrEqual(2 * (256 << 10));
      }
      slow.socket.resume();
      await slow.untilSequence(RECORDS);
      emitMixed(harness, 20);
      await slow.untilSequence(RECORDS + 20);
      const { gaps, envelopes, duplicates } = slow.ledger;
      expect(gaps.length).toBeGreaterThan(0);
      expect(gaps.every(({ reason, lane }) => reason === "slow" && lane === "system_log")).toBe(
        true,
      );
      const isInGap = (sequence: number): boolean =>
        gaps.some(({ from, to }) => from <= sequence && sequence <= to);
      const isWanted = (sequence: number): boolean => sequence % 10 !== 0 || !("type" in filter);
      const expected = numbers(1, RECORDS + 20).filter(
        (sequence) => isWanted(sequence) && (sequence % 10 === 0 || !isInGap(sequence)),
      );
      expect([...envelopes.keys()]).toEqual(expected);
      expect(duplicates).toBe(0);
      const missing = numbers(1, RECORDS).filter((n) => n % 10 !== 0 && isInGap(n)).length;
      const audit =
        "type" in filter ? numbers(1, RECORDS).filter((n) => n % 10 === 0 && isInGap(n)) : [];
      expect(harness.metric("records_skipped")).toBe(missing + audit.length);
      expect(healthy.ledger.sequences).toEqual(numbers(1, RECORDS + 20));
      expect(healthy.ledger.gaps).toEqual([]);
    },
  );

  test.each([{ type: "audit_log" }, { q: "type:audit" }])(
    "%o arrives completely, without a gap",
    async (filter) => {
      const { harness } = await startPagedHarness(200);
      const slow = await SubprotocolClient.subscribe(harness.url(), { filter });
      slow.socket.pause();
      for (let done = 0; done < 600; done += 10) {
        harness.emit(numbered(done + 1, 10, { body: PADDING, scope: AUDIT }));
        await nextTurn();
      }
      slow.socket.resume();
      await slow.untilSequence(600);
      expect([slow.ledger.sequences, slow.ledger.gaps]).toEqual([numbers(1, 600), []]);
    },
  );

  test("a slow replay receives everything, whatever is logged meanwhile", async () => {
    const { harness } = await startPagedHarness(100);
    emitMixed(harness, 600, 10, PADDING);
    const client = await SubprotocolClient.open(harness.url());
    client.send({ type: "subscribe", since: 0 });
    await client.untilSequence(50);
    client.socket.pause();
    emitMixed(harness, 400, 10, PADDING);
    client.socket.resume();
    await client.untilSequence(1000);
    expect([client.ledger.sequences, client.ledger.gaps]).toEqual([numbers(1, 1000), []]);
  });

  test("only a client that reads nothing at all is closed, with a close frame", async () => {
    const { harness } = await startPagedHarness(200, { options: { stall_timeout_seconds: 2 } });
    const header = "Sec-WebSocket-Protocol: tailgate.v1\r\n";
    const stalled = await RawPeer.open(harness.port, "?level=INFO", header);
    // Until the system's buffers have been full for a while, too.
    for (let fullTurns = 0; fullTurns < 50; fullTurns++) {
      if (harness.metric("clients_unsent_bytes") === 0) {
        emitMixed(harness, 50, 10, PADDING);
        fullTurns = 0;
      }
      await nextTurn();
    }
    emitMixed(harness, 100, 10, PADDING);
    await vi.waitFor(
      () => expect(harness.metric("records_missed", "stalled")).toBeGreaterThan(0),
      15_000,
    );
    stalled.read();
    await vi.waitFor(() => expect(stalled.closeFrame).toBeDefined(), 5000);
    expect(stalled.closeFrame!.code).toBe(1008);
    expect(stalled.closeFrame!.reason).toMatch(/^too slow: nothing was read for 2 s, \d+ records/);
    const texts = stalled.frames.filter(({ opcode }) => opcode === 1);
    expect(texts.at(-1)!.payload.toString()).toBe('{"type":"goodbye","reason":"stalled"}');
    stalled.socket.destroy();
  });
});
