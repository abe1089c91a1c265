/** Clients that are slow, disconnect or misbehave, and write errors. */

import { once } from "node:events";
import { batchOf } from "tailgate/testing";
import { describe, expect, test, vi } from "vitest";
import {
  firstWords,
  LARGE,
  numberTexts,
  untilReceived,
  RawPeer,
  Client,
  numbered,
  startHarness,
} from "../../harness/websocket.ts";

describe("slow clients", () => {
  test("a healthy client receives 200 messages of 60 kB beside one that never reads, which is closed with a reason", async () => {
    const harness = await startHarness({ options: { stall_timeout_seconds: 0.5 } });
    const healthy = await Client.open(harness.url());
    const stalled = await RawPeer.open(harness.port);
    harness.emit(Array.from({ length: 200 }, (_, index) => ({ body: `${index} ${LARGE}` })));
    expect(harness.metric("clients_unsent_bytes")).toBeLessThanOrEqual(2 * (256 << 10));
    await untilReceived(healthy, 200);
    expect(firstWords(healthy.messages)).toEqual(numberTexts(0, 200));
    expect(harness.metric("clients_unsent_bytes")).toBeLessThanOrEqual(256 << 10);
    await vi.waitFor(
      () => expect(harness.metric("records_missed", "stalled")).toBeGreaterThan(0),
      5000,
    );
    stalled.read();
    await vi.waitFor(() => expect(stalled.closeFrame).toBeDefined(), 5000);
    expect(stalled.closeFrame!.code).toBe(1008);
    expect(stalled.closeFrame!.reason).toMatch(
      /^too slow: nothing was read for 0\.5 s, \d+ records behind$/,
    );
    const texts = stalled.frames.filter(({ opcode }) => opcode === 1);
    expect(texts.length + harness.metric("records_missed")).toBe(200);
    stalled.socket.destroy();
    await vi.waitFor(() => expect(harness.metric("clients_closed", "stalled")).toBe(1));
    expect(harness.metric("clients")).toBe(1);
  });

  test("a client that reads again before the timeout misses nothing", async () => {
    const harness = await startHarness();
    const peer = await RawPeer.open(harness.port);
    for (let index = 0; index < 200; index++) harness.emit([{ body: `${index} ${LARGE}` }]);
    expect(harness.metric("clients_unsent_bytes")).toBeGreaterThan(0);
    expect(harness.metric("clients_unsent_bytes")).toBeLessThanOrEqual(256 << 10);
    peer.read();
    harness.emit([{ body: "live" }]);
    await vi.waitFor(() => expect(peer.frames).toHaveLength(201), 10_000);
    expect(firstWords(peer.messages)).toEqual([...numberTexts(0, 200), "live"]);
    peer.socket.destroy();
  });

  test("a client that falls out of the journal's memory is closed with a reason", async () => {
    const harness = await startHarness({
      journalBytesMax: 4 << 20,
      options: { stall_timeout_seconds: 2 },
    });
    const peer = await RawPeer.open(harness.port);
    for (let index = 0; index < 300; index++) harness.emit([{ body: `${index} ${LARGE}` }]);
    await vi.waitFor(
      () => expect(harness.metric("records_missed", "outrun")).toBeGreaterThan(0),
      5000,
    );
    peer.read();
    await vi.waitFor(() => expect(peer.closeFrame).toBeDefined(), 5000);
    expect(peer.closeFrame!.code).toBe(1008);
    expect(peer.closeFrame!.reason).toMatch(
      /^too slow: \d+ records behind, the oldest are no longer in memory$/,
    );
    expect(peer.frames.length - 1 + harness.metric("records_missed")).toBe(300);
    peer.socket.destroy();
  });

  test("a client that reads again too late receives a gap", async () => {
    const harness = await startHarness({
      journalBytesMax: 4 << 20,
      options: { stall_timeout_seconds: 1000 },
    });
    const peer = await RawPeer.open(harness.port);
    for (let index = 0; index < 300; index++) harness.emit([{ body: `${index} ${LARGE}` }]);
    peer.read();
    await vi.waitFor(() => expect(peer.closeFrame).toBeDefined(), 5000);
    const missed = harness.metric("records_missed", "outrun");
    const reason = `too slow: ${missed} records behind, the oldest are no longer in memory`;
    expect(peer.closeFrame).toEqual({ code: 1008, reason });
    expect(firstWords(peer.messages)).toEqual(numberTexts(0, 300 - missed));
    peer.socket.destroy();
  });

  test("one record larger than the buffer is still sent", async () => {
    const harness = await startHarness({ options: { client_buffer_bytes: 128 << 10 } });
    const client = await Client.open(harness.url());
    const bodies = Array.from({ length: 5 }, (_, index) => `${index} ${"y".repeat(1 << 20)}`);
    harness.emit(bodies.map((body) => ({ body })));
    await untilReceived(client, 5);
    expect(client.messages).toEqual(bodies);
  });
});

