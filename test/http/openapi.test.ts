/** Holds the gateway to docs/reference/openapi.yaml: its paths, parameters, statuses, headers and bodies. */

import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { connect, type AddressInfo } from "node:net";
import { gzipSync } from "node:zlib";
import { LoggingManager, TailgateError } from "tailgate";
import { afterAll, beforeAll, expect, onTestFinished, test, vi } from "vitest";
import WebSocket from "ws";
import otlpReceiver from "../../plugins/otlp-receiver.ts";
import websocket from "../../plugins/websocket.ts";
import { Authenticator } from "../../src/auth/authenticator.ts";
import { TOKENS_UNAVAILABLE } from "../../src/auth/refusals.ts";
import { reservedPaths } from "../../src/http/server/server.ts";
import { MemoryJournal } from "../../src/journal/memory.ts";
import type { JournalPage, JournalQuery } from "tailgate/plugin";
import { HttpHarness, sendRaw } from "../harness/http-server.ts";
import { exchange, OpenApiContract, type Received, type Sent } from "../harness/openapi.ts";
import { openReceiver } from "../harness/otlp.ts";
import { startSecured } from "../harness/secured-gateway.ts";
import { TestTokens } from "../harness/tokens.ts";
import { Workspace } from "../harness/workspace.ts";

const api = await OpenApiContract.read();

const FILE = "/assets/{file}";
const RECORD = "/api/logs/{sequence}";
const VALUES = "/api/fields/{name}/values";
const SEARCH_PATHS = ["/api/logs", "/api/counts", "/api/fields", VALUES, "/api/patterns"];

/** The paths that are read with GET, but for the WebSocket's, which accepts any method. */
const READ_PATHS = Object.entries(api.paths)
  .filter(([, methods]) => "get" in methods)
  .map(([path]) => path)
  .filter((path) => path !== "/ws/logs" && path !== "/api/sessions");

const OTLP_PATHS = ["/v1/logs", "/v1/traces", "/v1/metrics"];

/** The other paths of signing in. */
const SIGN_IN_PATHS = [
  "/api/login",
  "/api/logout",
  "/api/sessions",
  "/api/sessions/{id}",
  "/api/tickets",
];

const assets = reservedPaths().filter((path) => path.startsWith("/assets/"));

/** A path as requests have it. */
function concrete(path: string): string {
  if (path === FILE) return assets[0]!;
  return path.replace("{id}", "unknown").replace("{sequence}", "1").replace("{name}", "logger");
}

/** The method of a path; no path has more than one, but for HEAD. */
function methodOf(path: string): "get" | "post" | "delete" {
  return (["get", "post", "delete"] as const).find((method) => method in api.paths[path]!)!;
}

/** Sends a request to a documented path, and checks that the response is documented. */
async function ask(
  url: string,
  path: string,
  sent: Sent & { query?: string } = {},
): Promise<Received> {
  const { query = "", ...request } = sent;
  const method = methodOf(path);
  const all = { method: method.toUpperCase(), ...request };
  // Other methods of the path get the same responses.
  const received = await exchange(`${url}${concrete(path)}${query}`, all);
  api.check(path, method, received);
  return received;
}

async function askJson(url: string, path: string, query = ""): Promise<Record<string, unknown>> {
  const { status, body } = await ask(url, path, { query });
  expect({ status, body }).toMatchObject({ status: 200 });
  return JSON.parse(body) as Record<string, unknown>;
}

const JSON_BODY = { "Content-Type": "application/json" };
const PROTOBUF_BODY = { "Content-Type": "application/x-protobuf" };

function otlp(logger: string, record: object): string {
  return JSON.stringify({
    resourceLogs: [{ scopeLogs: [{ scope: { name: logger }, logRecords: [record] }] }],
  });
}

const BODY_BYTES_MAX = 10_000;

let workspace: Workspace;
let gateway: LoggingManager;
let url = "";

