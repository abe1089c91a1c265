/** Viewers that are slow, go away or misbehave, and faults on the way to them. */

import { once } from "node:events";
import { batchOf } from "tailgate/testing";
import { describe, expect, test, vi } from "vitest";
import { firstWords, LARGE, numbers, untilReceived } from "../../harness/plain-clients.ts";
import { RawPeer, Viewer } from "../../harness/websocket.ts";
import { numbered, startRig } from "../../harness/websocket-tests.ts";

describe("slow viewers", () => {
  test("a healthy viewer gets 200 messages of 60 kB beside one that never reads, which is told why it is closed", async () => {
    const rig = await startRig({ options: { stall_timeout_seconds: 0.5 } });
    const healthy = await Viewer.open(rig.url());
    const stalled = await RawPeer.open(rig.port);
    rig.emit(Array.from({ length: 200 }, (_, index) => ({ body: `${index} ${LARGE}` })));
    expect(rig.metric("clients_unsent_bytes")).toBeLessThanOrEqual(2 * (256 << 10));
    await untilReceived(healthy, 200);
    expect(firstWords(healthy.messages)).toEqual(numbers(0, 200));
    expect(rig.metric("clients_unsent_bytes")).toBeLessThanOrEqual(256 << 10);
    await vi.waitFor(
      () => expect(rig.metric("records_missed", "stalled")).toBeGreaterThan(0),
      5000,
    );
    stalled.read();
    await vi.waitFor(() => expect(stalled.closeFrame).toBeDefined(), 5000);
    expect(stalled.closeFrame!.code).toBe(1008);
    expect(stalled.closeFrame!.reason).toMatch(
      /^too slow: nothing was read for 0\.5 s, \d+ records behind$/,
    );
    const texts = stalled.frames.filter(({ opcode }) => opcode === 1);
    expect(texts.length + rig.metric("records_missed")).toBe(200);
    stalled.socket.destroy();
    await vi.waitFor(() => expect(rig.metric("clients_closed", "stalled")).toBe(1));
    expect(rig.metric("clients")).toBe(1);
  });

  test("a viewer that reads again before the time is over misses nothing", async () => {
    const rig = await startRig();
    const peer = await RawPeer.open(rig.port);
    for (let index = 0; index < 200; index++) rig.emit([{ body: `${index} ${LARGE}` }]);
    expect(rig.metric("clients_unsent_bytes")).toBeGreaterThan(0);
    expect(rig.metric("clients_unsent_bytes")).toBeLessThanOrEqual(256 << 10);
    peer.read();
    rig.emit([{ body: "live" }]);
    await vi.waitFor(() => expect(peer.frames).toHaveLength(201), 10_000);
    expect(firstWords(peer.messages)).toEqual([...numbers(0, 200), "live"]);
    peer.socket.destroy();
  });

  test("a viewer that falls out of the journal's memory is closed with a reason", async () => {
    const rig = await startRig({ journalBytesMax: 4 << 20, options: { stall_timeout_seconds: 2 } });
    const peer = await RawPeer.open(rig.port);
    for (let index = 0; index < 300; index++) rig.emit([{ body: `${index} ${LARGE}` }]);
    await vi.waitFor(() => expect(rig.metric("records_missed", "outrun")).toBeGreaterThan(0), 5000);
    peer.read();
    await vi.waitFor(() => expect(peer.closeFrame).toBeDefined(), 5000);
    expect(peer.closeFrame!.code).toBe(1008);
    expect(peer.closeFrame!.reason).toMatch(
      /^too slow: \d+ records behind, the oldest are no longer in memory$/,
    );
    expect(peer.frames.length - 1 + rig.metric("records_missed")).toBe(300);
    peer.socket.destroy();
  });

  test("a viewer that reads again too late is told what it missed", async () => {
    const rig = await startRig({
      journalBytesMax: 4 << 20,
      options: { stall_timeout_seconds: 1000 },
    });
    const peer = await RawPeer.open(rig.port);
    for (let index = 0; index < 300; index++) rig.emit([{ body: `${index} ${LARGE}` }]);
    peer.read();
    await vi.waitFor(() => expect(peer.closeFrame).toBeDefined(), 5000);
    const missed = rig.metric("records_missed", "outrun");
    const reason = `too slow: ${missed} records behind, the oldest are no longer in memory`;
    expect(peer.closeFrame).toEqual({ code: 1008, reason });
    expect(firstWords(peer.messages)).toEqual(numbers(0, 300 - missed));
    peer.socket.destroy();
  });

  test("one record larger than the buffer is sent all the same", async () => {
    const rig = await startRig({ options: { client_buffer_bytes: 128 << 10 } });
    const viewer = await Viewer.open(rig.url());
    const bodies = Array.from({ length: 5 }, (_, index) => `${index} ${"y".repeat(1 << 20)}`);
    rig.emit(bodies.map((body) => ({ body })));
    await untilReceived(viewer, 5);
    expect(viewer.messages).toEqual(bodies);
  });
});

