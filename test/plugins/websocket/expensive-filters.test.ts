/** Filters that take longer to match than there is time for. */

import { setImmediate as nextTurn } from "node:timers/promises";
import { LogStream } from "tailgate/client";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import type { LogRecord } from "tailgate/plugin";
import { startCli } from "../../harness/program.ts";
import { longestTurnMs } from "../../harness/longest-turn.ts";
import { LARGE, untilReceived } from "../../harness/plain-clients.ts";
import { Viewer, type Rig } from "../../harness/websocket.ts";
import { AUDIT, numbers, startRig, startStage } from "../../harness/websocket-tests.ts";
import { SubprotocolViewer } from "./subprotocol-viewer.ts";

/** Each term costs about a millisecond for a megabyte of the letter. */
const HOSTILE = `-${"a".repeat(125)}b${"a".repeat(125)}`;
const EXPENSIVE = Array.from({ length: 16 }, (_, index) => HOSTILE + index).join(" ");
const RECORD_BYTES = 60_000;

/** Every fifth one is an audit event. */
function large(from: number, count: number): Partial<LogRecord>[] {
  return numbers(from, from + count - 1).map((sequence) => ({
    body: `${sequence} ${"a".repeat(RECORD_BYTES)}`,
    ...(sequence % 5 === 0 && { scope: AUDIT }),
  }));
}

function emitLarge(rig: Rig, count: number): void {
  for (let done = 0; done < count; done += 10) rig.emit(large(rig.journal.newest + 1, 10));
}

function query(q: string): string {
  return `?${new URLSearchParams({ q })}`;
}

function sequencesOf(viewer: Viewer): number[] {
  return viewer.messages.map((message) => Number(message.split(" ")[0]));
}

describe("an expensive filter", () => {
  test("takes no more of a turn than its share, and gets everything all the same", async () => {
    const rig = await startRig();
    const expensive = await Viewer.open(rig.url(query(EXPENSIVE)));
    const again = await Viewer.open(rig.url(query(EXPENSIVE)));
    const subscribed = await SubprotocolViewer.subscribe(rig.url(), { filter: { q: EXPENSIVE } });
    const cheap = await Viewer.open(rig.url("?level=INFO"));
    const free = await Viewer.open(rig.url());
    const longestTurn = longestTurnMs();
    for (let count = 0; count < 4; count++) {
      emitLarge(rig, 30);
      await nextTurn();
    }
    // Without a budget it takes 300 ms.
    expect(await longestTurn()).toBeLessThan(120);
    emitLarge(rig, 80);
    const atOnceMs = rig.metric("matching_ms");
    await untilReceived(free, 200);
    await untilReceived(cheap, 200);
    await untilReceived(expensive, 200);
    await untilReceived(again, 200);
    await subscribed.at(200);
    const wholeMs = rig.metric("matching_ms");
    expect(atOnceMs).toBeLessThan(wholeMs / 3);
    for (const viewer of [expensive, again, cheap, free]) {
      expect(sequencesOf(viewer)).toEqual(numbers(1, 200));
    }
    expect(subscribed.ledger.sequences).toEqual(numbers(1, 200));
    expect(subscribed.ledger.gaps).toEqual([]);
    expect(rig.metric("filters_too_expensive")).toBe(0);
  });

  test("is matched once for all clients that have it", async () => {
    const rig = await startRig();
    const one = await Viewer.open(rig.url(query(EXPENSIVE)));
    emitLarge(rig, 100);
    await untilReceived(one, 100);
    const oneMs = rig.metric("matching_ms");
    const others = await Promise.all(
      Array.from({ length: 20 }, () => Viewer.open(rig.url(query(EXPENSIVE)))),
    );
    emitLarge(rig, 100);
    for (const viewer of [one, ...others]) await untilReceived(viewer, viewer === one ? 200 : 100);
    expect(rig.metric("matching_ms") - oneMs).toBeLessThan(5 * oneMs);
  });

  test("can be changed while its matches wait", async () => {
    const rig = await startRig();
    const viewer = await SubprotocolViewer.subscribe(rig.url(), { filter: { q: EXPENSIVE } });
    emitLarge(rig, 100);
    viewer.say({ type: "filter", filter: { q: `${EXPENSIVE} type:audit` }, version: 1 });
    await viewer.until("filter");
    emitLarge(rig, 20);
    await viewer.at(120);
    const before = viewer.messages.findIndex(({ type }) => type === "filter");
    const last = viewer.messages.slice(0, before).findLast(({ type }) => type === "batch");
    const changedAt = last?.type === "batch" ? last.to : 0;
    expect(viewer.ledger.sequences).toEqual(
      numbers(1, 120).filter((sequence) => sequence <= changedAt || sequence % 5 === 0),
    );
  });

  test("finds the newest records of the past, from memory and from the disk", async () => {
    const { rig } = await startStage(50);
    emitLarge(rig, 100);
    const plain = await Viewer.open(rig.url(`${query(EXPENSIVE)}&replay=40`));
    const filter = { q: EXPENSIVE };
    const replayed = await SubprotocolViewer.subscribe(rig.url(), { filter, replay: 80 });
    const since = await SubprotocolViewer.subscribe(rig.url(), { filter, since: 0 });
    await untilReceived(plain, 40);
    expect(sequencesOf(plain)).toEqual(numbers(61, 100));
    expect(replayed.ledger.sequences).toEqual(numbers(21, 100));
    expect(since.ledger.sequences).toEqual(numbers(1, 100));
  });

  test("does no harm when its client leaves while its matches wait", async () => {
    const rig = await startRig();
    const leaving = await Viewer.open(rig.url(query(EXPENSIVE)));
    const subscribed = await SubprotocolViewer.subscribe(rig.url(), { filter: { q: EXPENSIVE } });
    const free = await Viewer.open(rig.url());
    emitLarge(rig, 100);
    leaving.socket.terminate();
    subscribed.socket.terminate();
    await untilReceived(free, 100);
    await vi.waitFor(() => expect(rig.metric("clients")).toBe(1));
    emitLarge(rig, 10);
    await untilReceived(free, 110);
    expect(rig.lines).toEqual([]);
  });
});