beforeAll(async () => {
  const tokens = '{"version":1,"tokens":[]}';
  workspace = await Workspace.create({ "secured.yaml": "auth: { tokens_file: tokens.json }" });
  await writeFile(workspace.path("tokens.json"), tokens, { mode: 0o600 });
  gateway = await LoggingManager.start({
    port: 0,
    logDir: workspace.path("logs"),
    receivers: { otlp: { port: null, max_body_bytes: BODY_BYTES_MAX } },
    exporters: { websocket: { max_connections: 1 }, file: {}, "audit-file": {} },
    registerGlobally: false,
    write: () => {},
  });
  ({ url } = gateway);
  gateway
    .getLogger("orchestrator.instance_manager")
    .warning("High memory usage", { memory_mb: 512 });
  await gateway.audit({ eventType: "instance_spawn", instanceId: "abc-123" });
});

afterAll(async () => {
  await gateway.stop();
  await workspace[Symbol.asyncDispose]();
});

test("the document is valid OpenAPI, and its examples match its schemas", async () => {
  expect(await api.problems()).toBeUndefined();
  api.forEachExample((pointer, value) => api.validate("example", pointer, value));
});

test("it has all paths of the gateway and no others", async () => {
  const { paths: websocketPaths = [] } = await websocket.plan!(websocket.options.parse({}));
  const { paths: otlpPaths = [] } = await otlpReceiver.plan!(otlpReceiver.options.parse({}));
  const own = reservedPaths().map((path) => (path.startsWith("/assets/") ? FILE : path));
  const served = new Set([...own, ...websocketPaths, ...otlpPaths]);
  expect(Object.keys(api.paths).toSorted()).toEqual([...served].toSorted());
});

test("every path responds as documented, also to HEAD", async () => {
  for (const path of READ_PATHS) {
    const { status } = await ask(url, path);
    expect([path, status]).toEqual([path, 200]);
    const head = await exchange(`${url}${concrete(path)}`, { method: "HEAD" });
    expect([path, head.status, head.body]).toEqual([path, 200, ""]);
  }
  for (const path of assets) {
    api.check(FILE, "get", await exchange(url + path, { headers: { "Accept-Encoding": "gzip" } }));
  }
});

test("the dashboard's files are compressed and revalidated as documented", async () => {
  const compressed = await exchange(url, { headers: { "Accept-Encoding": "br" } });
  expect(compressed.headers["content-encoding"]).toBe("br");
  for (const path of ["/", "/login", FILE]) {
    const { headers } = await ask(url, path);
    const { status } = await ask(url, path, { headers: { "If-None-Match": headers.etag } });
    expect(status).toBe(304);
  }
  expect((await exchange(`${url}/assets/none.js`)).status).toBe(404);
  api.check(FILE, "get", await exchange(`${url}/assets/none.js`));
});

test("documented parameters are accepted, and those of a path are all that it knows", async () => {
  for (const path of SEARCH_PATHS) {
    const parameters = api.parameters(path, "get").filter((one) => one.in === "query");
    for (const { name, example, schema } of parameters) {
      const known = name === "cursor" ? await askJson(url, path) : {};
      const cursor = `${known["epoch"] as string}:1`;
      const order = name === "wait" ? "&order=asc" : "";
      await askJson(url, path, `?${name}=${encodeURIComponent(String(example ?? cursor))}${order}`);
      const { minimum, maximum } = schema.anyOf?.[0] ?? schema;
      for (const value of [minimum, maximum && name !== "wait" ? maximum : undefined]) {
        if (value !== undefined) await askJson(url, path, `?${name}=${value}${order}`);
      }
      for (const value of [minimum! - 1, maximum! + 1].filter((limit) => !Number.isNaN(limit))) {
        const { status } = await ask(url, path, { query: `?${name}=${value}${order}` });
        expect([name, value, status]).toEqual([name, value, 400]);
      }
    }
    const { status, body } = await ask(url, path, { query: "?x=1" });
    const { code, message } = (JSON.parse(body) as { error: Record<string, string> }).error;
    expect([status, code]).toEqual([400, "PARAMETER_INVALID"]);
    const [, listed = ""] = /Known parameters: (.*)\.$/.exec(message!)!;
    expect(listed.split(", ").toSorted()).toEqual(parameters.map(({ name }) => name).toSorted());
  }
  for (const path of ["/api/stats", "/healthz", "/readyz", "/metrics", "/"]) {
    expect((await ask(url, path, { query: "?x=1" })).status).toBe(200);
  }
});

