/** Filters whose matching exceeds the time budget. */

import { setImmediate as nextTurn } from "node:timers/promises";
import { LogStream } from "tailgate/client";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import type { LogRecord } from "tailgate/plugin";
import { grantedAccess } from "../../../src/auth/access.ts";
import { OPEN_ACCESS } from "../../../src/plugin/access.ts";
import { startCli } from "../../harness/program.ts";
import { longestTurnMs } from "../../harness/longest-turn.ts";
import {
  LARGE,
  untilReceived,
  Client,
  type WebSocketHarness,
  AUDIT,
  numbers,
  startHarness,
  startPagedHarness,
} from "../../harness/websocket.ts";
import { SubprotocolClient } from "../../harness/subprotocol-client.ts";

/** Each term costs about a millisecond per megabyte of the letter. */
const HOSTILE = `-${"a".repeat(125)}b${"a".repeat(125)}`;
const EXPENSIVE = Array.from({ length: 16 }, (_, index) => HOSTILE + index).join(" ");
const RECORD_BYTES = 60_000;
/** All that the hostile texts consist of, so that nothing rules them out but looking for them. */
const PIECES = `aab aba baa ${numbers(0, 29)
  .map((number) => `aa${number}`)
  .join(" ")}`;

/** Every fifth one is an audit event. */
function large(from: number, count: number): Partial<LogRecord>[] {
  return numbers(from, from + count - 1).map((sequence) => ({
    body: `${sequence} ${"a".repeat(RECORD_BYTES)} ${PIECES}`,
    ...(sequence % 5 === 0 && { scope: AUDIT }),
  }));
}

function emitLarge(harness: WebSocketHarness, count: number): void {
  for (let done = 0; done < count; done += 10) harness.emit(large(harness.journal.newest + 1, 10));
}

function query(q: string): string {
  return `?${new URLSearchParams({ q })}`;
}

function sequencesOf(client: Client): number[] {
  return client.messages.map((message) => Number(message.split(" ")[0]));
}

describe("an expensive filter", () => {
  test("takes only its share of a turn, and still receives everything", async () => {
    const harness = await startHarness();
    const expensive = await Client.open(harness.url(query(EXPENSIVE)));
    // The filter of a token counts like that of a client.
    harness.access = grantedAccess("token:slow", { scopes: ["read"], filter: EXPENSIVE });
    const again = await Client.open(harness.url());
    harness.access = OPEN_ACCESS;
    const subscribed = await SubprotocolClient.subscribe(harness.url(), {
      filter: { q: EXPENSIVE },
    });
    const cheap = await Client.open(harness.url("?level=INFO"));
    const free = await Client.open(harness.url());
    const longestTurn = longestTurnMs();
    for (let count = 0; count < 4; count++) {
      emitLarge(harness, 30);
      await nextTurn();
    }
    // Without a budget it takes 300 ms.
    expect(await longestTurn()).toBeLessThan(120);
    emitLarge(harness, 80);
    const atOnce = harness.metric("matching_seconds");
    await untilReceived(free, 200);
    await untilReceived(cheap, 200);
    await untilReceived(expensive, 200);
    await untilReceived(again, 200);
    await subscribed.untilSequence(200);
    const whole = harness.metric("matching_seconds");
    expect(atOnce).toBeLessThan(whole / 3);
    for (const client of [expensive, again, cheap, free]) {
      expect(sequencesOf(client)).toEqual(numbers(1, 200));
    }
    expect(subscribed.ledger.sequences).toEqual(numbers(1, 200));
    expect(subscribed.ledger.gaps).toEqual([]);
    expect(harness.metric("filters_too_expensive")).toBe(0);
  });

  test("is matched once for all clients that share it", async () => {
    const harness = await startHarness();
    const one = await Client.open(harness.url(query(EXPENSIVE)));
    emitLarge(harness, 100);
    await untilReceived(one, 100);
    const alone = harness.metric("matching_seconds");
    const others = await Promise.all(
      Array.from({ length: 20 }, () => Client.open(harness.url(query(EXPENSIVE)))),
    );
    emitLarge(harness, 100);
    for (const client of [one, ...others]) await untilReceived(client, client === one ? 200 : 100);
    expect(harness.metric("matching_seconds") - alone).toBeLessThan(5 * alone);
  });

  test("can be changed while matching is pending", async () => {
    const harness = await startHarness();
    const client = await SubprotocolClient.subscribe(harness.url(), { filter: { q: EXPENSIVE } });
    emitLarge(harness, 100);
    client.send({ type: "filter", filter: { q: `${EXPENSIVE} type:audit` }, version: 1 });
    await client.until("filter");
    emitLarge(harness, 20);
    await client.untilSequence(120);
    const before = client.messages.findIndex(({ type }) => type === "filter");
    const last = client.messages.slice(0, before).findLast(({ type }) => type === "batch");
    const changedAt = last?.type === "batch" ? last.to : 0;
    expect(client.ledger.sequences).toEqual(
      numbers(1, 120).filter((sequence) => sequence <= changedAt || sequence % 5 === 0),
    );
  });

  test("finds the newest records of the past, from memory and from disk", async () => {
    const { harness } = await startPagedHarness(50);
    emitLarge(harness, 100);
    const plain = await Client.open(harness.url(`${query(EXPENSIVE)}&replay=40`));
    const filter = { q: EXPENSIVE };
    const replayed = await SubprotocolClient.subscribe(harness.url(), { filter, replay: 80 });
    const since = await SubprotocolClient.subscribe(harness.url(), { filter, since: 0 });
    await untilReceived(plain, 40);
    expect(sequencesOf(plain)).toEqual(numbers(61, 100));
    expect(replayed.ledger.sequences).toEqual(numbers(21, 100));
    expect(since.ledger.sequences).toEqual(numbers(1, 100));
  });

  test("does no harm if its client leaves while matching is pending", async () => {
    const harness = await startHarness();
    const leaving = await Client.open(harness.url(query(EXPENSIVE)));
    const subscribed = await SubprotocolClient.subscribe(harness.url(), {
      filter: { q: EXPENSIVE },
    });
    const free = await Client.open(harness.url());
    emitLarge(harness, 100);
    leaving.socket.terminate();
    subscribed.socket.terminate();
    await untilReceived(free, 100);
    await vi.waitFor(() => expect(harness.metric("clients")).toBe(1));
    emitLarge(harness, 10);
    await untilReceived(free, 110);
    expect(harness.lines).toEqual([]);
  });
});

