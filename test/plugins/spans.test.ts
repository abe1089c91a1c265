import { batchOf, exporterContract, testHost, type TestHost } from "tailgate/testing";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import spans from "../../plugins/spans.ts";
import type { Batch, Exporter, ExporterDefinition, LogRecord } from "tailgate/plugin";
import { Sending } from "./otlp/sending.ts";
import { auditEvent, nanosAt, valueMap } from "./spans/events.ts";
import { answer, TracePeer, type Behaviour } from "./spans/trace-peer.ts";
import type { ArrivedSpan } from "./spans/trace-schema.ts";

const NEVER = new AbortController().signal;

const TRACE = "0af7651916cd43dd8448eb211c80319c";
const OTHER_TRACE = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN = "b7ad6b7169203331";

beforeEach(() => {
  for (const name of Object.keys(process.env)) {
    if (name.startsWith("OTEL_")) vi.stubEnv(name, undefined);
  }
});
afterEach(() => {
  vi.unstubAllEnvs();
});

interface Shown {
  readonly spans: readonly ArrivedSpan[];
  readonly lines: readonly string[];
}

/** Returns the spans exported for these records, written together, until the exporter is closed. */
async function shown(
  records: readonly Partial<LogRecord>[],
  options?: Readonly<Record<string, unknown>>,
): Promise<Shown> {
  return shownOf([records], options);
}

async function shownOf(
  batches: readonly (readonly Partial<LogRecord>[])[],
  options: Readonly<Record<string, unknown>> = {},
): Promise<Shown> {
  await using peer = await TracePeer.open();
  const all = { endpoint: peer.url, ...options };
  const sending = await Sending.open(all, { definition: spans });
  try {
    for (const records of batches) await sending.log(...records);
    await sending.delivery.close(AbortSignal.timeout(10_000));
    return { spans: peer.spans, lines: sending.host.lines };
  } finally {
    await sending.host.close();
  }
}

async function only(
  records: readonly Partial<LogRecord>[],
  options?: Readonly<Record<string, unknown>>,
): Promise<ArrivedSpan> {
  const { spans: all } = await shown(records, options);
  expect(all).toHaveLength(1);
  return all[0]!;
}

function named(all: readonly ArrivedSpan[], name: string): ArrivedSpan {
  const found = all.filter((span) => span.name === name);
  expect(found).toHaveLength(1);
  return found[0]!;
}

const spawn = (atMs: number, id = "a", details = {}, more: Partial<LogRecord> = {}) =>
  auditEvent(atMs, "instance_spawn", id, { role: "architect", ...details }, more);

const terminate = (atMs: number, id = "a", details = {}, more: Partial<LogRecord> = {}) =>
  auditEvent(atMs, "instance_terminate", id, details, more);

/** For the contract's records, which name no instance: each one is a message exchange. */
function asExchanges(batch: Batch): Batch {
  const records = Array.from({ length: batch.length }, (_, index) =>
    auditEvent(0, "message_exchange", "a", { text: batch.envelope(index).data.message }),
  );
  return batchOf(records, { firstSequence: batch.sequence(0) });
}

describe("spans fulfills the exporter contract", () => {
  let peer: TracePeer;
  beforeEach(async () => {
    peer = await TracePeer.open();
  });
  afterEach(() => peer[Symbol.asyncDispose]());
  const definition: ExporterDefinition = {
    ...spans,
    open: async (given, host) => {
      const exporter = await spans.open(spans.options.parse(given), host);
      return {
        write: (batch, signal) => exporter.write(asExchanges(batch), signal),
        close: (signal) => exporter.close?.(signal),
      };
    },
  };
  const cases = exporterContract(() => ({
    definition,
    options: { endpoint: peer.url },
    durable: true,
    connect: async () => () =>
      peer.named("message_exchange").map(({ attributes }) => attributes["text"] as string),
  }));
  test.each(cases)("$name", (given) => given.run());
});

