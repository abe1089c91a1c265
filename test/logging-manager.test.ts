import { readFile, readdir } from "node:fs/promises";
import { join } from "node:path";
import { context, logs, ROOT_CONTEXT, SeverityNumber, trace } from "@opentelemetry/api";
import { logs as oldLogs, SeverityNumber as OldSeverityNumber } from "@opentelemetry/api-logs";
import { LoggerProvider } from "@opentelemetry/sdk-logs";
import { afterEach, describe, expect, it } from "vitest";
import { LoggingManager, type LoggingOptions } from "tailgate";
import { collect, type Collected, type Envelope } from "./harness/client.ts";
import { temporaryDirectory } from "./harness/workspace.ts";

const FILES_AND_VIEWERS = { websocket: {}, file: {}, "audit-file": {} };

const cleanUps: (() => Promise<unknown> | void)[] = [];

afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).toReversed()) await cleanUp();
});

interface Started {
  readonly manager: LoggingManager;
  readonly logDir: string;
  readonly lines: readonly string[];
  /** A connected client. */
  readonly client: Collected;
}

async function start(options: LoggingOptions = {}): Promise<Started> {
  const logDir = await temporaryDirectory(cleanUps);
  const lines: string[] = [];
  const manager = await LoggingManager.start({
    port: 0,
    logDir,
    exporters: FILES_AND_VIEWERS,
    write: (line) => lines.push(line),
    ...options,
  });
  cleanUps.push(() => manager.stop());
  const client = await collect(`${manager.url.replace("http", "ws")}/ws/logs`);
  cleanUps.push(() => client.close());
  return { manager, logDir, lines, client };
}

async function fileLines(path: string): Promise<unknown[]> {
  const text = await readFile(path, "utf8");
  expect(text.endsWith("\n")).toBe(true);
  return text
    .slice(0, -1)
    .split("\n")
    .map((line) => JSON.parse(line) as unknown);
}

async function auditLines(logDir: string): Promise<unknown[]> {
  const [name] = await readdir(join(logDir, "audit"));
  expect(name).toMatch(/^audit_\d{8}\.jsonl$/);
  return fileLines(join(logDir, "audit", name!));
}