test("documented parameters of the WebSocket are accepted, and no others", async () => {
  const parameters = api
    .parameters("/ws/logs", "get")
    .filter((parameter) => parameter.in === "query");
  for (const { name, example } of parameters) {
    const query = `?${name}=${encodeURIComponent(String(example))}`;
    expect((await ask(url, "/ws/logs", { query })).status).toBe(426);
  }
  const { status, body } = await ask(url, "/ws/logs", { query: "?x=1" });
  expect(status).toBe(400);
  const [, listed = ""] = /valid parameters are (.*)\.\n$/.exec(body)!;
  expect(listed.split(", ").toSorted()).toEqual(parameters.map(({ name }) => name).toSorted());
});

test("pages, lines and counts match their schemas", async () => {
  const { records } = await askJson(url, "/api/logs", "?order=asc");
  expect(records).toHaveLength(2);
  await askJson(url, "/api/logs", "?order=asc&wait=0&limit=1");
  await askJson(url, "/api/counts", "?facets=logger,action,instance_id,service,memory_mb");
  const { headers, body } = await ask(url, "/api/logs", { query: "?format=ndjson&limit=1" });
  for (const line of body.trimEnd().split("\n")) {
    api.validate("line", "#/components/schemas/Record", JSON.parse(line));
  }
  const stream = await ask(url, "/api/logs", { query: "?format=ndjson&limit=all" });
  const lines = stream.body.trimEnd().split("\n");
  api.validate("line", "#/components/schemas/StreamEnd", JSON.parse(lines.pop()!));
  for (const line of lines) api.validate("line", "#/components/schemas/Record", JSON.parse(line));
  expect(headers["x-epoch"]).toBe((await askJson(url, "/api/logs"))["epoch"]);
  expect(headers["x-next-cursor"]).toBe(`${headers["x-epoch"] as string}:1`);
});

test("gaps are in the body or in a header", async () => {
  const journal = new MemoryJournal(10_000);
  const harness = await new HttpHarness({ journal }).open();
  await askJson(harness.url, "/api/logs");
  for (let batch = 0; batch < 30; batch++)
    await harness.log(...Array.from({ length: 10 }, () => ({})));
  const { gaps } = await askJson(harness.url, "/api/logs", "?order=asc");
  expect(gaps).toMatchObject([{ from: 1, reason: "retention" }]);
  const { headers } = await ask(harness.url, "/api/logs", { query: "?order=asc&format=ndjson" });
  expect(JSON.parse(String(headers["x-gaps"]))).toEqual(gaps);
  const empty = await new HttpHarness().open();
  for (const path of ["/api/counts", "/api/stats"]) await askJson(empty.url, path);
});

test("statistics match their schema in every state", async () => {
  const harness = new HttpHarness();
  const kinds = ["intake", "receiver", "processor", "exporter"] as const;
  for (const kind of kinds)
    harness.component({ id: kind, kind, lastError: "disk full" }).drop("overflow", 1);
  const checkpoint = { time: new Date().toISOString(), seq: 2, key: "a1b2" };
  harness.audit = { chain: { count: 2, seq: 2, head: "0".repeat(64) }, checkpoint } as never;
  const damage = {
    atMs: Date.now(),
    text: "damaged",
    isTrailIncomplete: false,
    kept: ["journal.db.1"],
  };
  Object.assign(harness.view, {
    unconfirmedClockMs: 5_000,
    journalDamage: [damage, { ...damage, lost: { from: 1, to: 2 } }],
  });
  await harness.open();
  await askJson(harness.url, "/api/stats");
  harness.notReady = "the journal is full";
  expect((await ask(harness.url, "/readyz")).status).toBe(503);
});

