/** The receiver of a gateway with authentication: who may send, and what the others are told. */

import { once } from "node:events";
import { chmod } from "node:fs/promises";
import { request as httpRequest, type IncomingMessage } from "node:http";
import { connect, type Socket } from "node:net";
import { buffer } from "node:stream/consumers";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { resolveConfig, startTailgate } from "tailgate";
import { createToken, formatToken } from "../../../src/auth/tokens/token.ts";
import { toProtobuf } from "../../encode/generated-request.ts";
import { JSON_TYPE, PROTOBUF, statusOf } from "../../harness/otlp.ts";
import { TestTokens } from "../../harness/tokens.ts";
import { Workspace } from "../../harness/workspace.ts";
import { answerOf, begin, frame, send as call, session, type RawAnswer } from "./raw-call.ts";

const TIME = "1760347644339163000";
const UNAUTHENTICATED = 16;
const PERMISSION_DENIED = 7;
const UNAVAILABLE = 14;

/** A request with a system log and audit events, by their texts. */
function requestOf(system: readonly string[], events: readonly string[] = []): object {
  const recordsOf = (texts: readonly string[]): object[] =>
    texts.map((stringValue) => ({ timeUnixNano: TIME, body: { stringValue } }));
  const scopeLogs = [
    { scope: { name: "app" }, logRecords: recordsOf(system) },
    { scope: { name: "orchestrator.audit" }, logRecords: recordsOf(events) },
  ];
  return { resourceLogs: [{ scopeLogs }] };
}

interface Sending {
  readonly path?: string;
  readonly type?: string;
  readonly token?: string | undefined;
}

interface Answer {
  readonly status: number;
  /** The reason phrase. */
  readonly reason: string;
  readonly headers: IncomingMessage["headers"];
  readonly body: Buffer;
}

class SecuredGateway {
  readonly lines: string[] = [];
  readonly workspace: Workspace;
  readonly tokens: TestTokens;
  #running: Awaited<ReturnType<typeof startTailgate>> | undefined;

  private constructor(workspace: Workspace, tokens: TestTokens) {
    this.workspace = workspace;
    this.tokens = tokens;
  }

  static async start(): Promise<SecuredGateway> {
    const workspace = await Workspace.create();
    const tokens = await TestTokens.create(workspace, {
      ci: { scopes: ["ingest"] },
      system: { scopes: ["ingest:system"] },
      audit: { scopes: ["ingest:audit"] },
      reader: { scopes: ["read", "metrics"] },
      late: { scopes: ["ingest"], expires_at: "2026-01-01T00:00:00.000Z" },
      gone: { scopes: ["ingest"], revoked_at: "2026-01-01T00:00:00.000Z" },
      short: { scopes: ["ingest"] },
    });
    const gateway = new SecuredGateway(workspace, tokens);
    const config = await resolveConfig({
      env: {},
      flags: { port: 0, logDir: workspace.path("logs") },
      cwd: workspace.directory,
      text: JSON.stringify({
        auth: { tokens_file: tokens.path },
        receivers: {
          otlp: {
            port: 0,
            grpc_port: 0,
            pass_on_to: "http://127.0.0.1:1",
            cors_origins: [PAGE],
          },
        },
        exporters: {},
      }),
    });
    gateway.#running = await startTailgate(config, {
      write: (line) => void gateway.lines.push(line),
    });
    return gateway;
  }

  async stop(): Promise<void> {
    await this.#running?.stop();
    await this.workspace[Symbol.asyncDispose]();
  }

  /** The main port. */
  get url(): string {
    return this.#running!.url;
  }

  /** The receiver's own port. */
  get http(): string {
    return this.#listener("OTLP/HTTP");
  }

  get grpc(): string {
    return this.#listener("OTLP/gRPC");
  }

  #listener(protocol: string): string {
    const line = this.#running!.listeners.find((text) => text.includes(`(${protocol})`))!;
    return /http:\/\/[\d.:]+/.exec(line)![0];
  }

  /** Returns the header of the token; the name `wrong` stands for a token that does not exist. */
  authorization(name: string | undefined): Record<string, string> {
    if (name === undefined) return {};
    const text = name === "wrong" ? formatToken(createToken()) : this.tokens.text(name);
    return { authorization: `Bearer ${text}` };
  }

  async get(path: string): Promise<string> {
    const response = await fetch(`${this.url}${path}`, { headers: this.authorization("reader") });
    if (!response.ok) throw new Error(`GET ${path} was answered with ${response.status}.`);
    return response.text();
  }

  async records(): Promise<{ data: Record<string, unknown> }[]> {
    const { records } = JSON.parse(await this.get("/api/logs?limit=1000")) as {
      records: { data: Record<string, unknown> }[];
    };
    return records;
  }
}