describe("LoggingManager", () => {
  it("delivers a message to clients and to the file", async () => {
    const { manager, logDir, client } = await start();
    manager
      .getLogger("orchestrator.instance_manager")
      .info("Instance spawned", { role: "general" });
    const [envelope] = await client.receive(1);
    expect(envelope).toEqual({
      type: "system_log",
      data: {
        timestamp: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/),
        level: "INFO",
        logger: "orchestrator.instance_manager",
        message: "Instance spawned",
        module: "",
        function: "",
        line: 0,
        role: "general",
      },
    });
    await manager.flush();
    expect(await fileLines(join(logDir, "orchestrator.log"))).toEqual([envelope!.data]);
  });

  it("delivers an audit event to clients and the day's file, not to orchestrator.log", async () => {
    const { manager, logDir, client } = await start();
    manager.logAuditEvent({
      eventType: "instance_spawn",
      instanceId: "abc-123",
      details: { role: "general" },
      user: "alice",
    });
    manager.logAuditEvent({ eventType: "timeout" });
    const [spawn, timeout] = await client.receive(2);
    expect(spawn!.data).toMatchObject({
      logger: "orchestrator.audit",
      message: "instance_spawn",
      action: "instance_spawn",
      metadata: { instance_id: "abc-123", details: { role: "general" }, user: "alice" },
    });
    expect(timeout!.data).toMatchObject({ metadata: { instance_id: null, details: {} } });
    await manager.flush();
    const [first] = await auditLines(logDir);
    expect(Object.keys(first as object)).toEqual([
      "timestamp",
      "level",
      "event",
      "logger",
      "event_type",
      "instance_id",
      "details",
      "user",
      "seq",
      "hash",
    ]);
    expect(await readFile(join(logDir, "orchestrator.log"), "utf8")).toBe("");
  });

  it("accepts an audit event with unreadable fields without throwing", async () => {
    const { manager, client } = await start();
    const hostile = {
      eventType: "state_change",
      get instanceId(): never {
        throw new Error("no");
      },
    };
    manager.logAuditEvent(hostile);
    manager.logAuditEvent(undefined as never);
    manager.logAuditEvent({
      eventType: 7 as never,
      details: { big: 2n ** 64n },
      event_type: "forged",
    });
    const [unreadable, missing, odd] = await client.receive(3);
    expect(unreadable!.data).toMatchObject({
      message: "unreadable_event",
      metadata: { reason: "no" },
    });
    expect(missing!.data).toMatchObject({ message: "unreadable_event" });
    expect(odd!.data).toMatchObject({
      message: "7",
      action: "7",
      metadata: { details: { big: "18446744073709551616" } },
    });
  });

  it("rejects an audit event without a type, counts it and warns once", async () => {
    const lines: string[] = [];
    const { manager, client } = await start({ write: (line) => void lines.push(line) });
    const python = { event_type: "instance_spawn", instance_id: "abc-123" };
    for (const event of [{}, python, { eventType: undefined }, { eventType: null }]) {
      await expect(manager.audit(event as never)).rejects.toMatchObject({ code: "AUDIT_REFUSED" });
    }
    await expect(manager.audit(python as never)).rejects.toThrow("named `eventType`");
    await expect(manager.audit({ eventType: "" })).rejects.toThrow("has no `eventType`");
    manager.logAuditEvent(python as never);
    manager.logAuditEvent({} as never);
    manager.logAuditEvent({ eventType: "typed" }, null as never);
    const [first] = await client.receive(1);
    expect(first!.data).toMatchObject({ message: "typed" });
    expect(lines.filter((line) => line.includes("WARNING"))).toEqual([
      expect.stringContaining("An audit event was rejected. The event has no `eventType`."),
    ]);
    const metrics = await (await fetch(`${manager.url}/metrics`)).text();
    expect(metrics).toMatch(/_dropped_total\{[^}]*reason="untyped_event"[^}]*\} 8\b/);
  });

  it("records module, function and line from WARNING up", async () => {
    const { manager, client } = await start();
    const logger = manager.getLogger("orchestrator.server");
    function spawnInstance(): void {
      logger.info("plain");
      logger.warning("placed");
    }
    spawnInstance();
    const [plain, placed] = await client.receive(2);
    expect(plain!.data).toMatchObject({ module: "", function: "", line: 0 });
    expect(placed!.data).toMatchObject({
      module: "logging-manager.test",
      function: "spawnInstance",
    });
    expect(placed!.data["line"]).toBeGreaterThan(0);
  });

  it("records call sites from the configured level up, or never", async () => {
    const { manager, client } = await start({ callSiteLevel: "INFO", registerGlobally: false });
    manager.getLogger("a").info("placed");
    expect((await client.receive(1))[0]!.data).toMatchObject({ module: "logging-manager.test" });
    const never = await start({ callSiteLevel: "never", registerGlobally: false });
    never.manager.getLogger("a").critical("not placed");
    expect((await never.client.receive(1))[0]!.data).toMatchObject({ module: "" });
  });

  it("prefers the caller's call site fields to those of the stack", async () => {
    const { manager, client } = await start();
    manager.getLogger("a").error("m", { "code.function.name": "app.run", "code.line.number": 7 });
    expect((await client.receive(1))[0]!.data).toMatchObject({
      module: "",
      function: "run",
      line: 7,
    });
  });

  it("stores exceptions in separate fields", async () => {
    const { manager, client } = await start();
    const logger = manager.getLogger("a");
    logger.error("as the extras", new TypeError("boom"));
    logger.error("among the extras", { exception: new RangeError("bang"), tries: 2 });
    const [first, second] = await client.receive(2);
    expect(first!.data).toMatchObject({
      message: "as the extras",
      "exception.type": "TypeError",
      "exception.message": "boom",
      "exception.stacktrace": expect.stringContaining("TypeError: boom\n    at "),
    });
    expect(second!.data).toMatchObject({ "exception.type": "RangeError", tries: 2 });
    expect(second!.data).not.toHaveProperty("exception");
    const refused = Object.assign(new Error("no"), { code: "ECONNREFUSED" });
    logger.error("as the extras", refused);
    logger.error("among the extras", { exception: refused });
    for (const { data } of (await client.receive(4)).slice(2)) {
      expect(data).toMatchObject({ "exception.type": "ECONNREFUSED", "exception.message": "no" });
    }
  });

  it("retains the message if the extras cannot be inspected, and does not throw", async () => {
    const { manager, client } = await start();
    const { proxy, revoke } = Proxy.revocable({}, {});
    revoke();
    manager.getLogger("a").warning("extras", proxy);
    manager.getLogger("a").warning("exception", { exception: proxy, n: 1 });
    manager.provider.getLogger("a").emit({ body: "attributes", attributes: proxy });
    const data = (await client.receive(3)).map((envelope) => envelope.data);
    expect(data.map(({ message }) => message)).toEqual(["extras", "exception", "attributes"]);
    expect(data[1]).toMatchObject({ n: 1, exception: expect.stringMatching(/^\[not readable: /) });
  });

  it("shows each name once: the last of several values with equal JSON names wins", async () => {
    const { manager, logDir } = await start();
    const surrogates = { "k\ud800": 1, other: 2, "k\udc00": 3 };
    manager.getLogger("a").info("names", { ...surrogates, inside: surrogates });
    manager.getLogger("a").info("fields", { "exception.type": "E", exception: new TypeError("t") });
    await manager.stop();
    const [names, fields] = (await readFile(join(logDir, "orchestrator.log"), "utf8")).split("\n");
    expect(names).toContain('"k\ufffd":3,"other":2,"inside":{"k\ufffd":3,"other":2}}');
    expect(fields!.match(/"exception\.type":"\w+"/g)).toEqual(['"exception.type":"TypeError"']);
  });

  it("treats undefined extras as absent", async () => {
    const { manager, client } = await start();
    const spanContext = { traceId: "7e".repeat(16), spanId: "5a".repeat(8), traceFlags: 1 };
    manager.provider.getLogger("a").emit({
      body: "m",
      context: trace.setSpanContext(ROOT_CONTEXT, spanContext),
      attributes: { trace_id: undefined, extra_id: "kept", id: undefined },
    });
    expect((await client.receive(1))[0]!.data).toMatchObject({
      trace_id: spanContext.traceId,
      extra_id: "kept",
    });
  });

  it("filters and counts records below the level, except audit events", async () => {
    const { manager, client } = await start({ logLevel: "error" });
    const logger = manager.getLogger("orchestrator.server");
    logger.debug("no");
    logger.warning("no");
    manager.getLogger("orchestrator.audit").debug("no");
    manager.provider.getLogger("plain").emit({ severityNumber: SeverityNumber.INFO, body: "no" });
    manager.getLogger("orchestrator.audit").info("yes");
    logger.critical("yes");
    expect((await client.receive(2)).map(({ data }) => data.message)).toEqual(["yes", "yes"]);
    const response = await fetch(`${manager.url}/metrics`);
    const metrics = await response.text();
    expect(metrics).toMatch(/^tailgate_records_filtered_total\{[^}]*component="intake"[^}]*\} 4$/m);
    expect(metrics).toMatch(/^tailgate_records_received_total\{[^}]*component="intake"[^}]*\} 6$/m);
  });

  it("loses none of 10 000 records logged in one synchronous loop", async () => {
    const { manager, logDir, client } = await start();
    const logger = manager.getLogger("orchestrator.server");
    for (let index = 0; index < 10_000; index++) logger.info(`record ${index}`);
    const received = await client.receive(10_000);
    expect(received.map(({ data }) => data.message)).toEqual(
      Array.from({ length: 10_000 }, (_, index) => `record ${index}`),
    );
    await manager.flush();
    const written = (await fileLines(join(logDir, "orchestrator.log"))) as { message: string }[];
    expect(written.map(({ message }) => message)).toEqual(received.map(({ data }) => data.message));
  });

  it("drops and counts system logs beyond the queue's capacity, and retains audit events", async () => {
    const { manager, client } = await start({ exporters: { websocket: {} } });
    const logger = manager.getLogger("orchestrator.server");
    const message = "x".repeat(1 << 20);
    for (let index = 0; index < 80; index++) logger.info(message);
    manager.logAuditEvent({ eventType: "instance_spawn" });
    const isMarker = ({ data }: Envelope): boolean => data.logger === "tailgate.intake";
    const untilMarker = await client.receiveUntil(isMarker);
    expect(untilMarker.at(-1)!.type).toBe("audit_log");
    const received = untilMarker.slice(0, -1);
    expect(received.length).toBeGreaterThan(35);
    expect(received.length).toBeLessThan(60);
    const lost = 80 - received.length;
    expect(client.received.find(isMarker)!.data).toMatchObject({
      level: "WARNING",
      message: `${lost} system logs were lost before this line.`,
      lost,
      lost_levels: { INFO: lost },
      lost_reasons: { intake_full: lost },
    });
    const metrics = await (await fetch(`${manager.url}/metrics`)).text();
    const dropped =
      /^tailgate_records_dropped_total\{[^}]*component="intake"[^}]*reason="intake_full"[^}]*\} (\d+)$/m;
    expect(dropped.exec(metrics)?.[1]).toBe(String(80 - received.length));
  });

  it("writes the records logged before stop, and counts later ones", async () => {
    const { manager, logDir } = await start();
    const logger = manager.getLogger("orchestrator.server");
    for (let index = 0; index < 500; index++) logger.info(`record ${index}`);
    manager.logAuditEvent({ eventType: "instance_terminate" });
    await manager.stop();
    expect(await fileLines(join(logDir, "orchestrator.log"))).toHaveLength(500);
    expect(await auditLines(logDir)).toMatchObject([
      { event: "instance_terminate" },
      { event: "audit_checkpoint" },
    ]);
    expect(() => logger.info("after")).not.toThrow();
    await manager.stop();
  });

  it("rejects unknown options", async () => {
    const misspelt: object = { logdir: "./logs" };
    await expect(LoggingManager.start(misspelt)).rejects.toThrow(
      /^LoggingManager has a problem:\n {2}logdir: unknown option; did you mean "logDir"\?\n/,
    );
    const logDir = await temporaryDirectory(cleanUps);
    await expect(
      LoggingManager.start({ port: 0, logDir, exporters: { file: { max_byte: 1 } } }),
    ).rejects.toThrow('exporters.file.max_byte: unknown key; did you mean "max_bytes"?');
    await expect(
      LoggingManager.start({ port: 0, logDir, logLevel: "LOUD" as "INFO" }),
    ).rejects.toMatchObject({
      code: "CONFIG_INVALID",
    });
  });
});

