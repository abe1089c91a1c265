import { once } from "node:events";
import * as fc from "fast-check";
import { batchOf, exporterContract } from "tailgate/testing";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import websocket from "../../plugins/websocket.ts";
import type { LogRecord } from "../../src/plugin.ts";
import { RawPeer, Rig, Viewer, viewerUrl, type RigOptions } from "./websocket/rig.ts";

async function startRig(options?: RigOptions): Promise<Rig> {
  const rig = await Rig.start(options);
  onTestFinished(() => rig.close());
  return rig;
}

function numbered(
  from: number,
  count: number,
  given: Partial<LogRecord> = {},
): Partial<LogRecord>[] {
  return Array.from({ length: count }, (_, offset) => ({ body: `${from + offset}`, ...given }));
}

function numbers(from: number, count: number): string[] {
  return Array.from({ length: count }, (_, offset) => `${from + offset}`);
}

function scope(name: string): LogRecord["scope"] {
  return { name, version: "", attributes: new Map() };
}

function twice(...messages: string[]): string[] {
  return [...messages, ...messages];
}

/** The numbers before the padding. */
function firstWords(messages: readonly string[]): string[] {
  return messages.map((message) => message.split(" ")[0]!);
}

async function untilReceived(viewer: Viewer, count: number): Promise<void> {
  await vi.waitFor(() => expect(viewer.texts.length).toBeGreaterThanOrEqual(count), 10_000);
}

const LARGE = "x".repeat(60_000);

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

describe("replay", () => {
  test("the newest N come first, oldest first, then the live stream", async () => {
    const rig = await startRig();
    rig.emit(numbered(0, 50));
    rig.emit(numbered(50, 50));
    const viewer = await Viewer.open(rig.url("?replay=60"));
    rig.emit(numbered(100, 10));
    await untilReceived(viewer, 70);
    expect(viewer.messages).toEqual(numbers(40, 70));
  });

  test("with fewer than N records all of them come", async () => {
    const rig = await startRig();
    rig.emit(numbered(0, 5));
    const viewer = await Viewer.open(rig.url("?replay=1000"));
    rig.emit(numbered(5, 1));
    await untilReceived(viewer, 6);
    expect(viewer.messages).toEqual(numbers(0, 6));
  });

  test("who asks for more than may be replayed gets as many as may", async () => {
    const rig = await startRig();
    for (let from = 0; from < 1500; from += 500) rig.emit(numbered(from, 500));
    const viewer = await Viewer.open(rig.url("?replay=5000"));
    rig.emit([{ body: "live" }]);
    await untilReceived(viewer, 1001);
    expect(viewer.messages).toEqual([...numbers(500, 1000), "live"]);
  });

  test("N counts the records that match, however far back they are", async () => {
    const rig = await startRig();
    for (let from = 0; from < 10_000; from += 500) {
      rig.emit([...numbered(from, 499), { body: `${from + 499}`, severityText: "ERROR" }]);
    }
    const viewer = await Viewer.open(rig.url("?replay=7&q=level:ERROR"));
    await untilReceived(viewer, 7);
    rig.emit([{ body: "no" }, { body: "live", severityText: "CRITICAL" }]);
    await untilReceived(viewer, 8);
    const found = Array.from({ length: 7 }, (_, offset) => `${6999 + 500 * offset}`);
    expect(viewer.messages).toEqual([...found, "live"]);
  });

  test("where nothing matches the live stream begins", async () => {
    const rig = await startRig();
    rig.emit(numbered(0, 3000));
    const viewer = await Viewer.open(rig.url("?replay=5&level=ERROR"));
    rig.emit([{ body: "live", severityText: "ERROR" }]);
    await untilReceived(viewer, 1);
    expect(viewer.messages).toEqual(["live"]);
  });

  test("on an empty journal the live stream begins", async () => {
    const rig = await startRig();
    const viewer = await Viewer.open(rig.url("?replay=5"));
    rig.emit(numbered(0, 2));
    await untilReceived(viewer, 2);
    expect(viewer.messages).toEqual(numbers(0, 2));
  });

  test("history larger than all buffers arrives whole", async () => {
    const rig = await startRig();
    for (let index = 0; index < 300; index++) rig.emit([{ body: `${index} ${LARGE}` }]);
    const viewer = await Viewer.open(rig.url("?replay=300"));
    rig.emit([{ body: "live" }]);
    await untilReceived(viewer, 301);
    expect(firstWords(viewer.messages)).toEqual([...numbers(0, 300), "live"]);
  });

  test("history and live records come without a hole or a repeat, however they interleave", async () => {
    const step = fc.oneof(
      {
        weight: 4,
        arbitrary: fc.record({
          do: fc.constant("append"),
          count: fc.integer({ min: 1, max: 700 }),
        }),
      },
      { weight: 3, arbitrary: fc.record({ do: fc.constant("deliver") }) },
      { weight: 2, arbitrary: fc.record({ do: fc.constant("turn") }) },
      {
        weight: 2,
        arbitrary: fc.record({
          do: fc.constant("connect"),
          replay: fc.integer({ min: 0, max: 1000 }),
          query: fc.constantFrom("", "&level=ERROR", "&q=77"),
          wait: fc.boolean(),
        }),
      },
    );
    await fc.assert(fc.asyncProperty(fc.array(step, { maxLength: 40 }), interleaved), {
      numRuns: 60,
    });
  });
});

