import { once } from "node:events";
import { batchOf, exporterContract } from "tailgate/testing";
import { describe, expect, test, vi } from "vitest";
import websocket from "../../plugins/websocket.ts";
import { LARGE, numbers, scope, twice, untilReceived } from "../harness/plain-clients.ts";
import { RawPeer, Viewer, viewerUrl } from "../harness/websocket.ts";
import { numbered, startRig } from "../harness/websocket-tests.ts";

describe("the contract of all exporters", () => {
  const cases = exporterContract(() => {
    let viewer: Viewer | undefined;
    return {
      definition: websocket,
      durable: false,
      connect: async (host) => {
        const connected = await Viewer.open(viewerUrl(host.url));
        viewer = connected;
        return async () => {
          await connected.settled();
          return connected.messages;
        };
      },
      disconnect: () => viewer?.socket.terminate(),
    };
  });
  test.each(cases)("$name", (contractCase) => contractCase.run());
});

describe("the live stream", () => {
  test("every viewer gets every envelope as one text frame, in order", async () => {
    const rig = await startRig();
    const viewers = await Promise.all(Array.from({ length: 10 }, () => Viewer.open(rig.url())));
    for (let from = 0; from < 1000; from += 40) rig.emit(numbered(from, 40));
    for (const viewer of viewers) {
      await untilReceived(viewer, 1000);
      expect(viewer.messages).toEqual(numbers(0, 1000));
    }
    await vi.waitFor(() => expect(rig.metric("frames_sent")).toBe(10_000));
    expect(rig.metric("clients")).toBe(10);
    expect(rig.metric("clients_accepted")).toBe(10);
  });

  test("a frame is the envelope and nothing else", async () => {
    const rig = await startRig();
    const viewer = await Viewer.open(rig.url());
    rig.emit([{ body: "Instance spawned", attributes: new Map([["instance_id", "abc123"]]) }]);
    await untilReceived(viewer, 1);
    expect(viewer.texts).toEqual([
      '{"type":"system_log","data":{"timestamp":"2025-10-13T09:27:24.339163Z","level":"INFO","logger":"orchestrator.server","message":"Instance spawned","module":"","function":"","line":0,"instance_id":"abc123"}}',
    ]);
  });

  test("viewers with filters get what matches, beside others that get everything", async () => {
    const rig = await startRig();
    const everything = await Viewer.open(rig.url());
    const audit = await Viewer.open(rig.url("?type=audit_log"));
    const warnings = await Viewer.open(rig.url("?level=WARNING"));
    const both = await Viewer.open(rig.url("?level=WARNING&logger=orchestrator.worker"));
    const text = await Viewer.open(rig.url("?q=%22needle%20here%22%20-level:ERROR"));
    const given = [
      { body: "1" },
      { body: "2", severityText: "WARNING" },
      { body: "3", scope: scope("orchestrator.audit") },
      { body: "4 Needle here", severityText: "ERROR", scope: scope("orchestrator.worker.pool") },
      { body: "5 Needle here" },
      { body: "6", severityText: "ERROR", scope: scope("orchestrator.workers") },
    ];
    for (const one of given) rig.emit([one]);
    rig.emit(given);
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
    const rig = await startRig();
    const viewer = await Viewer.open(rig.url());
    const bodies = [
      "grüße 🌍 \u2028",
      "lone \ud800 surrogate",
      "\u0000\u001b[31m",
      "ü".repeat(1 << 20),
      "end",
    ];
    rig.emit(bodies.map((body) => ({ body })));
    await untilReceived(viewer, bodies.length);
    expect(viewer.messages).toEqual(bodies.map((body) => body.replace("\ud800", "\ufffd")));
  });

  test("what delivery brings late comes once and in order", async () => {
    const rig = await startRig();
    const late = rig.append(numbered(0, 10));
    const viewer = await Viewer.open(rig.url("?replay=5"));
    rig.deliver(late);
    rig.emit(numbered(10, 10));
    await untilReceived(viewer, 15);
    rig.deliver(late);
    rig.emit([{ body: "end" }]);
    await untilReceived(viewer, 16);
    expect(viewer.messages).toEqual([...numbers(5, 15), "end"]);
  });

  test("of a batch that was sent in part the rest comes", async () => {
    const rig = await startRig();
    const [batch] = rig.append(numbered(0, 10));
    const viewer = await Viewer.open(rig.url("?replay=5"));
    await untilReceived(viewer, 5);
    const [more] = rig.append(numbered(10, 5));
    const whole = batchOf([...numbered(0, 10), ...numbered(10, 5)]);
    expect([batch!.firstSequence, more!.firstSequence, whole.sequence(14)]).toEqual([1, 11, 15]);
    rig.deliver([whole]);
    await untilReceived(viewer, 10);
    expect(viewer.messages).toEqual(numbers(5, 10));
  });

  test("what delivery leaves out is left out, and the stream goes on", async () => {
    const rig = await startRig();
    const viewer = await Viewer.open(rig.url());
    rig.append(numbered(0, 10));
    rig.emit(numbered(10, 10));
    rig.emit(numbered(20, 10));
    await untilReceived(viewer, 20);
    expect(viewer.messages).toEqual(numbers(10, 20));
  });

  test("the exporter's own level holds for what is read from the journal too", async () => {
    const rig = await startRig({ level: "WARNING" });
    rig.emit([{ body: "old", severityText: "WARNING" }, { body: "no" }]);
    const viewer = await Viewer.open(rig.url("?replay=10"));
    await untilReceived(viewer, 1);
    rig.append([{ body: "no" }]);
    rig.emit([{ body: "new", severityText: "ERROR" }, { body: "no" }]);
    rig.emit([{ body: "end", severityText: "ERROR" }]);
    await untilReceived(viewer, 3);
    expect(viewer.messages).toEqual(["old", "new", "end"]);
  });

  test("what viewers send is ignored", async () => {
    const rig = await startRig();
    const viewer = await Viewer.open(rig.url());
    viewer.socket.send("ping");
    viewer.socket.send(Buffer.alloc(64 << 10));
    viewer.socket.ping();
    await once(viewer.socket, "pong");
    rig.emit(numbered(0, 3));
    await untilReceived(viewer, 3);
    expect(viewer.messages).toEqual(numbers(0, 3));
  });
});