test("invalid requests are answered as documented on every path", async () => {
  for (const path of Object.keys(api.paths)) {
    const hostless = await ask(url, path, { setHost: false, headers: JSON_BODY });
    expect([path, hostless.status]).toEqual([path, 400]);
    const foreign = { Origin: "http://evil.example", ...JSON_BODY };
    expect((await ask(url, path, { headers: foreign })).status).toBe(403);
    const expecting = { Expect: "something", ...JSON_BODY };
    expect((await ask(url, path, { headers: expecting })).status).toBe(417);
  }
  for (const path of READ_PATHS) {
    expect((await ask(url, path, { method: "POST" })).status).toBe(405);
  }
  for (const path of SEARCH_PATHS) {
    expect((await ask(url, path, { query: "?q=level:" })).status).toBe(400);
    expect((await ask(url, path, { query: "?cursor=other:1" })).status).toBe(410);
  }
  expect((await ask(url, RECORD, { query: "?q=x" })).status).toBe(400);
  expect((await ask(url, RECORD, { query: "?epoch=other" })).status).toBe(410);
  const absent = await exchange(`${url}/api/logs/999999`);
  expect(absent.status).toBe(404);
  api.check(RECORD, "get", absent);
  const nowhere = await exchange(`${url}/nowhere`);
  expect(nowhere.status).toBe(404);
  api.validate("404", "#/components/schemas/Error", JSON.parse(nowhere.body));
  const port = Number(new URL(url).port);
  const overflow = await sendRaw(
    port,
    `GET / HTTP/1.1\r\nHost: localhost\r\nX: ${"x".repeat(20_000)}`,
  );
  expect(overflow).toMatch(
    /^HTTP\/1.1 431 [^]*Content-Type: text\/plain[^]*larger than 16384 bytes/,
  );
});

test("a gateway with authentication responds as documented", async () => {
  await using secured = await Workspace.create();
  const tokens = await TestTokens.create(secured, {
    reader: { scopes: ["read", "metrics"] },
    sender: { scopes: ["ingest"] },
  });
  const auth = `auth: { tokens_file: ${tokens.path} }\nexporters: { websocket: {} }\n`;
  await secured.write("tailgate.yaml", auth);
  const manager = await LoggingManager.start({
    config: secured.path("tailgate.yaml"),
    port: 0,
    logDir: secured.path("logs"),
    registerGlobally: false,
    write: () => {},
  });
  try {
    for (const path of [...SEARCH_PATHS, RECORD, "/api/stats", "/metrics", "/ws/logs"]) {
      const statusFor = async (headers = {}): Promise<number> =>
        (await ask(manager.url, path, { headers })).status;
      expect([path, await statusFor()]).toEqual([path, 401]);
      expect([path, await statusFor(tokens.bearer("sender"))]).toEqual([path, 403]);
      if (path === RECORD) continue;
      const welcome = path === "/ws/logs" ? 426 : 200;
      expect([path, await statusFor(tokens.bearer("reader"))]).toEqual([path, welcome]);
    }
  } finally {
    await manager.stop();
  }
});

test("a gateway that cannot read its tokens responds as documented", async () => {
  const authenticator = new Authenticator([{ authenticate: () => TOKENS_UNAVAILABLE }]);
  const harness = await new HttpHarness({ authenticator }).open();
  for (const path of [...SEARCH_PATHS, RECORD, "/api/stats", "/metrics"]) {
    const { status, body } = await ask(harness.url, path);
    expect([status, body]).toEqual([503, expect.stringContaining("TOKENS_UNREADABLE")]);
  }
});

/** A journal that cannot be read, or only later. */
class BlockedJournal extends MemoryJournal {
  readonly #reading = Promise.withResolvers<void>();
  isBroken = false;

  override async read(query: JournalQuery): Promise<JournalPage> {
    if (this.isBroken) throw new Error("The disk cannot be read.");
    await this.#reading.promise;
    return super.read(query);
  }

  release(): void {
    this.#reading.resolve();
  }
}

async function openBlocked(): Promise<{ journal: BlockedJournal; harness: HttpHarness }> {
  const journal = new BlockedJournal();
  const limits = { searchesMax: 1, queuedSearchesMax: 0 };
  const harness = await new HttpHarness({ journal, limits }).open();
  await harness.log({});
  return { journal, harness };
}

test("an overloaded gateway responds as documented", async () => {
  const { journal, harness } = await openBlocked();
  const first = ask(harness.url, "/api/logs");
  await vi.waitFor(async () => {
    expect((await ask(harness.url, "/api/logs")).status).toBe(503);
  });
  const { status, headers, body } = await ask(harness.url, "/api/counts");
  expect([status, headers["retry-after"]]).toEqual([503, "1"]);
  expect(body).toContain("SEARCHES_BUSY");
  journal.release();
  expect((await first).status).toBe(200);
});