type Step =
  | { readonly do: "append"; readonly count: number }
  | { readonly do: "deliver" | "turn" }
  | {
      readonly do: "connect";
      readonly replay: number;
      readonly query: string;
      readonly wait: boolean;
    };

/** Runs the steps and compares what each viewer got with what it could have got, given when it came. */
async function interleaved(steps: readonly { readonly do: string }[]): Promise<void> {
  await using rig = await Rig.start();
  const undelivered: ReturnType<Rig["append"]>[] = [];
  const viewers: { viewer: Viewer; step: Step & { do: "connect" }; from: number; to: number }[] =
    [];
  const opening: Promise<unknown>[] = [];
  for (const step of [...steps, { do: "settle" }] as (Step | { do: "settle" })[]) {
    if (step.do === "append") {
      undelivered.push(rig.append(sevenths(rig.journal.newest + 1, step.count)));
    } else if (step.do === "deliver") {
      rig.deliver(undelivered.shift() ?? []);
    } else if (step.do === "turn") {
      await new Promise((resolve) => setImmediate(resolve));
    } else if (step.do === "connect") {
      const entry = {
        viewer: new Viewer(rig.url(`?replay=${step.replay}${step.query}`)),
        step,
        from: rig.journal.newest,
        to: 0,
      };
      viewers.push(entry);
      const open = once(entry.viewer.socket, "open");
      entry.viewer.socket.once("open", () => {
        entry.to = rig.journal.newest;
      });
      opening.push(open);
      if (step.wait) await open;
    } else {
      await Promise.all(opening);
      for (const batches of undelivered) rig.deliver(batches);
      rig.emit([{ body: "end 77", severityText: "ERROR" }]);
    }
  }
  const newest = rig.journal.newest - 1;
  for (const { viewer, step, from, to } of viewers) {
    await vi.waitFor(() => expect(viewer.messages.at(-1)).toBe("end 77"));
    const possible = Array.from({ length: to - from + 1 }, (_, offset) =>
      [...expectedMessages(from + offset, newest, step), "end 77"].join(" "),
    );
    expect(possible).toContain(viewer.messages.join(" "));
  }
}

/** Every seventh is an ERROR. */
function sevenths(from: number, count: number): Partial<LogRecord>[] {
  return Array.from({ length: count }, (_, offset) => ({
    body: `${from + offset}`,
    severityText: (from + offset) % 7 === 0 ? "ERROR" : "INFO",
  }));
}

/** What a viewer gets that was admitted when `admitted` was the newest sequence. */
function expectedMessages(
  admitted: number,
  newest: number,
  { replay, query }: { replay: number; query: string },
): string[] {
  const matching = numbers(1, newest).filter((number) => {
    if (query === "&level=ERROR") return Number(number) % 7 === 0;
    return query === "" || number.includes("77");
  });
  const history = matching.filter((number) => Number(number) <= admitted);
  const live = matching.filter((number) => Number(number) > admitted);
  return [...(replay === 0 ? [] : history.slice(-replay)), ...live];
}

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

describe("before the upgrade", () => {
  test("connections beyond the maximum are refused with 503, and taken again when one has ended", async () => {
    const rig = await startRig({ options: { max_connections: 2 } });
    const viewer = await Viewer.open(rig.url());
    await Viewer.open(rig.url());
    const refused = await RawPeer.open(rig.port);
    expect(refused.head).toMatch(/^HTTP\/1\.1 503 Service Unavailable\r\n/);
    expect(refused.body).toBe(
      "All 2 connections are taken. Close another viewer, or raise max_connections.\n",
    );
    expect(rig.metric("clients_refused", "full")).toBe(1);
    viewer.socket.close();
    await vi.waitFor(() => expect(rig.metric("clients")).toBe(1));
    expect(rig.metric("clients_closed", "closed")).toBe(1);
    await Viewer.open(rig.url());
  });

  test.each([
    ["?replay=-1", 'The query parameter replay is a whole number, not "-1".'],
    ["?replay=ten", 'The query parameter replay is a whole number, not "ten".'],
    [
      "?lvl=ERROR",
      'The query parameter "lvl" is not known; those known are type, level, logger, q, replay.',
    ],
    ["?level=INFO&level=ERROR", "The query parameter level is given more than once."],
    [
      "?level=LOUD",
      'The filter term "level:LOUD" is not understood: the level is one of DEBUG, INFO, WARNING, ERROR, CRITICAL. Terms are: text, "a phrase", -not, level:WARNING, type:audit, logger:NAME, action:NAME, field:value.',
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
