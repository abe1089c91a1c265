/** What is said at the beginning, at the end, and by the viewer. */

import { once } from "node:events";
import { setImmediate as nextTurn } from "node:timers/promises";
import * as fc from "fast-check";
import { describe, expect, test, vi } from "vitest";
import { WebSocket } from "ws";
import { JournalStage } from "../../harness/paged-journal.ts";
import { RawPeer } from "../../harness/websocket.ts";
import { emitMixed, numbered, numbers, startRig } from "../../harness/websocket-tests.ts";
import { SubprotocolViewer } from "./subprotocol-viewer.ts";

describe("the handshake", () => {
  test.each(["tailgate.v1", "chat, tailgate.v1"])(
    "%s is answered with tailgate.v1",
    async (offer) => {
      const rig = await startRig();
      const peer = await RawPeer.open(rig.port, "", `Sec-WebSocket-Protocol: ${offer}\r\n`);
      expect(peer.head).toMatch(/^Sec-WebSocket-Protocol: tailgate\.v1$/m);
      peer.socket.destroy();
    },
  );

  test("hello comes first, with the numbering and the limits", async () => {
    const rig = await startRig({ options: { replay_max: 5 } });
    rig.emit(numbered(1, 3));
    const viewer = await SubprotocolViewer.open(rig.url());
    expect(await viewer.until("hello")).toEqual({
      type: "hello",
      epoch: rig.journal.epoch,
      sequence: 3,
      durable: 3,
      version: 1,
      limits: { message_bytes: 65_536, filter_characters: 4_096, replay: 5, errors: 100 },
    });
  });

  test("nothing else comes before a subscription, and it counts as a viewer", async () => {
    const rig = await startRig({ options: { max_connections: 1 } });
    const viewer = await SubprotocolViewer.open(rig.url());
    await viewer.until("hello");
    expect([rig.metric("clients"), rig.metric("clients_subscribed")]).toEqual([1, 0]);
    rig.emit(numbered(1, 3));
    expect((await RawPeer.open(rig.port)).head).toMatch(/^HTTP\/1\.1 503 /);
    viewer.say({ type: "subscribe", replay: 2 });
    await viewer.at(3);
    expect(rig.metric("clients_subscribed")).toBe(1);
    expect(viewer.messages.map(({ type }) => type)).toEqual(["hello", "batch", "caught_up"]);
    expect(viewer.ledger.sequences).toEqual([2, 3]);
  });

  test("an address that asks for something subscribes by itself", async () => {
    const rig = await startRig();
    emitMixed(rig, 40);
    const viewer = await SubprotocolViewer.open(rig.url("?type=audit_log&replay=2"));
    await viewer.until("caught_up");
    expect(viewer.ledger.sequences).toEqual([30, 40]);
    viewer.say({ type: "subscribe" });
    expect(await viewer.until("error")).toMatchObject({ code: "ALREADY_SUBSCRIBED" });
    const refused = await RawPeer.open(
      rig.port,
      "?since=1",
      "Sec-WebSocket-Protocol: tailgate.v1\r\n",
    );
    expect(refused.head).toMatch(/^HTTP\/1\.1 400 /);
  });
});