describe("an instance's life", () => {
  test("is a span from spawn to end, in its own trace", async () => {
    const span = await only([
      spawn(0, "a", {
        instance_id: "b",
        model: "general-4",
        limits: { memory_mb: 512, tools: ["x"] },
        none: null,
      }),
      terminate(2500, "a", {
        outcome: "completed",
        total_tokens: 1234,
        total_cost: 0.05,
        force: false,
      }),
    ]);
    expect(span).toMatchObject({
      name: "instance architect",
      service: "orchestrator",
      scope: "tailgate.spans",
      parentSpanId: "",
      startNanos: nanosAt(0),
      endNanos: nanosAt(2500),
      status: { code: 0, message: "" },
      events: [],
      links: [],
    });
    expect(span.attributes).toEqual({
      instance_id: "a",
      role: "architect",
      model: "general-4",
      "limits.memory_mb": 512,
      "limits.tools": '["x"]',
      outcome: "completed",
      total_tokens: 1234,
      total_cost: 0.05,
      force: false,
      "tailgate.start": "spawned",
      "tailgate.end": "terminated",
    });
    expect(span.traceId).toMatch(/^[0-9a-f]{32}$/);
  });

  test.each([
    [{ outcome: "failed" }, {}, "outcome: failed"],
    [{ final_state: "crashed" }, {}, "final_state: crashed"],
    [{ error: "out of memory" }, {}, "out of memory"],
    [{ exit_code: 137 }, {}, "exit_code: 137"],
    [{ "exception.message": "killed by signal 9" }, {}, "killed by signal 9"],
    [{}, { severityText: "ERROR", severityNumber: 17 }, "terminated with ERROR"],
  ])("that ends with %j %j is an error: %s", async (details, more, message) => {
    const span = await only([spawn(0), terminate(1, "a", details, more)]);
    expect(span.status).toEqual({ code: 2, message });
  });

  test.each([
    { final_state: "terminated", force: true },
    { outcome: "completed", exit_code: 0 },
  ])("that ends with %j is none", async (details) => {
    const span = await only([spawn(0), terminate(1, "a", details)]);
    expect(span.status.code).toBe(0);
  });

  test("has its records as span events", async () => {
    const span = await only([
      spawn(0),
      auditEvent(10, "state_change", "a", { from: "starting", to: "running" }),
      auditEvent(20, "timeout", "a", { waited_ms: 30_000 }),
      auditEvent(30, "error", "a", { error: "no slot" }, { severityText: "ERROR" }),
      terminate(40),
    ]);
    expect(span.events).toEqual([
      {
        name: "state_change",
        timeNanos: nanosAt(10),
        attributes: { severity: "INFO", from: "starting", to: "running" },
      },
      {
        name: "timeout",
        timeNanos: nanosAt(20),
        attributes: { severity: "INFO", waited_ms: 30_000 },
      },
      {
        name: "error",
        timeNanos: nanosAt(30),
        attributes: { severity: "ERROR", error: "no slot" },
      },
    ]);
  });

  const logged = (severityText: string, attributes = {}): Partial<LogRecord> => ({
    timestamp: nanosAt(5),
    severityText,
    body: "a failed in run_tests",
    attributes: valueMap({ instance_id: "a", ...attributes }),
  });
  const thrown = {
    "exception.type": "ToolError",
    "exception.message": "exit code 137",
    "exception.stacktrace": "ToolError: exit code 137\n  at call_tool",
    "code.file.path": "orchestrator/instance.py",
    "code.function.name": "call_tool",
    "code.line.number": 81,
  };

  test("has a logged exception as an exception event, with its severity and code location", async () => {
    const span = await only([spawn(0), logged("ERROR", thrown), logged("WARNING"), terminate(9)]);
    expect(span.events).toEqual([
      {
        name: "exception",
        timeNanos: nanosAt(5),
        attributes: {
          severity: "ERROR",
          message: "a failed in run_tests",
          logger: "orchestrator.server",
          "exception.type": "ToolError",
          "exception.message": "exit code 137",
          "exception.stacktrace": "ToolError: exit code 137\n  at call_tool",
          module: "instance",
          function: "call_tool",
          line: 81,
        },
      },
    ]);
  });

  test.each([
    ["WARNING", ["log", "exception"]],
    ["CRITICAL", []],
    ["none", []],
  ])("has system logs as log_events: %s says", async (level, names) => {
    const records = [spawn(0), logged("WARNING"), logged("ERROR", thrown), terminate(9)];
    const span = await only(records, { log_events: level });
    expect(span.events.map(({ name }) => name)).toEqual(names);
  });

  test("retains the newest 128 events and counts the others", async () => {
    const many = Array.from({ length: 200 }, (_, n) => auditEvent(n, "state_change", "a", { n }));
    const span = await only([spawn(0), ...many, terminate(300)]);
    expect(span.events.map(({ attributes }) => attributes["n"])).toEqual(
      Array.from({ length: 128 }, (_, index) => index + 72),
    );
    expect(span.droppedEvents).toBe(72);
  });

  test("is bounded in size, whatever is logged", async () => {
    const text = "é\u{1F600}".repeat(1000);
    const wide = Object.fromEntries(Array.from({ length: 100 }, (_, n) => [`key ${n}`, text]));
    const many = Array.from({ length: 20 }, (_, n) => auditEvent(n, "state_change", "a", wide));
    const all = [spawn(0, "a", wide), ...many, terminate(300, "a", wide)];
    const span = named((await shownOf(all.map((record) => [record]))).spans, "instance architect");
    expect(JSON.stringify(span.attributes).length).toBeLessThan(10_000);
    expect(JSON.stringify(span.events.map(({ attributes }) => attributes)).length).toBeLessThan(
      80_000,
    );
    expect(span.droppedEvents).toBeGreaterThan(0);
    expect(span.events.length + span.droppedEvents).toBe(20);
    expect(JSON.stringify(span.attributes)).not.toContain('\\ud83d"');
    expect(span.attributes).toMatchObject({ "tailgate.end": "terminated" });
  });
});

