/** `LoggingManager.connect`: a worker that logs to a gateway in another process, or to any OTLP/HTTP server. */

import { readdirSync, readFileSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { createServer, type AddressInfo } from "node:net";
import { join } from "node:path";
import { ROOT_CONTEXT, SeverityNumber, trace } from "@opentelemetry/api";
import {
  LoggingManager,
  TailgateError,
  type ConnectOptions,
  type LoggingConnection,
} from "tailgate";
import { afterAll, afterEach, beforeAll, describe, expect, onTestFinished, test, vi } from "vitest";
import { collect, type Envelope } from "./harness/client.ts";
import { GatewayProcess } from "./harness/gateway.ts";
import { Program, startCli } from "./harness/program.ts";
import { TestTokens } from "./harness/tokens.ts";
import { Workspace } from "./harness/workspace.ts";
import { answer, Peer, type Behaviour } from "./plugins/otlp/peer.ts";

const WAIT = { timeout: 15_000, interval: 10 };

let lines: string[] = [];
afterEach(() => void (lines = []));

/** Opens a connection that does not handle the exit of this process. */
async function connect(options: ConnectOptions): Promise<LoggingConnection> {
  const connection = await LoggingManager.connect({
    registerGlobally: false,
    handleSignals: false,
    batchDelayMs: 10,
    stopTimeoutMs: 500,
    write: (line) => lines.push(line),
    ...options,
  });
  onTestFinished(() => connection.stop());
  return connection;
}

async function openPeer(behaviour?: Behaviour): Promise<Peer> {
  const peer = await Peer.open();
  if (behaviour !== undefined) peer.behaviour = behaviour;
  onTestFinished(() => peer[Symbol.asyncDispose]());
  return peer;
}

/** Returns a port where nothing listens. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

async function errorOf(promise: Promise<unknown>): Promise<TailgateError> {
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(TailgateError.is(error)).toBe(true);
  return error as TailgateError;
}

type Logging = Pick<LoggingManager, "getLogger" | "provider"> & {
  audit(event: { eventType: string }, options: { key: string }): Promise<unknown>;
};

const CONTEXT = {
  traceId: "0af7651916cd43dd8448eb211c80319c",
  spanId: "b7ad6b7169203331",
  traceFlags: 1,
};

/** Logs every kind of field that a record can have. */
async function logEverything(logging: Logging): Promise<void> {
  const logger = logging.getLogger("orchestrator.server");
  logger.info("plain");
  logger.warning("High memory usage", { memory_mb: 512, ratio: 0.25, isLate: true, user: "ü" });
  logger.error("Spawning failed", new TypeError("no slot", { cause: new Error("full") }));
  logger.critical("Values", {
    large: 2n ** 70n,
    safe: 7n,
    huge: 1e300,
    infinite: -Infinity,
    nan: NaN,
    nothing: null,
    absent: undefined,
    bytes: new Uint8Array([1, 2, 255]),
    when: new Date(0),
    list: [1, "two", null, [3]],
    nested: { a: { b: [{ c: 1n }] }, map: new Map([["k", "v"]]) },
    timestamp: "taken",
  });
  logger.debug("filtered");
  const api = logging.provider.getLogger("lib.http", "1.2.3");
  const context = trace.setSpanContext(ROOT_CONTEXT, CONTEXT);
  api.emit({
    body: { a: 1, list: [true] },
    severityNumber: SeverityNumber.WARN,
    context,
    eventName: "request",
  });
  api.emit({ severityText: "WARN", body: 12.5, severityNumber: 9.5 as never, timestamp: [-5, 0] });
  const event = {
    eventType: "instance_spawn",
    instanceId: "i-1",
    details: { role: "worker", slots: [1, 2] },
    cost: 3n,
  };
  await logging.audit(event, { key: "everything" });
}

function comparable({ type, data }: Envelope): object {
  const { timestamp: _, service: __, metadata, ...rest } = data;
  if (metadata === undefined) return { type, ...rest };
  const { service: ___, ...others } = metadata as Record<string, unknown>;
  return { type, ...rest, metadata: others };
}

describe("with a gateway in another process", () => {
  let gateway: GatewayProcess;
  let endpoint = "";

  beforeAll(async () => {
    gateway = await GatewayProcess.start(
      "{ receivers: { otlp: { port: 0, grpc_port: 0 } }, exporters: { websocket: {} } }",
    );
    endpoint = await gateway.endpoint("OTLP/HTTP");
    return () => gateway[Symbol.asyncDispose]();
  });

  test("produces the envelopes of the in-process manager, plus the service", async () => {
    await using workspace = await Workspace.create();
    const manager = await LoggingManager.start({
      port: 0,
      logDir: workspace.path("logs"),
      exporters: { websocket: {} },
      callSiteLevel: "INFO",
      registerGlobally: false,
      handleSignals: false,
      write: () => {},
    });
    onTestFinished(() => manager.stop());
    const local = await collect(`${manager.url.replace("http", "ws")}/ws/logs`);
    onTestFinished(() => local.close());
    const remote = await gateway.client();
    const connection = await connect({
      endpoint,
      serviceName: "worker",
      callSiteLevel: "INFO",
    });
    for (const logging of [manager, connection]) await logEverything(logging);
    await connection.flush();
    const count = 7;
    const expected = (await local.receive(count)).map(comparable);
    const received = await remote.receive(count);
    // Sorted, because audit events do not wait for batches. Call site fields depend on the engine's state.
    const toTexts = (envelopes: readonly object[]): string[] =>
      envelopes
        .map((one) => JSON.stringify(one).replace(/\\n +at process[^"]*?(?=\\n)/g, ""))
        .sort();
    expect(toTexts(received.map(comparable))).toEqual(toTexts(expected));
    const spawn = received.find(({ type }) => type === "audit_log")!;
    expect(spawn.data["metadata"]).toMatchObject({ service: "worker", cost: 3 });
    const plain = received.find(({ data }) => data.message === "plain")!;
    expect(plain.data).toMatchObject({
      service: "worker",
      module: "connect.test",
      function: "logEverything",
      line: expect.any(Number) as number,
    });
    expect(connection.status).toMatchObject({
      pending: 0,
      sent: 6,
      sentAuditEvents: 1,
      filtered: 1,
    });
  });

  test("stores an audit event that is logged again with its key only once", async () => {
    const client = await gateway.client();
    const connection = await connect({ endpoint });
    const event = { eventType: "state_change", instanceId: "i-2" };
    expect(await connection.audit(event, { key: "twice" })).toEqual({ key: "twice" });
    expect(await connection.audit(event, { key: "twice" })).toEqual({ key: "twice" });
    const { key } = await connection.audit({ eventType: "last" });
    expect(key).toMatch(/^[0-9a-f-]{36}$/);
    const received = await client.receive(2);
    expect(received.map(({ data }) => data["action"])).toEqual(["state_change", "last"]);
  });

  test("a record of an audit logger is an audit event", async () => {
    const client = await gateway.client();
    const connection = await connect({ endpoint, logLevel: "error" });
    connection.getLogger("orchestrator.audit").info("checked");
    connection.logAuditEvent({ eventType: "logged", instanceId: null });
    await connection.flush();
    const types = (await client.receive(2)).map(({ type }) => type);
    expect(types).toEqual(["audit_log", "audit_log"]);
  });
});

test("loses and duplicates nothing over an outage and a restart on the same journal", async () => {
  const port = await freePort();
  const config = `{ port: 0, log_dir: logs, receivers: { otlp: { port: ${port} } },
    exporters: { file: {}, audit-file: {} } }`;
  await using workspace = await Workspace.create({ "tailgate.yaml": config });
  const start = async (): Promise<Program> => {
    const program = startCli(["run"], { cwd: workspace.directory });
    await program.untilStderr(/OTLP\/HTTP/);
    return program;
  };
  const connection = await connect({
    endpoint: `http://127.0.0.1:${port}`,
    // A request that takes longer would be sent again.
    requestTimeoutMs: 30_000,
    auditTimeoutMs: 30_000,
  });
  const logger = connection.getLogger("orchestrator.server");
  const event = { eventType: "instance_spawn", instanceId: "i-1" };
  {
    await using _ = await start();
    logger.info("before");
    await connection.audit(event, { key: "k-1" });
    await connection.flush();
  }
  for (let count = 0; count < 1000; count++) logger.info(`during ${count}`);
  const again = connection.audit(event, { key: "k-1" });
  const another = connection.audit({ ...event, instanceId: "i-2" }, { key: "k-2" });
  await vi.waitFor(() => expect(connection.status.lastError).toContain("ECONNREFUSED"), WAIT);
  expect(connection.status).toMatchObject({ pending: 1000, pendingAuditEvents: 2 });
  const program = await start();
  expect(await again).toEqual({ key: "k-1" });
  expect(await another).toEqual({ key: "k-2" });
  await connection.flush();
  expect(connection.status).toMatchObject({ pending: 0, sent: 1001, lastError: undefined });
  expect(await program.end()).toBe(0);
  const messages = readLines(workspace.path("logs/orchestrator.log")).map(({ message }) => message);
  const during = Array.from({ length: 1000 }, (_, count) => `during ${count}`);
  expect(messages).toEqual(["before", ...during]);
  const directory = workspace.path("logs/audit");
  const file = readdirSync(directory).find((name) => /^audit_\d+\.jsonl$/.test(name));
  const events = readLines(join(directory, file!)).filter(
    ({ event: name }) => name === "instance_spawn",
  );
  expect(events).toHaveLength(2);
});

function readLines(path: string): Record<string, unknown>[] {
  const texts = readFileSync(path, "utf8").trimEnd().split("\n");
  return texts.map((line) => JSON.parse(line) as Record<string, unknown>);
}

describe("the queue", () => {
  test("is bounded, and reports the number of dropped records in one line", async () => {
    const endpoint = `http://127.0.0.1:${await freePort()}`;
    const connection = await connect({ endpoint, queueCapacity: 10, requestTimeoutMs: 100 });
    const logger = connection.getLogger("orchestrator.server");
    for (let count = 0; count < 25; count++) logger.info(`line ${count}`);
    expect(connection.status).toMatchObject({ pending: 10, dropped: { queue_full: 15 } });
    await vi.waitFor(() => expect(lines.join()).toContain("queue_full 15"), WAIT);
    expect(lines).toHaveLength(1);
    await connection.stop();
    logger.info("too late");
    expect(connection.status.dropped).toEqual({
      queue_full: 15,
      stopped: 11,
      rejected: 0,
      not_readable: 0,
      audit_event: 0,
    });
    expect(lines[1]).toMatch(/Records were dropped: stopped 10\. Last error: .*ECONNREFUSED/);
  });

  test("sends batches of up to batchSize, in order", async () => {
    const peer = await openPeer();
    const connection = await connect({ endpoint: peer.url, batchSize: 4 });
    const messages = Array.from({ length: 10 }, (_, count) => `line ${count}`);
    for (const message of messages) connection.getLogger("a").info(message);
    await connection.flush();
    expect(peer.messages).toEqual(messages);
    expect(peer.received.map(({ records }) => records.length)).toEqual([4, 4, 2]);
  });

  test("waits batchDelayMs for further records", async () => {
    const peer = await openPeer();
    const connection = await connect({ endpoint: peer.url, batchDelayMs: 300 });
    connection.getLogger("a").info("one");
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(peer.received).toHaveLength(0);
    connection.getLogger("a").info("two");
    await vi.waitFor(() => expect(peer.received).toHaveLength(1), WAIT);
    expect(peer.messages).toEqual(["one", "two"]);
  });

  test("isolates and drops a record that the destination rejects", async () => {
    const peer = await openPeer((response, { records }) => {
      const isBad = records.some(({ body }) => body === "bad");
      response.writeHead(isBad ? 400 : 200, { "Content-Type": "application/json" }).end("{}");
      return !isBad;
    });
    const connection = await connect({ endpoint: peer.url });
    for (const message of ["a", "b", "bad", "c"]) connection.getLogger("a").info(message);
    await connection.flush();
    expect(peer.messages).toEqual(["a", "b", "c"]);
    expect(connection.status).toMatchObject({ pending: 0, sent: 3, dropped: { rejected: 1 } });
  });

  test("retains a batch that the destination temporarily rejects", async () => {
    const peer = await openPeer();
    peer.next.push(answer(500), answer(401));
    const connection = await connect({ endpoint: peer.url });
    connection.getLogger("a").info("kept");
    await vi.waitFor(() => expect(peer.messages).toEqual(["kept"]), WAIT);
    expect(peer.received).toHaveLength(3);
  });
});

describe("an audit event", () => {
  const JSON_TYPE = { "Content-Type": "application/json" };
  const event = { eventType: "instance_spawn" };

  test.each<[name: string, behaviour: Behaviour, code: string, text: string]>([
    [
      "of a partial success",
      answer(
        200,
        JSON_TYPE,
        '{"partialSuccess":{"rejectedLogRecords":"1","errorMessage":"no disk"}}',
      ),
      "AUDIT_REFUSED",
      "rejected the audit event: no disk.",
    ],
    ["of a 400", answer(400, {}, "bad"), "AUDIT_REFUSED", "400 Bad Request: bad"],
    ["of only 429", answer(429), "OVERLOADED", "429 Too Many Requests. Nothing was stored."],
    ["of a 401", answer(401, {}, "no token"), "UNAUTHENTICATED", "no token. Nothing was stored"],
    ["of a 403", answer(403, {}, "no scope"), "FORBIDDEN", "no scope. Nothing was stored."],
    ["of only 503", answer(503), "AUDIT_UNCONFIRMED", "the same key, which stores it only once"],
    [
      "of a broken connection",
      (response) => {
        response.destroy();
        return false;
      },
      "AUDIT_UNCONFIRMED",
      "did not confirm the audit event k-1 within 300 ms",
    ],
    ["without a response", () => false, "AUDIT_UNCONFIRMED", "within 300 ms"],
  ])("%s rejects with its code", async (_, behaviour, code, text) => {
    const peer = await openPeer(behaviour);
    const connection = await connect({ endpoint: peer.url, auditTimeoutMs: 300 });
    const error = await errorOf(connection.audit(event, { key: "k-1" }));
    expect(error).toMatchObject({ code, message: expect.stringContaining(text) as string });
    expect(connection.status).toMatchObject({ pendingAuditEvents: 0, dropped: { audit_event: 1 } });
  });

  test("is retried with its key until it is acknowledged", async () => {
    const peer = await openPeer();
    peer.next.push(answer(503), answer(429, { "Retry-After": "0" }));
    const connection = await connect({ endpoint: peer.url });
    const { key } = await connection.audit(event);
    expect(
      peer.received.map(({ records }) => records[0]!.attributes.get("log.record.uid")),
    ).toEqual([key, key, key]);
    expect(connection.status).toMatchObject({ sentAuditEvents: 1, lastError: undefined });
  });

  test("is not stored if it cannot be delivered", async () => {
    const endpoint = `http://127.0.0.1:${await freePort()}`;
    const connection = await connect({ endpoint, auditTimeoutMs: 200 });
    const error = await errorOf(connection.audit(event));
    expect(error.code).toBe("GATEWAY_UNREACHABLE");
    expect(error.message).toContain("ECONNREFUSED");
    connection.logAuditEvent(event);
    await vi.waitFor(() => expect(lines.join()).toContain("was not confirmed"), WAIT);
  });

  test("is rejected without a type or after stop", async () => {
    const peer = await openPeer();
    const connection = await connect({ endpoint: peer.url });
    const untyped = await errorOf(connection.audit({ event_type: "x" } as never));
    expect(untyped.code).toBe("AUDIT_REFUSED");
    expect(untyped.message).toContain("the fields are named `eventType`");
    await connection.stop();
    expect((await errorOf(connection.audit(event))).code).toBe("STOPPED");
    expect(peer.received).toHaveLength(0);
  });

  test("is sent in call order, and bypasses a blocked queue", async () => {
    const peer = await openPeer((response, { records }) => {
      const isAudit = records[0]!.attributes.has("event_type");
      if (isAudit) response.writeHead(200, JSON_TYPE).end("{}");
      return isAudit;
    });
    const connection = await connect({ endpoint: peer.url });
    connection.getLogger("a").info("stuck");
    const names = ["first", "second", "third"];
    await Promise.all(names.map((eventType) => connection.audit({ eventType })));
    expect(peer.messages).toEqual(names);
  });
});

describe("at a gateway with authentication", () => {
  let workspace: Workspace;
  let tokens: TestTokens;
  let gateway: LoggingManager;

  beforeAll(async () => {
    workspace = await Workspace.create();
    tokens = await TestTokens.create(workspace, {
      worker: { scopes: ["ingest"] },
      logs: { scopes: ["ingest:system"] },
      reader: { scopes: ["read"] },
    });
    await workspace.write("tailgate.yaml", `auth: { tokens_file: ${tokens.path} }\n`);
    gateway = await LoggingManager.start({
      config: workspace.path("tailgate.yaml"),
      port: 0,
      logDir: workspace.path("logs"),
      receivers: { otlp: { port: null } },
      exporters: { websocket: {} },
      registerGlobally: false,
      write: () => {},
    });
  });
  afterAll(async () => {
    await gateway.stop();
    await workspace[Symbol.asyncDispose]();
  });

  test.each<[string, () => ConnectOptions]>([
    ["the option", () => ({ endpoint: gateway.url, token: tokens.text("worker") })],
    [
      "a function, rather than the headers",
      () => ({
        endpoint: gateway.url,
        headers: { authorization: "Bearer wrong" },
        token: async () => tokens.text("worker"),
      }),
    ],
    [
      "the password of the URL, rather than TAILGATE_TOKEN",
      () => {
        vi.stubEnv("TAILGATE_TOKEN", tokens.text("reader"));
        return { endpoint: gateway.url.replace("//", `//me:${tokens.text("worker")}@`) };
      },
    ],
    [
      "TAILGATE_TOKEN",
      () => {
        vi.stubEnv("TAILGATE_TOKEN", tokens.text("worker"));
        return { endpoint: gateway.url };
      },
    ],
  ])("records and audit events are accepted with %s", async (_name, options) => {
    onTestFinished(() => void vi.unstubAllEnvs());
    const connection = await connect(options());
    connection.getLogger("a").info("hello");
    await connection.audit({ eventType: "instance_spawn" });
    await connection.flush();
    expect(connection.status).toMatchObject({ sent: 1, sentAuditEvents: 1, lastError: undefined });
  });

  test("records wait while the token is rejected, and audit() rejects with a code at once", async () => {
    let name = "reader";
    const token = (): string => tokens.text(name);
    const connection = await connect({ endpoint: gateway.url, token });
    connection.getLogger("a").info("kept");
    const event = { eventType: "instance_spawn" };
    const forbidden = await errorOf(connection.audit(event));
    expect(forbidden.code).toBe("FORBIDDEN");
    expect(forbidden.message).toContain(
      "token:reader lacks the scope ingest:system or ingest:audit",
    );
    await vi.waitFor(() => expect(lines.join()).toContain("The credentials were rejected."), WAIT);
    name = "logs";
    const partly = await errorOf(connection.audit(event));
    expect(partly.code).toBe("FORBIDDEN");
    expect(partly.message).toContain("token:logs lacks the scope ingest:audit");
    await connection.flush();
    expect(connection.status).toMatchObject({ sent: 1, pending: 0, dropped: { audit_event: 2 } });
    name = "worker";
    await connection.audit(event);
    expect(lines.filter((line) => line.includes("The credentials were rejected."))).toHaveLength(1);
    for (const secret of ["reader", "logs", "worker"].map((each) => tokens.text(each))) {
      expect(`${lines.join()}${forbidden.message}${partly.message}`).not.toContain(secret);
    }
  });

  test("a token that cannot be obtained is obtained again, and nothing is in doubt", async () => {
    let isSealed = true;
    const token = (): string => {
      if (isSealed) throw new Error("the vault is sealed");
      return tokens.text("worker");
    };
    const connection = await connect({ endpoint: gateway.url, token, auditTimeoutMs: 200 });
    connection.getLogger("a").info("kept");
    const error = await errorOf(connection.audit({ eventType: "instance_spawn" }));
    expect(error.code).toBe("GATEWAY_UNREACHABLE");
    expect(error.message).toContain("the token cannot be obtained: the vault is sealed");
    expect(error.message).toContain("The event was not stored.");
    isSealed = false;
    await connection.audit({ eventType: "instance_spawn" });
    await connection.flush();
    expect(connection.status.sent).toBe(1);
  });
});

describe("options", () => {
  test("are validated, and all errors are listed", async () => {
    const options = { endpont: "http://a", batchSize: 0, logLevel: "LOUD" };
    const error = await errorOf(LoggingManager.connect(options as never));
    expect(error.code).toBe("CONFIG_INVALID");
    expect(error.message).toContain('endpont: unknown key; did you mean "endpoint"?');
    expect(error.message).toContain("batchSize: expected");
    expect(error.message).toContain("logLevel: expected");
  });

  test("set headers, service and resource attributes", async () => {
    const peer = await openPeer();
    const connection = await connect({
      endpoint: peer.url.replace("//", "//me:secret@"),
      headers: { "X-Tenant": "a" },
      serviceName: "worker",
      resourceAttributes: { "deployment.environment.name": "test" },
    });
    connection.getLogger("a").info("one");
    await connection.flush();
    await connection.audit({ eventType: "x" });
    expect(connection.status.endpoint).toBe(`${peer.url}/v1/logs`);
    for (const { url, headers, records } of peer.received) {
      expect(url).toBe("/v1/logs");
      expect(headers).toMatchObject({ "x-tenant": "a", authorization: "Basic bWU6c2VjcmV0" });
      const { attributes } = records[0]!.resource!;
      expect(attributes.get("service.name")).toBe("worker");
      expect(attributes.get("deployment.environment.name")).toBe("test");
    }
    expect(peer.received).toHaveLength(2);
  });

  test("default to OpenTelemetry's environment variables, then to port 4318", async () => {
    const peer = await openPeer();
    vi.stubEnv("OTEL_EXPORTER_OTLP_ENDPOINT", `${peer.url}/base`);
    vi.stubEnv("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=b");
    vi.stubEnv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
    vi.stubEnv("OTEL_SERVICE_NAME", "from-environment");
    onTestFinished(() => void vi.unstubAllEnvs());
    const connection = await connect({});
    connection.getLogger("a").info("one");
    await connection.flush();
    const { url, headers, records } = peer.received[0]!;
    expect([url, headers["x-tenant"]]).toEqual(["/base/v1/logs", "b"]);
    expect(records[0]!.resource!.attributes.get("service.name")).toBe("from-environment");
    vi.unstubAllEnvs();
    expect((await connect({})).status.endpoint).toBe("http://127.0.0.1:4318/v1/logs");
  });

  test("set the levels and the audit loggers", async () => {
    const peer = await openPeer();
    const connection = await connect({
      endpoint: peer.url,
      logLevel: "warning",
      callSiteLevel: "never",
      auditLoggers: ["mine.audit", "other.audit"],
    });
    const logger = connection.getLogger("orchestrator.server");
    logger.info("filtered");
    logger.warning("logged");
    connection.getLogger("other.audit").info("audited");
    await connection.flush();
    await connection.audit({ eventType: "x" });
    expect(peer.messages).toEqual(["logged", "audited", "x"]);
    expect(peer.records.map(({ scope }) => scope.name)).toEqual([
      "orchestrator.server",
      "other.audit",
      "mine.audit",
    ]);
    expect(peer.records[0]!.attributes.size).toBe(0);
    expect(connection.status.filtered).toBe(1);
  });

  test("have the documented defaults", async () => {
    const peer = await openPeer(() => false);
    vi.stubEnv("OTEL_EXPORTER_OTLP_TIMEOUT", "100");
    onTestFinished(() => void vi.unstubAllEnvs());
    const connection = await connect({ endpoint: peer.url });
    const logger = connection.getLogger("a");
    for (let count = 0; count < 32_769; count++) logger.info("one");
    logger.debug("filtered");
    expect(connection.status).toMatchObject({
      pending: 32_768,
      dropped: { queue_full: 1 },
      filtered: 1,
    });
    await vi.waitFor(() => expect(connection.status.lastError).toBe("Request timed out"), WAIT);
    expect(peer.received[0]!.records).toHaveLength(512);
  });

  test("set the timeouts of requests, audit and stop", async () => {
    const peer = await openPeer(() => false);
    const connection = await connect({
      endpoint: peer.url,
      requestTimeoutMs: 200,
      auditTimeoutMs: 1000,
      stopTimeoutMs: 100,
    });
    connection.getLogger("a").info("one");
    await errorOf(connection.audit({ eventType: "x" }));
    expect(peer.received.length).toBeGreaterThan(2);
    const startedAtMs = performance.now();
    await connection.stop();
    expect(performance.now() - startedAtMs).toBeLessThan(1000);
    expect(connection.status.dropped.stopped).toBe(1);
  });
});

describe("process exit", () => {
  const WORKER = `
    import { logs } from "@opentelemetry/api";
    import { LoggingManager } from "tailgate";
    const logging = await LoggingManager.connect({ stopTimeoutMs: 1000, requestTimeoutMs: 500 });
    const logger = logging.getLogger("orchestrator.worker");
    const log = () => {
      for (let line = 0; line < 3; line++) logger.info("line " + line);
      logs.getLogger("library").emit({ body: "global" });
      logging.logAuditEvent({ eventType: "instance_terminate" });
    };
  `;
  const MESSAGES = ["line 0", "line 1", "line 2", "global", "instance_terminate"];

  async function run(end: string, endpoint: string): Promise<Program> {
    const workspace = await Workspace.create({ "worker.mjs": WORKER + end });
    onTestFinished(() => workspace[Symbol.asyncDispose]());
    await workspace.install("tailgate");
    await mkdir(workspace.path("node_modules/@opentelemetry"));
    await workspace.install("@opentelemetry/api");
    const env = { OTEL_EXPORTER_OTLP_ENDPOINT: endpoint };
    const program = new Program(process.execPath, ["worker.mjs"], {
      cwd: workspace.directory,
      env,
    });
    onTestFinished(() => program[Symbol.asyncDispose]());
    await program.ended;
    return program;
  }

  test.each([
    ["because nothing is left to do", "log(); process.exitCode = 3;", 3],
    [
      "by a signal",
      "setImmediate(() => { log(); process.kill(process.pid, 'SIGTERM'); }); setInterval(() => {}, 1000);",
      "SIGTERM",
    ],
    ["after stop", "log(); await logging.stop(); process.exit(4);", 4],
  ])("%s sends all logged records", async (_, end, expected) => {
    const peer = await openPeer();
    const program = await run(end, peer.url);
    expect(program.stderr).toBe("");
    expect(await program.ended).toBe(expected);
    expect(new Set(peer.messages)).toEqual(new Set(MESSAGES));
    expect(peer.messages).toHaveLength(MESSAGES.length);
  });

  test("by a signal sends nothing if handleSignals is false", async () => {
    const peer = await openPeer();
    const end = `await logging.stop();
      const other = await LoggingManager.connect({ handleSignals: false });
      other.getLogger("a").info("lost");
      process.kill(process.pid, "SIGTERM");
      setInterval(() => {}, 1000);`;
    const program = await run(end, peer.url);
    expect(await program.ended).toBe("SIGTERM");
    expect(peer.messages).toEqual([]);
  });

  test("by process.exit() reports unsent records", async () => {
    const peer = await openPeer();
    const program = await run("log(); process.exit(5);", peer.url);
    expect(await program.ended).toBe(5);
    expect(program.stderr).toMatch(
      /The process ended before 4 records were acknowledged: await stop\(\) before process\.exit\(\)\. Unconfirmed audit events: 1\./,
    );
  });

  test.each([
    ["because nothing is left to do", "logger.info('lost');", 0],
    [
      "by a signal",
      "logger.info('lost'); logging.logAuditEvent({ eventType: 'x' }); setInterval(() => {}, 1000); process.kill(process.pid, 'SIGINT');",
      "SIGINT",
    ],
  ])("%s waits a bounded time for an unreachable gateway", async (_, end, expected) => {
    const startedAtMs = performance.now();
    const program = await run(end, `http://127.0.0.1:${await freePort()}`);
    expect(await program.ended).toBe(expected);
    expect(performance.now() - startedAtMs).toBeLessThan(10_000);
    expect(program.stderr).toContain("The process ended before 1 record was acknowledged");
  });
});