describe("before the upgrade", () => {
  test("connections beyond the maximum are refused with 503, and taken again when one has ended", async () => {
    const rig = await startRig({ options: { max_connections: 2 } });
    const viewer = await Viewer.open(rig.url());
    await Viewer.open(rig.url());
    const refused = await RawPeer.open(rig.port);
    expect(refused.head).toMatch(/^HTTP\/1\.1 503 Service Unavailable\r\n/);
    expect(refused.body).toBe(
      "All 2 connections are in use. Close another client, or raise max_connections.\n",
    );
    expect(rig.metric("clients_refused", "full")).toBe(1);
    viewer.socket.close();
    await vi.waitFor(() => expect(rig.metric("clients")).toBe(1));
    expect(rig.metric("clients_closed", "closed")).toBe(1);
    await Viewer.open(rig.url());
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
      'The filter term "level:LOUD" is invalid: the level must be one of DEBUG, INFO, WARNING, ERROR, CRITICAL. Valid terms are: text, "a phrase", -not, level:WARNING, type:audit, logger:NAME, action:NAME, field:value.',
    ],
  ])("%s is refused with 400 and the reason", async (query, text) => {
    const rig = await startRig();
    const refused = await RawPeer.open(rig.port, query);
    expect(refused.head).toMatch(/^HTTP\/1\.1 400 Bad Request\r\n/);
    expect(refused.body).toBe(`${text}\n`);
    expect(rig.metric("clients_refused", "bad_request")).toBe(1);
    expect(rig.metric("clients")).toBe(0);
  });

  test("parameters without a value count as absent", async () => {
    const rig = await startRig();
    const viewer = await Viewer.open(rig.url("?type=&level=&logger=&q=&replay="));
    rig.emit(numbered(0, 1));
    await untilReceived(viewer, 1);
    expect(viewer.messages).toEqual(["0"]);
  });

  test("subprotocols and extensions that are offered are not selected", async () => {
    const rig = await startRig();
    const offers =
      "Sec-WebSocket-Protocol: chat, log\r\nSec-WebSocket-Extensions: permessage-deflate\r\n";
    const peer = await RawPeer.open(rig.port, "", offers);
    expect(peer.head).toMatch(/^HTTP\/1\.1 101 Switching Protocols\r\n/);
    expect(peer.head).not.toMatch(/sec-websocket-(protocol|extensions)/i);
    peer.socket.destroy();
  });
});

describe("closing", () => {
  test("viewers get what was written and a goodbye, and later ones are refused", async () => {
    const rig = await startRig();
    const viewers = await Promise.all([Viewer.open(rig.url()), Viewer.open(rig.url())]);
    rig.emit(numbered(0, 100));
    await rig.exporter.close!(AbortSignal.timeout(5000));
    for (const viewer of viewers) {
      expect(await viewer.closed).toEqual({ code: 1001, reason: "gateway is stopping" });
      expect(viewer.messages).toEqual(numbers(0, 100));
    }
    expect(rig.metric("clients_closed", "stopping")).toBe(2);
    const refused = await RawPeer.open(rig.port);
    expect(refused.head).toMatch(/^HTTP\/1\.1 503 /);
    expect(refused.body).toBe("The gateway is stopping.\n");
  });

  test("a viewer that does not answer the goodbye is cut off when the time is over", async () => {
    const rig = await startRig();
    const peer = await RawPeer.open(rig.port);
    rig.emit(Array.from({ length: 200 }, () => ({ body: LARGE })));
    await rig.exporter.close!(AbortSignal.timeout(50));
    expect(rig.metric("records_missed", "stopping")).toBeGreaterThan(0);
    await vi.waitFor(() => expect(rig.metric("clients_closed", "stopping")).toBe(1));
    peer.socket.destroy();
  });
});