describe("messages", () => {
  test("are child spans from send to receive, matched by id", async () => {
    const { spans: all } = await shown([
      spawn(0),
      auditEvent(10, "message_sent", "a", { message_id: "m1", from: "x" }),
      auditEvent(20, "message_sent", "a", { message_id: "m2" }),
      auditEvent(30, "message_received", "a", { message_id: "m2", tokens: 7 }),
      auditEvent(50, "message_received", "a", { message_id: "m1" }),
      terminate(60),
    ]);
    const instance = named(all, "instance architect");
    const messages = all.filter(({ name }) => name === "message");
    expect(messages).toMatchObject([
      {
        startNanos: nanosAt(20),
        endNanos: nanosAt(30),
        attributes: { message_id: "m2", tokens: 7 },
      },
      {
        startNanos: nanosAt(10),
        endNanos: nanosAt(50),
        attributes: { message_id: "m1", from: "x" },
      },
    ]);
    for (const { traceId, parentSpanId, attributes } of messages) {
      expect(traceId).toBe(instance.traceId);
      expect(parentSpanId).toBe(instance.spanId);
      expect(attributes["instance_id"]).toBe("a");
    }
  });

  test("without ids are matched in order", async () => {
    const { spans: all } = await shown([
      spawn(0),
      auditEvent(10, "message_sent", "a"),
      auditEvent(20, "message_sent", "a"),
      auditEvent(30, "message_received", "a"),
      auditEvent(50, "message_received", "a"),
      terminate(60),
    ]);
    const times = all
      .filter(({ name }) => name === "message")
      .map(({ startNanos, endNanos }) => [startNanos, endNanos]);
    expect(times).toEqual([
      [nanosAt(10), nanosAt(30)],
      [nanosAt(20), nanosAt(50)],
    ]);
  });

  test("are matched in either order, and across the instances they name", async () => {
    const { spans: all } = await shown([
      spawn(0, "a"),
      spawn(0, "b", { role: "tester" }),
      auditEvent(20, "message_received", "b", { message_id: "m1", from: "a" }),
      auditEvent(10, "message_sent", "a", { message_id: "m1", to: "b" }),
      auditEvent(30, "message_sent", "a", { message_id: "m2", to: "b" }),
      auditEvent(40, "message_received", "b", { message_id: "m2", from: "a" }),
      terminate(60, "a"),
      terminate(60, "b"),
    ]);
    const { spanId } = named(all, "instance architect");
    expect(all.filter(({ name }) => name === "message")).toMatchObject([
      { parentSpanId: spanId, startNanos: nanosAt(10), endNanos: nanosAt(20) },
      { parentSpanId: spanId, startNanos: nanosAt(30), endNanos: nanosAt(40) },
    ]);
  });

  test("without their other half are exported with zero duration at the end", async () => {
    const { spans: all } = await shown([
      spawn(0),
      auditEvent(10, "message_sent", "a", { message_id: "m1" }),
      auditEvent(40, "message_received", "a", { message_id: "m9", response_time: 0.02 }),
      terminate(60),
    ]);
    expect(named(all, "message_sent")).toMatchObject({
      startNanos: nanosAt(10),
      endNanos: nanosAt(10),
      attributes: { "tailgate.missing": "received" },
    });
    expect(named(all, "message_received")).toMatchObject({
      startNanos: nanosAt(20),
      endNanos: nanosAt(40),
      attributes: { "tailgate.missing": "sent" },
    });
  });

  test.each([
    [{ duration_ms: 30 }, 30],
    [{ duration_seconds: 0.03 }, 30],
    [{ response_time_seconds: 0.03 }, 30],
    [{ duration_ms: -5 }, 0],
    [{ duration_ms: 1e300 }, 0],
    [{}, 0],
  ])("an exchange with %j is %d ms long", async (details, lengthMs) => {
    const { spans: all } = await shown([
      spawn(0),
      auditEvent(50, "message_exchange", "a", { ...details, tokens: 12 }),
      terminate(60),
    ]);
    expect(named(all, "message_exchange")).toMatchObject({
      startNanos: nanosAt(50 - lengthMs),
      endNanos: nanosAt(50),
      attributes: { tokens: 12 },
    });
  });

  test("are ended by an exchange if they are pending", async () => {
    const { spans: all } = await shown([
      spawn(0),
      auditEvent(10, "message_sent", "a", { message_id: "m1" }),
      auditEvent(50, "message_exchange", "a", { message_id: "m1", response_time_seconds: 1 }),
      terminate(60),
    ]);
    expect(all).toHaveLength(2);
    expect(named(all, "message_exchange")).toMatchObject({
      startNanos: nanosAt(10),
      endNanos: nanosAt(50),
    });
  });
});

