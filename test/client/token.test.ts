/** The credentials of the client, at gateways with authentication. */

import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from "vitest";
import { LoggingManager } from "tailgate";
import { LogHistory, LogStream, type LogStreamOptions } from "tailgate/client";
import { WebSocket as Ws, WebSocketServer } from "ws";
import { follow } from "../harness/gateway.ts";
import { TestTokens } from "../harness/tokens.ts";
import { Proxy } from "./proxy.ts";
import { Workspace } from "../harness/workspace.ts";

let workspace: Workspace;
let tokens: TestTokens;
let manager: LoggingManager;

beforeAll(async () => {
  workspace = await Workspace.create();
  tokens = await TestTokens.create(workspace, {
    // Not the audit events of the access trail.
    reader: { scopes: ["read:system"] },
    temporary: { scopes: ["read:system"] },
    sender: { scopes: ["ingest"] },
    late: { scopes: ["read"], expires_at: "2026-01-01T00:00:00.000Z" },
  });
  await workspace.write("tailgate.yaml", `auth: { tokens_file: ${tokens.path} }\n`);
  manager = await LoggingManager.start({
    config: workspace.path("tailgate.yaml"),
    port: 0,
    logDir: workspace.path("logs"),
    exporters: { websocket: {} },
    registerGlobally: false,
    write: () => {},
  });
  manager.getLogger("a").info("hello");
  await manager.flush();
});
afterAll(async () => {
  await manager.stop();
  await workspace[Symbol.asyncDispose]();
});

function withUserInfo(credentials: string): string {
  return manager.url.replace("//", `//${credentials}@`);
}

describe("a stream and a history are served", () => {
  const env = (name: string): void => {
    vi.stubEnv("TAILGATE_TOKEN", tokens.text(name));
    onTestFinished(() => void vi.unstubAllEnvs());
  };

  test.each<[string, () => LogStreamOptions]>([
    ["the option token", () => ({ url: manager.url, token: tokens.text("reader") })],
    ["a function", () => ({ url: manager.url, token: () => tokens.text("reader") })],
    [
      "a function that reads a file",
      () => ({ url: manager.url, token: async () => `${tokens.text("reader")}\n` }),
    ],
    ["the password of the URL", () => ({ url: withUserInfo(`me:${tokens.text("reader")}`) })],
    [
      "TAILGATE_TOKEN",
      () => {
        env("reader");
        return { url: manager.url };
      },
    ],
    [
      "the password of the URL rather than TAILGATE_TOKEN",
      () => {
        env("sender");
        return { url: withUserInfo(`:${tokens.text("reader")}`) };
      },
    ],
    [
      "the option rather than the URL and TAILGATE_TOKEN",
      () => {
        env("sender");
        return {
          url: withUserInfo(`:${tokens.text("sender")}`),
          token: tokens.text("reader"),
        };
      },
    ],
    [
      "a WebSocket of the package ws",
      () => ({
        url: manager.url,
        token: tokens.text("reader"),
        WebSocket: Ws as unknown as typeof WebSocket,
      }),
    ],
  ])("with %s", async (_name, options) => {
    const given = options();
    const log = follow({ ...given, start: { replay: 1 } });
    await log.is("live");
    expect(log.messages).toEqual(["hello"]);
    const { entries } = await new LogHistory(given).page();
    expect(entries).toHaveLength(1);
  });
});

describe("a stream stops with an error", () => {
  test.each([
    [
      "without a token",
      (): LogStreamOptions => ({ url: manager.url }),
      "UNAUTHENTICATED",
      /^This gateway requires authentication/,
    ],
    [
      "with a token that has expired",
      (): LogStreamOptions => ({ url: manager.url, token: tokens.text("late") }),
      "UNAUTHENTICATED",
      /^The token late expired on 2026-01-01/,
    ],
    [
      "with a token that may not read",
      (): LogStreamOptions => ({ url: manager.url, token: tokens.text("sender") }),
      "FORBIDDEN",
      /^token:sender lacks the scope read:system or read:audit\.$/,
    ],
  ] as const)("%s, and the history rejects with it", async (_name, options, code, text) => {
    const log = follow(options());
    const status = await log.is("unauthorized");
    expect(status.reason).toMatch(text);
    expect(status.retryInMs).toBe(undefined);
    expect(log.all("error")).toEqual([{ type: "error", code, message: status.reason }]);
    expect(log.states).toEqual(["connecting", "unauthorized"]);
    const page = new LogHistory(options()).page();
    await expect(page).rejects.toMatchObject({ code, message: expect.stringMatching(text) });
  });

  test("and continues with a renewed token after retry()", async () => {
    let name = "late";
    const log = follow({ url: manager.url, token: () => tokens.text(name), start: { replay: 1 } });
    await log.is("unauthorized");
    name = "reader";
    log.stream.retry();
    await log.is("live");
    expect(log.messages).toEqual(["hello"]);
  });

  test("if the token is revoked while it is live", async () => {
    const log = follow({ url: manager.url, token: tokens.text("temporary") });
    await log.is("live");
    await tokens.revoke("temporary");
    expect((await log.is("unauthorized")).reason).toBe("The token temporary was revoked.");
    const lost = log.all("status").find(({ status }) => status.state === "waiting");
    expect(lost!.status.reason).toBe(
      "The gateway closed the connection: this client's access has ended.",
    );
  });
});

