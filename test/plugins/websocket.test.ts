import { once } from "node:events";
import { batchOf, exporterContract } from "tailgate/testing";
import { describe, expect, test, vi } from "vitest";
import websocket from "../../plugins/websocket.ts";
import {
  LARGE,
  numberTexts,
  scope,
  twice,
  untilReceived,
  RawPeer,
  Client,
  websocketUrl,
  numbered,
  startHarness,
} from "../harness/websocket.ts";

describe("the exporter contract", () => {
  const cases = exporterContract(() => {
    let client: Client | undefined;
    return {
      definition: websocket,
      durable: false,
      connect: async (host) => {
        const connected = await Client.open(websocketUrl(host.url));
        client = connected;
        return async () => {
          await connected.settled();
          return connected.messages;
        };
      },
      disconnect: () => client?.socket.terminate(),
    };
  });
  test.each(cases)("$name", (contractCase) => contractCase.run());
});

describe("the live stream", () => {
  test("every client receives every envelope as one text frame, in order", async () => {
    const harness = await startHarness();
    const clients = await Promise.all(Array.from({ length: 10 }, () => Client.open(harness.url())));
    for (let from = 0; from < 1000; from += 40) harness.emit(numbered(from, 40));
    for (const client of clients) {
      await untilReceived(client, 1000);
      expect(client.messages).toEqual(numberTexts(0, 1000));
    }
    await vi.waitFor(() => expect(harness.metric("frames_sent")).toBe(10_000));
    expect(harness.metric("clients")).toBe(10);
    expect(harness.metric("clients_accepted")).toBe(10);
  });

  test("a frame is the envelope and nothing else", async () => {
    const harness = await startHarness();
    const client = await Client.open(harness.url());
    harness.emit([{ body: "Instance spawned", attributes: new Map([["instance_id", "abc123"]]) }]);
    await untilReceived(client, 1);
    expect(client.texts).toEqual([
      '{"type":"system_log","data":{"timestamp":"2025-10-13T09:27:24.339163Z","level":"INFO","logger":"orchestrator.server","message":"Instance spawned","module":"","function":"","line":0,"instance_id":"abc123"}}',
    ]);
  });

  test("clients with filters receive matching records, and others receive everything", async () => {
    const harness = await startHarness();
    const everything = await Client.open(harness.url());
    const audit = await Client.open(harness.url("?type=audit_log"));
    const warnings = await Client.open(harness.url("?level=WARNING"));
    const both = await Client.open(harness.url("?level=WARNING&logger=orchestrator.worker"));
    const text = await Client.open(harness.url("?q=%22needle%20here%22%20-level:ERROR"));
    const given = [
      { body: "1" },
      { body: "2", severityText: "WARNING" },
      { body: "3", scope: scope("orchestrator.audit") },
      { body: "4 Needle here", severityText: "ERROR", scope: scope("orchestrator.worker.pool") },
      { body: "5 Needle here" },
      { body: "6", severityText: "ERROR", scope: scope("orchestrator.workers") },
    ];
    for (const one of given) harness.emit([one]);
    harness.emit(given);
    await untilReceived(everything, 12);
    expect(everything.messages).toEqual(
      twice("1", "2", "3", "4 Needle here", "5 Needle here", "6"),
    );
    await untilReceived(warnings, 6);
    expect(audit.messages).toEqual(twice("3"));
    expect(warnings.messages).toEqual(twice("2", "4 Needle here", "6"));
    expect(both.messages).toEqual(twice("4 Needle here"));
    expect(text.messages).toEqual(twice("5 Needle here"));
  });

  test("text beyond ASCII, lone surrogates and a megabyte arrive as valid frames", async () => {
    const harness = await startHarness();
    const client = await Client.open(harness.url());
    const bodies = [
      "grüße 🌍 \u2028",
      "lone \ud800 surrogate",
      "\u0000\u001b[31m",
      "ü".repeat(1 << 20),
      "end",
    ];
    harness.emit(bodies.map((body) => ({ body })));
    await untilReceived(client, bodies.length);
    expect(client.messages).toEqual(bodies.map((body) => body.replace("\ud800", "\ufffd")));
  });

  test("records that delivery writes late arrive once and in order", async () => {
    const harness = await startHarness();
    const late = harness.append(numbered(0, 10));
    const client = await Client.open(harness.url("?replay=5"));
    harness.deliver(late);
    harness.emit(numbered(10, 10));
    await untilReceived(client, 15);
    harness.deliver(late);
    harness.emit([{ body: "end" }]);
    await untilReceived(client, 16);
    expect(client.messages).toEqual([...numberTexts(5, 15), "end"]);
  });

  test("a partly sent batch is completed", async () => {
    const harness = await startHarness();
    const [batch] = harness.append(numbered(0, 10));
    const client = await Client.open(harness.url("?replay=5"));
    await untilReceived(client, 5);
    const [more] = harness.append(numbered(10, 5));
    const whole = batchOf([...numbered(0, 10), ...numbered(10, 5)]);
    expect([batch!.firstSequence, more!.firstSequence, whole.sequence(14)]).toEqual([1, 11, 15]);
    harness.deliver([whole]);
    await untilReceived(client, 10);
    expect(client.messages).toEqual(numberTexts(5, 10));
  });

  test("records that delivery skips are skipped, and the stream continues", async () => {
    const harness = await startHarness();
    const client = await Client.open(harness.url());
    harness.append(numbered(0, 10));
    harness.emit(numbered(10, 10));
    harness.emit(numbered(20, 10));
    await untilReceived(client, 20);
    expect(client.messages).toEqual(numberTexts(10, 20));
  });

  test("the exporter's level also applies to records read from the journal", async () => {
    const harness = await startHarness({ level: "WARNING" });
    harness.emit([{ body: "old", severityText: "WARNING" }, { body: "no" }]);
    const client = await Client.open(harness.url("?replay=10"));
    await untilReceived(client, 1);
    harness.append([{ body: "no" }]);
    harness.emit([{ body: "new", severityText: "ERROR" }, { body: "no" }]);
    harness.emit([{ body: "end", severityText: "ERROR" }]);
    await untilReceived(client, 3);
    expect(client.messages).toEqual(["old", "new", "end"]);
  });

  test("messages from clients are ignored", async () => {
    const harness = await startHarness();
    const client = await Client.open(harness.url());
    client.socket.send("ping");
    client.socket.send(Buffer.alloc(64 << 10));
    client.socket.ping();
    await once(client.socket, "pong");
    harness.emit(numbered(0, 3));
    await untilReceived(client, 3);
    expect(client.messages).toEqual(numberTexts(0, 3));
  });
});