describe("the OpenTelemetry APIs", () => {
  it("reach the gateway in both generations", async () => {
    const { manager, client } = await start();
    expect(manager.registration).toMatchObject({ api: true, apiLogs: true, problems: [] });
    logs
      .getLogger("app.new")
      .emit({ severityNumber: SeverityNumber.ERROR, body: "new", attributes: { n: 1 } });
    oldLogs
      .getLogger("app.old")
      .emit({ severityNumber: OldSeverityNumber.WARN, body: "old", eventName: "x" });
    logs
      .getLogger("orchestrator.audit")
      .emit({ severityNumber: SeverityNumber.INFO, eventName: "state_change" });
    const [first, second, third] = await client.receive(3);
    expect(first!.data).toMatchObject({ logger: "app.new", level: "ERROR", message: "new", n: 1 });
    expect(second!.data).toMatchObject({ logger: "app.old", level: "WARNING", message: "old" });
    expect(third).toMatchObject({
      type: "audit_log",
      data: { message: "state_change", action: "state_change" },
    });
  });

  it("are released at stop, so that the next gateway can register", async () => {
    const first = await start();
    await first.manager.stop();
    const second = await start();
    expect(second.manager.registration?.problems).toEqual([]);
  });

  it("cause a warning if another owner has registered, and the manager's loggers still work", async () => {
    await start();
    const { manager, lines, client } = await start();
    expect(manager.registration).toMatchObject({ api: false, apiLogs: false });
    expect(lines.filter((line) => line.includes("ERROR"))).toEqual([
      expect.stringContaining("logs.getLogger() of @opentelemetry/api do not arrive"),
      expect.stringContaining("logs.getLogger() of @opentelemetry/api-logs do not arrive"),
    ]);
    manager.getLogger("a").info("arrives");
    expect((await client.receive(1))[0]!.data.message).toBe("arrives");
  });

  it("carry the trace ids of the given context", async () => {
    const { manager, client } = await start();
    const spanContext = {
      traceId: "7e69f9c46b7e85a6d2656b8e82033c76",
      spanId: "5a28a693c63d3ac0",
      traceFlags: 1,
    };
    manager.provider.getLogger("a").emit({
      body: "traced",
      context: trace.setSpanContext(ROOT_CONTEXT, spanContext),
    });
    expect((await client.receive(1))[0]!.data).toMatchObject({
      trace_id: spanContext.traceId,
      span_id: spanContext.spanId,
    });
    expect(context.active()).toBeDefined();
  });

  it("accept values that the SDK would drop, and never throw", async () => {
    const { manager, client } = await start();
    const hostile = {
      get message(): never {
        throw new Error("no");
      },
    };
    const logger = manager.provider.getLogger("a");
    const emit = (record: unknown): void => logger.emit(record as never);
    emit({
      body: "values",
      attributes: {
        big: 2n ** 64n,
        date: new Date(0),
        "": 1,
        ["__proto__"]: 2,
        constructor: { constructor: 3 },
      },
    });
    emit({ body: "times", timestamp: "yesterday", observedTimestamp: [NaN, NaN] });
    emit({ body: "hostile", exception: hostile, attributes: { hostile } });
    emit({ body: Symbol("body"), severityNumber: "9", severityText: 9, eventName: {} });
    emit(null);
    emit({
      get body(): never {
        throw new Error("no");
      },
    });
    const messages = (await client.receive(6)).map(({ data }) => data);
    expect(messages[0]).toMatchObject({
      big: "18446744073709551616",
      date: "1970-01-01T00:00:00.000Z",
      "": 1,
    });
    expect(Object.entries(messages[0]!)).toContainEqual(["__proto__", 2]);
    expect(messages[0]!["constructor"]).toEqual({ constructor: 3 });
    expect(messages.slice(1).map(({ message }) => message)).toEqual([
      "times",
      "hostile",
      "Symbol(body)",
      "[a log record that cannot be read]",
      "[a log record that cannot be read]",
    ]);
    expect(messages[2]!["hostile"]).toEqual({ message: "[not readable: no]" });
  });

  it("encode integers beyond 2^53 like OTLP, with either provider", async () => {
    const { manager, client } = await start();
    const elsewhere = new LoggerProvider({ processors: [manager.processor] });
    for (const provider of [manager.provider, elsewhere]) {
      provider
        .getLogger("a")
        .emit({ attributes: { big: 2 ** 60, inside: { list: [2 ** 53] }, double: 1e300 } });
    }
    for (const { data } of await client.receive(2)) {
      expect(data).toMatchObject({
        big: "1152921504606846976",
        inside: { list: ["9007199254740992"] },
        double: 1e300,
      });
    }
  });

  it("reach the gateway from a provider that is registered elsewhere", async () => {
    const { manager, client } = await start();
    const provider = new LoggerProvider({ processors: [manager.processor] });
    const body: Record<string, unknown> = { n: 1 };
    body["self"] = body;
    provider.getLogger("elsewhere").emit({ body, attributes: { a: [1, { b: null }] } });
    expect((await client.receive(1))[0]!.data).toMatchObject({
      logger: "elsewhere",
      message: '{"n":1,"self":"[circular]"}',
      a: [1, { b: null }],
    });
  });
});