describe("a page, which sends no headers with a WebSocket,", () => {
  /** A gateway that issues one ticket, and accepts WebSockets that offer it. */
  async function ticketGateway(answer: { status: number; body: object }): Promise<string> {
    const server = createServer(({ url, method, headers }, response) => {
      const isTicket = method === "POST" && url === "/api/tickets";
      const isKnown = headers.authorization === "Bearer page";
      const { status, body } = isTicket && isKnown ? answer : { status: 404, body: {} };
      response.writeHead(status, { "Content-Type": "application/json" }).end(JSON.stringify(body));
    });
    const sockets = new WebSocketServer({ server, handleProtocols: () => "tailgate.v1" });
    sockets.on("connection", (socket, { headers }) => {
      const offered = headers["sec-websocket-protocol"]!;
      const hasTicket = /^tailgate\.v1, ?tailgate\.ticket\.T1$/.test(offered);
      if (!hasTicket || headers.authorization !== undefined)
        return socket.close(1008, `offered ${offered}`);
      const hello = { type: "hello", epoch: "e", sequence: 0, durable: 0, version: 1 };
      socket.on("message", () => socket.send(JSON.stringify({ type: "caught_up", sequence: 0 })));
      socket.send(JSON.stringify(hello));
    });
    await once(server.listen(0, "127.0.0.1"), "listening");
    onTestFinished(() => {
      server.closeAllConnections();
      server.close();
    });
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  }

  test("exchanges its token for a ticket", async () => {
    const url = await ticketGateway({ status: 201, body: { ticket: "T1", expires_in: 30 } });
    vi.stubGlobal("location", { href: `${url}/page` });
    onTestFinished(() => void vi.unstubAllGlobals());
    await follow({ url: "/", token: "page" }).is("live");
  });

  test("stops if the gateway rejects the token instead", async () => {
    const error = { code: "UNAUTHENTICATED", message: "The token is not valid." };
    const url = await ticketGateway({ status: 401, body: { error } });
    vi.stubGlobal("location", { href: `${url}/page` });
    onTestFinished(() => void vi.unstubAllGlobals());
    const { reason } = await follow({ url: "/", token: "page" }).is("unauthorized");
    expect(reason).toBe(error.message);
  });

  test("uses the ticket that its own server requests", async () => {
    const url = await ticketGateway({ status: 500, body: {} });
    vi.stubGlobal("location", { href: "https://tools.example.com/" });
    onTestFinished(() => void vi.unstubAllGlobals());
    await follow({ url, ticket: async () => "T1" }).is("live");
  });
});

describe("a page with tickets of a gateway", () => {
  const onPage = (address: string): void => {
    vi.stubGlobal("location", { href: address });
    onTestFinished(() => void vi.unstubAllGlobals());
  };

  test("exchanges its token for a ticket", async () => {
    onPage(`${manager.url}/page`);
    const log = follow({ url: "/", token: tokens.text("reader"), start: { replay: 1 } });
    await log.is("live");
    expect(log.messages).toEqual(["hello"]);
    const rejected = follow({ url: "/", token: tokens.text("late") });
    expect((await rejected.is("unauthorized")).reason).toMatch(/^The token late expired/);
  });

  test("uses the tickets that its own server requests, one for each connection", async () => {
    let requests = 0;
    const ticket = async (): Promise<string> => {
      const headers = tokens.bearer("reader");
      const response = await fetch(`${manager.url}/api/tickets`, { method: "POST", headers });
      requests++;
      return ((await response.json()) as { ticket: string }).ticket;
    };
    onPage("https://tools.example.com/");
    await using proxy = await Proxy.start(Number(new URL(manager.url).port));
    const log = follow({ url: proxy.url, ticket });
    await log.is("live");
    proxy.cut();
    await log.was("waiting");
    await log.impatient.is("live");
    expect(requests).toBeGreaterThanOrEqual(2);
    const invalid = follow({ url: manager.url, ticket: () => "x" });
    expect((await invalid.is("unauthorized")).reason).toMatch(/^This gateway requires auth/);
  });
});

test("a token that cannot be obtained is obtained again with backoff", async () => {
  let attempts = 0;
  const token = (): string => {
    if (++attempts < 3) throw new Error("the vault is sealed");
    return tokens.text("reader");
  };
  const log = follow({ url: manager.url, token });
  const { reason } = await log.was("waiting");
  expect(reason).toBe("The client failed: Error: the vault is sealed");
  await log.impatient.is("live");
  const history = new LogHistory({
    url: manager.url,
    token: () => Promise.reject(new Error("no")),
  });
  await expect(history.page()).rejects.toThrow("no");
});

test("a token that a header cannot contain is not shown", async () => {
  const secret = `${tokens.text("reader")}\nX: 1`;
  const { reason } = await follow({ url: manager.url, token: secret }).was("waiting");
  expect(reason).toBe("The client failed: TypeError: The token contains invalid characters.");
  const page = new LogHistory({ url: manager.url, token: secret }).page();
  await expect(page).rejects.toThrow(/^The token contains invalid characters\.$/);
});

test("user and password of the URL are sent as UTF-8, and not shown", async () => {
  const received: unknown[] = [];
  const server = createServer(({ headers }, response) => {
    received.push(headers.authorization);
    response.writeHead(503).end();
  });
  server.on("upgrade", ({ headers }, socket) => {
    received.push(headers.authorization);
    socket.destroy();
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  onTestFinished(() => void server.close());
  const { port } = server.address() as AddressInfo;
  const url = `http://mé:p%40s%ss:%F0%9F%98%80@127.0.0.1:${port}`;
  const stream = new LogStream({ url });
  onTestFinished(() => stream.close());
  const expected = `Basic ${Buffer.from("mé:p@s%ss:😀").toString("base64")}`;
  await vi.waitFor(() => expect(received.length).toBeGreaterThan(1), { timeout: 10_000 });
  expect(new Set(received)).toEqual(new Set([expected]));
  expect(stream.status.reason).not.toContain("p@s");
});