let gateway: SecuredGateway;

beforeAll(async () => {
  gateway = await SecuredGateway.start();
});
afterAll(() => gateway.stop());

/** Posts a request and returns the whole answer. */
async function post(
  url: string,
  request: object,
  { path = "/v1/logs", type = PROTOBUF, token }: Sending = {},
): Promise<Answer> {
  const body = type === PROTOBUF ? toProtobuf(request as never) : JSON.stringify(request);
  const headers = { "Content-Type": type, ...gateway.authorization(token) };
  const sent = httpRequest(`${url}${path}`, { method: "POST", headers, agent: false });
  sent.end(body);
  const [response] = (await once(sent, "response")) as [IncomingMessage];
  return {
    status: response.statusCode!,
    reason: response.statusMessage!,
    headers: response.headers,
    body: await buffer(response),
  };
}

function grpc(request: object, token?: string): Promise<RawAnswer> {
  const body = frame(toProtobuf(request as never));
  return call(gateway.grpc, body, gateway.authorization(token));
}

/** A page of another origin that may send. */
const PAGE = "https://shop.example.com";

const CHALLENGE = 'Bearer realm="tailgate"';

const REJECTIONS: readonly (readonly [string | undefined, number, number, string, string])[] = [
  [
    undefined,
    401,
    UNAUTHENTICATED,
    "This gateway requires authentication. Send a token in the header Authorization: Bearer.",
    "",
  ],
  ["wrong", 401, UNAUTHENTICATED, "The token is not valid.", ', error="invalid_token"'],
  [
    "late",
    401,
    UNAUTHENTICATED,
    "The token late expired on 2026-01-01T00:00:00.000Z.",
    ', error="invalid_token"',
  ],
  ["gone", 401, UNAUTHENTICATED, "The token gone was revoked.", ', error="invalid_token"'],
  [
    "reader",
    403,
    PERMISSION_DENIED,
    "token:reader lacks the scope ingest:system or ingest:audit.",
    ', error="insufficient_scope", scope="ingest:system ingest:audit"',
  ],
];

describe.each(REJECTIONS)("a request with the token %s", (token, status, code, text, challenge) => {
  it.each([
    ["the receiver's port", () => gateway.http],
    ["the main port", () => gateway.url],
  ])("is rejected on %s, in its own content type", async (_, urlOf) => {
    for (const type of [PROTOBUF, JSON_TYPE]) {
      const answer = await post(urlOf(), requestOf(["rejected"], ["rejected"]), { type, token });
      expect(answer.status).toBe(status);
      expect(answer.reason).toBe(
        `${status === 401 ? "Unauthorized" : "Forbidden"}: ${text.slice(0, -1)}`,
      );
      expect(answer.headers["www-authenticate"]).toBe(CHALLENGE + challenge);
      expect(answer.headers["content-type"]).toBe(type);
      expect(answer.headers.location).toBe(undefined);
      const body: unknown = type === PROTOBUF ? statusOf(answer) : JSON.parse(String(answer.body));
      expect(body).toEqual({ code, message: text });
    }
  });

  it("is rejected over gRPC", async () => {
    const answer = await grpc(requestOf(["rejected"], ["rejected"]), token);
    expect(answer.status).toBe(200);
    expect(answer.grpcStatus).toBe(code);
    expect(answer.message).toBe(text);
    expect(answer.body).toHaveLength(0);
  });

  it("stores nothing", async () => {
    const messages = (await gateway.records()).map(({ data }) => data["message"]);
    expect(messages).not.toContain("rejected");
  });
});