interface Vector {
  readonly case: string;
  readonly input: {
    readonly call?: string;
    readonly logger: string;
    readonly level: string | number;
    readonly msg: string;
    readonly args?: readonly unknown[];
    readonly extra?: Record<string, unknown>;
    readonly exc_info?: boolean;
    readonly event_type: string;
    readonly instance_id?: string;
    readonly details?: Record<string, unknown>;
    readonly kwargs?: Record<string, unknown>;
  };
  readonly ws: readonly string[];
}

/** The expected output of cases in which the original was wrong; see golden/README.md. */
const IMPROVED: Record<string, unknown> = {
  extra_nan: { value: "NaN" },
  extra_bigint: { value: "18446744073709551616" },
  extra_nested_bad: { value: { ok: 1, bad: [1] } },
  extra_circular: { value: { self: "[circular]" } },
  extra_surrogate: { value: "bad \ufffd" },
  lone_surrogate_message: { message: "bad \ufffd surrogate (lone surrogate)" },
  extra_deep_3000: { value: expect.objectContaining({}) },
  collide_reserved_message: { message: "m", extra_message: "v" },
  collide_payload_keys: {
    message: "spoofed",
    extra_timestamp: "1999-01-01T00:00:00",
    extra_level: "FAKE",
    extra_logger: "evil",
    extra_function: null,
    extra_line: -1,
  },
  foreign_logger: { logger: "uvicorn.error", level: "WARNING", message: "foreign" },
  lookalike_logger: { logger: "orchestratorX", level: "WARNING", message: "lookalike" },
  level_25: { level: "INFO", message: "custom" },
  exception_exc_info: {
    message: "Failed to connect",
    instance_id: "abc123",
    "exception.type": "ConnectionError",
  },
};

