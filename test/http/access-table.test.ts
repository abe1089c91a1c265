/** Sends each request of the table in docs/security.md with each credential, and compares what happens. */

import { createServer, type IncomingMessage } from "node:http";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import { reservedPaths } from "../../src/http/server/server.ts";
import { createToken, formatToken } from "../../src/auth/tokens/token.ts";
import { Document } from "../docs/document.ts";
import { tableAfter, tableHeaderAfter } from "../docs/table.ts";
import { GatewayProcess } from "../harness/gateway.ts";
import { encodeRecords } from "../harness/records.ts";
import { ask } from "../harness/http-server.ts";
import { TestTokens } from "../harness/tokens.ts";
import { Workspace } from "../harness/workspace.ts";
import { frame, METHOD as LOGS_METHOD, send } from "../plugins/otlp-receiver/raw-call.ts";

const PAGE = await Document.read("docs/security.md");
const TITLE = "Requests";
const rows = tableAfter(PAGE, TITLE);

/** The credentials of the table's columns. */
const CREDENTIALS = tableHeaderAfter(PAGE, TITLE).slice(1);

/** A page of another origin that may send. */
const PAGE_ORIGIN = "https://shop.example.com";

type Headers = Readonly<Record<string, string>>;

/** Sends a request and returns what happened in the words of the table. */
type Probe = (headers: Headers) => Promise<string>;

const MARKERS = { system: "a-system-log", audit: "an-audit-event", matching: "a-matching-log" };

let url = "";
let otlpUrl = "";
let grpcUrl = "";
const cleanUps: (() => Promise<unknown>)[] = [];
let headersOf: (credential: string) => Headers;

beforeAll(async () => {
  const workspace = await Workspace.create();
  cleanUps.push(() => workspace[Symbol.asyncDispose]());
  const collector = createServer((request, response) => {
    request.resume().once("end", () => response.end("{}"));
  }).listen(0, "127.0.0.1");
  await once(collector, "listening");
  cleanUps.push(async () => void collector.close());
  const scopes = CREDENTIALS.filter((name) => /^`[a-z:]+`$/.test(name)).map((name) =>
    name.slice(1, -1),
  );
  const tokens = await TestTokens.create(workspace, {
    expired: { scopes: ["admin"], expires_at: "2026-01-01T00:00:00.000Z" },
    revoked: { scopes: ["admin"], revoked_at: "2026-01-01T00:00:00.000Z" },
    filtered: { scopes: ["read"], filter: "logger:orchestrator.matching" },
    ...Object.fromEntries(scopes.map((scope) => [scope.replace(":", "-"), { scopes: [scope] }])),
  });
  const { port } = collector.address() as AddressInfo;
  const gateway = await GatewayProcess.start(`
auth: { tokens_file: ${tokens.path} }
receivers: { otlp: { port: 0, grpc_port: 0, pass_on_to: "http://127.0.0.1:${port}", cors_origins: ["${PAGE_ORIGIN}"] } }
exporters: { websocket: {} }
`);
  cleanUps.unshift(() => gateway[Symbol.asyncDispose]());
  url = gateway.url;
  otlpUrl = (await gateway.endpoint("OTLP/HTTP")).replace("/v1/logs", "");
  grpcUrl = await gateway.endpoint("OTLP/gRPC");
  headersOf = (credential) => {
    const Authorization = (text: string): Headers => ({ Authorization: `Bearer ${text}` });
    if (credential === "no token") return {};
    if (credential === "wrong") return Authorization(formatToken(createToken()));
    if (credential === "`read`, filtered") return tokens.bearer("filtered");
    return tokens.bearer(credential.replaceAll("`", "").replace(":", "-"));
  };
  await storeRecords();
});

/** Sends the three records in one request, so that whoever gets one of them has got all that it may read. */
async function storeRecords(): Promise<void> {
  const body = requestOf({
    "orchestrator.other": MARKERS.system,
    "orchestrator.audit": MARKERS.audit,
    "orchestrator.matching": MARKERS.matching,
  });
  const { status } = await post(`${url}/v1/logs`, body, headersOf("`admin`"));
  if (status !== 200) throw new Error(`The records were answered with ${status}.`);
}

afterAll(async () => {
  for (const cleanUp of cleanUps) await cleanUp();
});

/** A request in protobuf, from the bodies of records by their loggers. */
function requestOf(bodies: Readonly<Record<string, string>>): Uint8Array<ArrayBuffer> {
  const records = Object.entries(bodies).map(([name, body]) => ({
    scope: { name, version: "", attributes: new Map() },
    body,
  }));
  return encodeRecords(records)[0]!.otlp();
}

async function post(
  target: string,
  body: Uint8Array<ArrayBuffer>,
  headers: Headers = {},
): Promise<{ status: number }> {
  const type = { "Content-Type": "application/x-protobuf" };
  const response = await fetch(target, { method: "POST", headers: { ...type, ...headers }, body });
  await response.arrayBuffer();
  return response;
}