describe("traces and links", () => {
  const inTrace = (traceId: string) => ({ traceId, spanId: SPAN, flags: 1 });

  test("an instance has the trace in which its spawn was logged, and links to others", async () => {
    const { spans: all } = await shown([
      spawn(0, "a", {}, inTrace(TRACE)),
      auditEvent(1, "state_change", "a", { to: "busy" }, inTrace(TRACE)),
      auditEvent(2, "error", "a", {}, inTrace(OTHER_TRACE)),
      auditEvent(3, "message_exchange", "a", {}, inTrace(OTHER_TRACE)),
      terminate(4),
    ]);
    const instance = named(all, "instance architect");
    expect(instance.traceId).toBe(TRACE);
    expect(instance.links).toEqual([]);
    expect(instance.events.map(({ attributes }) => attributes["trace_id"])).toEqual([
      undefined,
      OTHER_TRACE,
    ]);
    expect(named(all, "message_exchange")).toMatchObject({
      traceId: TRACE,
      links: [
        {
          traceId: OTHER_TRACE,
          spanId: SPAN,
          attributes: { "tailgate.relation": "logged_in" },
        },
      ],
    });
  });

  test("two instances are two traces, even if both were spawned in one", async () => {
    const { spans: all } = await shown([
      spawn(0, "a", {}, inTrace(TRACE)),
      spawn(1, "b", {}, inTrace(TRACE)),
      terminate(2, "a"),
      terminate(3, "b"),
      spawn(4, "c", {}, inTrace(TRACE)),
    ]);
    expect(new Set(all.map(({ traceId }) => traceId)).size).toBe(3);
    const link = {
      traceId: TRACE,
      spanId: SPAN,
      attributes: { "tailgate.relation": "spawned_in" },
    };
    expect(all.map(({ links }) => links)).toEqual([[], [link], [link]]);
  });

  test.each(["parent", "parent_id", "parent_instance_id"])(
    "a child is linked to its parent by %s, in either order",
    async (key) => {
      const { spans: all } = await shown([
        spawn(1, "early", { [key]: "root" }),
        spawn(0, "root", { role: "supervisor" }),
        spawn(2, "late", { [key]: "root" }),
        terminate(5, "root"),
        terminate(6, "early"),
        terminate(7, "late"),
      ]);
      const { traceId, spanId } = named(all, "instance supervisor");
      const link = { traceId, spanId, attributes: { "tailgate.relation": "parent" } };
      const children = all.filter(({ name }) => name === "instance architect");
      expect(children.map(({ links }) => links)).toEqual([[link], [link]]);
    },
  );

  test("the service is that of the records, the environment or the option", async () => {
    const resource = { attributes: valueMap({ "service.name": "worker" }) };
    const life = [spawn(0, "a", {}, { resource }), terminate(1)];
    expect((await only(life)).service).toBe("worker");
    vi.stubEnv("OTEL_SERVICE_NAME", "madrox");
    expect((await only([spawn(0), terminate(1)])).service).toBe("madrox");
    expect((await only(life, { service_name: "mine" })).service).toBe("mine");
  });
});