describe("messages", () => {
  test.each([
    ["no JSON", "MESSAGE_INVALID", /^Invalid JSON: /],
    ["[]", "MESSAGE_INVALID", /^Expected an object whose type is/],
    [
      '{"type":"hello"}',
      "MESSAGE_INVALID",
      /^type: Expected an object whose type is "subscribe" or "filter"\.$/,
    ],
    ['{"type":"subscribe","replay":-1}', "MESSAGE_INVALID", /^replay: /],
    [
      '{"type":"subscribe","replay":1,"since":2}',
      "MESSAGE_INVALID",
      /^Use only one of replay and since to say where to start\.$/,
    ],
    [
      '{"type":"subscribe","since":"yesterday"}',
      "MESSAGE_INVALID",
      /^since: Expected ISO 8601 with a time zone/,
    ],
    ['{"type":"subscribe","level":"ERROR"}', "MESSAGE_INVALID", /Unrecognized key: "level"/],
    ['{"type":"subscribe","resume":{"epoch":"x"}}', "MESSAGE_INVALID", /^resume\.sequence: /],
    ['{"type":"filter","filter":{}}', "MESSAGE_INVALID", /^version: /],
    ['{"type":"filter","version":1}', "NOT_SUBSCRIBED", /^There is no subscription yet\.$/],
    [
      '{"type":"subscribe","filter":{"type":"log"}}',
      "FILTER_INVALID",
      /^The filter term "type:log"/,
    ],
  ])("%s is answered with an error, and the connection stays", async (text, code, message) => {
    const rig = await startRig();
    const viewer = await SubprotocolViewer.open(rig.url());
    viewer.say(text);
    expect(await viewer.until("error")).toEqual({
      type: "error",
      code,
      message: expect.stringMatching(message) as string,
    });
    viewer.say({ type: "subscribe" });
    await viewer.until("caught_up");
  });

  test("binary messages are refused, and after a hundred errors there is a goodbye", async () => {
    const rig = await startRig();
    const viewer = await SubprotocolViewer.open(rig.url());
    for (let count = 0; count < 100; count++) viewer.socket.send(Buffer.from([count]));
    expect(await viewer.closed).toEqual({ code: 1008, reason: "100 invalid messages" });
    expect(viewer.all("error")).toHaveLength(100);
    expect(viewer.messages.at(-1)).toEqual({ type: "goodbye", reason: "misuse" });
    await vi.waitFor(() => expect(rig.metric("clients_closed", "misuse")).toBe(1));
  });

  test("who does not read the answers is not read either", async () => {
    const rig = await startRig({ options: { stall_timeout_seconds: 1000 } });
    const viewer = await SubprotocolViewer.subscribe(rig.url());
    viewer.socket.pause();
    while (rig.metric("clients_unsent_bytes") === 0) {
      emitMixed(rig, 10, 10, "x".repeat(50_000));
      await nextTurn();
    }
    const versions = 30_000;
    for (let version = 0; version < versions; version++) viewer.say({ type: "filter", version });
    let unsent = -1;
    while (unsent !== viewer.socket.bufferedAmount) {
      unsent = viewer.socket.bufferedAmount;
      for (let turn = 0; turn < 50; turn++) await nextTurn();
    }
    expect(rig.metric("clients_unsent_bytes")).toBeLessThanOrEqual(256 << 10);
    viewer.socket.resume();
    expect(await viewer.until("filter", versions)).toMatchObject({ version: versions - 1 });
  });

  test("nothing that a viewer sends disturbs the gateway", async () => {
    const rig = await startRig({ options: { max_connections: 10_000 } });
    const healthy = await SubprotocolViewer.subscribe(rig.url());
    emitMixed(rig, 100);
    const anything = fc.jsonValue({ maxDepth: 4 });
    const record = (fields: Record<string, fc.Arbitrary<unknown>>): fc.Arbitrary<unknown> =>
      fc.record(fields, { requiredKeys: [] });
    const odd = (...good: unknown[]): fc.Arbitrary<unknown> =>
      fc.oneof(fc.constantFrom(...good), anything);
    const filter = record({
      type: odd("audit"),
      level: odd("INFO"),
      logger: odd("x"),
      q: odd('-"a" b:c', '"'),
    });
    const message = record({
      type: odd("subscribe", "filter"),
      filter: fc.oneof(filter, anything),
      version: odd(1, 2 ** 53, -1),
      replay: odd(0, 5, 1e300),
      since: odd("2025-01-01T00:00:00Z", 0, "x"),
      resume: fc.oneof(
        record({
          epoch: odd(rig.journal.epoch, ""),
          sequence: odd(0, 50, 2 ** 53 - 1),
          durable: odd(0, 7),
        }),
        anything,
      ),
    });
    const text = fc.oneof(
      { weight: 5, arbitrary: message.map((value) => JSON.stringify(value)) },
      { weight: 1, arbitrary: fc.string() },
      { weight: 1, arbitrary: fc.nat(30_000).map((depth) => "[".repeat(depth)) },
      { weight: 1, arbitrary: fc.uint8Array() },
    );
    await fc.assert(
      fc.asyncProperty(fc.array(text, { maxLength: 12 }), async (texts) => {
        const viewer = await SubprotocolViewer.open(rig.url());
        for (const one of texts) viewer.socket.send(one as string | Uint8Array);
        viewer.socket.ping();
        await once(viewer.socket, "pong");
        expect(viewer.socket.readyState).toBe(WebSocket.OPEN);
        viewer.socket.terminate();
      }),
      { numRuns: 300 },
    );
    emitMixed(rig, 10);
    await healthy.at(110);
    expect(healthy.ledger.sequences).toEqual(numbers(1, 110));
    expect(rig.lines).toEqual([]);
  });
});

describe("goodbyes", () => {
  test("when the gateway stops", async () => {
    const rig = await startRig();
    const viewer = await SubprotocolViewer.subscribe(rig.url());
    emitMixed(rig, 100);
    await rig.exporter.close!(AbortSignal.timeout(5000));
    expect(await viewer.closed).toEqual({ code: 1001, reason: "gateway is stopping" });
    expect(viewer.ledger.sequences).toEqual(numbers(1, 100));
    expect(viewer.messages.at(-1)).toEqual({ type: "goodbye", reason: "stopping" });
  });

  test("when the journal cannot be read", async () => {
    const rig = await startRig({
      journal: (inner) => {
        const stage = new JournalStage(inner, 1);
        stage.read = () => Promise.reject(new Error("the disk is damaged"));
        return stage;
      },
    });
    emitMixed(rig, 10);
    const viewer = await SubprotocolViewer.open(rig.url("?replay=5"));
    expect(await viewer.closed).toEqual({ code: 1011, reason: "internal error" });
    expect(viewer.messages.at(-1)).toEqual({ type: "goodbye", reason: "failed" });
    expect(rig.lines.filter((line) => line.includes("the disk is damaged"))).toHaveLength(1);
  });
});