describe("a request with a valid token", () => {
  it("is stored on every port, and its audit events name the token", async () => {
    await post(gateway.http, requestOf([], ["protobuf"]), { token: "ci" });
    await post(gateway.http, requestOf([], ["json"]), { token: "ci", type: JSON_TYPE });
    await post(gateway.url, requestOf([], ["main"]), { token: "audit" });
    expect((await grpc(requestOf(["log"], ["grpc"]), "ci")).grpcStatus).toBe(0);
    const records = await gateway.records();
    const metadataOf = (message: string): unknown =>
      records.find(({ data }) => data["message"] === message)?.data["metadata"];
    for (const message of ["protobuf", "json", "grpc"]) {
      expect(metadataOf(message)).toEqual({ ingested_by: "token:ci" });
    }
    expect(metadataOf("main")).toEqual({ ingested_by: "token:audit" });
    const log = records.find(({ data }) => data["message"] === "log");
    expect(log?.data).not.toHaveProperty("ingested_by");
  });

  it("that lacks the scope of some records stores the others", async () => {
    const answer = await post(gateway.http, requestOf(["some"], ["forbidden"]), {
      token: "system",
      type: JSON_TYPE,
    });
    expect(answer.status).toBe(200);
    expect(JSON.parse(String(answer.body))).toEqual({
      partialSuccess: {
        rejectedLogRecords: "1",
        errorMessage: "token:system lacks the scope ingest:audit",
      },
    });
    const messages = (await gateway.records()).map(({ data }) => data["message"]);
    expect(messages).toContain("some");
    expect(messages).not.toContain("forbidden");
    expect(gateway.lines.join("\n")).toContain("token:system lacks the scope ingest:audit");
  });

  it("that lacks the scope of all records is rejected with the missing scope", async () => {
    const text =
      "token:system lacks the scope ingest:audit, which all 2 records need. Nothing was stored. Use a token with the missing scope.";
    const request = requestOf([], ["a", "b"]);
    const answer = await post(gateway.http, request, { token: "system" });
    expect(answer.status).toBe(403);
    expect(answer.reason).toBe(`Forbidden: ${text.slice(0, -1)}`);
    expect(statusOf(answer)).toEqual({ code: PERMISSION_DENIED, message: text });
    expect(answer.headers["www-authenticate"]).toBe(
      `${CHALLENGE}, error="insufficient_scope", scope="ingest:audit"`,
    );
    expect(await grpc(request, "system")).toMatchObject({
      grpcStatus: PERMISSION_DENIED,
      message: text,
    });
  });

  it("needs ingest:system for traces and metrics", async () => {
    for (const path of ["/v1/traces", "/v1/metrics"]) {
      for (const url of [gateway.http, gateway.url]) {
        expect((await post(url, requestOf([]), { path, token: "audit" })).status).toBe(403);
        expect((await post(url, requestOf([]), { path })).status).toBe(401);
        // It is authorized, and the collector does not respond.
        expect((await post(url, requestOf([]), { path, token: "system" })).status).toBe(503);
      }
    }
  });
});

/** Sends the head of a request and returns the socket. */
function sendHead(url: string, lines: readonly string[], path = "/v1/logs"): Socket {
  const { host, port } = new URL(url);
  const socket = connect(Number(port), "127.0.0.1");
  const head = [`POST ${path} HTTP/1.1`, `Host: ${host}`, `Content-Type: ${PROTOBUF}`, ...lines];
  socket.write(`${head.join("\r\n")}\r\n\r\n`);
  return socket;
}

describe.each([
  ["the receiver's port", () => gateway.http],
  ["the main port", () => gateway.url],
])("the body of a request to %s", (_, urlOf) => {
  it("is not asked for before the sender is authorized", async () => {
    const expectation = ["Expect: 100-continue", "Content-Length: 1000000"];
    const socket = sendHead(urlOf(), expectation);
    const answer = String(await buffer(socket));
    expect(answer).toMatch(/^HTTP\/1\.1 401 Unauthorized: This gateway requires authentication/);
    expect(answer).toContain("\r\nConnection: close\r\n");
  });

  it("is asked for then, once", async () => {
    const body = toProtobuf(requestOf(["waited"]) as never);
    const { authorization } = gateway.authorization("ci");
    const socket = sendHead(urlOf(), [
      "Expect: 100-continue",
      `Content-Length: ${body.length}`,
      `Authorization: ${authorization}`,
      "Connection: close",
    ]);
    const [first] = (await once(socket, "data")) as [Buffer];
    expect(String(first)).toBe("HTTP/1.1 100 Continue\r\n\r\n");
    socket.write(body);
    expect(String(await buffer(socket))).toMatch(/^HTTP\/1\.1 200 OK\r\n/);
  });

  it("does not delay the rejection", async () => {
    const socket = sendHead(urlOf(), ["Content-Length: 1000000"]);
    const [first] = (await once(socket, "data")) as [Buffer];
    expect(String(first)).toMatch(/^HTTP\/1\.1 401 Unauthorized/);
    socket.destroy();
  });
});