describe("missing and reordered records", () => {
  test("an instance without a spawn record begins with its first record", async () => {
    const span = await only([
      auditEvent(10, "state_change", "a", { to: "running" }),
      terminate(60, "a", { instance_name: "x" }),
    ]);
    expect(span).toMatchObject({ startNanos: nanosAt(10), endNanos: nanosAt(60) });
    expect(span.attributes).toMatchObject({ "tailgate.start": "unseen", instance_name: "x" });
  });

  test("an end record may supply the duration", async () => {
    const span = await only([terminate(5000, "a", { uptime_seconds: 3 })]);
    expect(span).toMatchObject({ startNanos: nanosAt(2000), endNanos: nanosAt(5000) });
  });

  test("a spawn record that arrives after the first event still counts", async () => {
    const span = await only([
      auditEvent(10, "state_change", "a", { to: "running" }),
      spawn(5),
      terminate(60),
    ]);
    expect(span).toMatchObject({ name: "instance architect", startNanos: nanosAt(5) });
    expect(span.attributes["tailgate.start"]).toBe("spawned");
  });

  test("a duplicate spawn record opens one instance", async () => {
    await only([spawn(0), spawn(0), terminate(60)]);
  });

  test("a second spawn of the same id ends the first instance", async () => {
    const { spans: all } = await shown([spawn(0), spawn(30), terminate(60)]);
    expect(all).toMatchObject([
      {
        startNanos: nanosAt(0),
        endNanos: nanosAt(30),
        attributes: { "tailgate.end": "respawned" },
      },
      { startNanos: nanosAt(30), endNanos: nanosAt(60) },
    ]);
    expect(all[0]!.traceId).not.toBe(all[1]!.traceId);
  });

  test("a spawn of the same id at the time of the previous end starts a new instance", async () => {
    const { spans: all } = await shown([spawn(0), terminate(30), spawn(30), terminate(60)]);
    expect(all).toMatchObject([
      { startNanos: nanosAt(0), endNanos: nanosAt(30) },
      { startNanos: nanosAt(30), endNanos: nanosAt(60) },
    ]);
  });

  test("out-of-range times stop nothing", async () => {
    const times = [2n ** 64n - 1n, 2n ** 63n, 1n, -1n, 253_402_300_800_000_000_000n];
    const records = times.flatMap((timestamp, index) => [
      spawn(0, `i${index}`, {}, { timestamp }),
      auditEvent(0, "message_exchange", `i${index}`, { duration_ms: 50 }, { timestamp }),
      terminate(0, `i${index}`, {}, { timestamp }),
    ]);
    const { spans: all } = await shown(records);
    expect(all).toHaveLength(10);
    for (const { startNanos, endNanos } of all) {
      expect(endNanos).toBeGreaterThanOrEqual(startNanos);
    }
  });

  test("pending message halves are bounded in number and size", async () => {
    const text = "x".repeat(2000);
    const big = { a: text, b: text, c: text };
    const sent = (n: number, details: object): Partial<LogRecord> =>
      auditEvent(n, "message_sent", "a", { message_id: `m${n}`, ...details });
    const many = Array.from({ length: 70 }, (_, n) => sent(n, {}));
    const exchange = auditEvent(200, "message_exchange", "a");
    const { spans: all } = await shown([...many, exchange]);
    const isExchange = ({ name }: ArrivedSpan): boolean => name === "message_exchange";
    const before = all.slice(0, all.findIndex(isExchange));
    expect(before.map(({ attributes }) => attributes["message_id"])).toEqual([
      "m0",
      "m1",
      "m2",
      "m3",
      "m4",
      "m5",
    ]);
    const large = Array.from({ length: 30 }, (_, n) => sent(n, big));
    const { spans: more } = await shown([...large, exchange]);
    expect(more.findIndex(isExchange)).toBe(20);
    expect(more).toHaveLength(32);
  });

  test("records after an instance's end are its children", async () => {
    const { spans: all } = await shown([
      spawn(0),
      terminate(60),
      auditEvent(50, "state_change", "a", { to: "terminated" }),
      spawn(0),
    ]);
    const instance = named(all, "instance architect");
    for (const name of ["state_change", "instance_spawn"]) {
      expect(named(all, name)).toMatchObject({
        traceId: instance.traceId,
        parentSpanId: instance.spanId,
        attributes: { "tailgate.late": true, instance_id: "a" },
      });
    }
  });

  test("an end before the beginning gives no negative duration", async () => {
    const span = await only([spawn(50), terminate(20)]);
    expect(span).toMatchObject({ startNanos: nanosAt(50), endNanos: nanosAt(50) });
  });

  test("records without an instance, and logs of unknown instances, are not exported", async () => {
    const { spans: all } = await shown([
      auditEvent(0, "manager_daemon_failure", ""),
      { body: "hello", severityText: "ERROR" },
      { body: "hello", severityText: "ERROR", attributes: valueMap({ instance_id: "a" }) },
    ]);
    expect(all).toEqual([]);
  });

  test("beyond max_open_instances the oldest is closed", async () => {
    const records = ["a", "b", "c"].map((id, index) => spawn(index, id));
    const { spans: all } = await shown(
      [...records, auditEvent(5, "state_change", "a"), terminate(9, "c")],
      { max_open_instances: 2 },
    );
    expect(
      all.map(({ attributes }) => [attributes["instance_id"], attributes["tailgate.end"]]),
    ).toEqual([
      ["a", "evicted"],
      ["a", undefined],
      ["c", "terminated"],
      ["b", "stopped"],
    ]);
    expect(all[1]).toMatchObject({ name: "state_change", parentSpanId: all[0]!.spanId });
  });

  test("instances open at the end are closed, and marked so", async () => {
    const beforeNanos = BigInt(Date.now()) * 1_000_000n;
    const span = await only([spawn(0)]);
    expect(span.attributes["tailgate.end"]).toBe("stopped");
    expect(span.endNanos).toBeGreaterThanOrEqual(beforeNanos);
    expect(span.status.code).toBe(0);
  });
});