describe("misbehaving peers", () => {
  test.each([
    ["an unmasked frame", Buffer.from([0x81, 0x02, 0x68, 0x69]), 1002],
    ["a frame with an unknown opcode", Buffer.from([0x83, 0x80, 0, 0, 0, 0]), 1002],
    ["text that is no UTF-8", Buffer.from([0x81, 0x81, 0, 0, 0, 0, 0xff]), 1007],
    [
      "a frame that announces more than 64 KiB",
      Buffer.from([0x81, 0xff, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0]),
      1009,
    ],
  ])("%s ends its connection and no other", async (_name, bytes, code) => {
    const harness = await startHarness();
    const other = await Client.open(harness.url());
    const peer = await RawPeer.open(harness.port);
    peer.read();
    peer.socket.write(bytes);
    harness.emit(numbered(0, 10));
    await vi.waitFor(() => expect(peer.closeFrame?.code).toBe(code));
    peer.socket.end();
    await vi.waitFor(() => expect(harness.metric("clients_closed", "protocol")).toBe(1));
    harness.emit(numbered(10, 10));
    await untilReceived(other, 20);
    expect(other.messages).toEqual(numberTexts(0, 20));
  });

  test("connections reset in the middle of a write affect no others", async () => {
    const harness = await startHarness();
    const client = await Client.open(harness.url());
    const peers = await Promise.all(Array.from({ length: 20 }, () => RawPeer.open(harness.port)));
    for (let index = 0; index < 200; index++) {
      harness.emit([{ body: `${index} ${LARGE}` }]);
      if (index % 10 === 5) peers[(index - 5) / 10]!.socket.resetAndDestroy();
      if (index % 10 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    await untilReceived(client, 200);
    expect(firstWords(client.messages)).toEqual(numberTexts(0, 200));
    await vi.waitFor(() => expect(harness.metric("clients_closed", "lost")).toBe(20));
    expect(harness.metric("clients")).toBe(1);
  });

  test("a peer that does not answer pings is disconnected, one that does stays", async () => {
    const harness = await startHarness({ options: { ping_interval_seconds: 0.1 } });
    const client = await Client.open(harness.url());
    let pings = 0;
    client.socket.on("ping", () => pings++);
    const peer = await RawPeer.open(harness.port);
    peer.read();
    await once(peer.socket, "close");
    expect(peer.frames.map(({ opcode }) => opcode)).toEqual([9]);
    await vi.waitFor(() => expect(harness.metric("clients_closed", "dead")).toBe(1));
    await vi.waitFor(() => expect(pings).toBeGreaterThan(4));
    harness.emit(numbered(0, 1));
    await untilReceived(client, 1);
    expect(harness.metric("clients")).toBe(1);
  });

  test("a write error of one client closes only its connection", async () => {
    const harness = await startHarness({
      journal: (journal) => ({
        epoch: journal.epoch,
        clock: journal.clock,
        get newest() {
          return journal.newest;
        },
        get durable() {
          return journal.durable;
        },
        get oldest() {
          return journal.oldest;
        },
        readFrom: () => {
          throw new Error("memory is damaged");
        },
        read: () => Promise.reject(new Error("memory is damaged")),
        sharedUpTo: (epoch, sequence) => journal.sharedUpTo(epoch, sequence),
        uidOf: (sequence) => journal.uidOf(sequence),
      }),
    });
    const live = await Client.open(harness.url());
    harness.emit(numbered(0, 5));
    const [replay, search] = [
      new Client(harness.url("?replay=3")),
      new Client(harness.url("?replay=3&level=INFO")),
    ];
    expect(await replay.closed).toEqual({ code: 1011, reason: "internal error" });
    expect(await search.closed).toEqual({ code: 1011, reason: "internal error" });
    harness.emit(numbered(5, 5));
    await untilReceived(live, 10);
    expect(live.messages).toEqual(numberTexts(0, 10));
    expect(harness.metric("clients_closed", "failed")).toBe(2);
    expect(harness.lines.filter((line) => line.includes("memory is damaged"))).toHaveLength(2);
  });
});

test("an unreadable batch closes connections, but not the exporter", async () => {
  const harness = await startHarness();
  const client = await Client.open(harness.url());
  const damaged = batchOf([{ body: "damaged" }]);
  Object.defineProperty(damaged, "frames", {
    value: () => {
      throw new Error("no frames");
    },
  });
  harness.deliver([damaged]);
  expect(await client.closed).toEqual({ code: 1011, reason: "internal error" });
  const later = await Client.open(harness.url());
  harness.emit(numbered(0, 1));
  await untilReceived(later, 1);
  expect(harness.metric("clients_closed", "failed")).toBe(1);
});
