/** The handshake, client messages and close frames of the subprotocol. */

import { once } from "node:events";
import { setImmediate as nextTurn } from "node:timers/promises";
import * as fc from "fast-check";
import { describe, expect, test, vi } from "vitest";
import { WebSocket } from "ws";
import {
  PagedJournal,
  RawPeer,
  emitMixed,
  numbered,
  numbers,
  startHarness,
} from "../../harness/websocket.ts";
import { SubprotocolClient } from "../../harness/subprotocol-client.ts";

describe("the handshake", () => {
  test.each(["tailgate.v1", "chat, tailgate.v1"])(
    "%s is answered with tailgate.v1",
    async (offer) => {
      const harness = await startHarness();
      const peer = await RawPeer.open(harness.port, "", `Sec-WebSocket-Protocol: ${offer}\r\n`);
      expect(peer.head).toMatch(/^Sec-WebSocket-Protocol: tailgate\.v1$/m);
      peer.socket.destroy();
    },
  );

  test("hello comes first, with the epoch and the limits", async () => {
    const harness = await startHarness({ options: { replay_max: 5 } });
    harness.emit(numbered(1, 3));
    const client = await SubprotocolClient.open(harness.url());
    expect(await client.until("hello")).toEqual({
      type: "hello",
      epoch: harness.journal.epoch,
      sequence: 3,
      durable: 3,
      version: 1,
      limits: { message_bytes: 65_536, filter_characters: 4_096, replay: 5, errors: 100 },
    });
  });

  test("nothing else is sent before a subscription, but the client is counted", async () => {
    const harness = await startHarness({ options: { max_connections: 1 } });
    const client = await SubprotocolClient.open(harness.url());
    await client.until("hello");
    expect([harness.metric("clients"), harness.metric("clients_subscribed")]).toEqual([1, 0]);
    harness.emit(numbered(1, 3));
    expect((await RawPeer.open(harness.port)).head).toMatch(/^HTTP\/1\.1 503 /);
    client.send({ type: "subscribe", replay: 2 });
    await client.untilSequence(3);
    expect(harness.metric("clients_subscribed")).toBe(1);
    expect(client.messages.map(({ type }) => type)).toEqual(["hello", "batch", "caught_up"]);
    expect(client.ledger.sequences).toEqual([2, 3]);
  });

  test("a URL with query parameters subscribes by itself", async () => {
    const harness = await startHarness();
    emitMixed(harness, 40);
    const client = await SubprotocolClient.open(harness.url("?type=audit_log&replay=2"));
    await client.until("caught_up");
    expect(client.ledger.sequences).toEqual([30, 40]);
    client.send({ type: "subscribe" });
    expect(await client.until("error")).toMatchObject({ code: "ALREADY_SUBSCRIBED" });
    const refused = await RawPeer.open(
      harness.port,
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
    const harness = await startHarness();
    const client = await SubprotocolClient.open(harness.url());
    client.send(text);
    expect(await client.until("error")).toEqual({
      type: "error",
      code,
      message: expect.stringMatching(message) as string,
    });
    client.send({ type: "subscribe" });
    await client.until("caught_up");
  });

  test("binary messages are rejected, and a hundred errors close the connection", async () => {
    const harness = await startHarness();
    const client = await SubprotocolClient.open(harness.url());
    for (let count = 0; count < 100; count++) client.socket.send(Buffer.from([count]));
    expect(await client.closed).toEqual({ code: 1008, reason: "100 invalid messages" });
    expect(client.all("error")).toHaveLength(100);
    expect(client.messages.at(-1)).toEqual({ type: "goodbye", reason: "misuse" });
    await vi.waitFor(() => expect(harness.metric("clients_closed", "misuse")).toBe(1));
  });

  test("a client that does not read the responses is not read either", async () => {
    const harness = await startHarness({ options: { stall_timeout_seconds: 1000 } });
    const client = await SubprotocolClient.subscribe(harness.url());
    client.socket.pause();
    while (harness.metric("clients_unsent_bytes") === 0) {
      emitMixed(harness, 10, 10, "x".repeat(50_000));
      await nextTurn();
    }
    const versions = 30_000;
    for (let version = 0; version < versions; version++) client.send({ type: "filter", version });
    let unsent = -1;
    while (unsent !== client.socket.bufferedAmount) {
      unsent = client.socket.bufferedAmount;
      for (let turn = 0; turn < 50; turn++) await nextTurn();
    }
    expect(harness.metric("clients_unsent_bytes")).toBeLessThanOrEqual(256 << 10);
    client.socket.resume();
    expect(await client.until("filter", versions)).toMatchObject({ version: versions - 1 });
  });

  test("no client message affects the gateway", async () => {
    const harness = await startHarness({ options: { max_connections: 10_000 } });
    const healthy = await SubprotocolClient.subscribe(harness.url());
    emitMixed(harness, 100);
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
          epoch: odd(harness.journal.epoch, ""),
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
        const client = await SubprotocolClient.open(harness.url());
        for (const one of texts) client.socket.send(one as string | Uint8Array);
        client.socket.ping();
        await once(client.socket, "pong");
        expect(client.socket.readyState).toBe(WebSocket.OPEN);
        client.socket.terminate();
      }),
      { numRuns: 300 },
    );
    emitMixed(harness, 10);
    await healthy.untilSequence(110);
    expect(healthy.ledger.sequences).toEqual(numbers(1, 110));
    expect(harness.lines).toEqual([]);
  });
});

describe("close frames", () => {
  test("when the gateway stops", async () => {
    const harness = await startHarness();
    const client = await SubprotocolClient.subscribe(harness.url());
    emitMixed(harness, 100);
    await harness.exporter.close!(AbortSignal.timeout(5000));
    expect(await client.closed).toEqual({ code: 1001, reason: "gateway is stopping" });
    expect(client.ledger.sequences).toEqual(numbers(1, 100));
    expect(client.messages.at(-1)).toEqual({ type: "goodbye", reason: "stopping" });
  });

  test("when the journal cannot be read", async () => {
    const harness = await startHarness({
      journal: (inner) => {
        const fixture = new PagedJournal(inner, 1);
        fixture.read = () => Promise.reject(new Error("the disk is damaged"));
        return fixture;
      },
    });
    emitMixed(harness, 10);
    const client = await SubprotocolClient.open(harness.url("?replay=5"));
    expect(await client.closed).toEqual({ code: 1011, reason: "internal error" });
    expect(client.messages.at(-1)).toEqual({ type: "goodbye", reason: "failed" });
    expect(harness.lines.filter((line) => line.includes("the disk is damaged"))).toHaveLength(1);
  });
});