it("A page of another origin can read a 401 and a 403, and its user's browser does not count.", async () => {
  for (const base of [gateway.http, gateway.url]) {
    for (const [token, status] of [
      [undefined, 401],
      ["wrong", 401],
      ["reader", 403],
      ["ci", 200],
    ] as const) {
      const response = await fetch(`${base}/v1/logs`, {
        method: "POST",
        headers: {
          "Content-Type": JSON_TYPE,
          Origin: PAGE,
          Cookie: `tailgate_session=${gateway.tokens.text("ci")}`,
          ...(token !== undefined && gateway.authorization(token)),
        },
        body: "{}",
      });
      expect([token, response.status]).toEqual([token, status]);
      expect(response.headers.get("access-control-allow-origin")).toBe(PAGE);
    }
  }
});

it("What a token sends that is revoked meanwhile is neither stored nor forwarded.", async () => {
  const body = toProtobuf(requestOf(["too late"], ["too late"]) as never);
  const { authorization } = gateway.authorization("short");
  const uploads: Socket[] = [];
  const targets = [gateway.http, gateway.url].flatMap((url) =>
    ["/v1/logs", "/v1/traces"].map((path) => ({ url, path })),
  );
  for (const { url, path } of targets) {
    const head = [
      `Content-Length: ${body.length}`,
      `Authorization: ${authorization}`,
      "Expect: 100-continue",
      "Connection: close",
    ];
    const socket = sendHead(url, head, path);
    await once(socket, "data");
    socket.write(body.subarray(0, 10));
    uploads.push(socket);
  }
  const stream = begin(session(gateway.grpc), gateway.authorization("short"));
  stream.write(frame(body).subarray(0, 10));
  const answer = answerOf(stream);
  expect((await grpc(requestOf(["before"]), "short")).grpcStatus).toBe(0);
  await gateway.tokens.revoke("short");
  await vi.waitFor(async () => {
    expect((await post(gateway.http, requestOf([]), { token: "short" })).status).toBe(401);
  }, 5_000);
  for (const socket of uploads) {
    socket.write(body.subarray(10));
    expect(String(await buffer(socket))).toMatch(
      /^HTTP\/1\.1 401 Unauthorized: The credentials were revoked or expired while/,
    );
  }
  stream.end(frame(body).subarray(10));
  expect(await answer).toMatchObject({ grpcStatus: UNAUTHENTICATED });
  const messages = (await gateway.records()).map(({ data }) => data["message"]);
  expect(messages).not.toContain("too late");
});

it("Rejections are counted by status, and nothing that the gateway writes has a secret.", async () => {
  const metrics = await gateway.get("/metrics");
  const countOf = (protocol: string, status: string): number => {
    const labels = `component="otlp",kind="receiver",protocol="${protocol}",status="${status}"`;
    const [, count] = metrics.split(`tailgate_otlp_requests_total{${labels}} `);
    return Number.parseInt(count ?? "NaN", 10);
  };
  expect(countOf("http/protobuf", "401")).toBeGreaterThan(0);
  expect(countOf("http/json", "403")).toBeGreaterThan(0);
  expect(countOf("grpc", "UNAUTHENTICATED")).toBeGreaterThan(0);
  expect(countOf("grpc", "PERMISSION_DENIED")).toBeGreaterThan(0);
  expect(metrics).toMatch(/tailgate_records_dropped_total\{[^}]*reason="forbidden"\} [1-9]/);
  const written = gateway.lines.join("\n") + metrics;
  const names = ["ci", "system", "audit", "reader", "late", "gone", "short"];
  const secrets = names.map((name) => gateway.tokens.text(name).slice(17, 40));
  expect(secrets.filter((secret) => written.includes(secret))).toEqual([]);
});

it("While the tokens file cannot be read, unknown tokens get a status after which senders retry.", async () => {
  await chmod(gateway.tokens.path, 0o604);
  const request = requestOf(["retried"]);
  const answer = await vi.waitFor(async () => {
    const found = await post(gateway.http, request, { token: "wrong" });
    expect(found.status).toBe(503);
    return found;
  }, 5_000);
  expect(answer.headers["retry-after"]).toBe("2");
  expect(answer.reason).toMatch(/^Service Unavailable: The tokens file of this gateway cannot/);
  expect(statusOf(answer).code).toBe(UNAVAILABLE);
  const { grpcStatus, trailers } = await grpc(request, "wrong");
  expect(grpcStatus).toBe(UNAVAILABLE);
  // google.rpc.RetryInfo { retry_delay { seconds: 2 } }
  expect(trailers["google.rpc.retryinfo-bin"]).toBe(
    Buffer.from([0x0a, 2, 0x08, 2]).toString("base64").replace(/=+$/, ""),
  );
  expect((await post(gateway.http, request, { token: "ci" })).status).toBe(200);
});