describe("the trace store", () => {
  async function withPeer(use: (peer: TracePeer, sending: Sending) => Promise<void>) {
    await using peer = await TracePeer.open();
    await using sending = await Sending.open({ endpoint: peer.url }, { definition: spans });
    await use(peer, sending);
  }

  test("receives the same spans with the same ids after it was unavailable", async () => {
    await withPeer(async (peer, sending) => {
      peer.next.push(answer(503), answer(429), ({ socket }) => !socket!.resetAndDestroy());
      await sending.log(spawn(0), terminate(1));
      await sending.delivery.drain(NEVER);
      expect(peer.spans).toHaveLength(1);
      const ids = peer.received.map(({ spans: [span] }) => span!.spanId);
      expect(ids).toEqual(Array(4).fill(ids[0]));
      expect(sending.delivery.counters).toMatchObject({ sent: 2, failed: 6 });
      expect(sending.host.lines.join()).toContain("/v1/traces responded with 503");
    });
  });

  test("that rejects a span receives the others", async () => {
    await withPeer(async (peer, sending) => {
      const take = peer.behaviour;
      const fussy: Behaviour = (response, arrived) =>
        arrived.some(({ attributes }) => attributes["n"] === 5)
          ? answer(400, "bad span")(response, arrived)
          : take(response, arrived);
      peer.behaviour = fussy;
      const exchanges = Array.from({ length: 9 }, (_, n) =>
        auditEvent(n, "message_exchange", "a", { n }),
      );
      await sending.log(...exchanges);
      await sending.delivery.drain(NEVER);
      expect(peer.spans.map(({ attributes }) => attributes["n"])).toEqual([0, 1, 2, 3, 4, 6, 7, 8]);
      expect(sending.host.lines.join()).toContain(
        "rejected 1 spans permanently. First: sequence 6, 400 Bad Request: bad span",
      );
      expect(countOf(sending, "dropped")).toContainEqual({
        value: 1,
        labels: { reason: "refused" },
      });
      expect(countOf(sending, "sent")).toEqual([{ value: 8, labels: {} }]);
    });
  });

  test("that accepts only some spans is counted", async () => {
    await withPeer(async (peer, sending) => {
      peer.next.push((response) => {
        const partial = { rejectedSpans: "1", errorMessage: "too old" };
        response.writeHead(200, { "Content-Type": "application/json" });
        response.end(JSON.stringify({ partialSuccess: partial }));
        return true;
      });
      await sending.log(spawn(0), terminate(1));
      await sending.delivery.drain(NEVER);
      expect(sending.host.lines.join()).toContain("rejected 1 of its spans: too old");
      expect(countOf(sending, "dropped")).toContainEqual({
        value: 1,
        labels: { reason: "rejected" },
      });
    });
  });

  test("receives requests of about a megabyte", async () => {
    await withPeer(async (peer, sending) => {
      const text = "x".repeat(2000);
      const wide = Object.fromEntries(Array.from({ length: 4 }, (_, n) => [`key${n}`, text]));
      // Records queued while the store is down arrive together.
      peer.next.push(answer(503));
      for (let batch = 0; batch < 3; batch++) {
        const exchanges = Array.from({ length: 80 }, (_, n) =>
          auditEvent(n, "message_exchange", "a", wide),
        );
        await sending.log(...exchanges);
      }
      await sending.delivery.drain(NEVER);
      expect(peer.spans).toHaveLength(240);
      for (const { headers } of peer.received) {
        expect(Number(headers["content-length"])).toBeLessThan(1.3 * 2 ** 20);
      }
    });
  });

  function countOf({ host }: Sending, name: string): unknown[] {
    return [...host.pluginMetrics.find((metric) => metric.name === name)!.read()];
  }
});

