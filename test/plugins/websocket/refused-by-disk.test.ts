/** Records that viewers have before the disk refuses them. */

import { setImmediate as nextTurn } from "node:timers/promises";
import { describe, expect, test, vi } from "vitest";
import { emitMixed, numbers, startStage } from "../../harness/websocket-tests.ts";
import { SubprotocolViewer } from "./subprotocol-viewer.ts";

describe("what the disk refuses", () => {
  test("after it was sent: a gap for what was sent of it, when it is known", async () => {
    const { rig, journal } = await startStage(Infinity);
    journal.durableTo = 0;
    const viewer = await SubprotocolViewer.subscribe(rig.url());
    const errors = await SubprotocolViewer.subscribe(rig.url(), { filter: { level: "ERROR" } });
    emitMixed(rig, 40);
    await viewer.at(40);
    expect(viewer.ledger.resume!.durable).toBe(0);
    journal.refuse(11, 30);
    journal.durableTo = 40;
    const gap = { type: "gap", from: 11, to: 30, reason: "not_stored" };
    expect(await viewer.until("gap")).toEqual(gap);
    expect(await errors.until("gap")).toEqual(gap);
    emitMixed(rig, 10);
    await viewer.at(50);
    expect(viewer.all("gap")).toHaveLength(1);
  });

  test("before it was sent: a gap in its place", async () => {
    const { rig, journal } = await startStage(Infinity);
    emitMixed(rig, 40);
    journal.refuse(11, 30);
    const viewer = await SubprotocolViewer.subscribe(rig.url(), { since: 0 });
    expect(viewer.ledger.gaps).toEqual([{ type: "gap", from: 11, to: 30, reason: "not_stored" }]);
    expect(viewer.ledger.sequences).toEqual([...numbers(1, 10), ...numbers(31, 40)]);
  });

  test("while the viewer is slow: a gap for each part, sent or not", async () => {
    const { rig, journal } = await startStage(Infinity, {
      options: { stall_timeout_seconds: 1000 },
    });
    journal.durableTo = 0;
    const viewer = await SubprotocolViewer.subscribe(rig.url());
    viewer.socket.pause();
    // The system takes some more after it has first taken nothing.
    for (let fullTurns = 0; fullTurns < 50; fullTurns++) {
      if (rig.metric("clients_unsent_bytes") === 0) {
        emitMixed(rig, 10, 10, "x".repeat(50_000));
        fullTurns = 0;
      }
      await nextTurn();
    }
    const full = rig.journal.newest;
    emitMixed(rig, 100);
    journal.refuse(1, 20);
    journal.refuse(full + 11, full + 30);
    journal.durableTo = rig.journal.newest;
    // Once it is known; and not more than that.
    const sent = rig.metric("frames_sent");
    await vi.waitFor(() => expect(rig.metric("frames_sent")).toBe(sent + 1));
    viewer.socket.resume();
    await viewer.at(rig.journal.newest);
    expect(viewer.ledger.gaps.map(({ from, to }) => [from, to])).toEqual([
      [1, 20],
      [full + 11, full + 30],
    ]);
  });

  test("while it was away: a gap for what it had and was not durable", async () => {
    const { rig, journal } = await startStage(Infinity);
    journal.durableTo = 10;
    const viewer = await SubprotocolViewer.subscribe(rig.url(), { since: 0 });
    emitMixed(rig, 40);
    await viewer.at(40);
    viewer.socket.terminate();
    await vi.waitFor(() => expect(rig.metric("clients")).toBe(0));
    journal.refuse(11, 30);
    journal.durableTo = 40;
    const { resume } = viewer.ledger;
    expect(resume).toMatchObject({ sequence: 40, durable: 10 });
    const again = await SubprotocolViewer.subscribe(rig.url(), { resume }, viewer.ledger);
    expect(await again.until("gap")).toEqual({
      type: "gap",
      from: 11,
      to: 30,
      reason: "not_stored",
    });
  });
});