describe("a filter that cannot be matched as fast as records come", () => {
  /** The journal in memory has room for one burst, and not for two. */
  const BURST_RECORDS = 15;
  const JOURNAL_BYTES = 3 * BURST_RECORDS * RECORD_BYTES;
  const CLIENTS = 8;
  const TOLD = /^The filter is too expensive: [\d.]+ ms for 1000 records\.$/;
  const CLOSED = /^filter too expensive: [\d.]+ ms for 1000 records, \d+ records behind$/;

  test("ends a plain client's connection with the reason, counted and logged", async () => {
    const rig = await startRig({ journalBytesMax: JOURNAL_BYTES });
    // Together they need 120 ms and more for a burst, of which each turn has 4. Nothing matches, so that no socket is
    // full.
    const viewers = await Promise.all(
      numbers(1, CLIENTS).map((number) =>
        Viewer.open(rig.url(query(`${EXPENSIVE} absent${number}`))),
      ),
    );
    const free = await Viewer.open(rig.url());
    for (let burst = 1; burst <= 10; burst++) {
      rig.emit(large(rig.journal.newest + 1, BURST_RECORDS));
      while (free.texts.length < burst * BURST_RECORDS) await nextTurn();
    }
    for (const viewer of viewers) {
      const { code, reason } = await viewer.closed;
      expect(code).toBe(1008);
      expect(reason).toMatch(CLOSED);
    }
    expect(sequencesOf(free)).toEqual(numbers(1, 10 * BURST_RECORDS));
    expect(rig.metric("records_missed", "expensive")).toBeGreaterThan(0);
    await vi.waitFor(() => expect(rig.metric("clients_closed", "expensive")).toBe(CLIENTS));
    expect(rig.metric("filters_too_expensive")).toBe(CLIENTS);
    const warnings = rig.lines.filter((line) => line.includes("too expensive"));
    expect(warnings).toHaveLength(CLIENTS);
    expect(warnings[0]).toMatch(/matching takes [\d.]+ ms for 1000 records\./);
  });

  test("is told to a client with the subprotocol, which gets audit events and goes on", async () => {
    const { rig } = await startStage(50);
    const filter = { q: EXPENSIVE };
    const viewer = await SubprotocolViewer.subscribe(rig.url(), { filter });
    const gapTexts: unknown[] = [];
    const stream = new LogStream({ url: rig.url(), filter });
    onTestFinished(() => stream.close());
    stream.listen((event) => {
      if (event.type === "gap") gapTexts.push(event.gap.text);
    });
    await using cli = startCli(["tail", "--url", rig.url(), "--", EXPENSIVE]);
    await vi.waitFor(() => expect(rig.metric("clients_subscribed")).toBe(3), 20_000);
    emitLarge(rig, 300);
    await viewer.at(300);
    await cli.shows(
      /--- missing: system logs .* \(The filter is too expensive: .* records\.\) ---/,
    );
    await vi.waitFor(() => expect(gapTexts).toContainEqual(expect.stringMatching(TOLD)), 20_000);
    rig.emit([{ body: LARGE }]);
    await viewer.at(301);
    const { gaps, sequences } = viewer.ledger;
    expect(gaps.length).toBeGreaterThan(0);
    for (const gap of gaps) {
      expect(gap).toMatchObject({ reason: "slow", lane: "system_log" });
      expect(gap.text).toMatch(TOLD);
    }
    const isInGap = (sequence: number): boolean =>
      gaps.some(({ from, to }) => from <= sequence && sequence <= to);
    expect(sequences).toEqual(
      numbers(1, 301).filter((sequence) => sequence % 5 === 0 || !isInGap(sequence)),
    );
    expect(rig.metric("filters_too_expensive")).toBeGreaterThan(0);
  });
});