describe("peers that misbehave", () => {
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
    const rig = await startRig();
    const other = await Viewer.open(rig.url());
    const peer = await RawPeer.open(rig.port);
    peer.read();
    peer.socket.write(bytes);
    rig.emit(numbered(0, 10));
    await vi.waitFor(() => expect(peer.closeFrame?.code).toBe(code));
    peer.socket.end();
    await vi.waitFor(() => expect(rig.metric("clients_closed", "protocol")).toBe(1));
    rig.emit(numbered(10, 10));
    await untilReceived(other, 20);
    expect(other.messages).toEqual(numbers(0, 20));
  });

  test("connections that are reset in the middle of a write disturb nobody", async () => {
    const rig = await startRig();
    const viewer = await Viewer.open(rig.url());
    const peers = await Promise.all(Array.from({ length: 20 }, () => RawPeer.open(rig.port)));
    for (let index = 0; index < 200; index++) {
      rig.emit([{ body: `${index} ${LARGE}` }]);
      if (index % 10 === 5) peers[(index - 5) / 10]!.socket.resetAndDestroy();
      if (index % 10 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    await untilReceived(viewer, 200);
    expect(firstWords(viewer.messages)).toEqual(numbers(0, 200));
    await vi.waitFor(() => expect(rig.metric("clients_closed", "lost")).toBe(20));
    expect(rig.metric("clients")).toBe(1);
  });

  test("a peer that does not answer pings is cut off, one that does stays", async () => {
    const rig = await startRig({ options: { ping_interval_seconds: 0.1 } });
    const viewer = await Viewer.open(rig.url());
    let pings = 0;
    viewer.socket.on("ping", () => pings++);
    const peer = await RawPeer.open(rig.port);
    peer.read();
    await once(peer.socket, "close");
    expect(peer.frames.map(({ opcode }) => opcode)).toEqual([9]);
    await vi.waitFor(() => expect(rig.metric("clients_closed", "dead")).toBe(1));
    await vi.waitFor(() => expect(pings).toBeGreaterThan(4));
    rig.emit(numbered(0, 1));
    await untilReceived(viewer, 1);
    expect(rig.metric("clients")).toBe(1);
  });

  test("a fault on the way to one viewer ends its connection and no other", async () => {
    const rig = await startRig({
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
    const live = await Viewer.open(rig.url());
    rig.emit(numbered(0, 5));
    const [replay, search] = [
      new Viewer(rig.url("?replay=3")),
      new Viewer(rig.url("?replay=3&level=INFO")),
    ];
    expect(await replay.closed).toEqual({ code: 1011, reason: "internal error" });
    expect(await search.closed).toEqual({ code: 1011, reason: "internal error" });
    rig.emit(numbered(5, 5));
    await untilReceived(live, 10);
    expect(live.messages).toEqual(numbers(0, 10));
    expect(rig.metric("clients_closed", "failed")).toBe(2);
    expect(rig.lines.filter((line) => line.includes("memory is damaged"))).toHaveLength(2);
  });
});

test("a batch that cannot be read ends connections, and not the exporter", async () => {
  const rig = await startRig();
  const viewer = await Viewer.open(rig.url());
  const damaged = batchOf([{ body: "damaged" }]);
  Object.defineProperty(damaged, "frames", {
    value: () => {
      throw new Error("no frames");
    },
  });
  rig.deliver([damaged]);
  expect(await viewer.closed).toEqual({ code: 1011, reason: "internal error" });
  const later = await Viewer.open(rig.url());
  rig.emit(numbered(0, 1));
  await untilReceived(later, 1);
  expect(rig.metric("clients_closed", "failed")).toBe(1);
});