describe("between two starts", () => {
  /** Opens the exporter with the state saved before. */
  async function withHost(
    use: (peer: TracePeer, open: () => Promise<Exporter>, host: TestHost) => Promise<void>,
  ) {
    await using peer = await TracePeer.open();
    const host = await testHost("spans");
    const given = spans.options.parse({ endpoint: peer.url });
    try {
      await use(peer, async () => spans.open(given, host), host);
    } finally {
      await host.close();
    }
  }

  const at = (firstSequence: number, ...records: readonly Partial<LogRecord>[]): Batch =>
    batchOf(records, { firstSequence });

  test("no instance is closed while queued records may contain another end", async () => {
    await withHost(async (peer, open) => {
      const first = await open();
      await first.write(at(1, spawn(0)), NEVER);
      peer.next.push(answer(503));
      await expect(first.write(at(2, terminate(60)), NEVER)).rejects.toThrow("503");
      await first.close!(NEVER);
      expect(peer.spans).toEqual([]);
      const second = await open();
      expect(second.resumeAfter).toBe(1);
      await second.write(at(2, terminate(60)), NEVER);
      await second.close!(NEVER);
      expect(peer.spans.map(({ attributes }) => attributes["tailgate.end"])).toEqual([
        "terminated",
      ]);
    });
  });

  test("spans that a shutdown could not send stay open", async () => {
    await withHost(async (peer, open, host) => {
      const first = await open();
      await first.write(at(1, spawn(0)), NEVER);
      peer.next.push(answer(503));
      await first.close!(NEVER);
      expect(host.lines.join()).toContain(
        "The spans of 1 open instances could not be sent; the instances stay open until the next start",
      );
      const second = await open();
      await second.write(at(2, terminate(60)), NEVER);
      await second.close!(NEVER);
      expect(peer.spans).toMatchObject([{ startNanos: nanosAt(0), endNanos: nanosAt(60) }]);
    });
  });

  test("spans closed by a shutdown are sent again only if new records concern them", async () => {
    await withHost(async (peer, open) => {
      const first = await open();
      await first.write(at(1, spawn(0)), NEVER);
      await first.close!(NEVER);
      for (let idle = 0; idle < 2; idle++) await (await open()).close!(NEVER);
      expect(peer.spans).toHaveLength(1);
      const last = await open();
      await last.write(at(2, auditEvent(60, "state_change", "a")), NEVER);
      await last.close!(NEVER);
      const ends = peer.spans.map(({ attributes: { "tailgate.start": start } }) => start);
      expect(ends).toEqual(["spawned", "resumed"]);
    });
  });

  test("unreadable saved state is reported, and left in place", async () => {
    await withHost(async (peer, open, host) => {
      await host.memory.keep('{"version":2}');
      const exporter = await open();
      expect(exporter.resumeAfter).toBeUndefined();
      expect(host.lines.join()).toContain("The saved state of open instances is not readable");
      await exporter.write(at(1, spawn(0), terminate(1)), NEVER);
      expect(peer.spans).toHaveLength(1);
      await exporter.close!(NEVER);
    });
  });
});