test("an internal error is answered as documented", async () => {
  const { journal, harness } = await openBlocked();
  journal.isBroken = true;
  for (const path of [...SEARCH_PATHS, RECORD, "/api/stats"]) {
    expect((await ask(harness.url, path)).status).toBe(500);
  }
});

test("a gateway whose responses are not read responds as documented", async () => {
  const harness = await new HttpHarness({ limits: { answerBytesMax: 1 } }).open();
  // More than the kernel buffers for a client that does not read.
  await harness.log({ body: "x".repeat(12 << 20) });
  const silent = connect(harness.port, "127.0.0.1").pause();
  silent.write("GET /api/logs HTTP/1.1\r\nHost: localhost\r\n\r\n");
  await vi.waitFor(async () => {
    const { status, body } = await ask(harness.url, "/api/stats");
    expect([status, body]).toEqual([503, expect.stringContaining("ANSWERS_UNREAD")]);
  });
  silent.destroy();
});

test("a gateway that is starting or stopping responds as documented", async () => {
  const starting = new HttpHarness();
  const startingUrl = await starting.server.listen();
  onTestFinished(() => starting.server.close(AbortSignal.abort()));
  for (const path of [...READ_PATHS, ...SIGN_IN_PATHS]) {
    expect((await ask(startingUrl, path)).status).toBe(503);
  }
});

test("the handshake of a WebSocket is answered as documented", async () => {
  const upgrade = {
    Connection: "Upgrade",
    Upgrade: "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
  };
  for (const method of ["GET", "POST"]) {
    expect((await ask(url, "/ws/logs", { method })).status).toBe(426);
  }
  const old = await ask(url, "/ws/logs", { headers: { ...upgrade, "Sec-WebSocket-Version": "7" } });
  expect(old.status).toBe(400);
  const subprotocol = { ...upgrade, "Sec-WebSocket-Protocol": "tailgate.v1" };
  expect((await ask(url, "/ws/logs", { headers: subprotocol })).status).toBe(101);
  const client = new WebSocket(`${url.replace("http", "ws")}/ws/logs`);
  await once(client, "open");
  expect((await ask(url, "/ws/logs")).status).toBe(503);
  expect((await ask(url, "/ws/logs", { headers: upgrade })).status).toBe(503);
  client.close();
});

test("OTLP requests are answered as documented", async () => {
  const body = otlp("orchestrator.server", { severityNumber: 9, body: { stringValue: "hello" } });
  const method = "POST";
  expect((await ask(url, "/v1/logs", { method, headers: JSON_BODY, body })).body).toBe("{}");
  const compressed = { ...JSON_BODY, "Content-Encoding": "gzip" };
  const zipped = { method, headers: compressed, body: gzipSync(body) };
  expect((await ask(url, "/v1/logs", zipped)).status).toBe(200);
  expect((await ask(url, "/v1/logs", { method, headers: PROTOBUF_BODY })).status).toBe(200);
  for (const headers of [JSON_BODY, PROTOBUF_BODY]) {
    const undecodable = { method, headers, body: "{" };
    expect((await ask(url, "/v1/logs", undecodable)).status).toBe(400);
    const large = { method, headers, body: Buffer.alloc(BODY_BYTES_MAX + 1) };
    expect((await ask(url, "/v1/logs", large)).status).toBe(413);
    const foreign = { ...headers, Origin: "http://evil.example" };
    for (const path of OTLP_PATHS) {
      expect((await ask(url, path, { method, headers: foreign })).status).toBe(403);
      expect((await ask(url, path, { method: "GET", headers })).status).toBe(405);
      const hostless = { method, headers, setHost: false };
      expect((await ask(url, path, hostless)).status).toBe(400);
    }
    for (const path of ["/v1/traces", "/v1/metrics"]) {
      expect((await ask(url, path, { method, headers, body })).status).toBe(200);
    }
  }
  for (const path of OTLP_PATHS) {
    const { headers } = await ask(url, path, { method, headers: { "Content-Type": "text/plain" } });
    expect(headers["accept"]).toBe("application/x-protobuf, application/json");
  }
  for (const headers of [JSON_BODY, PROTOBUF_BODY]) {
    const unknown = { ...headers, "Content-Encoding": "br" };
    const { status } = await ask(url, "/v1/logs", { method, headers: unknown, body: "x" });
    expect(status).toBe(415);
  }
});