describe("before the upgrade", () => {
  test("connections beyond the maximum are rejected with 503, and accepted again after one has closed", async () => {
    const harness = await startHarness({ options: { max_connections: 2 } });
    const client = await Client.open(harness.url());
    await Client.open(harness.url());
    const refused = await RawPeer.open(harness.port);
    expect(refused.head).toMatch(/^HTTP\/1\.1 503 Service Unavailable\r\n/);
    expect(refused.body).toBe(
      "All 2 connections are in use. Close another client, or raise max_connections.\n",
    );
    expect(harness.metric("clients_refused", "full")).toBe(1);
    client.socket.close();
    await vi.waitFor(() => expect(harness.metric("clients")).toBe(1));
    expect(harness.metric("clients_closed", "closed")).toBe(1);
    await Client.open(harness.url());
  });

  test.each([
    ["?replay=-1", 'The query parameter replay must be a whole number, not "-1".'],
    ["?replay=ten", 'The query parameter replay must be a whole number, not "ten".'],
    [
      "?lvl=ERROR",
      'Unknown query parameter "lvl"; valid parameters are type, level, logger, q, replay.',
    ],
    ["?level=INFO&level=ERROR", "The query parameter level is given more than once."],
    [
      "?level=LOUD",
      'The filter term "level:LOUD" is invalid: the level must be one of DEBUG, INFO, WARNING, ERROR, CRITICAL. Valid terms are: text, "a phrase", -not, a OR b, (group), level:WARNING, type:audit, logger:NAME, field:value, field:>5, /regex/.',
    ],
  ])("%s is refused with 400 and the reason", async (query, text) => {
    const harness = await startHarness();
    const refused = await RawPeer.open(harness.port, query);
    expect(refused.head).toMatch(/^HTTP\/1\.1 400 Bad Request\r\n/);
    expect(refused.body).toBe(`${text}\n`);
    expect(harness.metric("clients_refused", "bad_request")).toBe(1);
    expect(harness.metric("clients")).toBe(0);
  });

  test("parameters without a value count as absent", async () => {
    const harness = await startHarness();
    const client = await Client.open(harness.url("?type=&level=&logger=&q=&replay="));
    harness.emit(numbered(0, 1));
    await untilReceived(client, 1);
    expect(client.messages).toEqual(["0"]);
  });

  test("offered subprotocols and extensions are not selected", async () => {
    const harness = await startHarness();
    const offers =
      "Sec-WebSocket-Protocol: chat, log\r\nSec-WebSocket-Extensions: permessage-deflate\r\n";
    const peer = await RawPeer.open(harness.port, "", offers);
    expect(peer.head).toMatch(/^HTTP\/1\.1 101 Switching Protocols\r\n/);
    expect(peer.head).not.toMatch(/sec-websocket-(protocol|extensions)/i);
    peer.socket.destroy();
  });
});

describe("closing", () => {
  test("clients receive all written records and a close frame, and later ones are rejected", async () => {
    const harness = await startHarness();
    const clients = await Promise.all([Client.open(harness.url()), Client.open(harness.url())]);
    harness.emit(numbered(0, 100));
    await harness.exporter.close!(AbortSignal.timeout(5000));
    for (const client of clients) {
      expect(await client.closed).toEqual({ code: 1001, reason: "gateway is stopping" });
      expect(client.messages).toEqual(numberTexts(0, 100));
    }
    expect(harness.metric("clients_closed", "stopping")).toBe(2);
    const refused = await RawPeer.open(harness.port);
    expect(refused.head).toMatch(/^HTTP\/1\.1 503 /);
    expect(refused.body).toBe("The gateway is stopping.\n");
  });

  test("a client that does not answer the close frame is disconnected after the timeout", async () => {
    const harness = await startHarness();
    const peer = await RawPeer.open(harness.port);
    harness.emit(Array.from({ length: 200 }, () => ({ body: LARGE })));
    await harness.exporter.close!(AbortSignal.timeout(50));
    expect(harness.metric("records_missed", "stopping")).toBeGreaterThan(0);
    await vi.waitFor(() => expect(harness.metric("clients_closed", "stopping")).toBe(1));
    peer.socket.destroy();
  });
});