describe("a filter that is slower than the incoming records", () => {
  /** The journal in memory holds one burst, but not two. */
  const BURST_RECORDS = 15;
  const JOURNAL_BYTES = 3 * BURST_RECORDS * RECORD_BYTES;
  const CLIENTS = 8;
  const TOLD = /^The filter is too expensive: [\d.]+ ms for 1000 records\.$/;
  const CLOSED = /^filter too expensive: [\d.]+ ms for 1000 records, \d+ records behind$/;

  test("closes a plain client's connection with the reason, counted and logged", async () => {
    const harness = await startHarness({ journalBytesMax: JOURNAL_BYTES });
    const most = EXPENSIVE.slice(EXPENSIVE.indexOf(" ") + 1);
    // Together they need at least 120 ms per burst, of which each turn grants 4. Nothing matches,
    // so that no socket is full.
    const clients = await Promise.all(
      numbers(1, CLIENTS).map((number) =>
        Client.open(harness.url(query(`${most} ${HOSTILE.slice(1)}${20 + number}`))),
      ),
    );
    const free = await Client.open(harness.url());
    for (let burst = 1; burst <= 10; burst++) {
      harness.emit(large(harness.journal.newest + 1, BURST_RECORDS));
      while (free.texts.length < burst * BURST_RECORDS) await nextTurn();
    }
    for (const client of clients) {
      const { code, reason } = await client.closed;
      expect(code).toBe(1008);
      expect(reason).toMatch(CLOSED);
    }
    expect(sequencesOf(free)).toEqual(numbers(1, 10 * BURST_RECORDS));
    expect(harness.metric("records_missed", "expensive")).toBeGreaterThan(0);
    await vi.waitFor(() => expect(harness.metric("clients_closed", "expensive")).toBe(CLIENTS));
    expect(harness.metric("filters_too_expensive")).toBe(CLIENTS);
    const warnings = harness.lines.filter((line) => line.includes("too expensive"));
    expect(warnings).toHaveLength(CLIENTS);
    expect(warnings[0]).toMatch(/matching takes [\d.]+ ms for 1000 records\./);
  });

  test("is reported to a client with the subprotocol, which receives audit events and continues", async () => {
    const { harness } = await startPagedHarness(50);
    const filter = { q: EXPENSIVE };
    const client = await SubprotocolClient.subscribe(harness.url(), { filter });
    const gapTexts: unknown[] = [];
    const stream = new LogStream({ url: harness.url(), filter });
    onTestFinished(() => stream.close());
    stream.listen((event) => {
      if (event.type === "gap") gapTexts.push(event.gap.text);
    });
    await using cli = startCli(["tail", "--url", harness.url(), "--", EXPENSIVE]);
    await vi.waitFor(() => expect(harness.metric("clients_subscribed")).toBe(3), 20_000);
    emitLarge(harness, 300);
    await client.untilSequence(300);
    await cli.untilStdout(
      /--- missing: system logs .* \(The filter is too expensive: .* records\.\) ---/,
    );
    await vi.waitFor(() => expect(gapTexts).toContainEqual(expect.stringMatching(TOLD)), 20_000);
    harness.emit([{ body: LARGE }]);
    await client.untilSequence(301);
    const { gaps, sequences } = client.ledger;
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
    expect(harness.metric("filters_too_expensive")).toBeGreaterThan(0);
  });
});