test("OTLP requests without a token are answered as documented", async () => {
  const secured = await LoggingManager.start({
    config: workspace.path("secured.yaml"),
    port: 0,
    logDir: workspace.path("secured"),
    receivers: { otlp: { port: null } },
    exporters: {},
    registerGlobally: false,
    write: () => {},
  });
  onTestFinished(() => secured.stop());
  for (const headers of [JSON_BODY, PROTOBUF_BODY]) {
    for (const path of OTLP_PATHS) {
      expect((await ask(secured.url, path, { method: "POST", headers })).status).toBe(401);
    }
  }
});

/** A collector whose responses have the content type of the request. */
async function openCollector(): Promise<string> {
  const server = createServer((request, response) => {
    response.writeHead(200, { "Content-Type": request.headers["content-type"] }).end("{}");
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => {
    server.close();
    server.closeAllConnections();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

test("OTLP responses of an overloaded gateway and of a collector are documented", async () => {
  const options = { pass_on_to: await openCollector(), max_body_bytes: BODY_BYTES_MAX };
  const { intake, url: otlpUrl, receiver } = await openReceiver(options);
  const large = Buffer.alloc(BODY_BYTES_MAX + 1);
  const method = "POST";
  const own = await exchange(`${otlpUrl}/nowhere`, { method, headers: JSON_BODY });
  api.validate("404", "#/components/schemas/RpcStatus", JSON.parse(own.body));
  for (const headers of [JSON_BODY, PROTOBUF_BODY]) {
    for (const path of ["/v1/traces", "/v1/metrics"]) {
      expect((await ask(otlpUrl, path, { method, headers, body: "{}" })).status).toBe(200);
      expect((await ask(otlpUrl, path, { method, headers, body: large })).status).toBe(413);
    }
    const body = headers === JSON_BODY ? otlp("a", {}) : "";
    intake.rejected = 1;
    expect((await ask(otlpUrl, "/v1/logs", { method, headers, body })).status).toBe(200);
    intake.error = new TailgateError("OVERLOADED", "The queue is full.");
    const busy = await ask(otlpUrl, "/v1/logs", { method, headers, body });
    expect([busy.status, busy.headers["retry-after"]]).toEqual([429, "1"]);
    intake.error = new TailgateError("STOPPED", "The gateway is stopping.");
    expect((await ask(otlpUrl, "/v1/logs", { method, headers, body })).status).toBe(503);
    intake.error = undefined;
  }
  await receiver.close!(AbortSignal.timeout(1000));
});

test("traces are answered as documented without the collector, and if they are rejected", async () => {
  const { url: otlpUrl } = await openReceiver({ pass_on_to: "http://127.0.0.1:1" });
  const { url: rejecting } = await openReceiver({ traces: "reject", metrics: "reject" });
  for (const headers of [JSON_BODY, PROTOBUF_BODY]) {
    for (const path of ["/v1/traces", "/v1/metrics"]) {
      const request = { method: "POST", headers, body: "{}" };
      expect((await ask(otlpUrl, path, request)).status).toBe(503);
      expect((await ask(rejecting, path, request)).status).toBe(404);
    }
  }
});

test("signing in is answered as documented", async () => {
  const files = await Workspace.create();
  const tokens = await TestTokens.create(files, {
    boss: { scopes: ["admin"] },
    reader: { scopes: ["read"] },
  });
  const auth = `auth: { tokens_file: ${tokens.path}, proxy: { user_header: X-User } }`;
  await files.write("tailgate.yaml", `trusted_proxies: [127.0.0.1]\n${auth}`);
  const secured = await LoggingManager.start({
    config: files.path("tailgate.yaml"),
    port: 0,
    logDir: files.path("logs"),
    exporters: {},
    registerGlobally: false,
    write: () => {},
  });
  onTestFinished(async () => {
    await secured.stop();
    await files[Symbol.asyncDispose]();
  });
  const send = (path: string, headers = {}, body = "") => ask(secured.url, path, { headers, body });
  const login = (body: string, headers = {}) =>
    send("/api/login", { ...JSON_BODY, ...headers }, body);
  const right = JSON.stringify({ token: tokens.text("boss") });
  const Origin = secured.url;
  const { headers } = await login(right, { Origin });
  const Cookie = headers["set-cookie"]![0]!.split(";")[0]!;
  const list = await send("/api/sessions", { Cookie });
  const [{ id }] = (JSON.parse(list.body) as { sessions: [{ id: string }] }).sessions;
  expect((await send("/api/whoami", { Cookie })).status).toBe(200);
  expect((await send("/api/tickets", { Cookie, Origin })).status).toBe(201);
  const end = await exchange(`${secured.url}/api/sessions/${id}`, {
    method: "DELETE",
    headers: tokens.bearer("boss"),
  });
  api.check("/api/sessions/{id}", "delete", end);
  expect(end.status).toBe(204);
  expect((await send("/api/sessions/{id}", tokens.bearer("boss"))).status).toBe(404);
  expect((await send("/api/logout", { Cookie, Origin })).status).toBe(204);

  const foreign = { Origin: "http://localhost:3000" };
  expect((await login(right, foreign)).status).toBe(403);
  expect((await send("/api/logout", foreign)).status).toBe(403);
  for (const path of ["/api/sessions", "/api/sessions/{id}"]) {
    expect((await send(path, tokens.bearer("reader"))).status).toBe(403);
  }
  const unknown = { Authorization: "Bearer unknown" };
  for (const path of ["/api/whoami", "/api/sessions", "/api/sessions/{id}", "/api/tickets"]) {
    expect([path, (await send(path, unknown)).status]).toEqual([path, 401]);
  }
  expect((await send("/api/whoami", { "X-User": "stranger" })).status).toBe(403);
  const posted = await exchange(`${secured.url}/api/sessions`, { method: "POST" });
  api.check("/api/sessions", "get", posted);
  expect(posted.status).toBe(405);
  expect((await send("/api/login", {}, "x")).status).toBe(415);
  expect((await login("x".repeat(5000))).status).toBe(413);
  expect((await login("{")).status).toBe(400);
  const wrong = JSON.stringify({ code: "unknown" });
  for (const status of [401, 401, 401, 401, 401, 429]) {
    expect((await login(wrong)).status).toBe(status);
  }
  // Without authentication.
  for (const path of SIGN_IN_PATHS.filter((one) => one !== "/api/tickets")) {
    expect([path, (await ask(url, path)).status]).toEqual([path, 404]);
  }
});

test("requests beyond the limit of a token are answered as documented", async () => {
  const secured = await startSecured(
    { boss: { scopes: ["admin"] } },
    { auth: "max_connections_per_principal: 1" },
  );
  const headers = secured.tokens.bearer("boss");
  const held = new WebSocket(`${secured.url.replace("http", "ws")}/ws/logs`, { headers });
  onTestFinished(() => held.terminate());
  await once(held, "open");
  const limited = Object.keys(api.paths)
    .filter((path) => "429" in api.operation(path, methodOf(path)).responses)
    .filter((path) => path !== "/api/login");
  expect(limited).toContain("/api/logs");
  for (const path of limited) {
    for (const type of [JSON_BODY, PROTOBUF_BODY]) {
      const received = await ask(secured.url, path, { headers: { ...type, ...headers } });
      expect([path, received.status, received.headers["retry-after"]]).toEqual([path, 429, "5"]);
    }
  }
});

test("connections beyond the limit are answered as documented", async () => {
  const harness = await new HttpHarness({ limits: { connectionsMax: 1 } }).open();
  const held = connect(harness.port, "127.0.0.1");
  await once(held, "connect");
  held.write("GET /healthz HTTP/1.1\r\n");
  for (const path of [...READ_PATHS, ...SIGN_IN_PATHS, "/ws/logs"]) {
    const { status, headers } = await ask(harness.url, path);
    expect([path, status, headers["retry-after"]]).toEqual([path, 503, "1"]);
  }
  for (const path of OTLP_PATHS) {
    expect((await ask(harness.url, path, { method: "POST" })).status).toBe(503);
  }
  held.destroy();
});

test("every documented response was seen", () => {
  expect(api.unseen).toEqual([]);
});