const CALL_SITE = {
  "code.file.path": "/app/src/orchestrator/server.py",
  "code.function.name": "spawn_instance",
  "code.line.number": 142,
};

describe("the golden cases, in-process", async () => {
  const text = await readFile(new URL("golden/vectors.jsonl", import.meta.url), "utf8");
  const vectors = text
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Vector);

  it.each(vectors.map((vector) => [vector.case, vector] as const))("%s", async (name, vector) => {
    const { manager, client } = await start({ registerGlobally: false });
    log(manager, vector.input);
    manager.getLogger("end").info("end");
    const received = await client.receiveUntil(({ data }) => data.logger === "end");
    if (name in IMPROVED) {
      expect(received).toHaveLength(1);
      expect(received[0]!.data).toMatchObject(IMPROVED[name] as object);
    } else {
      expect(received.map(comparable)).toEqual(
        vector.ws.map((frame) => comparable(JSON.parse(frame) as Envelope)),
      );
    }
    for (const envelope of received) expect(envelope.data.timestamp).toMatch(/\.\d{6}Z$/);
  });

  function log(manager: LoggingManager, input: Vector["input"]): void {
    if (input.call !== undefined) {
      const { event_type: eventType, instance_id: instanceId = null, details = {}, kwargs } = input;
      return manager.logAuditEvent({ eventType, instanceId, details, ...kwargs });
    }
    const logger = manager.getLogger(input.logger);
    const extra = Object.fromEntries(
      Object.entries(input.extra ?? {}).map(([key, value]) => [key, fromPython(value)]),
    );
    if (Object.hasOwn(input.extra ?? {}, "__proto__")) {
      Object.defineProperty(extra, "__proto__", {
        value: input.extra!["__proto__"],
        enumerable: true,
      });
    }
    const error = Object.assign(new Error('tmux "socket" gone'), { name: "ConnectionError" });
    const extras = { ...extra, ...CALL_SITE, ...(input.exc_info && { exception: error }) };
    const message = input.msg
      .replace("%d%%", `${String(input.args?.[0])}%`)
      .replace("\\ud800", "\ud800");
    const levels = {
      DEBUG: "debug",
      INFO: "info",
      WARNING: "warning",
      ERROR: "error",
      CRITICAL: "critical",
    } as const;
    logger[levels[input.level as keyof typeof levels] ?? "info"](message, extras);
  }

  function fromPython(value: unknown): unknown {
    if (typeof value !== "object" || value === null || !("$py" in value)) return value;
    const circular: Record<string, unknown> = {};
    circular["self"] = circular;
    let deep: unknown = {};
    for (let level = 0; level < 3000; level++) deep = { deep };
    const values: Record<string, unknown> = {
      nan: NaN,
      "2**64": 2n ** 64n,
      "1.0": 1,
      None: null,
      True: true,
      "{'ok':1,'bad':{1}}": { ok: 1, bad: new Set([1]) },
      "circular dict": circular,
      "'bad \\ud800'": "bad \ud800",
      "3000-level nested dict": deep,
    };
    const name = value.$py as string;
    if (!Object.hasOwn(values, name))
      throw new Error(`A Python value that this test does not know: ${name}`);
    return values[name];
  }

  /** Returns names, order and values, except the time and the key that the original leaked. */
  function comparable({ type, data }: Envelope): unknown {
    const entries = Object.entries(data).filter(([key]) => key !== "extras" && key !== "timestamp");
    return [type, entries];
  }
});