describe("the destination", () => {
  test("receives the same over http/json, gzipped and with headers", async () => {
    const life = [
      spawn(0, "a", { model: "é", load: 0.5 }, { traceId: TRACE, spanId: SPAN }),
      auditEvent(1, "state_change", "a", { to: "busy" }),
      auditEvent(2, "message_exchange", "a"),
      terminate(3, "a", { outcome: "failed" }),
    ];
    const options = { protocol: "http/json", compression: "gzip" };
    const [json, protobuf] = [await shown(life, options), await shown(life)];
    expect(json.spans).toHaveLength(2);
    expect(json.spans).toEqual(protobuf.spans);
  });

  test("comes from the environment, with the variable for traces first", async () => {
    await using peer = await TracePeer.open();
    vi.stubEnv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1");
    vi.stubEnv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", `${peer.url}/v1/traces`);
    vi.stubEnv("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "x-tenant=7");
    vi.stubEnv("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", "http/json");
    await using sending = await Sending.open({}, { definition: spans });
    await sending.log(spawn(0), terminate(1));
    await sending.delivery.drain(NEVER);
    expect(peer.received).toMatchObject([
      {
        url: "/v1/traces",
        headers: { "x-tenant": "7", "content-type": "application/x-protobuf" },
      },
    ]);
  });

  test("is required", async () => {
    const opening = Sending.open({}, { definition: spans });
    await expect(opening).rejects.toThrow("endpoint is missing");
  });
});