/** `yes`, or the status of the rejection. */
function outcome(status: number): string {
  return status === 401 || status === 403 ? String(status) : "yes";
}

/** Which of the three records are in what was received. */
function seen(text: string): string {
  const has = (marker: string): boolean => text.includes(marker);
  if (has(MARKERS.system) && has(MARKERS.audit)) return "all";
  if (has(MARKERS.system)) return "system";
  if (has(MARKERS.audit)) return "audit";
  return has(MARKERS.matching) ? "matching" : "nothing";
}

const get =
  (path: string): Probe =>
  async (headers) =>
    outcome((await ask(url + path, { headers })).status);

const call =
  (method: string, path: string): Probe =>
  async (headers) => {
    const { status } = await fetch(url + path, { method, headers });
    return outcome(status);
  };

const read =
  (path: string): Probe =>
  async (headers) => {
    const { status, body } = await ask(url + path, { headers });
    return status === 200 ? seen(body) : outcome(status);
  };

/** Reads records one by one. */
const each =
  (sequences: readonly number[]): Probe =>
  async (headers) => {
    const paths = sequences.map((sequence) => `${url}/api/logs/${sequence}`);
    const answers = await Promise.all(paths.map((path) => ask(path, { headers })));
    const refused = answers.find(({ status }) => status === 401 || status === 403);
    // What may not be read does not exist.
    return refused === undefined
      ? seen(answers.map(({ status, body }) => (status === 404 ? "" : body)).join("\n"))
      : outcome(refused.status);
  };

/** Reads which loggers are counted. */
const counted =
  (path: string, loggers: (body: string) => string): Probe =>
  async (headers) => {
    const { status, body } = await ask(url + path, { headers });
    if (status !== 200) return outcome(status);
    const names = loggers(body);
    const found = [
      names.includes("orchestrator.other") ? MARKERS.system : "",
      names.includes("orchestrator.audit") ? MARKERS.audit : "",
      names.includes("orchestrator.matching") ? MARKERS.matching : "",
    ];
    return seen(found.join(" "));
  };

/** Reads whether there are fields of each logger's records. */
const fieldsSeen: Probe = async (headers) => {
  const loggers = { other: MARKERS.system, audit: MARKERS.audit, matching: MARKERS.matching };
  const found: string[] = [];
  for (const [name, marker] of Object.entries(loggers)) {
    const path = `/api/fields?logger=orchestrator.${name}`;
    const { status, body } = await ask(url + path, { headers });
    if (status !== 200) return outcome(status);
    if (JSON.parse(body).fields.length > 0) found.push(marker);
  }
  return seen(found.join(" "));
};

/** A WebSocket that has been accepted. */
interface Connected {
  send(message: object): void;
  /** Resolves with the first message, from now on or before, that contains the text. */
  until(text: string): Promise<string>;
}

const socket =
  (query: string, protocols: string[], talk: (client: Connected) => Promise<unknown>): Probe =>
  async (headers) => {
    const client = new WebSocket(`${url.replace("http", "ws")}/ws/logs${query}`, protocols, {
      headers,
    });
    const texts: string[] = [];
    client.on("message", (data: Buffer) => texts.push(data.toString()));
    const rejected = once(client, "unexpected-response").then(
      ([, response]) => response as IncomingMessage,
    );
    client.on("error", () => {});
    const first = await Promise.race([once(client, "open"), rejected]);
    if ("statusCode" in first) {
      client.terminate();
      return outcome(first.statusCode!);
    }
    await talk({
      send: (message) => client.send(JSON.stringify(message)),
      async until(text) {
        for (;;) {
          const found = texts.find((one) => one.includes(text));
          if (found !== undefined) return found;
          await once(client, "message");
        }
      },
    });
    // What was sent before the answer to a ping has arrived.
    client.ping();
    await once(client, "pong");
    client.terminate();
    return seen(texts.join("\n"));
  };

/** Everyone who may connect may read one of the records. */
const ANY_RECORD = "orchestrator.";

const otlp =
  (base: () => string, path: string, logger: string): Probe =>
  async (headers) =>
    outcome((await post(`${base()}${path}`, requestOf({ [logger]: "sent" }), headers)).status);

const GRPC_OUTCOMES: ReadonlyMap<number | undefined, string> = new Map([
  [0, "yes"],
  [16, "401"],
  [7, "403"],
]);

const grpc =
  (logger: string, method = LOGS_METHOD): Probe =>
  async (headers) => {
    const lower = Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]);
    const { grpcStatus } = await send(grpcUrl, frame(requestOf({ [logger]: "sent" })), {
      ...Object.fromEntries(lower),
      ":path": method,
    });
    return GRPC_OUTCOMES.get(grpcStatus) ?? `status ${grpcStatus}`;
  };

const SYSTEM = "orchestrator.sent";
const AUDIT = "orchestrator.audit.sent";
const V1 = ["tailgate.v1"];

/** A probe for each row of the table. */
const PROBES: Readonly<Record<string, Probe>> = {
  "`GET /`": get("/"),
  "`GET /login`": get("/login"),
  "`GET /healthz`": get("/healthz"),
  "`GET /readyz`": get("/readyz"),
  "`GET /metrics`": get("/metrics"),
  "`GET /api/logs`": read("/api/logs"),
  "`GET /api/logs`, NDJSON": read("/api/logs?format=ndjson"),
  "`GET /api/logs`, NDJSON stream": read("/api/logs?format=ndjson&limit=all"),
  "`GET /api/logs`, long poll": read("/api/logs?order=asc&wait=1"),
  "`GET /api/logs/{sequence}`": each(Array.from({ length: 20 }, (_, index) => index + 1)),
  "`GET /api/counts`": counted("/api/counts?facets=logger", (body) =>
    JSON.stringify(JSON.parse(body).facets),
  ),
  "`GET /api/fields`": fieldsSeen,
  "`GET /api/fields/{name}/values`": read("/api/fields/message/values"),
  "`GET /api/patterns`": read("/api/patterns"),
  "`GET /api/stats`": counted("/api/stats", (body) => JSON.stringify(JSON.parse(body).tail)),
  "`/ws/logs`": socket("?replay=100", [], (client) => client.until(ANY_RECORD)),
  "`/ws/logs`, `subscribe`": socket("", V1, async (client) => {
    client.send({ type: "subscribe", replay: 100 });
    await client.until('"caught_up"');
  }),
  "`/ws/logs`, `subscribe` with `resume`": socket("", V1, async (client) => {
    const { epoch } = JSON.parse(await client.until('"hello"')) as { epoch: string };
    client.send({ type: "subscribe", resume: { epoch, sequence: 0 } });
    await client.until('"caught_up"');
  }),
  "`/ws/logs`, `filter`": socket("", V1, async (client) => {
    client.send({ type: "subscribe", filter: { q: "logger:none" } });
    await client.until('"caught_up"');
    client.send({ type: "filter", filter: {}, version: 2 });
    await client.until('"version":2');
    await storeRecords();
    await client.until(ANY_RECORD);
  }),
  "`POST /v1/logs`, system log": otlp(() => url, "/v1/logs", SYSTEM),
  "`POST /v1/logs`, audit event": otlp(() => url, "/v1/logs", AUDIT),
  "`POST /v1/logs` on 4318, system log": otlp(() => otlpUrl, "/v1/logs", SYSTEM),
  "`POST /v1/logs` on 4318, audit event": otlp(() => otlpUrl, "/v1/logs", AUDIT),
  "`Export` (gRPC), system log": grpc(SYSTEM),
  "`Export` (gRPC), audit event": grpc(AUDIT),
  "`OPTIONS /v1/logs`, preflight": async (headers) => {
    const preflight = { Origin: PAGE_ORIGIN, "Access-Control-Request-Method": "POST" };
    const request = { method: "OPTIONS", headers: { ...headers, ...preflight } };
    return outcome((await fetch(`${otlpUrl}/v1/logs`, request)).status);
  },
  "`TraceService/Export` (gRPC)": grpc(
    SYSTEM,
    "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
  ),
  "`MetricsService/Export` (gRPC)": grpc(
    SYSTEM,
    "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
  ),
  "`POST /v1/traces`": otlp(() => url, "/v1/traces", SYSTEM),
  "`POST /v1/metrics`": otlp(() => url, "/v1/metrics", SYSTEM),
  "`GET /api/whoami`": get("/api/whoami"),
  "`POST /api/login`": call("POST", "/api/login"),
  "`POST /api/logout`": call("POST", "/api/logout"),
  "`POST /api/tickets`": call("POST", "/api/tickets"),
  "`GET /api/sessions`": get("/api/sessions"),
  "`DELETE /api/sessions/{id}`": call("DELETE", "/api/sessions/none"),
};

test("the table has a row for each request that is tried", () => {
  expect(rows.map(([request]) => request)).toEqual(Object.keys(PROBES));
});

test("the table has a row for each path of the gateway", () => {
  const requests = rows.map(([request]) => request).join(" ");
  const missing = reservedPaths().filter((path) => !requests.includes(`${path}\``));
  // The page's other files are as public as the page.
  expect(missing.filter((path) => !/\.(?:css|js|svg)$/.test(path))).toEqual([]);
});

describe.each(rows)("%s", (request, ...cells) => {
  test("does for each credential what the table says", async () => {
    const found: Record<string, string> = {};
    for (const credential of CREDENTIALS) {
      found[credential] = await PROBES[request]!(headersOf(credential));
    }
    expect(found).toEqual(
      Object.fromEntries(CREDENTIALS.map((name, index) => [name, cells[index]])),
    );
  });
});
